//! Deletes the data of a serving engine, or replaces them by a snapshot.

use super::snapshot;
use engine::Engine;
use engine::scripting::loading::LibraryLoader;
use std::path::Path;
use storage::Existing;

/// Loads a snapshot into a running engine.
pub(crate) fn load(engine: &Engine, path: &Path, existing: Existing) -> Result<(), String> {
    let library = &mut |text: &[u8]| LibraryLoader::new(engine, false).restore(text);
    let checksum = engine.tuning.switches.checksum();
    let (backend, databases) = (&engine.backend, engine.databases());
    snapshot::load(backend, databases, path, 0, existing, checksum, library).map(drop)
}

/// Removes every key of every database.
pub(crate) fn clear(engine: &Engine) -> Result<(), String> {
    let mut cleared = Ok(());
    let done = engine.transact("emptying the storage", storage::Locks::All, 0, &mut |tx| {
        cleared = (0..engine.databases()).try_for_each(|db| tx.clear(db).map(drop));
    });
    done.and(cleared).map_err(|error| error.to_string())
}
