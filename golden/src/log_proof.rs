//! Proves that the log is right: the log of a script, replayed into an empty engine, must lead to
//! the data that the script left.
//!
//! The comparison includes the keys of all databases with their types, values and expiries, also
//! those of fields; the groups of streams with their pending entries; and the function libraries.
//! It does not include what no log contains: the access history of keys, and the times when
//! consumers were seen.

use crate::engine_driver::on;
use engine::Engine;
use engine::testing::{Contents, Recorder, contents, quote};
use std::collections::BTreeSet;
use std::sync::Arc;
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

/// Replays `log` and compares what that leads to with what `engine` holds.
///
/// # Errors
/// A description of the record that cannot be replayed, or of the first difference.
pub(crate) fn check(engine: &Arc<Engine>, log: &Recorder) -> Result<(), String> {
    let limits = EncodingLimits::default();
    let databases = engine.databases();
    let config = Config { shards: 1, databases, hash_seed: 11, limits };
    let backend = Arc::new(MemoryBackend::new(config));
    // Encodings follow the configuration, those of HyperLogLogs in the data themselves.
    let service = on(backend, engine.config.clone(), None);
    let replayed = &service.0;
    log.replay(replayed).map_err(|error| format!("the log cannot be replayed: {error}"))?;
    compare(&contents(engine.backend.clone()), &contents(replayed.backend.clone()))?;
    let libraries =
        |engine: &Engine| engine.scripting.library_texts().into_iter().collect::<BTreeSet<_>>();
    match libraries(engine) == libraries(replayed) {
        true => Ok(()),
        false => Err("the log leads to other function libraries".into()),
    }
}

fn compare(ours: &Contents, replayed: &Contents) -> Result<(), String> {
    let keys: BTreeSet<_> = ours.keys().chain(replayed.keys()).collect();
    for at in keys {
        let (happened, logged) = (ours.get(at), replayed.get(at));
        if happened != logged {
            let (db, key) = (at.0, quote(&at.1));
            return Err(format!(
                "the log leads to other data: key {key} of database {db} is {happened:?}, \
                 replayed {logged:?}"
            ));
        }
    }
    Ok(())
}
