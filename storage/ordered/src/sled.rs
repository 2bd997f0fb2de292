//! The sled engine (0.34.7).
//!
//! Facts this file is built on: `apply_batch` writes two partial log buffers to the disk and waits for
//! nobody to share them (300 µs a batch was seen where single inserts take 2 µs), so a small batch is
//! written as an *intent* instead (below); `flush` never calls fsync on Linux (only `sync_file_range`, which
//! does not cover file metadata or the drive's cache), so the files are synced here; a page above
//! roughly 128 KiB becomes a blob file nobody syncs, so values are split at 4 KiB (a leaf holds up
//! to 16), and the blobs are synced too; batches take a process-wide lock, so a batch of one change
//! goes around it; `len()` scans, so it is never called; the cache setting is not a cap on memory.
//! After a failed write sled's memory may hold half a batch: from then on everything is refused.
//! Log buffers wait in memory for the disk without any bound (a minute of writes faster than the
//! disk was seen to take 18 s to flush), so writers are slowed to what the disk takes ([`Backlog`]).

use super::kv::{Batch, OrderedKv, Read, Space, VisitRecord, guarded};
use parking_lot::{Condvar, Mutex};
use sled::{Db, IVec};
use std::fs::File;
use std::io::ErrorKind;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use storage::{Error, Result};

/// Bytes written and not yet on their way to the disk, beyond which writers wait.
const BACKLOG_BYTES_MAX: u64 = 8 << 20;
/// The overhead of a record in sled's log, in bytes, roughly.
const LOG_RECORD_BYTES: u64 = 256;

/// Key prefix of the intents; spaces have lower ones.
const INTENT: u8 = 0xff;
/// Batches up to this size are written as intents; larger ones are worth `apply_batch`.
const INTENT_BYTES_MAX: u64 = 32 << 10;

/// An open sled database. Spaces are the first byte of every key, because only one tree can be
/// written atomically.
///
/// A small batch is one record in a free intent slot, then its changes one by one, then the slot is
/// emptied. sled recovers a prefix of its log, so after a crash either the intent is not there, or it
/// is and opening applies it again, or all of it had been applied. Until `write` returns, other
/// threads may see a part of the batch; they do not look, because its shards are locked.
pub struct SledKv {
    db: Db,
    dir: PathBuf,
    failed: OnceLock<Error>,
    /// Intent slots that are not in use.
    slots: Mutex<Vec<u32>>,
    slots_made: AtomicU32,
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
    /// Adds the size of a write, once there is room.
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
    /// Fails if the directory cannot be used, is open elsewhere, or is damaged.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self> {
        guarded("open", || {
            let db = sled::Config::new()
                .path(dir)
                .cache_capacity(cache_bytes)
                .flush_every_ms(Some(500))
                .open()
                .map_err(|cause| Error::backend(format_args!("sled {}: {cause}", dir.display())))?;
            finish_intents(&db)?;
            let backlog = Arc::new(Backlog::default());
            let drainer = std::thread::Builder::new().name("sled-drain".into()).spawn({
                let (backlog, db) = (backlog.clone(), db.clone());
                move || backlog.drain(&db)
            });
            let drainer = Some(drainer.map_err(Error::backend)?);
            Ok(SledKv {
                db,
                dir: dir.to_path_buf(),
                failed: OnceLock::new(),
                slots: Mutex::default(),
                slots_made: AtomicU32::new(0),
                backlog,
                drainer,
            })
        })
    }

    fn usable(&self) -> Result<()> {
        self.failed.get().map_or(Ok(()), |error| Err(error.clone()))
    }

    fn write_changes(&self, batch: Batch) -> Result<()> {
        let (changes, bytes) = (batch.len(), batch.bytes());
        if changes > 1 && bytes > INTENT_BYTES_MAX {
            return self.write_atomically(batch);
        }
        let all = batch.into_changes().map(|(space, key, value)| (prefixed(space, &key), value));
        if changes <= 1 {
            return all.into_iter().try_for_each(|(key, value)| change(&self.db, key, value));
        }
        let all: Vec<_> = all.collect();
        let slot = self.slots.lock().pop();
        let slot = slot.unwrap_or_else(|| self.slots_made.fetch_add(1, Ordering::Relaxed));
        let key = [&[INTENT][..], &slot.to_be_bytes()].concat();
        change(&self.db, key.clone(), Some(encode_intent(&all)))?;
        all.into_iter().try_for_each(|(key, value)| change(&self.db, key, value))?;
        change(&self.db, key, Some(Vec::new()))?;
        self.slots.lock().push(slot);
        Ok(())
    }

    fn write_atomically(&self, batch: Batch) -> Result<()> {
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

/// A prefixed key and its new value.
type Change = (Vec<u8>, Option<Vec<u8>>);

fn change(db: &Db, key: Vec<u8>, value: Option<Vec<u8>>) -> Result<()> {
    let changed = match value {
        Some(value) => db.insert(key, value),
        None => db.remove(key),
    };
    changed.map(drop).map_err(Error::backend)
}

/// Per change: key length, value length plus one (0: delete), key, value.
fn encode_intent(changes: &[Change]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in changes {
        let value_mark = value.as_ref().map_or(0, |value| value.len() as u32 + 1);
        out.extend_from_slice(&(key.len() as u32).to_be_bytes());
        out.extend_from_slice(&value_mark.to_be_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value.as_deref().unwrap_or_default());
    }
    out
}

fn decode_intent(mut rest: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !rest.is_empty() {
        let key_bytes = u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?);
        let value_mark = u32::from_be_bytes(*rest.split_off(..4)?.first_chunk()?);
        let key = rest.split_off(..key_bytes as usize)?.to_vec();
        let value = match value_mark.checked_sub(1) {
            Some(bytes) => Some(rest.split_off(..bytes as usize)?.to_vec()),
            None => None,
        };
        changes.push((key, value));
    }
    Some(changes)
}

/// Completes the batches that a crash interrupted.
fn finish_intents(db: &Db) -> Result<()> {
    for intent in db.scan_prefix([INTENT]) {
        let (slot, intent) = intent.map_err(Error::backend)?;
        let changes = decode_intent(&intent).ok_or_else(|| Error::corrupt("an intent record"))?;
        changes.into_iter().try_for_each(|(key, value)| change(db, key, value))?;
        if !intent.is_empty() {
            change(db, slot.to_vec(), Some(Vec::new()))?;
        }
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use storage::testing::until_some;

    proptest! {
        #[test]
        fn intents_round_trip(changes: Vec<(Vec<u8>, Option<Vec<u8>>)>, damage: Vec<u8>) {
            prop_assert_eq!(decode_intent(&encode_intent(&changes)), Some(changes));
            let _ = decode_intent(&damage);
        }
    }

    /// A crash between the intent and its changes: opening completes the batch.
    #[test]
    fn an_interrupted_batch_is_completed() {
        let dir = tempfile::tempdir().expect("a directory");
        let slot = vec![INTENT, 0, 0, 0, 0];
        {
            let kv = SledKv::open(dir.path(), 1 << 20).expect("opens");
            let changes = vec![(vec![1, b'a'], Some(vec![1])), (vec![1, b'b'], None)];
            change(&kv.db, vec![1, b'b'], Some(vec![2])).expect("written");
            change(&kv.db, slot.clone(), Some(encode_intent(&changes))).expect("written");
        }
        // sled's own threads may keep the folder locked for a moment after the end.
        let kv = until_some("it opens again", || SledKv::open(dir.path(), 1 << 20).ok());
        assert_eq!(kv.get(Space(1), b"a").expect("read"), Some(vec![1]));
        assert_eq!(kv.get(Space(1), b"b").expect("read"), None);
        assert_eq!(kv.db.get(slot).expect("read").map(|intent| intent.len()), Some(0));
    }
}
