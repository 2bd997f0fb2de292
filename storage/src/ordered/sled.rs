//! The sled engine (0.34.7).
//!
//! Facts this file is built on: `flush` never calls fsync on Linux (only `sync_file_range`, which
//! does not cover file metadata or the drive's cache), so the files are synced here; a page above
//! roughly 128 KiB becomes a blob file nobody syncs, so values are split at 4 KiB (a leaf holds up
//! to 16), and the blobs are synced too; batches take a process-wide lock, so a batch of one change
//! goes around it; `len()` scans, so it is never called; the cache setting is not a cap on memory.
//! After a failed write sled's memory may hold half a batch: from then on everything is refused.
//! Log buffers wait in memory for the disk without any bound (a minute of writes faster than the
//! disk was seen to take 18 s to flush), so writers are slowed to what the disk takes ([`Backlog`]).

use super::kv::{Batch, OrderedKv, Read, Space, VisitRecord, guarded};
use crate::{Error, Result};
use parking_lot::{Condvar, Mutex};
use sled::{Db, IVec};
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Bytes written and not yet on their way to the disk, beyond which writers wait.
const BACKLOG_BYTES_MAX: u64 = 8 << 20;
/// What a record costs in sled's log beside its bytes, roughly.
const LOG_RECORD_BYTES: u64 = 256;

/// An open sled database. Spaces are the first byte of every key, because only one tree can be
/// written atomically.
pub struct SledKv {
    db: Db,
    dir: PathBuf,
    failed: OnceLock<Error>,
    backlog: Arc<Backlog>,
    drainer: Option<JoinHandle<()>>,
}

/// How far the log on disk is behind. A thread writes it out from half the bound on; writers wait
/// at the bound, so the longest wait is for half of it.
#[derive(Default)]
struct Backlog {
    state: Mutex<BacklogState>,
    changed: Condvar,
}

#[derive(Default)]
struct BacklogState {
    bytes: u64,
    closed: bool,
}

impl Backlog {
    /// Adds what is about to be written, once there is room.
    fn enter(&self, bytes: u64) {
        let mut state = self.state.lock();
        while state.bytes >= BACKLOG_BYTES_MAX && !state.closed {
            self.changed.wait(&mut state);
        }
        state.bytes += bytes;
        if state.bytes >= BACKLOG_BYTES_MAX / 2 {
            self.changed.notify_all();
        }
    }

    /// Writes out until closed. A failure closes: writers then meet sled's own error.
    fn drain(&self, db: &Db) {
        loop {
            let mut state = self.state.lock();
            while state.bytes < BACKLOG_BYTES_MAX / 2 && !state.closed {
                self.changed.wait(&mut state);
            }
            if state.closed {
                return;
            }
            let bytes = state.bytes;
            drop(state);
            let flushed = guarded("drain", || db.flush().map_err(Error::backend));
            let mut state = self.state.lock();
            state.bytes = state.bytes.saturating_sub(bytes);
            state.closed |= flushed.is_err();
            self.changed.notify_all();
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_all();
    }
}

impl Drop for SledKv {
    fn drop(&mut self) {
        self.backlog.close();
        if let Some(drainer) = self.drainer.take() {
            // A panic there was caught and turned into an error already.
            let _ = drainer.join();
        }
    }
}

impl SledKv {
    /// Opens or creates the database in `dir`.
    ///
    /// # Errors
    /// When the directory cannot be used, is open elsewhere, or is damaged.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self> {
        guarded("open", || {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(500))
                .open()
                .map_err(|cause| Error::backend(format_args!("sled {}: {cause}", dir.display())))?;
            let backlog = Arc::new(Backlog::default());
            let drainer = std::thread::Builder::new().name("sled-drain".into()).spawn({
                let (backlog, db) = (backlog.clone(), db.clone());
                move || backlog.drain(&db)
            });
            let drainer = Some(drainer.map_err(Error::backend)?);
            Ok(SledKv { db, dir: dir.to_path_buf(), failed: OnceLock::new(), backlog, drainer })
        })
    }

    fn usable(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn write_changes(&self, batch: Batch) -> Result<()> {
        if batch.len() == 1 {
            for (space, key, value) in batch.into_changes() {
                let key = prefixed(space, &key);
                match value {
                    Some(value) => self.db.insert(key, value),
                    None => self.db.remove(key),
                }
                .map_err(Error::backend)?;
            }
            return Ok(());
        }
        let mut all = sled::Batch::default();
        for (space, key, value) in batch.into_changes() {
            match value {
                Some(value) => all.insert(prefixed(space, &key), value),
                None => all.remove(prefixed(space, &key)),
            }
        }
        self.db.apply_batch(all).map_err(Error::backend)
    }
}

/// `space ‖ key`.
fn prefixed(space: Space, key: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len() + 1);
    out.push(space.0);
    out.extend_from_slice(key);
    out
}

impl Read for SledKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.usable()?;
        guarded("get", || {
            let value = self.db.get(prefixed(space, key)).map_err(Error::backend)?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        self.usable()?;
        let lo = prefixed(space, lo);
        let hi = if hi.is_empty() { vec![space.0 + 1] } else { prefixed(space, hi) };
        if lo >= hi {
            return Ok(());
        }
        let mut records = self.db.range::<Vec<u8>, _>((Bound::Included(lo), Bound::Excluded(hi)));
        loop {
            // Only the engine's step is guarded: a panic in `visit` is the caller's.
            let record: Option<(IVec, IVec)> = guarded("scan", || {
                let record = if reverse { records.next_back() } else { records.next() };
                record.transpose().map_err(Error::backend)
            })?;
            match record {
                Some((key, value)) if visit(&key[1..], &value) => {}
                _ => return Ok(()),
            }
        }
    }
}

impl OrderedKv for SledKv {
    fn name(&self) -> &'static str {
        "sled"
    }

    fn chunk_bytes(&self) -> usize {
        4 << 10
    }

    fn write(&self, batch: Batch) -> Result<()> {
        self.usable()?;
        self.backlog.enter(batch.bytes() + batch.len() as u64 * LOG_RECORD_BYTES);
        guarded("write", || self.write_changes(batch)).inspect_err(|error| {
            let _ = self.failed.set(error.clone());
        })
    }

    fn flush(&self) -> Result<()> {
        self.usable()?;
        guarded("flush", || {
            self.db.flush().map_err(Error::backend)?;
            sync_tree(&self.dir)
        })
    }

    fn disk_bytes(&self) -> u64 {
        tree_bytes(&self.dir)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![("sled_recovered", u8::from(self.db.was_recovered()).to_string())]
    }
}

/// Syncs every file below `dir`, then the directories. A file that vanished meanwhile (sled removes
/// blobs and snapshots it has replaced) needs no syncing.
fn sync_tree(dir: &Path) -> Result<()> {
    for entry in std::fs::read_dir(dir).map_err(Error::backend)? {
        let path = entry.map_err(Error::backend)?.path();
        match path.metadata() {
            Ok(meta) if meta.is_dir() => sync_tree(&path)?,
            Ok(_) => sync_path(&path)?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::backend(error)),
        }
    }
    sync_path(dir)
}

fn sync_path(path: &Path) -> Result<()> {
    match File::open(path).and_then(|file| file.sync_all()) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::backend(format_args!("sync {}: {error}", path.display())))
        }
        _ => Ok(()),
    }
}

/// Bytes of the files below `dir`, as far as they can be read.
fn tree_bytes(dir: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => tree_bytes(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
