//! [`Setup`]: one combination of layers, as directives.

use super::args::Durability;
use std::path::Path;

/// One combination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setup {
    /// `epoll-inline`, `epoll-pool`, `tokio`, `threads`.
    pub runtime: String,
    /// `memory`, `sled`, `fjall`.
    pub storage: String,
    /// Server threads.
    pub threads: usize,
    /// How writes are made durable.
    pub durability: Durability,
}

impl Setup {
    /// A combination for `clients` clients at once. The runtime `threads` serves one client per
    /// thread at a time, so it gets a thread for each, and one for the connection that queries its
    /// state.
    pub fn new(
        runtime: &str,
        storage: &str,
        threads: usize,
        durability: Durability,
        clients: u32,
    ) -> Setup {
        let threads = match runtime {
            "threads" => threads.max(clients as usize + 2),
            _ => threads,
        };
        Setup { runtime: runtime.into(), storage: storage.into(), threads, durability }
    }

    /// Its name in tables.
    pub fn name(&self) -> String {
        format!("{} {}", self.runtime, self.storage)
    }

    /// Whether its data are on a disk, so that memory does not grow with them.
    pub fn is_on_disk(&self) -> bool {
        self.storage != "memory"
    }

    /// The setup's configuration directives, as names and values.
    pub fn directives(&self) -> Vec<(String, String)> {
        let mut list = Vec::new();
        let mut add = |name: &str, value: &str| list.push((name.to_string(), value.to_string()));
        match self.runtime.split_once('-') {
            Some((runtime, execution)) => {
                add("runtime", runtime);
                add(&format!("{runtime}-execution"), execution);
            }
            None => add("runtime", &self.runtime),
        }
        add("threads", &self.threads.to_string());
        add("storage", &self.storage);
        match self.durability {
            Durability::None => add("appendonly", "no"),
            on => {
                add("appendonly", "yes");
                add("appendfsync", on.name());
            }
        }
        add("save", "");
        list
    }

    /// The server's options.
    pub fn options(&self, port: u16, dir: &Path) -> Vec<String> {
        let place =
            [("port".to_string(), port.to_string()), ("dir".into(), dir.display().to_string())];
        let all = place.into_iter().chain(self.directives());
        all.flat_map(|(name, value)| [format!("--{name}"), value]).collect()
    }
}
