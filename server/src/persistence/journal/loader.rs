//! Loads the contents of a log into the storage.

use super::parallel::{Parallel, Sizes};
use crate::persistence::progress::Progress;
use engine::Engine;
use engine::replication::Trail;
use engine::scripting::loading::LibraryLoader;
use std::thread;
use storage::rdb::KeyValue;
use storage::{BulkLoad, Db, Existing, Position};
use storage_aof::{Command, Refused, Replay};

/// Has `read` pass on a log's contents, which are stored when this returns. Returns its result, and the
/// position in a replication stream that the log records.
pub(super) fn load<T>(engine: &Engine, read: impl FnOnce(&mut dyn Replay) -> T) -> (T, Trail) {
    load_with(engine, Sizes::of_machine(engine), read)
}

fn load_with<T>(
    engine: &Engine,
    sizes: Sizes,
    read: impl FnOnce(&mut dyn Replay) -> T,
) -> (T, Trail) {
    thread::scope(|scope| {
        let mut loader = Loader {
            commands: Parallel::new(engine, scope, sizes),
            load: BulkLoad::new(engine.backend.clone(), Existing::Replaced),
            databases: engine.databases(),
            progress: Progress::new("append-only file"),
            engine,
            trail: Trail::default(),
        };
        (read(&mut loader), loader.trail)
    })
}

struct Loader<'scope, 'e> {
    /// The commands behind the base.
    commands: Parallel<'scope, 'e>,
    /// The keys of the log's base.
    load: BulkLoad,
    databases: Db,
    progress: Progress,
    engine: &'e Engine,
    trail: Trail,
}

impl Loader<'_, '_> {
    fn check(&self, db: u64) -> Result<Db, String> {
        let known = Db::try_from(db).ok().filter(|db| *db < self.databases);
        known.ok_or_else(|| format!("it has a database {db}: raise `databases`"))
    }
}

impl Replay for Loader<'_, '_> {
    fn entry(&mut self, entry: KeyValue) -> Result<(), String> {
        self.progress.count();
        let db = self.check(entry.db)?;
        self.load.entry(db, entry).map_err(|error| error.to_string())
    }

    fn base_loaded(&mut self) -> Result<(), String> {
        self.load.finish().map_err(|error| error.to_string())
    }

    fn function(&mut self, code: &[u8]) -> Result<(), String> {
        LibraryLoader::new(self.engine, false).restore(code)
    }

    fn commands(
        &mut self,
        at: Position,
        start: u64,
        commands: &[Command<'_>],
    ) -> Result<(), Refused> {
        self.progress.count();
        for command in commands {
            if let Err(cause) = self.check(u64::from(command.db)) {
                // A command before it that cannot be applied is the first thing wrong.
                return self.commands.settle().and(Err(Refused { start, cause }));
            }
        }
        self.commands.record(at, start, commands)
    }

    fn settle(&mut self) -> Result<(), Refused> {
        self.commands.settle()
    }

    fn record(&mut self, bytes: u64, db: Db) {
        self.trail.record(bytes, db);
    }

    fn note(&mut self, text: &str) {
        self.trail.note(text);
    }
}

#[cfg(test)]
mod tests;
