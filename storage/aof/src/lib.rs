//! The append-only file: a journal in front of any backend, in Redis 7's multi-part layout.
//!
//! `DIR/appendonlydir/` holds a manifest, a base (RDB) and increments (RESP). Redis's own tools read
//! it, and a directory written by Redis starts here. [`Aof`] is the [`Journal`](storage::Journal).
//!
//! Promises: what was appended is read back in order, and of a transaction all or nothing.
//! Appending waits for no disk. A torn tail is cut off, and damage is refused.
//!
//! The crate knows nothing of commands (a [`Replay`] applies them), particular backends, and the
//! server's clock.
//!
//! | module | what |
//! | --- | --- |
//! | `aof_journal`, `encode`, `log` | appending: the trait, the bytes, the buffer |
//! | `syncer`, `health`, `stats`, `moments` | the thread that writes and syncs, its failures, figures and times |
//! | [`file`](mod@file), `files`, [`manifest`] | the disk, the set of files, the list of them |
//! | `base`, `image` | the base of a log: an RDB file, or a backend's own image |
//! | `load`, `replay`, `seal` | reading it back; which damage is a torn tail |
//! | `maintenance` | rewriting |
//! | `error` | why a log cannot be loaded |
//!
//! # Positions
//!
//! A [`Position`] has the number of the increment in its upper 24 bits, and the offset behind the
//! record in the lower 40. So positions increase across restarts, and a record that is replayed has
//! exactly the position it got when it was appended.
//!
//! # Rewriting
//!
//! A new increment is created and named in the manifest. Then, while all shards are locked for the
//! cut of a snapshot, appends are directed to it by swapping buffers. The snapshot becomes the new
//! base, and a new manifest replaces the old one with base and increments before the cut. A crash
//! at any point leaves a manifest that can be loaded: either *old base, old increments, new
//! increment* or *new base, new increment*.
//!
//! # Torn tails
//!
//! A file may end in an incomplete record, in a transaction without its `EXEC`, or in zeros that a
//! file system left. This end is cut off. Damage anywhere else is refused. Marks that clients
//! cannot forge distinguish the two: see `seal.rs`.
//!
//! # In front of a persistent backend
//!
//! sled and fjall keep an image themselves, which at a crash is older than the log, by some
//! transactions that differ from shard to shard. Effects are not idempotent (`INCR` is logged as it
//! is), so replay must apply exactly the transactions that the image lacks. Hence:
//!
//! 1. A transaction appends its effects while its shards are locked, and then calls
//!    [`Tx::set_last`](storage::Tx::set_last) with the position. The backend stores it, for
//!    every shard the transaction locked, in the same atomic batch as the changes. So the image of a
//!    shard and its *applied position* always agree, and applied positions only grow: shards are
//!    locked until the batch is written.
//! 2. Replay runs each record (or `MULTI` group) as one transaction over the same keys. Inside it,
//!    if [`Tx::applied`](storage::Tx::applied), the highest position of the locked shards, is at
//!    or above the record's, the record's transaction is in the image: one batch held all its
//!    shards. Otherwise it is not, on none of them, and is applied, with `set_last`. A crash
//!    during replay is therefore no special case.
//! 3. A checkpoint ([`Aof::rewrite`] with such a backend) turns to a new increment N, locks every
//!    shard once (after which all that was appended before N is committed), flushes the
//!    backend, stores the mark `from N` in it and flushes again; only then are older files dropped
//!    from the manifest, and deleted. A start loads from increment N on.
//! 4. After power loss the image may be *ahead* of the log (the engine synced, the log had not). New
//!    records then must not reuse positions the image has seen: appending goes on in an increment
//!    with a higher number than any applied position.
//!
//! A log whose base is such an image says so in a comment of its manifest, and cannot be opened
//! without that backend.

mod aof_journal;
mod base;
mod encode;
mod error;
pub mod file;
mod files;
mod health;
mod image;
mod load;
mod log;
mod maintenance;
pub mod manifest;
mod moments;
mod replay;
mod seal;
mod stats;
mod syncer;
#[cfg(test)]
mod tests;

pub use error::LoadError;
pub use load::Loaded;

use file::{Disk, Files};
use files::FileSet;
use image::Start;
use load::Loader;
use log::{Increment, Log, position};
pub use maintenance::Libraries;
use maintenance::Progress;
pub use moments::{Moment, Observer};
use parking_lot::Mutex;
use seal::Seal;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use storage::backend::Backend;
use storage::journal::{Durability, LOG, Position};
use storage::tx::Db;
use storage::{Error, Result, rdb};
use syncer::Syncer;

/// The parameters of a log.
pub struct Options {
    /// The data directory (`dir`).
    pub dir: PathBuf,
    /// The log's directory within it (`appenddirname`).
    pub appenddirname: String,
    /// The beginning of its files' names (`appendfilename`).
    pub filename: String,
    /// When effects are synced (`appendfsync`).
    pub durability: Durability,
    /// Whether half a record at the very end is cut off (`aof-load-truncated`), or refused.
    pub load_truncated: bool,
    /// The backend, if it is persistent: what its image holds is not replayed.
    pub image: Option<Arc<dyn Backend>>,
    /// Opens files.
    pub files: Arc<dyn Files>,
    /// Called first by the thread that syncs, for example to choose its cores.
    pub sync_begins: Box<dyn FnOnce() + Send>,
}

impl Options {
    /// Redis's defaults, for a backend that is not persistent.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Options {
            dir: dir.into(),
            appenddirname: "appendonlydir".into(),
            filename: "appendonly.aof".into(),
            durability: Durability::default(),
            load_truncated: true,
            image: None,
            files: Arc::new(Disk),
            sync_begins: Box::new(|| ()),
        }
    }
}

/// A logged command.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The database it ran in.
    pub db: Db,
    /// Name and arguments.
    pub request: resp::Request<'a>,
}

/// A record that could not be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The offset at which it begins.
    pub start: u64,
    /// The reason.
    pub cause: String,
}

/// Receives the contents of a log, in order. An error ends the start, with file and offset.
pub trait Replay {
    /// A key of the base.
    ///
    /// # Errors
    /// Fails if it cannot be stored.
    fn entry(&mut self, entry: rdb::KeyValue) -> Result<(), String>;

    /// Every key of the base has been passed on. What is left of them is stored now: behind this
    /// the base counts as loaded, and is not read again.
    ///
    /// # Errors
    /// Fails if a key cannot be stored.
    fn base_loaded(&mut self) -> Result<(), String> {
        Ok(())
    }

    /// A function library of the base: its source.
    ///
    /// # Errors
    /// Fails if it cannot be loaded.
    fn function(&mut self, code: &[u8]) -> Result<(), String>;

    /// Commands to be applied in one transaction, all or none; mostly one. `at` is the position of
    /// the record, and `start` the offset at which it begins: where the backend is persistent, the transaction must do nothing if
    /// [`Tx::applied`](storage::Tx::applied) is at or above it, and else must call
    /// [`Tx::set_last`](storage::Tx::set_last) with it.
    ///
    /// They may be applied later than in this call, until [`Replay::settle`] returns.
    ///
    /// # Errors
    /// Fails if a command is unknown or fails in a way that it could not when it was logged; this one
    /// or one of an earlier call.
    fn commands(
        &mut self,
        at: Position,
        start: u64,
        commands: &[Command<'_>],
    ) -> std::result::Result<(), Refused>;

    /// Returns when all commands so far are applied: at the end of a file, and where it is damaged.
    ///
    /// # Errors
    /// Fails like [`Replay::commands`].
    fn settle(&mut self) -> std::result::Result<(), Refused> {
        Ok(())
    }

    /// A record was applied. `_bytes` is the length of a single command; for a transaction no
    /// length is known. `_db` is the database in which the log was then.
    fn record(&mut self, _bytes: u64, _db: Db) {}

    /// A remark ([`Journal::note`](storage::Journal::note)).
    fn note(&mut self, _text: &str) {}
}

/// The part that was cut off the end of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truncation {
    /// The file.
    pub file: PathBuf,
    /// Its current end, in bytes.
    pub offset: u64,
    /// The number of bytes that were cut off.
    pub bytes: u64,
}

/// The append-only file.
///
/// Dropping it writes and syncs what was appended. [`Aof::close`] does the same and returns whether
/// it succeeded.
pub struct Aof {
    syncer: Arc<Syncer>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Held for the whole of a rewrite.
    set: Mutex<FileSet>,
    progress: Progress,
}

impl Aof {
    /// Loads the log once more, as far as it has come, into a storage that does not keep data by
    /// itself: when everything appended is in its files, `empty` empties that. Nothing may be
    /// appended meanwhile. Waits for the end of a rewrite under way.
    ///
    /// # Errors
    /// Fails if the log cannot be written, and as [`Aof::open`].
    pub fn reload(
        &self,
        empty: &mut dyn FnMut() -> std::result::Result<(), String>,
        replay: &mut dyn Replay,
    ) -> std::result::Result<Loaded, LoadError> {
        let set = self.set.lock();
        self.syncer.sync();
        let failed = self.syncer.log.health.text();
        failed.map_or_else(empty, Err).map_err(|error| LoadError::of(&set.dir, error))?;
        let loader = load::Loader::new(&set, None, false, replay);
        loader.load(image::Start::Base).map(|(loaded, _)| loaded)
    }

    /// Loads the log into `replay`, and opens it for appending; begins one if there is none.
    ///
    /// # Errors
    /// One line that names file and offset: damage, files that do not belong together, the disk's
    /// errors, or what `replay` refused.
    pub fn open(
        options: Options,
        replay: &mut dyn Replay,
    ) -> Result<(Arc<Aof>, Loaded), LoadError> {
        let Options { dir, appenddirname, filename, files, load_truncated, .. } = &options;
        let mut set = FileSet::find(files.clone(), dir, appenddirname, filename)?;
        let image = options.image.as_deref();
        let start = image::start(&mut set, image)?;
        let loader = Loader::new(&set, image, *load_truncated, replay);
        let (mut loaded, seal) = loader.load(start)?;
        set.delete_history();
        let increment = open_increment(&mut set, start, image)
            .map_err(|error| LoadError::of(&set.dir, error))?;
        // A new one was begun behind all that the image has seen.
        loaded.image_ahead = image.is_some() && increment.len == 0;
        let increment = resume(&set, increment, seal)?;
        let syncer = Syncer::new(Log::new(increment), options.durability);
        let thread =
            syncer.start(options.sync_begins).map_err(|error| LoadError::of(&set.dir, error))?;
        let progress = Progress::new(set.closed_bytes() + syncer.log.increment_len());
        progress.set_closed(set.closed_bytes());
        let aof = Aof { syncer, thread: Mutex::new(Some(thread)), set: Mutex::new(set), progress };
        Ok((Arc::new(aof), loaded))
    }

    /// Writes and syncs everything appended so far, whatever the policy.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn sync(&self) -> Result<()> {
        let end = self.syncer.log.end();
        self.syncer.sync();
        if self.syncer.log.synced() >= end {
            return Ok(());
        }
        let text = self.syncer.log.health.text();
        Err(Error::backend(text.unwrap_or_else(|| "the append-only file was not synced".into())))
    }

    /// Sets the observer that receives the times of the log's operations; once only.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        self.syncer.log.moments.observe(observer);
    }

    /// Ends the thread, and syncs. Sessions that wait afterwards are told that the log is closed.
    ///
    /// # Errors
    /// Fails like [`Aof::sync`].
    pub fn close(&self) -> Result<()> {
        self.syncer.log.mark();
        self.syncer.stop();
        if let Some(thread) = self.thread.lock().take() {
            let _ = thread.join();
        }
        self.sync()
    }
}

impl Drop for Aof {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(%error, "closing the append-only file");
        }
    }
}

/// The increment to append to: the last, or a new one where there is none, or where positions in
/// the last would not lie behind all that the image has seen.
fn open_increment(
    set: &mut FileSet,
    start: Start,
    image: Option<&dyn Backend>,
) -> Result<Increment> {
    if set.fresh {
        begin(set, image)?;
    }
    let applied = image.map_or(Position::log(0), |image| image.last(LOG));
    let least = if let Start::Increment(seq) = start { position(seq, 0) } else { Position::log(0) };
    let last = set.open_last().map_err(Error::backend)?;
    match last.filter(|last| position(last.seq, last.len) >= applied.max(least)) {
        Some(last) => Ok(last),
        None => {
            set.seq_min = set.seq_min.max(log::seq_of(applied) + 1);
            set.add_increment().map_err(Error::backend)
        }
    }
}

/// Goes on with the marks of an increment that has some.
fn resume(
    set: &FileSet,
    increment: Increment,
    seal: Option<(u64, Seal)>,
) -> std::result::Result<Increment, LoadError> {
    let part = set.manifest.increments.last();
    let seal = seal.filter(|(seq, _)| *seq == increment.seq);
    let (Some(part), Some((_, seal))) = (part, seal) else { return Ok(increment) };
    let path = set.path(part);
    let seal = seal.resume(&path, increment.len);
    let seal = seal.map_err(|error| LoadError::of(&path, error))?;
    Ok(Increment { seal: Some(seal), ..increment })
}

/// Writes the beginning of a new log: an empty base, as Redis writes, or the image.
fn begin(set: &mut FileSet, image: Option<&dyn Backend>) -> Result<()> {
    match image {
        Some(backend) => {
            set.manifest.image = Some(backend.name().to_owned());
            backend.flush()?;
            image::set_from(backend, set.seq_min)
        }
        None => {
            let (part, temporary) = set.next_base();
            base::write(&*set.files, &temporary, None, &[])?;
            std::fs::rename(&temporary, set.path(&part)).map_err(Error::backend)?;
            set.manifest.base = Some(part);
            Ok(())
        }
    }
}
