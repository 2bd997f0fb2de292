//! Which servers are compared: every runtime × storage × durability, the echo server, and peers.

use super::args::{Aof, BenchArgs};
use std::ffi::OsStr;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

/// Programs looked for on PATH, and how they are started.
const PEERS: &[(&str, Dialect)] = &[
    ("redis-server", Dialect::Redis),
    ("valkey-server", Dialect::Redis),
    ("keydb-server", Dialect::Redis),
    ("dragonfly", Dialect::Dragonfly),
    ("kvrocks", Dialect::Kvrocks),
    ("garnet", Dialect::Garnet),
    ("garnet-server", Dialect::Garnet),
    ("GarnetServer", Dialect::Garnet),
];

/// Clients beyond the load: those who ask for sizes, and connections not yet seen to be closed.
const SPARE: usize = 16;

/// How a program takes its options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// As redis-server does.
    Redis,
    /// `--port=N --dir=D`
    Dragonfly,
    /// Redis's, without its persistence options.
    Kvrocks,
    /// `--port N --checkpointdir D`
    Garnet,
}

/// The server that a row runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The bare echo server, out of this program.
    Echo,
    /// Varve.
    Varve {
        /// `epoll-inline`, `epoll-pool`, `tokio`, …
        runtime: String,
        /// `memory`, `sled`, `fjall`.
        storage: String,
    },
    /// Another server.
    Program {
        /// Its file.
        program: PathBuf,
        /// Its options.
        dialect: Dialect,
    },
    /// A server that was started elsewhere.
    Running(SocketAddr),
}

/// One row of the comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Its name in tables and in `--baseline`.
    pub name: String,
    /// The server that it runs.
    pub target: Target,
    /// With which durability.
    pub aof: Aof,
    /// Whether the load reaches it through TLS.
    pub tls: bool,
}

impl Row {
    fn new(name: &str, target: Target, aof: Aof) -> Row {
        let suffix = if aof == Aof::Off { String::new() } else { format!(" aof={}", aof.name()) };
        Row { name: format!("{name}{suffix}"), target, aof, tls: false }
    }

    /// The same server through TLS, if how to start it so is known.
    fn through_tls(&self) -> Option<Row> {
        if !self.is_redis_like() && !matches!(self.target, Target::Varve { .. }) {
            return None;
        }
        let name = match self.name.split_once(' ') {
            Some((who, rest)) => format!("{who}+tls {rest}"),
            None => format!("{}+tls", self.name),
        };
        Some(Row { name, tls: true, ..self.clone() })
    }

    /// The server's options.
    pub fn options(
        &self,
        port: u16,
        dir: &Path,
        threads: usize,
        connections: usize,
    ) -> Vec<String> {
        let (port, dir) = (port.to_string(), dir.display().to_string());
        let threads = self.threads(threads, connections).to_string();
        let words = |words: &[&str]| words.iter().map(|word| word.to_string()).collect();
        let redis = |yes_no, sync| -> Vec<String> {
            let mut options: Vec<String> = words(&[
                "--port",
                &port,
                "--dir",
                &dir,
                "--save",
                "",
                "--appendonly",
                yes_no,
                "--appendfsync",
                sync,
            ]);
            // The default is 10,000, some of which are needed for observers.
            if connections > 9_000 {
                let most = (connections + SPARE).to_string();
                options.extend::<Vec<_>>(words(&["--maxclients", &most]));
            }
            options
        };
        let (yes_no, sync) = match self.aof {
            Aof::Off => ("no", "everysec"),
            on => ("yes", on.name()),
        };
        match &self.target {
            Target::Echo => words(&["echo", "--port", &port]),
            Target::Varve { runtime, storage } => {
                let mut options = redis(yes_no, sync);
                options.extend::<Vec<_>>(words(&["--storage", storage, "--threads", &threads]));
                options.extend(runtime_options(runtime));
                options
            }
            Target::Program { dialect: Dialect::Redis, .. } => redis(yes_no, sync),
            Target::Program { dialect: Dialect::Kvrocks, .. } => {
                words(&["--port", &port, "--dir", &dir])
            }
            Target::Program { dialect: Dialect::Dragonfly, .. } => vec![
                format!("--port={port}"),
                format!("--dir={dir}"),
                format!("--proactor_threads={threads}"),
                "--dbfilename=".to_string(),
            ],
            Target::Program { dialect: Dialect::Garnet, .. } => {
                words(&["--port", &port, "--checkpointdir", &dir])
            }
            Target::Running(_) => Vec::new(),
        }
    }

    /// Whether a thread serves one client at a time, from its first request to its last.
    pub fn has_thread_per_client(&self) -> bool {
        matches!(&self.target, Target::Varve { runtime, .. } if runtime == "threads")
    }

    /// The threads it gets where others get `threads` and there are `connections` clients: with
    /// fewer threads than clients, some clients would never be served.
    pub fn threads(&self, threads: usize, connections: usize) -> usize {
        if self.has_thread_per_client() { connections + SPARE } else { threads }
    }

    /// Whether its data is on disk and only part of it in memory.
    pub fn is_on_disk(&self) -> bool {
        match &self.target {
            Target::Varve { storage, .. } => storage != "memory",
            Target::Program { dialect, .. } => *dialect == Dialect::Kvrocks,
            Target::Echo | Target::Running(_) => false,
        }
    }

    /// Whether ratios may refer to it by default.
    pub fn is_redis_like(&self) -> bool {
        matches!(self.target, Target::Program { dialect: Dialect::Redis, .. })
    }

    /// Whether writes survive a restart.
    pub fn is_durable(&self) -> bool {
        self.is_on_disk() || self.aof != Aof::Off
    }
}

/// `epoll-pool` is runtime `epoll` executing in a pool; other names are the runtime's own.
fn runtime_options(name: &str) -> Vec<String> {
    match name.split_once('-') {
        Some((runtime, execution)) => {
            vec![
                "--runtime".into(),
                runtime.into(),
                format!("--{runtime}-execution"),
                execution.into(),
            ]
        }
        None => vec!["--runtime".into(), name.into()],
    }
}

/// A row that is not run, and why.
pub type LeftOut = (String, String);

/// All rows that the command line asks for, and those that cannot be run. Programs are looked for
/// in `path`, a list of folders.
pub fn rows(args: &BenchArgs, path: &OsStr) -> (Vec<Row>, Vec<LeftOut>) {
    let mut rows = vec![Row::new("echo", Target::Echo, Aof::Off)];
    let mut left_out = Vec::new();
    let durability = args.durability();
    for &aof in &durability {
        let first = durability.first() == Some(&aof);
        peers(args, path, (aof, first), &mut rows, &mut left_out);
        for storage in &args.storages {
            for runtime in &args.runtimes {
                let target = Target::Varve { runtime: runtime.clone(), storage: storage.clone() };
                rows.push(Row::new(&format!("{runtime} {storage}"), target, aof));
            }
        }
    }
    if args.tls {
        let secure: Vec<Row> = rows.iter().filter_map(Row::through_tls).collect();
        rows.extend(secure);
    }
    (rows, left_out)
}

fn peers(
    args: &BenchArgs,
    path: &OsStr,
    (aof, first): (Aof, bool),
    rows: &mut Vec<Row>,
    left_out: &mut Vec<LeftOut>,
) {
    let known = PEERS.iter().filter(|_| !args.no_peers).map(|(name, _)| (*name, false));
    let asked = args.against.iter().map(|name| (name.as_str(), true));
    for (name, asked) in known.chain(asked) {
        let Some(target) = target(name, path) else {
            // Of programs that were not asked for, only Redis is mentioned, because ratios refer to
            // it.
            if first && (asked || name == "redis-server") {
                left_out.push((name.into(), "not on PATH, and no address that resolves".into()));
            }
            continue;
        };
        let row = Row::new(name, target, aof);
        if aof != Aof::Off && !row.is_redis_like() {
            left_out.push((row.name, "how to make it durable is not known here".into()));
        } else if !rows.iter().any(|other| other.name == row.name) {
            rows.push(row);
        }
    }
}

fn target(name: &str, path: &OsStr) -> Option<Target> {
    if let Some(program) = which(name, path) {
        let file = program.file_name()?.to_string_lossy().to_string();
        let dialect = PEERS.iter().find(|(peer, _)| *peer == file).map(|(_, dialect)| *dialect);
        return Some(Target::Program { program, dialect: dialect.unwrap_or(Dialect::Redis) });
    }
    name.contains(':').then(|| name.to_socket_addrs().ok()?.next()).flatten().map(Target::Running)
}

/// The file that running `name` would run.
fn which(name: &str, path: &OsStr) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name)).filter(|path| path.is_file());
    }
    std::env::split_paths(path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::super::args::tests::parse;
    use super::*;

    #[test]
    fn options_name_runtime_storage_and_durability() {
        let target = Target::Varve { runtime: "epoll-pool".into(), storage: "sled".into() };
        let row = Row::new("x", target, Aof::Always);
        let options = row.options(7000, Path::new("/d"), 2, 50).join(" ");
        assert_eq!(
            options,
            "--port 7000 --dir /d --save  --appendonly yes --appendfsync always \
             --storage sled --threads 2 --runtime epoll --epoll-execution pool"
        );
        assert_eq!(runtime_options("tokio"), ["--runtime", "tokio"]);
        assert!(row.is_durable());
    }

    #[test]
    fn a_thread_per_client_needs_as_many_threads_as_clients() {
        let target = Target::Varve { runtime: "threads".into(), storage: "memory".into() };
        let row = Row::new("threads memory", target, Aof::Off);
        assert!(row.threads(1, 50) >= 50);
        let many = row.options(7000, Path::new("/d"), 1, 10_000).join(" ");
        assert!(many.contains("--maxclients 10016 ") && many.contains("--threads 10016 "));
    }

    #[test]
    fn rows_through_tls_stand_beside_those_without() {
        let args =
            parse(&["--tls", "--aof", "off,always", "--runtimes", "tokio", "--storages", "memory"]);
        let (rows, _) = rows(&args, OsStr::new(""));
        let names: Vec<(&str, bool)> =
            rows.iter().map(|row| (row.name.as_str(), row.tls)).collect();
        assert_eq!(names[1..3], [("tokio memory", false), ("tokio memory aof=always", false)]);
        assert_eq!(names[3..], [("tokio+tls memory", true), ("tokio+tls memory aof=always", true)]);
    }

    #[test]
    fn programs_are_found_where_a_shell_would_find_them() {
        let path = std::env::var_os("PATH").unwrap();
        assert!(which("sh", &path).is_some());
        assert!(which("sh", OsStr::new("")).is_none());
        assert!(which("/no/such/program", &path).is_none());
        assert!(matches!(target("127.0.0.1:1", &path), Some(Target::Running(_))));
        assert!(target("no-such-program-here", &path).is_none());
    }

    #[test]
    fn without_redis_the_rest_runs_and_it_is_said() {
        let (rows, left_out) = rows(&parse(&[]), OsStr::new(""));
        assert_eq!(rows.len(), 1 + 5 * 3 * 3, "echo; runtimes, storages, durability");
        let names: Vec<&str> = left_out.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["redis-server"]);
    }

    #[test]
    fn peers_run_with_the_durability_of_the_rows_they_are_compared_with() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["redis-server", "dragonfly"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let args = parse(&["--aof", "off,everysec", "--runtimes", "tokio"]);
        let (rows, left_out) = rows(&args, dir.path().as_os_str());
        let peers: Vec<&Row> =
            rows.iter().filter(|row| matches!(row.target, Target::Program { .. })).collect();
        let names: Vec<&str> = peers.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["redis-server", "dragonfly", "redis-server aof=everysec"]);
        let options = peers[2].options(7000, Path::new("/d"), 1, 50).join(" ");
        assert!(options.ends_with("--appendonly yes --appendfsync everysec"), "{options}");
        assert_eq!(left_out[0].0, "dragonfly aof=everysec");
    }
}
