//! [`LibraryLoader`]: compiles libraries, and adds them to those that there are.

use super::libraries::{Libraries, Library};
use super::state::Scripting;
use crate::engine::Engine;
use resp::{Output, Proto, Reply, Request};
use script::{Embedder, is_function_name, shebang};
use std::sync::Arc;
use storage::Backend;

/// The time that loading a library may take, in nanoseconds. The number is Redis's.
const LOAD_NS_MAX: u64 = 500_000_000;

/// How `FUNCTION RESTORE` treats existing libraries: its argument `FLUSH`, `APPEND` or `REPLACE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Delete them all.
    Flush,
    /// Keep them; a name that is taken is an error.
    Append,
    /// Replace those of the same names.
    Replace,
}

/// The host of a library that is being loaded: only time matters to it.
struct Loading {
    stopwatch: fn() -> u64,
    /// The time at which it must have ended, by the stopwatch.
    until_ns: u64,
}

impl Loading {
    fn new(stopwatch: fn() -> u64, limited: bool) -> Self {
        let until_ns = if limited { stopwatch() + LOAD_NS_MAX } else { u64::MAX };
        Loading { stopwatch, until_ns }
    }
}

impl Embedder for Loading {
    fn command(&mut self, _: Request<'_>, proto: Proto, reply: &mut Output) -> bool {
        Reply::new(reply, proto).error("ERR commands cannot be called while a library is loaded");
        true
    }

    fn may_run(&mut self, _: Request<'_>) -> Option<bool> {
        None
    }

    fn log(&mut self, level: u8, text: &[u8]) {
        super::host::log(level, text);
    }

    fn set_replication(&mut self, _: u8) {}

    fn interrupt(&mut self) -> Option<String> {
        let over = (self.stopwatch)() > self.until_ns;
        over.then(|| "ERR FUNCTION LOAD timeout".to_owned())
    }

    fn stopwatch_ns(&self) -> u64 {
        (self.stopwatch)()
    }
}

const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and \
    must be at least one character long";

/// Loads libraries into the scripting of an engine.
pub struct LibraryLoader<'e> {
    scripting: &'e Scripting,
    backend: &'e dyn Backend,
    stopwatch: fn() -> u64,
    /// Whether a library that takes too long is stopped.
    limited: bool,
}

impl<'e> LibraryLoader<'e> {
    /// A loader, which if `limited` stops a library that takes too long. What was loaded once
    /// already, and comes from a log, a snapshot or a master, is not stopped.
    pub fn new(engine: &'e Engine, limited: bool) -> Self {
        let (scripting, backend) = (&engine.scripting, &*engine.backend);
        LibraryLoader { scripting, backend, stopwatch: engine.environment.stopwatch, limited }
    }

    /// Compiles a library and adds it. Returns its name.
    ///
    /// # Errors
    /// The error reply.
    pub fn load(
        &self,
        libraries: &mut Libraries,
        text: &[u8],
        replace: bool,
    ) -> Result<Vec<u8>, String> {
        let parsed = shebang::library(text).map_err(|text| format!("ERR {text}"))?;
        if !is_function_name(&parsed.name) {
            return Err(BAD_NAME.into());
        }
        if !parsed.engine.eq_ignore_ascii_case(b"lua") {
            let engine = String::from_utf8_lossy(&parsed.engine);
            return Err(format!("ERR Engine '{engine}' not found"));
        }
        if !replace && libraries.by_name.contains_key(&parsed.name) {
            let name = String::from_utf8_lossy(&parsed.name);
            return Err(format!("ERR Library '{name}' already exists"));
        }
        let id = self.scripting.next_library_id();
        let mut worker =
            self.scripting.worker(self.backend).ok_or("ERR not enough memory for a script")?;
        let mut host = Loading::new(self.stopwatch, self.limited);
        let loaded = worker.vm.load_library(id, parsed.code, &mut host);
        self.scripting.return_worker(worker);
        let functions = loaded.map_err(|text| String::from_utf8_lossy(&text).into_owned())?;
        if functions.is_empty() {
            return Err("ERR No functions registered".into());
        }
        let name = parsed.name;
        let library = Library { name: name.clone(), text: text.into(), id, functions };
        libraries.add(Arc::new(library), replace)?;
        Ok(name)
    }

    /// Adds libraries under a policy for those that are there: all or none.
    ///
    /// # Errors
    /// The error reply.
    pub fn restore_all(&self, texts: &[Vec<u8>], policy: Policy) -> Result<(), String> {
        // Loaded by themselves first, as in Redis: which error comes first depends on it.
        let mut restored = Libraries::default();
        for text in texts {
            self.load(&mut restored, text, false)?;
        }
        self.scripting.change_libraries(|libraries| {
            match policy {
                Policy::Flush => libraries.clear(),
                Policy::Append => {}
                Policy::Replace => restored.iter().for_each(|new| {
                    libraries.remove(&new.name);
                }),
            }
            restored.iter().try_for_each(|new| libraries.add(new.clone(), false))
        })
    }

    /// Adds a library from a snapshot or a log, replacing one of its name.
    ///
    /// # Errors
    /// Returns the reason why the text is not a library.
    pub fn restore(&self, text: &[u8]) -> Result<(), String> {
        self.restore_all(&[text.to_vec()], Policy::Replace)
    }
}
