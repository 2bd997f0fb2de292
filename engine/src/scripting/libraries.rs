//! Function libraries: which there are, loading them, and how they travel in dumps and logs.

use super::state::Worker;
use crate::engine::Engine;
use resp::{Output, Proto, Reply, Request};
use script::shebang;
use script::{Declared, Embedder, is_function_name};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// The time that loading a library may take, in nanoseconds. The number is Redis's.
const LOAD_NS_MAX: u64 = 500_000_000;

/// A loaded library.
#[derive(Debug)]
pub struct Library {
    /// The name in its first line.
    pub name: Vec<u8>,
    /// The whole text, shebang and all.
    pub text: Box<[u8]>,
    /// Unique among all libraries ever loaded: VMs know libraries by it.
    pub id: u64,
    /// The functions that it registered, in that order.
    pub functions: Vec<Declared>,
}

impl Library {
    fn code(&self) -> &[u8] {
        shebang::library(&self.text).map(|library| library.code).unwrap_or_default()
    }

    /// Makes sure that `worker` has the library.
    pub fn ensure(&self, worker: &mut Worker, host: &mut dyn Embedder) -> Result<(), String> {
        if worker.vm.has_library(self.id) {
            return Ok(());
        }
        let loaded = worker.vm.load_library(self.id, self.code(), host);
        loaded.map(drop).map_err(|text| String::from_utf8_lossy(&text).into_owned())
    }
}

/// All libraries. A change replaces the whole set.
#[derive(Clone, Debug, Default)]
pub struct Libraries {
    by_name: BTreeMap<Vec<u8>, Arc<Library>>,
    /// By name in lower case: functions are found whatever the case.
    by_function: HashMap<Vec<u8>, Arc<Library>>,
    /// Counts changes.
    pub version: u64,
}

impl Libraries {
    /// Number of libraries.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Number of functions in all of them.
    pub fn functions(&self) -> usize {
        self.by_function.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.iter().map(|library| size_of::<Library>() + library.text.len()).sum()
    }

    /// In order of name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Library>> {
        self.by_name.values()
    }

    pub(crate) fn has_id(&self, id: u64) -> bool {
        self.iter().any(|library| library.id == id)
    }

    /// The library of a function, and the function's declaration.
    pub fn function(&self, name: &[u8]) -> Option<(&Arc<Library>, &Declared)> {
        let library = self.by_function.get(&name.to_ascii_lowercase())?;
        let is_it = |function: &&Declared| function.name.eq_ignore_ascii_case(name);
        let declared = library.functions.iter().find(is_it)?;
        Some((library, declared))
    }

    /// Takes all out.
    pub fn clear(&mut self) {
        self.by_name.clear();
        self.by_function.clear();
    }

    /// Takes a library out; false when there is none.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.by_name.remove(name) else { return false };
        for function in &library.functions {
            self.by_function.remove(&function.name.to_ascii_lowercase());
        }
        true
    }

    /// Puts a library in, in place of one of the same name only with `replace`.
    ///
    /// # Errors
    /// The error reply: a name is taken. Nothing has changed then.
    fn add(&mut self, library: Arc<Library>, replace: bool) -> Result<(), String> {
        let old = self.by_name.get(&library.name);
        if old.is_some() && !replace {
            return Err(exists("Library", &library.name));
        }
        for function in &library.functions {
            let other = self.by_function.get(&function.name.to_ascii_lowercase());
            if other.is_some_and(|other| other.name != library.name) {
                return Err(exists("Function", &function.name));
            }
        }
        self.remove(&library.name);
        for function in &library.functions {
            self.by_function.insert(function.name.to_ascii_lowercase(), library.clone());
        }
        self.by_name.insert(library.name.clone(), library);
        Ok(())
    }
}

fn exists(what: &str, name: &[u8]) -> String {
    format!("ERR {what} {} already exists", String::from_utf8_lossy(name))
}

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
struct Loading<'e> {
    engine: &'e Engine,
    /// The time at which it must have ended, by the stopwatch.
    until_ns: u64,
}

impl<'e> Loading<'e> {
    fn new(engine: &'e Engine, limited: bool) -> Self {
        let now = (engine.environment.stopwatch)();
        Loading { engine, until_ns: if limited { now + LOAD_NS_MAX } else { u64::MAX } }
    }
}

impl Embedder for Loading<'_> {
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
        let over = (self.engine.environment.stopwatch)() > self.until_ns;
        over.then(|| "ERR FUNCTION LOAD timeout".to_owned())
    }

    fn stopwatch_ns(&self) -> u64 {
        (self.engine.environment.stopwatch)()
    }
}

const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and \
    must be at least one character long";

impl Engine {
    /// Compiles a library and adds it; its name. `limited` stops one that takes too long.
    ///
    /// # Errors
    /// The error reply.
    pub fn load_library(
        &self,
        libraries: &mut Libraries,
        text: &[u8],
        replace: bool,
        limited: bool,
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
        let mut worker = self.scripting.worker(self).ok_or("ERR not enough memory for a script")?;
        let mut host = Loading::new(self, limited);
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

    /// Changes the libraries; what `change` leaves is in force when it succeeds.
    ///
    /// # Errors
    /// Fails with the error of `change`.
    pub fn change_libraries<T>(
        &self,
        change: impl FnOnce(&mut Libraries) -> Result<T, String>,
    ) -> Result<T, String> {
        let mut all = self.scripting.libraries.write();
        let mut changed = Libraries::clone(&all);
        let result = change(&mut changed)?;
        changed.version += 1;
        *all = Arc::new(changed);
        self.scripting.forget_conducts();
        Ok(result)
    }

    /// Adds libraries under a policy for those that are there: all or none.
    ///
    /// # Errors
    /// The error reply.
    pub fn restore_libraries(
        &self,
        texts: &[Vec<u8>],
        policy: Policy,
        limited: bool,
    ) -> Result<(), String> {
        // Loaded by themselves first, as in Redis: which error comes first depends on it.
        let mut restored = Libraries::default();
        for text in texts {
            self.load_library(&mut restored, text, false, limited)?;
        }
        self.change_libraries(|libraries| {
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

    /// The texts of all libraries, for snapshots and logs.
    pub fn library_texts(&self) -> Vec<Vec<u8>> {
        self.scripting.libraries.read().iter().map(|library| library.text.to_vec()).collect()
    }

    /// Removes all libraries.
    pub fn remove_libraries(&self) {
        let removed = self.change_libraries(|libraries| {
            libraries.clear();
            Ok::<(), String>(())
        });
        debug_assert!(removed.is_ok(), "nothing refuses to be removed");
    }

    /// Adds a library from a snapshot or a log, replacing one of its name.
    ///
    /// # Errors
    /// Returns the reason why the text is not a library.
    pub fn restore_library(&self, text: &[u8]) -> Result<(), String> {
        self.restore_libraries(&[text.to_vec()], Policy::Replace, false)
    }
}
