//! Snapshots, taken shard by shard while writes go on, by saving entries before a write changes
//! them.
//!
//! Every entry has one bit for the epoch in which it was last saved or created. The cut, under all
//! locks, flips every shard's epoch. From then on an entry with the old bit is part of the snapshot
//! and not saved yet. The writer visits each shard in hash order, one slice per lock, and saves
//! such entries. A command that is about to change or remove one saves it first. At the end all
//! entries have the new epoch, ready for the next cut. A database that is cleared meanwhile is
//! passed to the writer as a whole.

use super::MemoryBackend;
use super::entry::Entry;
use super::guards::PATIENCE;
use super::object;
use super::shard::{Live, State};
use super::table::Table;
use parking_lot::MutexGuard;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::rdb::Options;
use storage::tx::Db;
use storage::{Error, Result, Snapshot, SnapshotSink};

/// The number of entries after which a slice ends …
const ENTRIES_PER_SLICE: usize = 128;
/// … or the number of bytes.
const BYTES_PER_SLICE: usize = 256 << 10;

/// A database that did not exist at the cut.
pub const NO_DB: Db = Db::MAX;

/// Encoded entries, one after another.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    records: Vec<Record>,
    /// An entry that could not be encoded: the snapshot fails.
    failure: Option<Error>,
}

#[derive(Debug)]
struct Record {
    db: Db,
    expiry_ms: Option<u64>,
    key: Range<usize>,
    value: Range<usize>,
}

impl Batch {
    fn add(&mut self, db: Db, entry: &Entry) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry.key());
        let middle = self.bytes.len();
        // Not compressed: this may happen within a command, which must not wait for it.
        let options = Options { compress: false, ..Options::default() };
        if let Err(error) = object::dump(entry, options, &mut self.bytes) {
            self.failure = Some(error);
            return;
        }
        let (key, value) = (start..middle, middle..self.bytes.len());
        self.records.push(Record { db, expiry_ms: entry.expiry(), key, value });
    }

    fn is_full(&self) -> bool {
        self.records.len() >= ENTRIES_PER_SLICE || self.bytes.len() >= BYTES_PER_SLICE
    }

    /// Hands everything to the sink.
    fn drain(&mut self, sink: &mut dyn SnapshotSink) -> Result<()> {
        for Record { db, expiry_ms, key, value } in self.records.drain(..) {
            sink.entry(db, &self.bytes[key], expiry_ms, &self.bytes[value])?;
        }
        self.bytes.clear();
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// The state of a shard while a snapshot is not through with it.
#[derive(Debug, Default)]
pub struct Saving {
    /// Saved by commands.
    saved: Batch,
    /// Databases that were cleared, with the database they were at the cut.
    detached: Vec<(Db, Table)>,
    /// The snapshot was abandoned: bits are still brought up to date, nothing is saved.
    abandoned: bool,
}

impl Saving {
    /// Takes over a database that is being cleared.
    pub fn detach(&mut self, db: Db, table: Table) {
        self.detached.push((db, table));
    }
}

impl Live<'_> {
    /// To be called before the entry is changed or removed.
    #[inline]
    pub fn before_change(&mut self) {
        if self.common.saving.is_some() {
            self.save();
        }
    }

    #[cold]
    fn save(&mut self) {
        let entry = self.found.get_mut();
        if let Some(saving) = &mut self.common.saving
            && entry.epoch() != self.common.epoch
        {
            entry.set_epoch(self.common.epoch);
            if !saving.abandoned {
                saving.saved.add(self.tally.cut_db, entry);
            }
        }
    }
}

impl State {
    /// The cut: everything here now is part of the snapshot.
    fn cut(&mut self) {
        self.common.epoch = !self.common.epoch;
        self.common.saving = Some(Saving::default());
        for (db, space) in self.spaces.iter_mut().enumerate() {
            if let Some(space) = space {
                space.tally.cut_db = db as Db;
            }
        }
    }

    /// Saves a slice of a database's entries from hash position `at` on; where to go on.
    fn save_slice(&mut self, db: Db, at: u64, batch: &mut Batch) -> Option<u64> {
        let of_cut = |space: &&mut Box<super::shard::Database>| space.tally.cut_db == db;
        let space = self.spaces.iter_mut().flatten().find(of_cut)?;
        let (epoch, hasher) = (self.common.epoch, &self.common.hasher);
        let abandoned = self.common.saving.as_ref().is_some_and(|saving| saving.abandoned);
        let (mut next, mut seen) = (at, 0);
        while !batch.is_full() && seen < ENTRIES_PER_SLICE {
            next = space.table.visit_bucket_mut(hasher, next, &mut |entry| {
                seen += 1;
                if entry.epoch() != epoch {
                    entry.set_epoch(epoch);
                    if !abandoned {
                        batch.add(db, entry);
                    }
                }
            })?;
        }
        Some(next)
    }
}

/// A snapshot that was cut and is being written.
pub struct MemorySnapshot {
    backend: Arc<MemoryBackend>,
    /// The first shard not walked to its end.
    shard: u32,
}

/// Locks every shard. A script may hold one of them for long, so the others are not kept from other
/// transactions meanwhile.
fn lock_all(backend: &MemoryBackend) -> Vec<MutexGuard<'_, State>> {
    loop {
        let locked = backend.shards.iter().map(|shard| shard.state.try_lock_for(PATIENCE));
        if let Some(guards) = locked.collect() {
            return guards;
        }
    }
}

impl MemorySnapshot {
    /// Cuts: locks every shard, calls `at_cut`, unlocks.
    pub fn cut(backend: Arc<MemoryBackend>, at_cut: &mut dyn FnMut()) -> Result<Self> {
        if backend.snapshotting.swap(true, Ordering::AcqRel) {
            return Err(Error::backend("a snapshot is already being written"));
        }
        let mut guards = lock_all(&backend);
        guards.iter_mut().for_each(|state| state.cut());
        at_cut();
        drop(guards);
        Ok(MemorySnapshot { backend, shard: 0 })
    }

    /// Walks the current shard to its end.
    fn walk(&mut self, sink: &mut dyn SnapshotSink) -> Result<()> {
        let mut batch = Batch::default();
        for db in 0..self.backend.databases {
            let mut at = Some(0);
            while let Some(from) = at {
                let saved = {
                    let mut state = self.backend.shard(self.shard).state.lock();
                    at = state.save_slice(db, from, &mut batch);
                    state.common.saving.as_mut().map(|s| std::mem::take(&mut s.saved))
                };
                batch.drain(sink)?;
                saved.unwrap_or_default().drain(sink)?;
            }
        }
        // Whatever was in the shard at the cut has been met, or saved, or detached by now.
        let saving = self.backend.shard(self.shard).state.lock().common.saving.take();
        let Saving { mut saved, detached, .. } = saving.unwrap_or_default();
        saved.drain(sink)?;
        detached.into_iter().try_for_each(|(db, table)| self.write_detached(db, table, sink))
    }

    /// Writes the rest of a cleared keyspace, which no other thread can access any more.
    fn write_detached(&self, db: Db, mut table: Table, sink: &mut dyn SnapshotSink) -> Result<()> {
        let epoch = self.backend.shard(self.shard).state.lock().common.epoch;
        let mut more = true;
        while more {
            let mut entries = Vec::new();
            more = table.sweep(&mut |entry| entries.push(entry));
            for entry in entries {
                if db != NO_DB && entry.epoch() != epoch {
                    let mut batch = Batch::default();
                    batch.add(db, &entry);
                    batch.drain(sink)?;
                }
            }
        }
        Ok(())
    }
}

impl Snapshot for MemorySnapshot {
    fn write(mut self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()> {
        while self.shard < self.backend.shards() as u32 {
            self.walk(sink)?;
            self.shard += 1;
        }
        Ok(())
    }
}

/// Takes nothing: for walks that only bring the bits up to date.
struct Nothing;

impl SnapshotSink for Nothing {
    fn entry(&mut self, _: Db, _: &[u8], _: Option<u64>, _: &[u8]) -> Result<()> {
        Ok(())
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        // Abandoned, or written: then there is no shard left.
        while self.shard < self.backend.shards() as u32 {
            if let Some(saving) = &mut self.backend.shard(self.shard).state.lock().common.saving {
                *saving = Saving { abandoned: true, ..Saving::default() };
            }
            // With nothing to save, nothing can fail.
            let _ = self.walk(&mut Nothing);
            self.shard += 1;
        }
        self.backend.snapshotting.store(false, Ordering::Release);
    }
}
