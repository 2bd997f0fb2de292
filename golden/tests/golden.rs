//! Every golden script on every storage, in both protocols: a test for each of both.
//!
//! `cargo test -p golden list/blocking` runs that script on all of them, `cargo test -p golden sled`
//! all scripts on that one.

use golden::{EngineDriver, Script, scripts_under, transcribe};
use libtest_mimic::{Arguments, Failed, Trial};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use storage::backend::EncodingLimits;
use storage::{Backend, Locks};
use storage_memory::{Config, MemoryBackend};
use storage_ordered::OrderedBackend;

fn main() {
    let names = scripts_under(&root()).expect("the scripts are readable");
    let mirrors = ["one-shard", "sled", "fjall"].map(|storage| Arc::new(Mirror::new(storage)));
    let mut trials = Vec::new();
    for name in names {
        for mirror in &mirrors {
            let (mirror, script) = (mirror.clone(), name.clone());
            let trial = format!("{} {name}", mirror.storage);
            trials.push(Trial::test(trial, move || mirror.answers_as_memory(&script)));
        }
        trials.push(Trial::test(format!("memory {name}"), move || answers_as_kept(&name)));
    }
    let conclusion = libtest_mimic::run(&Arguments::from_args(), trials);
    // Folders go before the process does.
    drop(mirrors);
    conclusion.exit();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

fn memory(shards: u32, hash_seed: u64) -> Arc<dyn Backend> {
    let limits = EncodingLimits::default();
    Arc::new(MemoryBackend::new(Config { shards, databases: 16, hash_seed, limits }))
}

fn standard() -> EngineDriver {
    EngineDriver::new(|| memory(4, 7))
}

/// Memory sets the standard: its transcripts are the ones kept, beside the scripts.
fn answers_as_kept(name: &str) -> Result<(), Failed> {
    let text = transcribe(&Script::read(&root(), name)?, &mut standard())?;
    let (family, name) = name.split_once('/').ok_or("a script is in a family's folder")?;
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(root().join(family));
    settings.bind(|| insta::assert_snapshot!(name, text));
    Ok(())
}

/// A storage that must answer as memory does, to the byte.
struct Mirror {
    storage: &'static str,
    /// Stores that no test is using. Opening one takes longer than most scripts.
    idle: Mutex<Vec<Store>>,
}

/// A backend, and its folder if it has one.
struct Store {
    backend: Arc<dyn Backend>,
    _folder: Option<tempfile::TempDir>,
}

impl Mirror {
    fn new(storage: &'static str) -> Mirror {
        Mirror { storage, idle: Mutex::default() }
    }

    fn open(&self) -> Store {
        let engine = match self.storage {
            "sled" => storage_ordered::Engine::Sled,
            "fjall" => storage_ordered::Engine::Fjall,
            _ => return Store { backend: memory(1, 99), _folder: None },
        };
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (dir, cache_bytes) = (folder.path().join("db"), 16 << 20);
        let config = storage_ordered::Config { dir, shards: 4, databases: 16, engine, cache_bytes };
        let backend = Arc::new(OrderedBackend::open(&config).expect("a fresh store"));
        Store { backend, _folder: Some(folder) }
    }

    fn answers_as_memory(&self, name: &str) -> Result<(), Failed> {
        let script = Script::read(&root(), name)?;
        let expected = transcribe(&script, &mut standard())?;
        let idle = self.idle.lock().expect("no test panics with it").pop();
        let store = idle.unwrap_or_else(|| self.open());
        let backend = store.backend.clone();
        let found = transcribe(&script, &mut EngineDriver::new(move || emptied(&backend)))?;
        self.idle.lock().expect("no test panics with it").push(store);
        compare(&expected, &found)
    }
}

/// Removes all that the last script left.
fn emptied(backend: &Arc<dyn Backend>) -> Arc<dyn Backend> {
    let mut cleared = Ok(0);
    let locked = backend.transact(Locks::All, 0, &mut |tx| {
        cleared = (0..16).try_fold(0, |sum, db| Ok(sum + tx.clear(db)?));
    });
    locked.and(cleared.map(drop)).expect("an empty backend");
    backend.clone()
}

fn compare(expected: &str, found: &str) -> Result<(), Failed> {
    if let Some(line) = expected.lines().zip(found.lines()).position(|(a, b)| a != b) {
        let show = |text: &str| text.lines().nth(line).unwrap_or_default().to_owned();
        let above = expected.lines().take(line).filter(|l| l.starts_with("> ")).last();
        let (above, memory, this) = (above.unwrap_or_default(), show(expected), show(found));
        let text = format!("after `{above}`: memory says `{memory}`, this backend `{this}`");
        return Err(text.into());
    }
    match expected.lines().count() == found.lines().count() {
        true => Ok(()),
        false => Err("transcripts differ in length".into()),
    }
}
