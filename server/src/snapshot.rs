//! Snapshots: writing the data set to `dbfilename` and reading it back.

use engine::Engine;
use engine::config::Id;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::rdb::{Item, Options, Reader, WriteError, Writer};
use storage::{Backend, Db, Error, Key, Locks, SnapshotSink};

/// The version of Redis whose files these are.
const REDIS_VERSION: &str = "7.2.0";

/// Why a snapshot is not finished.
const GIVEN_UP: &str = "given up, because the server is shutting down";

/// What is known of saving, for `INFO persistence`, `LASTSAVE` and the `save` points.
#[derive(Clone, Debug)]
pub(crate) struct SaveState {
    /// When the one under way began.
    pub running_since: Option<Instant>,
    /// Unix seconds of the last success, or of the start.
    pub last_success_s: u64,
    /// Whether the last one succeeded.
    pub last_ok: bool,
    /// How long the last one took.
    pub last_took: Option<Duration>,
    /// When the last one was tried, successful or not.
    pub last_try: Option<Instant>,
    /// How many succeeded.
    pub saves: u64,
}

/// Writes snapshots, one at a time.
pub(crate) struct Saver {
    state: Mutex<SaveState>,
    /// The server ends: what is under way is given up.
    stopped: AtomicBool,
    /// Held while a snapshot is written, by whomever: a storage has one at a time.
    pub turn: Arc<Mutex<()>>,
}

impl Saver {
    pub fn new() -> Self {
        Saver {
            state: Mutex::new(SaveState {
                running_since: None,
                last_success_s: unix_seconds(),
                last_ok: true,
                last_took: None,
                last_try: None,
                saves: 0,
            }),
            stopped: AtomicBool::new(false),
            turn: Arc::default(),
        }
    }

    /// Whether one is being written.
    pub fn is_running(&self) -> bool {
        self.state.lock().running_since.is_some()
    }

    pub fn state(&self) -> SaveState {
        self.state.lock().clone()
    }

    /// Writes a snapshot now, in the calling thread.
    pub fn save(&self, engine: &Arc<Engine>) -> Result<(), String> {
        self.begin()?;
        self.run(engine)
    }

    /// Writes one in a thread of its own.
    pub fn save_in_background(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), String> {
        self.begin()?;
        let (saver, engine) = (self.clone(), engine.clone());
        let work = move || {
            // The outcome is in the log and in the state.
            let _ = saver.run(&engine);
        };
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(work);
        thread.map(drop).map_err(|error| {
            self.end(false);
            format!("can't start a thread: {error}")
        })
    }

    /// Gives up what is under way, and waits until it has cleaned up after itself.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        while self.state().running_since.is_some() {
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn begin(&self) -> Result<(), String> {
        let mut state = self.state.lock();
        if state.running_since.is_some() {
            return Err("Background save already in progress".into());
        }
        state.running_since = Some(Instant::now());
        Ok(())
    }

    fn run(&self, engine: &Arc<Engine>) -> Result<(), String> {
        let path = snapshot_path(engine);
        let write =
            || self.wait_for_turn().and_then(|_turn| write_file(engine, &path, &self.stopped));
        let result = catch_unwind(AssertUnwindSafe(write));
        let result = result.unwrap_or_else(|_| Err("it panicked".into()));
        self.end(result.is_ok());
        match result {
            Ok(changes) => {
                engine.stats.saved(changes);
                tracing::info!(file = %path.display(), "snapshot saved");
                Ok(())
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "saving a snapshot failed");
                Err(error)
            }
        }
    }

    /// Waits while a rewrite of the append-only file takes a snapshot, too.
    fn wait_for_turn(&self) -> Result<MutexGuard<'_, ()>, String> {
        loop {
            if let Some(turn) = self.turn.try_lock_for(Duration::from_millis(10)) {
                return Ok(turn);
            }
            if self.stopped.load(Ordering::SeqCst) {
                return Err(GIVEN_UP.into());
            }
        }
    }

    fn end(&self, ok: bool) {
        let mut state = self.state.lock();
        state.last_took = state.running_since.take().map(|began| began.elapsed());
        state.last_try = Some(Instant::now());
        state.last_ok = ok;
        if ok {
            state.last_success_s = unix_seconds();
            state.saves += 1;
        }
    }
}

/// The file that `dbfilename` names.
pub(crate) fn snapshot_path(engine: &Engine) -> PathBuf {
    let dir = engine.config.text(Id::Dir);
    Path::new(&*dir).join(&*engine.config.text(Id::Dbfilename))
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Writes the data set beside `path`, syncs it, and puts it in place. Returns how many of the
/// engine's changes it contains.
fn write_file(engine: &Arc<Engine>, path: &Path, stopped: &AtomicBool) -> Result<u64, String> {
    let temporary = path.with_file_name(format!("temp-{}.rdb", std::process::id()));
    let written = write_entries(engine, &temporary, stopped).and_then(|(file, changes)| {
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
        Ok(changes)
    });
    written.map_err(|error| {
        // It may never have been created.
        let _ = fs::remove_file(&temporary);
        error.to_string()
    })
}

fn write_entries(
    engine: &Arc<Engine>,
    path: &Path,
    stopped: &AtomicBool,
) -> io::Result<(File, u64)> {
    let options = Options {
        compress: engine.config.boolean(Id::Rdbcompression),
        checksum: engine.config.boolean(Id::Rdbchecksum),
        ..Options::default()
    };
    let mut writer = Writer::new(File::create(path)?, options);
    writer.aux(b"redis-ver", REDIS_VERSION.as_bytes())?;
    writer.aux(b"redis-bits", b"64")?;
    writer.aux(b"ctime", unix_seconds().to_string().as_bytes())?;
    writer.aux(b"used-mem", engine.environment.host.memory_used().to_string().as_bytes())?;
    writer.aux(b"aof-base", b"0")?;
    let (mut changes, mut libraries) = (0, Vec::new());
    let mut at_cut = || {
        changes = engine.stats.changes();
        libraries = engine.library_texts();
    };
    let snapshot = engine.backend.clone().snapshot(&mut at_cut).map_err(io::Error::other)?;
    libraries.iter().try_for_each(|text| writer.function(text))?;
    let backend = &*engine.backend;
    let mut sink = FileSink { writer, backend, db: None, sized: BTreeSet::new(), stopped };
    snapshot.write(&mut sink).map_err(io::Error::other)?;
    Ok((sink.writer.finish()?, changes))
}

/// Puts a snapshot's entries into a file, which names a database whenever it changes.
struct FileSink<'b> {
    writer: Writer<File>,
    backend: &'b dyn Backend,
    db: Option<Db>,
    sized: BTreeSet<Db>,
    stopped: &'b AtomicBool,
}

impl FileSink<'_> {
    fn turn_to(&mut self, db: Db) -> io::Result<()> {
        self.db = Some(db);
        self.writer.select_db(u64::from(db))?;
        if self.sized.insert(db) {
            self.writer.resize_db(self.backend.len(db), self.backend.expires_len(db))?;
        }
        Ok(())
    }
}

impl SnapshotSink for FileSink<'_> {
    fn entry(
        &mut self,
        db: Db,
        key: &[u8],
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> storage::Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::backend(GIVEN_UP));
        }
        if self.db != Some(db) {
            self.turn_to(db).map_err(Error::backend)?;
        }
        let written = self.writer.encoded_entry(key, expiry_ms, value);
        written.map_err(|error: WriteError| Error::backend(error))
    }
}

/// What loading a snapshot found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadedSnapshot {
    /// Keys now in the store.
    pub keys: u64,
    /// Keys left out because their time was over.
    pub expired: u64,
}

/// Loads a snapshot into a storage with so many databases. Keys that have expired at `now_ms` are
/// left out, as Redis does. A key that is there is replaced if `replaces`, and else an error: what was
/// loaded before it stays. `library` gets the texts of function libraries.
pub(crate) fn load(
    backend: &dyn Backend,
    databases: Db,
    path: &Path,
    now_ms: u64,
    replaces: bool,
    library: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<LoadedSnapshot, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| named(&crate::error::plain(&error)))?;
    let mut reader =
        Reader::new(BufReader::with_capacity(1 << 20, file)).map_err(|error| named(&error))?;
    let mut loaded = LoadedSnapshot::default();
    while let Some(item) = reader.next().map_err(|error| named(&error))? {
        match item {
            Item::Entry(entry) if entry.expiry_ms.is_some_and(|at| at <= now_ms) => {
                loaded.expired += 1;
            }
            Item::Entry(entry) => {
                let db = u32::try_from(entry.db).ok().filter(|db| *db < databases);
                let db = db.ok_or_else(|| {
                    named(&format_args!("it has a database {}: raise `databases`", entry.db))
                })?;
                if !replaces && is_there(backend, db, &entry.key) {
                    let key = String::from_utf8_lossy(&entry.key);
                    return Err(named(&format_args!("the key '{key}' is there already")));
                }
                let stored = backend.load(db, &entry.key, entry.expiry_ms, entry.object);
                stored.map_err(|error| named(&error))?;
                loaded.keys += 1;
            }
            Item::Function(text) => library(&text).map_err(|error| named(&error))?,
            Item::ModuleAux { module } => {
                tracing::warn!(module, file = %path.display(), "data of a module is left out");
            }
            Item::Aux { .. } | Item::SelectDb(_) | Item::Resize { .. } => {}
        }
    }
    Ok(loaded)
}

fn is_there(backend: &dyn Backend, db: Db, key: &[u8]) -> bool {
    let hash = backend.hash(key);
    let mut found = false;
    let looked = backend.transact(Locks::One(backend.shard_of(hash)), 0, &mut |tx| {
        found = matches!(tx.kind(&Key { db, hash, bytes: key }), Ok(Some(_)));
    });
    looked.is_ok() && found
}
