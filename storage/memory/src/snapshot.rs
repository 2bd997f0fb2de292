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
use super::guards::PATIENCE;
use super::saving::{Batch, NO_DB, Saving};
use super::shard::{Live, State};
use super::table::Table;
use parking_lot::MutexGuard;
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::{self, available_parallelism};
use storage::tx::Db;
use storage::{Backend as _, Error, Result, Snapshot, SnapshotSink};

/// The number of entries after which a slice ends, if it has not as many bytes before.
const ENTRIES_PER_SLICE: usize = 128;
/// Batches that wait to be written, beside the one that is and those that grow.
const AHEAD: usize = 2;
/// With fewer keys, threads are not worth making.
const KEYS_WORTH_THREADS: u64 = 10_000;

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
            saving.save(self.tally.cut_db, entry);
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
        let (mut next, mut seen, began) = (at, 0, batch.bytes.len());
        while !batch.ends_slice(began) && seen < ENTRIES_PER_SLICE {
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
    /// The shards of which it is.
    shards: Vec<u32>,
    /// Every shard was walked to its end.
    is_written: bool,
}

/// Locks some shards. A script may hold one of them for long, so the others are not kept from other
/// transactions meanwhile.
fn lock_all<'b>(backend: &'b MemoryBackend, shards: &[u32]) -> Vec<MutexGuard<'b, State>> {
    loop {
        let shards = shards.iter().map(|number| &backend.shards[*number as usize]);
        let locked = shards.map(|shard| shard.state.try_lock_for(PATIENCE));
        if let Some(guards) = locked.collect() {
            return guards;
        }
    }
}

impl MemorySnapshot {
    /// Cuts: locks these shards, calls `at_cut`, unlocks.
    pub fn cut(
        backend: Arc<MemoryBackend>,
        shards: &[u32],
        at_cut: &mut dyn FnMut(),
    ) -> Result<Self> {
        let mut running = backend.snapshotting.lock();
        if running.iter().flatten().any(|other| shards.binary_search(other).is_ok()) {
            return Err(Error::backend("a snapshot is already being written"));
        }
        running.push(shards.to_vec());
        drop(running);
        let mut guards = lock_all(&backend, shards);
        guards.iter_mut().for_each(|state| state.cut());
        at_cut();
        drop(guards);
        Ok(MemorySnapshot { backend, shards: shards.to_vec(), is_written: false })
    }

    /// Walks a shard to its end.
    fn walk(&self, shard: u32, out: &mut dyn FnMut(Batch) -> Result<()>) -> Result<()> {
        let mut batch = Batch::default();
        for db in 0..self.backend.databases {
            let mut at = Some(0);
            while let Some(from) = at {
                let saved = {
                    let mut state = self.backend.shard(shard).state.lock();
                    at = state.save_slice(db, from, &mut batch);
                    state.common.saving.as_mut().map(|s| std::mem::take(&mut s.saved))
                };
                if batch.ends_slice(0) {
                    out(std::mem::take(&mut batch))?;
                }
                if let Some(saved) = saved.filter(|saved| !saved.is_empty()) {
                    out(saved)?;
                }
            }
        }
        out(batch)?;
        // Whatever was in the shard at the cut has been met, or saved, or detached by now.
        let saving = self.backend.shard(shard).state.lock().common.saving.take();
        let Saving { saved, detached, .. } = saving.unwrap_or_default();
        out(saved)?;
        let epoch = self.backend.shard(shard).state.lock().common.epoch;
        detached.into_iter().try_for_each(|(db, table)| write_detached(db, table, epoch, out))
    }

    /// Encodes in the threads of a pool, a shard each, while this one writes.
    fn write_beside(&self, pool: &ThreadPool, sink: &mut dyn SnapshotSink) -> Result<()> {
        thread::scope(|scope| {
            let (sender, batches) = sync_channel(AHEAD);
            let encode = move || pool.install(|| self.encode(sender));
            // Not this thread: a worker of another pool that waits for one would run jobs meanwhile.
            let encoding = thread::Builder::new().spawn_scoped(scope, encode);
            let encoding = encoding.map_err(Error::backend)?;
            let written = batches.into_iter().try_for_each(|batch: Batch| batch.drain(sink));
            encoding.join().unwrap_or_else(|panic| resume_unwind(panic));
            written
        })
    }

    /// Encodes all shards in the threads of the pool that calls it, until nobody takes batches any
    /// more, because writing one has failed.
    fn encode(&self, sender: SyncSender<Batch>) {
        let shards = self.shards.par_iter().copied();
        let encoded = shards.try_for_each_with(sender, |sender, shard| {
            let out = &mut |batch| sender.send(batch).map_err(|_| Error::backend("not written"));
            self.walk(shard, out)
        });
        // Whoever has failed to write knows why.
        drop(encoded);
    }

    /// Threads to encode in, if they are worth it and can be had.
    fn pool(&self) -> Option<ThreadPool> {
        let len = |db| {
            let of = |shard: &u32| self.backend.len_in(db, *shard..*shard + 1);
            self.shards.iter().map(of).sum::<u64>()
        };
        let keys: u64 = (0..self.backend.databases).map(len).sum();
        let cores = available_parallelism().map_or(1, |cores| cores.get());
        if keys < KEYS_WORTH_THREADS || cores == 1 {
            return None;
        }
        // Who writes is a thread, too.
        let pool = ThreadPoolBuilder::new().num_threads(cores - 1);
        pool.thread_name(|_| "rdb-encode".into()).build().ok()
    }
}

/// Writes the rest of a cleared keyspace, which no other thread can access any more.
fn write_detached(
    db: Db,
    mut table: Table,
    epoch: bool,
    out: &mut dyn FnMut(Batch) -> Result<()>,
) -> Result<()> {
    let (mut more, mut batch) = (true, Batch::default());
    while more {
        more = table.sweep(&mut |entry| {
            if db != NO_DB && entry.epoch() != epoch {
                batch.add(db, &entry);
            }
        });
        if batch.ends_slice(0) {
            out(std::mem::take(&mut batch))?;
        }
    }
    out(batch)
}

impl Snapshot for MemorySnapshot {
    fn write(mut self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()> {
        match self.pool() {
            Some(pool) => self.write_beside(&pool, sink)?,
            None => self
                .shards
                .iter()
                .try_for_each(|shard| self.walk(*shard, &mut |batch| batch.drain(sink)))?,
        }
        self.is_written = true;
        Ok(())
    }
}

impl Drop for MemorySnapshot {
    fn drop(&mut self) {
        let unwritten = if self.is_written { &[][..] } else { &self.shards[..] };
        for shard in unwritten.iter().copied() {
            if let Some(saving) = &mut self.backend.shard(shard).state.lock().common.saving {
                *saving = Saving { abandoned: true, ..Saving::default() };
            }
            // With nothing to save, nothing can fail.
            let _ = self.walk(shard, &mut |_| Ok(()));
        }
        self.backend.snapshotting.lock().retain(|running| *running != self.shards);
    }
}

#[cfg(test)]
mod tests {
    use super::{KEYS_WORTH_THREADS, MemoryBackend};
    use crate::Config;
    use std::collections::HashMap;
    use std::sync::Arc;
    use storage::{Backend, Db, Error, Key, Locks, NewExpiry, Result, SnapshotSink};

    const KEYS: u64 = KEYS_WORTH_THREADS * 2;

    fn set(backend: &MemoryBackend, number: u64, value: &str) {
        let name = format!("key:{number}");
        let hash = backend.hash(name.as_bytes());
        let (key, shard) = (Key { db: 0, hash, bytes: name.as_bytes() }, backend.shard_of(hash));
        let set = &mut |tx: &mut dyn storage::Tx| {
            tx.set_string(&key, value.as_bytes(), NewExpiry::Clear).unwrap();
        };
        backend.transact(Locks::One(shard), 0, set).unwrap();
    }

    /// Takes entries, while what is still to be written is changed, until it has so many.
    struct Sink<'a> {
        backend: &'a MemoryBackend,
        taken: HashMap<Vec<u8>, Vec<u8>>,
        until: u64,
    }

    impl SnapshotSink for Sink<'_> {
        fn entry(&mut self, _: Db, key: &[u8], _: Option<u64>, value: &[u8]) -> Result<()> {
            let taken = self.taken.len() as u64;
            if taken == self.until {
                return Err(Error::backend("the disk is full"));
            }
            set(self.backend, (KEYS * 2 - 1).saturating_sub(taken), "later");
            set(self.backend, KEYS * 2 + taken, "new");
            assert!(self.taken.insert(key.to_vec(), value.to_vec()).is_none(), "an entry twice");
            Ok(())
        }
    }

    #[test]
    fn a_snapshot_encoded_on_all_cores_is_what_was_there_at_the_cut() {
        let backend = Arc::new(MemoryBackend::new(Config::default()));
        // The first is given up.
        for until in [1000, u64::MAX] {
            // Those that came while the first was written are among them.
            let keys = backend.len(0).max(KEYS * 2);
            (0..keys).for_each(|number| set(&backend, number, "at the cut"));
            let snapshot = backend.clone().snapshot(&mut || ()).unwrap();
            let mut sink = Sink { backend: &backend, taken: HashMap::new(), until };
            let written = snapshot.write(&mut sink);
            let expected = if written.is_ok() { keys } else { until };
            assert_eq!(sink.taken.len() as u64, expected);
            assert_eq!(written.is_err(), until == 1000);
            let at_cut = b"at the cut".as_slice();
            assert!(sink.taken.values().all(|value| value.ends_with(at_cut)));
        }
    }
}
