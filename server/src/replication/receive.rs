//! Taking all data from a master: first into a file, then, when they are all there, in place of ours.

use super::connection::Connection;
use super::link::Following;
use crate::persistence::{replacing, snapshot};
use engine::Engine;
use engine::gate::Gate;
use engine::replication::Link;
use engine::replication::wire::{Framing, Id};
use engine::scripting::loading::LibraryLoader;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use storage::Existing;

/// The interval at which the master is told that we are alive while we load.
const ALIVE_EVERY: Duration = Duration::from_millis(500);

/// The file on its way; removed in the end, whatever came of it.
struct Received(PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        // It may never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

/// Receives the master's data and puts them in place of ours: they are those of history `id` at
/// `position`.
pub(super) fn everything(
    following: &Following<'_>,
    connection: &mut Connection,
    id: Id,
    position: u64,
) -> Result<(), String> {
    following.set(Link::Sync);
    let name = format!("temp-repl-{}.rdb", std::process::id());
    let file = Received(following.replicator.persistence.dir().join(name));
    receive(following, connection, &file.0)?;
    following.check()?;
    let alive = Alive::start(connection).map_err(|error| error.to_string())?;
    let loaded = replace(following, &file.0, id, position);
    drop(alive);
    connection.forgive();
    loaded
}

fn receive(
    following: &Following<'_>,
    connection: &mut Connection,
    path: &Path,
) -> Result<(), String> {
    let told = |error: io::Error| format!("receiving the data: {error}");
    let mut file = File::create(path).map_err(told)?;
    let (mut framing, mut bytes, mut read) = (Framing::new(), Vec::new(), 0);
    loop {
        let used =
            framing.take(connection.bytes(), &mut bytes).map_err(|error| error.to_string())?;
        connection.used(used);
        file.write_all(&bytes).map_err(told)?;
        read += bytes.len() as u64;
        bytes.clear();
        let now_ms = following.now().wall_ms;
        following.engine.note_master_contact(
            following.generation,
            now_ms,
            Some((read, framing.left())),
        );
        if framing.is_done() {
            tracing::info!(bytes = read, "the master's data have come");
            return file.flush().map_err(told);
        }
        following.check()?;
        while !connection.fill().map_err(told)? {
            following.check()?;
        }
    }
}

/// Empties the engine and fills it from the file.
fn replace(following: &Following<'_>, path: &Path, id: Id, position: u64) -> Result<(), String> {
    let engine = &following.engine;
    engine.forget_history();
    engine.set_gate(Gate::LOADING, true);
    // The log would not contain the loaded data, so a new one begins afterwards.
    let logs = engine.is_logging();
    engine.set_logging(false);
    let loaded = fill(following, path);
    if loaded.is_err() {
        // Half of the data is worse than none.
        if let Err(error) = replacing::clear(engine) {
            tracing::error!(error, "what was loaded in part cannot be removed");
        }
    }
    engine.everything_replaced();
    if let Ok(db) = &loaded {
        engine.adopt(id, position, *db);
    }
    engine.set_gate(Gate::LOADING, false);
    if logs {
        begin_log(following, loaded.is_ok());
    }
    loaded.map(drop)
}

/// Loads the file; the database that the stream behind it is in.
fn fill(following: &Following<'_>, path: &Path) -> Result<storage::Db, String> {
    let engine = &following.engine;
    replacing::clear(engine)?;
    engine.scripting.remove_libraries();
    let mut library = |text: &[u8]| {
        following.check()?;
        LibraryLoader::new(engine, false).restore(text)
    };
    // Expired keys stay until the master deletes them.
    let (backend, databases) = (&engine.backend, engine.databases());
    let checksum = engine.tuning.switches.checksum();
    let loaded =
        snapshot::load(backend, databases, path, 0, Existing::Replaced, checksum, &mut library)?;
    engine.backend.flush().map_err(|error| error.to_string())?;
    let keys = loaded.keys;
    tracing::info!(keys, "the master's data are loaded");
    Ok(loaded.position.map_or(0, |cut| cut.db))
}

/// Begins a new log with the current data, if they are `whole`.
fn begin_log(following: &Following<'_>, whole: bool) {
    let engine = &following.engine;
    let Some(log) = following.replicator.persistence.log() else { return };
    // One that is being rewritten is of the data before: it is waited for.
    while !following.replicator.is_stopped() {
        let done = move |engine: &Engine, ok| {
            if ok && whole {
                engine.log_began();
            }
        };
        match log.rewrite_then(
            engine,
            &following.replicator.persistence.saver.lock,
            Engine::begin_log,
            done,
        ) {
            Ok(()) => return,
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Lets the master know that we are alive while we load, from a thread of its own.
struct Alive {
    over: std::sync::Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Alive {
    fn start(connection: &Connection) -> io::Result<Self> {
        let (sender, over) = (connection.sender(), std::sync::Arc::new(AtomicBool::new(false)));
        let told = over.clone();
        let work = move || {
            // If the master is gone, the next read reports it.
            while !told.load(Ordering::SeqCst) && (&sender).write_all(b"\n").is_ok() {
                std::thread::park_timeout(ALIVE_EVERY);
            }
        };
        let thread = std::thread::Builder::new().name("replication-alive".into()).spawn(work)?;
        Ok(Alive { over, thread: Some(thread) })
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join(); // it cannot panic
        }
    }
}
