//! [`BulkLoad`]: the entries of an RDB file, stored on all cores while the file is read on.

use crate::tx::{Db, Key};
use crate::{Backend, Error, Locks, Result};
use rayon::prelude::*;
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::available_parallelism;
use storage_rdb::{KeyValue, Object};

/// A batch is stored when it has so many entries: enough that each shard gets many, one after
/// another, and finds its table in the processor's cache.
const ENTRIES_PER_BATCH: usize = 64 << 10;
/// A batch is stored when its entries are about so many bytes. Two batches are in memory at a time.
const BYTES_PER_BATCH: usize = 16 << 20;

/// The treatment of a key that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// The entry takes its place.
    Replaced,
    /// Loading fails. What was stored before stays.
    Refused,
}

/// Stores entries in batches. While the threads of a pool store one, the caller gathers the next. A
/// shard's entries of a batch are stored by one thread in the order in which they came, so of two
/// entries with the same key the later one stays.
///
/// A file that fits into one batch is stored by the calling thread, and so is everything on a
/// machine with one core.
pub struct BulkLoad {
    backend: Arc<dyn Backend>,
    existing: Existing,
    entries_per_batch: usize,
    batch: Batch,
    /// Made with the first batch that is full; absent if threads cannot be had.
    pool: Option<ThreadPool>,
    /// How the batch that the pool is storing went, once it is done.
    under_way: Option<Receiver<Result<()>>>,
}

/// Entries by shard.
#[derive(Default)]
struct Batch {
    shards: HashMap<u32, Vec<(Db, KeyValue)>>,
    entries: usize,
    bytes: usize,
}

impl BulkLoad {
    /// Loads into this storage.
    pub fn new(backend: Arc<dyn Backend>, existing: Existing) -> Self {
        BulkLoad {
            backend,
            existing,
            entries_per_batch: ENTRIES_PER_BATCH,
            batch: Batch::default(),
            pool: None,
            under_way: None,
        }
    }

    /// With batches of so many entries; for tests, to which the usual ones are too large.
    #[must_use]
    pub fn in_batches_of(mut self, entries: usize) -> Self {
        self.entries_per_batch = entries;
        self
    }

    /// Takes an entry, which is stored in this call or a later one. `db` is the database to store
    /// it in; [`KeyValue::db`] is ignored.
    ///
    /// # Errors
    /// The storage refused this entry or an earlier one. Entries behind the refused one may have
    /// been stored.
    pub fn entry(&mut self, db: Db, entry: KeyValue) -> Result<()> {
        let shard = self.backend.shard_of(self.backend.hash(&entry.key));
        self.batch.entries += 1;
        self.batch.bytes += entry.key.len() + bytes_of(&entry.object);
        self.batch.shards.entry(shard).or_default().push((db, entry));
        if self.batch.entries < self.entries_per_batch && self.batch.bytes < BYTES_PER_BATCH {
            return Ok(());
        }
        self.wait()?;
        self.store_beside()
    }

    /// Returns when everything has been stored.
    ///
    /// # Errors
    /// As [`BulkLoad::entry`].
    pub fn finish(&mut self) -> Result<()> {
        self.wait()?;
        std::mem::take(&mut self.batch).store(&*self.backend, self.existing)
    }

    /// Waits for the batch under way.
    fn wait(&mut self) -> Result<()> {
        let Some(done) = self.under_way.take() else { return Ok(()) };
        done.recv().unwrap_or_else(|_| Err(Error::backend("a thread that stored entries panicked")))
    }

    /// Has the pool store the batch; this thread does, if there is no pool.
    fn store_beside(&mut self) -> Result<()> {
        let batch = std::mem::take(&mut self.batch);
        self.pool = self.pool.take().or_else(pool);
        let (backend, existing) = (self.backend.clone(), self.existing);
        let Some(pool) = &self.pool else { return batch.store(&*backend, existing) };
        let (sender, done) = sync_channel(1);
        pool.spawn(move || {
            // Nobody waits any more if loading failed elsewhere.
            let _ = sender.send(batch.store_on_all_cores(&*backend, existing));
        });
        self.under_way = Some(done);
        Ok(())
    }
}

impl Drop for BulkLoad {
    /// Waits, so that nothing is stored behind the back of a caller who gave up.
    fn drop(&mut self) {
        let _ = self.wait();
    }
}

impl Batch {
    fn store(self, backend: &dyn Backend, existing: Existing) -> Result<()> {
        self.shards.into_values().try_for_each(|entries| store(backend, existing, entries))
    }

    fn store_on_all_cores(self, backend: &dyn Backend, existing: Existing) -> Result<()> {
        let shards: Vec<_> = self.shards.into_values().collect();
        shards.into_par_iter().try_for_each(|entries| store(backend, existing, entries))
    }
}

fn pool() -> Option<ThreadPool> {
    let cores = available_parallelism().map_or(1, |cores| cores.get());
    let pool = ThreadPoolBuilder::new().num_threads(cores).thread_name(|_| "bulk-load".into());
    // Whoever waits for the batch is told, because the sender is dropped.
    let pool = pool.panic_handler(|_| {});
    if cores > 1 { pool.build().ok() } else { None }
}

fn store(backend: &dyn Backend, existing: Existing, entries: Vec<(Db, KeyValue)>) -> Result<()> {
    entries.into_iter().try_for_each(|(db, entry)| {
        if existing == Existing::Refused && is_there(backend, db, &entry.key)? {
            let key = String::from_utf8_lossy(&entry.key);
            return Err(Error::backend(format_args!("the key '{key}' is there already")));
        }
        backend.load(db, &entry.key, entry.expiry_ms, entry.object)
    })
}

fn is_there(backend: &dyn Backend, db: Db, key: &[u8]) -> Result<bool> {
    let hash = backend.hash(key);
    let mut found = Ok(None);
    backend.transact(Locks::One(backend.shard_of(hash)), 0, &mut |tx| {
        found = tx.kind(&Key { db, hash, bytes: key });
    })?;
    found.map(|kind| kind.is_some())
}

/// About how many bytes a value takes in memory: enough to bound a batch.
fn bytes_of(object: &Object) -> usize {
    let all = |items: &[Vec<u8>]| items.iter().map(|item| item.len() + size_of::<Vec<u8>>()).sum();
    match object {
        Object::String(text) => text.len(),
        Object::List(items) | Object::Set(items) => all(items),
        Object::Hash(fields) => fields.iter().map(|f| f.field.len() + f.value.len() + 64).sum(),
        Object::SortedSet(members) => members.iter().map(|(name, _)| name.len() + 32).sum(),
        Object::Stream(stream) => {
            let fields = stream.entries.iter().flat_map(|entry| &entry.fields);
            stream.entries.len() * 64 + fields.map(|(_, value)| value.len() + 64).sum::<usize>()
        }
    }
}
