//! Snapshots: writing the data set to `dbfilename` and reading it back.

use super::progress::Progress;
use crate::system::cores;
use engine::Engine;
use engine::config::Id;
use engine::replication::Cut;
use engine::replication::wire::Id as HistoryId;
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::rdb::{Checksum, Item, Options, Reader, WriteError, Writer};
use storage::{Backend, BulkLoad, Db, Error, Existing, Snapshot, SnapshotSink};

/// The version of Redis whose files these are.
const REDIS_VERSION: &str = "7.2.0";

/// The reason why a snapshot is not finished.
const GIVEN_UP: &str = "given up, because the server is shutting down";

/// The state of saving, for `INFO persistence`, `LASTSAVE` and the `save` points.
#[derive(Clone, Debug)]
pub(crate) struct SaveState {
    /// The time at which the snapshot under way began.
    pub running_since: Option<Instant>,
    /// Unix seconds of the last success, or of the start.
    pub last_success_s: u64,
    /// Whether the last one succeeded.
    pub last_ok: bool,
    /// The duration of the last one.
    pub last_took: Option<Duration>,
    /// The time of the last attempt, successful or not.
    pub last_try: Option<Instant>,
    /// The number of snapshots that succeeded.
    pub saves: u64,
}

/// Writes snapshots, one at a time.
pub(crate) struct Saver {
    state: Mutex<SaveState>,
    /// Whether the server ends, so that the current snapshot is given up.
    stopped: AtomicBool,
    /// Set while the last one is to be written: whoever sends one to replicas lets go.
    is_urgent: AtomicBool,
    /// Held while any snapshot is written, because a storage has one at a time.
    pub lock: Arc<Mutex<()>>,
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
            is_urgent: AtomicBool::new(false),
            lock: Arc::default(),
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

    /// Like [`Saver::save`], for a server that ends: a snapshot that is being written is given up for it.
    pub fn save_at_end(&self, engine: &Arc<Engine>) -> Result<(), String> {
        while self.begin().is_err() {
            self.stopped.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.stopped.store(false, Ordering::SeqCst);
        self.is_urgent.store(true, Ordering::SeqCst);
        let saved = self.run(engine);
        self.is_urgent.store(false, Ordering::SeqCst);
        saved
    }

    /// Whether a server that ends waits for others to let go of their snapshots.
    pub fn is_urgent(&self) -> bool {
        self.is_urgent.load(Ordering::SeqCst)
    }

    /// Writes one in a thread of its own.
    pub fn save_in_background(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), String> {
        self.begin()?;
        let (saver, engine) = (self.clone(), engine.clone());
        let work = move || {
            cores::pin_background(&engine.config, Id::BgsaveCpulist);
            // The outcome is in the log and in the state.
            let _ = saver.run(&engine);
        };
        let thread = std::thread::Builder::new().name("snapshot".into()).spawn(work);
        thread.map(drop).map_err(|error| {
            self.end(false);
            format!("can't start a thread: {error}")
        })
    }

    /// Gives up the current snapshot, and waits until it has cleaned up.
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
            || self.lock_snapshots().and_then(|_held| write_file(engine, &path, &self.stopped));
        let result = catch_unwind(AssertUnwindSafe(write));
        let result = result.unwrap_or_else(|_| Err("it panicked".into()));
        self.end(result.is_ok());
        match result {
            Ok(changes) => {
                engine.observe.stats.saved(changes);
                tracing::info!(file = %path.display(), "snapshot saved");
                Ok(())
            }
            Err(error) => {
                tracing::error!(file = %path.display(), %error, "saving a snapshot failed");
                Err(error)
            }
        }
    }

    /// Waits while another snapshot is taken: by a rewrite of the append-only file, or for a
    /// replica.
    pub fn lock_snapshots(&self) -> Result<MutexGuard<'_, ()>, String> {
        loop {
            if let Some(held) = self.lock.try_lock_for(Duration::from_millis(10)) {
                return Ok(held);
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
        let begun = Instant::now();
        // It may never have been created.
        let _ = fs::remove_file(&temporary);
        let nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        engine.observe.latency.note("rdb-unlink-temp-file", nanos, unix_seconds() * 1000);
        error.to_string()
    })
}

/// The time for which another snapshot is waited for.
const CUT_WITHIN: Duration = Duration::from_secs(10);

fn write_entries(
    engine: &Arc<Engine>,
    path: &Path,
    stopped: &AtomicBool,
) -> io::Result<(File, u64)> {
    let began = Instant::now();
    let snapshot = loop {
        match CutSnapshot::cut(engine, &mut |_| {}) {
            // The group of a cluster may be taking one.
            Err(_) if began.elapsed() < CUT_WITHIN && !stopped.load(Ordering::SeqCst) => {
                std::thread::sleep(Duration::from_millis(10));
            }
            cut => break cut?,
        }
    };
    let changes = snapshot.changes;
    Ok((snapshot.write(engine, File::create(path)?, stopped)?, changes))
}

/// All data as they were at one moment.
pub(crate) struct CutSnapshot {
    /// The number of the engine's changes that it contains.
    changes: u64,
    libraries: Vec<Vec<u8>>,
    /// The position of the stream that replicas read; `None` where there is none.
    position: Option<Cut>,
    snapshot: Box<dyn Snapshot>,
}

impl CutSnapshot {
    /// Cuts; `at_cut` is called while every shard is locked, with the position of the stream.
    pub fn cut(engine: &Arc<Engine>, at_cut: &mut dyn FnMut(Cut)) -> io::Result<Self> {
        let (mut changes, mut libraries, mut position) = (0, Vec::new(), None);
        let mut note = || {
            changes = engine.observe.stats.changes();
            libraries = engine.scripting.library_texts();
            let out = &engine.replication.out;
            let cut = out.cut(!engine.is_replica());
            position = out.is_active().then_some(cut);
            at_cut(cut);
        };
        let snapshot = engine.backend.clone().snapshot(&mut note).map_err(io::Error::other)?;
        Ok(CutSnapshot { changes, libraries, position, snapshot })
    }

    /// Writes it as an RDB file.
    pub fn write<W: Write + Send>(
        self,
        engine: &Arc<Engine>,
        out: W,
        stopped: &AtomicBool,
    ) -> io::Result<W> {
        let mut writer = begin(engine, out)?;
        if let Some(Cut { id, position, db }) = self.position {
            writer.aux(b"repl-stream-db", db.to_string().as_bytes())?;
            writer.aux(b"repl-id", id.as_str().as_bytes())?;
            writer.aux(b"repl-offset", position.to_string().as_bytes())?;
        }
        self.libraries.iter().try_for_each(|text| writer.function(text))?;
        let backend = &*engine.backend;
        let mut sink = FileSink { writer, backend, db: None, sized: BTreeSet::new(), stopped };
        self.snapshot.write(&mut sink).map_err(io::Error::other)?;
        sink.writer.finish()
    }
}

/// Writes a file without keys: function libraries, or nothing.
pub(crate) fn write_libraries<W: Write>(
    engine: &Engine,
    out: W,
    libraries: &[Vec<u8>],
) -> io::Result<W> {
    let mut writer = begin(engine, out)?;
    libraries.iter().try_for_each(|text| writer.function(text))?;
    writer.finish()
}

fn begin<W: Write>(engine: &Engine, out: W) -> io::Result<Writer<W>> {
    let options = Options {
        compress: engine.config.boolean(Id::Rdbcompression),
        checksum: engine.config.boolean(Id::Rdbchecksum),
        ..Options::default()
    };
    let mut writer = Writer::new(out, options);
    writer.aux(b"redis-ver", REDIS_VERSION.as_bytes())?;
    writer.aux(b"redis-bits", b"64")?;
    writer.aux(b"ctime", unix_seconds().to_string().as_bytes())?;
    writer.aux(b"used-mem", engine.environment.host.memory_used().to_string().as_bytes())?;
    writer.aux(b"aof-base", b"0")?;
    Ok(writer)
}

/// Puts a snapshot's entries into a file, which names a database whenever it changes.
struct FileSink<'b, W> {
    writer: Writer<W>,
    backend: &'b dyn Backend,
    db: Option<Db>,
    sized: BTreeSet<Db>,
    stopped: &'b AtomicBool,
}

impl<W: Write> FileSink<'_, W> {
    fn turn_to(&mut self, db: Db) -> io::Result<()> {
        self.db = Some(db);
        self.writer.select_db(u64::from(db))?;
        if self.sized.insert(db) {
            self.writer.resize_db(self.backend.len(db), self.backend.expires_len(db))?;
        }
        Ok(())
    }
}

impl<W: Write + Send> SnapshotSink for FileSink<'_, W> {
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

/// The contents of a snapshot that was loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LoadedSnapshot {
    /// Keys now in the store.
    pub keys: u64,
    /// Keys left out because their time was over.
    pub expired: u64,
    /// The position in a stream that the data are of, if the file says.
    pub position: Option<Cut>,
}

/// A file's place in a stream of replication, read remark by remark.
#[derive(Default)]
struct Position {
    id: Option<HistoryId>,
    offset: Option<u64>,
    db: Db,
}

impl Position {
    fn note(&mut self, key: &[u8], value: &[u8]) {
        let number = || std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
        match key {
            b"repl-id" => self.id = HistoryId::parse(value),
            b"repl-offset" => self.offset = number(),
            b"repl-stream-db" => {
                self.db = number().and_then(|db| Db::try_from(db).ok()).unwrap_or(0)
            }
            _ => {}
        }
    }

    fn cut(self) -> Option<Cut> {
        Some(Cut { id: self.id?, position: self.offset?, db: self.db })
    }
}

/// Loads a snapshot into a storage with this number of databases. As in Redis, keys that have
/// expired at `now_ms` are left out. If loading fails, the keys
/// that were loaded stay. `library` gets the texts of function libraries.
pub(crate) fn load(
    backend: &Arc<dyn Backend>,
    databases: Db,
    path: &Path,
    now_ms: u64,
    existing: Existing,
    checksum: Checksum,
    library: &mut dyn FnMut(&[u8]) -> Result<(), String>,
) -> Result<LoadedSnapshot, String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let file = File::open(path).map_err(|error| named(&crate::error::plain(&error)))?;
    let mut reader =
        Reader::new(BufReader::with_capacity(1 << 20, file)).map_err(|error| named(&error))?;
    reader.set_checksum(checksum);
    let (mut loaded, mut position) = (LoadedSnapshot::default(), Position::default());
    let mut load = BulkLoad::new(backend.clone(), existing);
    let mut progress = Progress::new("snapshot");
    while let Some(item) = reader.next().map_err(|error| named(&error))? {
        match item {
            Item::KeyValue(entry) if entry.expiry_ms.is_some_and(|at| at <= now_ms) => {
                loaded.expired += 1;
            }
            Item::KeyValue(entry) => {
                let db = u32::try_from(entry.db).ok().filter(|db| *db < databases);
                let db = db.ok_or_else(|| {
                    named(&format_args!("it has a database {}: raise `databases`", entry.db))
                })?;
                load.entry(db, entry).map_err(|error| named(&error))?;
                loaded.keys += 1;
                progress.count();
            }
            Item::Function(text) => library(&text).map_err(|error| named(&error))?,
            Item::ModuleAux { module } => {
                tracing::warn!(module, file = %path.display(), "data of a module is left out");
            }
            Item::Aux { key, value } => position.note(&key, &value),
            Item::SelectDb(_) | Item::Resize { .. } => {}
        }
    }
    load.finish().map_err(|error| named(&error))?;
    loaded.position = position.cut();
    Ok(loaded)
}
