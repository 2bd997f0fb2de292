//! Every golden script on every storage, in both protocols, against its kept transcript.
//!
//! `cargo test -p golden NAME` runs the tests whose name contains NAME; set `GOLDEN=family/name` to
//! run a single script.

use golden::{EngineDriver, Script, scripts_under, transcribe};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage::memory::{Config, MemoryBackend};
use storage::ordered::{self, OrderedBackend};
use storage::{Backend, Locks};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts")
}

fn scripts() -> Vec<Script> {
    let only = std::env::var("GOLDEN").unwrap_or_default();
    let names = scripts_under(&root()).expect("the scripts are readable");
    let wanted = names.iter().filter(|name| name.starts_with(&only));
    wanted
        .map(|name| Script::read(&root(), name).unwrap_or_else(|e| panic!("{name}: {e}")))
        .collect()
}

fn memory() -> Arc<dyn Backend> {
    let limits = EncodingLimits::default();
    Arc::new(MemoryBackend::new(Config { shards: 4, databases: 16, hash_seed: 7, limits }))
}

/// Memory sets the standard: its transcripts are the ones kept.
#[test]
fn memory_answers_as_kept() {
    let mut driver = EngineDriver::new(memory);
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| {
        let mut failed = Vec::new();
        for script in scripts() {
            let text = match transcribe(&script, &mut driver) {
                Ok(text) => text,
                Err(error) => {
                    eprintln!("{error}");
                    failed.push(script.name);
                    continue;
                }
            };
            let name = script.name.replace('/', "__");
            let kept = std::panic::catch_unwind(|| insta::assert_snapshot!(name, text));
            failed.extend(kept.is_err().then(|| script.name.clone()));
        }
        assert!(failed.is_empty(), "not as kept: {}", failed.join(", "));
    });
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

/// Any other backend must answer as memory does, to the byte.
fn mirrors_memory(backend: Arc<dyn Backend>) {
    let mut standard = EngineDriver::new(memory);
    let mut driver = EngineDriver::new(move || emptied(&backend));
    let mut failed = String::new();
    for script in scripts() {
        let transcripts = transcribe(&script, &mut standard)
            .and_then(|expected| Ok((expected, transcribe(&script, &mut driver)?)));
        let (expected, found) = match transcripts {
            Ok(both) => both,
            Err(error) => {
                let _ = writeln!(failed, "{error}");
                continue;
            }
        };
        if let Some(line) = expected.lines().zip(found.lines()).position(|(a, b)| a != b) {
            let show = |text: &str| text.lines().nth(line).unwrap_or_default().to_owned();
            let above = expected.lines().take(line).filter(|l| l.starts_with("> ")).last();
            let _ = writeln!(
                failed,
                "{}: after `{}`: memory says `{}`, this backend `{}`",
                script.name,
                above.unwrap_or_default(),
                show(&expected),
                show(&found)
            );
        } else if expected.lines().count() != found.lines().count() {
            let _ = writeln!(failed, "{}: transcripts differ in length", script.name);
        }
    }
    assert!(failed.is_empty(), "{failed}");
}

#[test]
fn memory_with_one_shard_mirrors_memory() {
    let limits = EncodingLimits::default();
    mirrors_memory(Arc::new(MemoryBackend::new(Config {
        shards: 1,
        databases: 16,
        hash_seed: 99,
        limits,
    })));
}

fn ordered_mirrors_memory(engine: ordered::Engine) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = ordered::Config {
        dir: folder.path().join("db"),
        shards: 4,
        databases: 16,
        engine,
        cache_bytes: 16 << 20,
    };
    mirrors_memory(Arc::new(OrderedBackend::open(&config).expect("a fresh store")));
}

#[test]
fn sled_mirrors_memory() {
    ordered_mirrors_memory(ordered::Engine::Sled);
}

#[test]
fn fjall_mirrors_memory() {
    ordered_mirrors_memory(ordered::Engine::Fjall);
}
