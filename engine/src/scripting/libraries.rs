//! Function libraries: which there are, and their functions.

use super::state::Worker;
use script::shebang;
use script::{Declared, Embedder};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
    pub(super) by_name: BTreeMap<Vec<u8>, Arc<Library>>,
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
    pub(super) fn add(&mut self, library: Arc<Library>, replace: bool) -> Result<(), String> {
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
