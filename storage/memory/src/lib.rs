//! The memory backend: shards of cache-line hash tables.
//!
//! Promises: those of `storage::Backend`, with one thread per shard at a time. A table grows in
//! bounded steps, a snapshot is taken while writes go on, and reading and overwriting a string
//! allocate nothing.
//!
//! The crate knows nothing of other backends and files, and reads the clock only to say how long a lock was waited for.
//!
//! ```text
//! MemoryBackend ── Shard (lock) ── Database ── Table ── Directory ── segments ── buckets ── Entry
//! ```
//!
//! | module | what |
//! | --- | --- |
//! | `shard` | the keys behind one lock: find, insert, change, remove, with all counts maintained |
//! | `table`, `directory`, `segment` | the hash table, growing in bounded steps, scanned in hash order |
//! | `entry` | header, expiry, key and value in one allocation |
//! | `hashing`, `random`, `prefetch` | the keyed hash, random keys, prefetching |
//! | `value` and `hash`, `list`, `set`, `strings`, `stream`, `sorted_set` | values that do not fit in an entry, by type |
//! | `chunk`, `packed`, `intset`, `order` | building blocks of values: packed elements, sorted integers, an order of scores |
//! | `object`, `size` | conversion of values from and to RDB objects; their sizes |
//! | `expiry` | expired keys and fields |
//! | `tx`, `handle`, `guards` | the transaction, the open collections, the locks it holds |
//! | `by_slot` | the same backend, with the keys of a cluster's slot in one shard |
//! | `snapshot`, `saving` | point-in-time snapshots while writes go on |
//! | `garbage` | freeing removed values, in slices |

mod by_slot;
mod chunk;
mod directory;
mod entry;
mod expiry;
mod garbage;
mod guards;
mod handle;
mod hash;
mod hashing;
mod intset;
mod list;
mod object;
mod order;
mod packed;
mod prefetch;
mod random;
mod saving;
mod segment;
mod set;
mod shard;
mod size;
mod snapshot;
mod sorted_set;
mod stream;
mod strings;
mod table;
#[cfg(test)]
mod table_tests;
mod tx;
mod value;

pub use by_slot::BySlot;
use directory::Pool;
use entry::Frequency;
use garbage::Freed;
use hashing::Hasher;
use parking_lot::{Mutex, MutexGuard};
use segment::Probe;
use shard::{Shard, State};
use snapshot::MemorySnapshot;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use storage::backend::{HeldUp, LazilyFreed};
use storage::busy::Busy;
use storage::load::ShardLoad;
use storage::tx::{Db, Key, Tx};
use storage::{Backend, BackendStats, EncodingLimits, Locks, Result, Snapshot, rdb};
use tx::MemoryTx;

/// The highest number of shards. More only cost memory, and a transaction of all shards takes as many locks.
pub const SHARDS_MAX: u32 = 1024;

/// The number of shards for each core that works on them. A core fetches the lock of a shard a batch of commands before
/// it uses it; with four times fewer shards, two cores took one command in four from each other again.
pub const SHARDS_PER_CORE: usize = 128;

/// The options of a [`MemoryBackend`].
#[derive(Clone, Debug)]
pub struct Config {
    /// Number of shards; rounded up to a power of two, 1 to 1024.
    pub shards: u32,
    /// Number of databases.
    pub databases: u32,
    /// The secret of the hash function; random per process.
    pub hash_seed: u64,
    /// The sizes up to which collections are compact.
    pub limits: EncodingLimits,
}

impl Default for Config {
    fn default() -> Self {
        Config { shards: 16, databases: 16, hash_seed: 0, limits: EncodingLimits::default() }
    }
}

/// The memory backend.
#[derive(Debug)]
pub struct MemoryBackend {
    shards: Box<[Shard]>,
    hasher: Hasher,
    shard_bits: u32,
    databases: u32,
    /// Counts of values that wait to be freed, and that were.
    freed: Arc<Freed>,
    /// The limits in force, and their version; shards keep copies.
    limits: Mutex<EncodingLimits>,
    limits_version: AtomicU32,
    /// The parameters of the access counters.
    frequency: Frequency,
    /// A script runs that may hold its shards for long.
    busy: Busy,
    /// The shards of which snapshots are being written: one of each at a time, because an entry has
    /// one bit to say whether it is saved.
    snapshotting: Mutex<Vec<Vec<u32>>>,
}

impl MemoryBackend {
    /// An empty store.
    pub fn new(config: Config) -> Self {
        let shards = config.shards.clamp(1, SHARDS_MAX).next_power_of_two();
        let hasher = Hasher::new(config.hash_seed);
        let (pool, freed) = (Arc::new(Pool::default()), Arc::new(Freed::default()));
        let shard = |number| {
            let databases = config.databases.max(1) as usize;
            let (pool, freed) = (Arc::clone(&pool), Arc::clone(&freed));
            Shard::new(databases, hasher, config.limits.clone(), pool, freed, number)
        };
        MemoryBackend {
            shards: (0..shards).map(shard).collect(),
            hasher,
            shard_bits: shards.trailing_zeros(),
            databases: config.databases.max(1),
            freed,
            limits: Mutex::new(config.limits),
            limits_version: AtomicU32::new(0),
            frequency: Frequency::default(),
            busy: Busy::default(),
            snapshotting: Mutex::default(),
        }
    }

    #[inline]
    fn shard_of_hash(&self, hash: u64) -> u32 {
        hash as u32 & (self.shards.len() as u32 - 1)
    }

    #[inline]
    fn hash_key(&self, key: &[u8]) -> u64 {
        self.hasher.hash(key)
    }

    /// The hash of a key that is in this shard: its low bits are the shard's number, wherever the
    /// shard comes from.
    fn hash_in(&self, shard: u32, key: &[u8]) -> u64 {
        let low = self.shards.len() as u64 - 1;
        self.hash_key(key) & !low | u64::from(shard)
    }

    fn shards(&self) -> usize {
        self.shards.len()
    }

    fn shard_bits(&self) -> u32 {
        self.shard_bits
    }

    fn shard(&self, number: u32) -> &Shard {
        &self.shards[number as usize]
    }

    /// Adds a decoded value under the hash of its key.
    fn load_at(
        &self,
        hash: u64,
        (db, key): (Db, &[u8]),
        expiry_ms: Option<u64>,
        object: rdb::Object,
    ) -> Result<()> {
        let key = Key { db, hash, bytes: key };
        let mut object = Some(object);
        let mut loaded = Ok(());
        // At time 0 nothing has expired, so the contents of a file are loaded unchanged.
        self.transact(Locks::One(self.shard_of_hash(hash)), 0, &mut |tx| {
            if let Some(object) = object.take() {
                loaded = tx.restore(&key, object, expiry_ms);
            }
        })?;
        loaded
    }

    /// Adds up a size of a database over some shards, without a lock.
    fn sum(
        &self,
        db: Db,
        shards: Range<usize>,
        size: impl Fn(&shard::Sizes) -> &AtomicUsize,
    ) -> u64 {
        let sizes = self.shards[shards].iter().filter_map(|shard| shard.sizes(db));
        sizes.map(|sizes| size(sizes).load(Ordering::Relaxed) as u64).sum()
    }

    /// Locks a shard, and gives it the limits in force if it has older ones. `None` when it could
    /// not be had for so long.
    #[inline(always)]
    fn lock_shard(&self, number: u32, patience: Duration) -> Option<MutexGuard<'_, State>> {
        let mut state = self.shard(number).lock_for(patience)?;
        if state.common.limits_version != self.limits_version.load(Ordering::Relaxed) {
            self.refresh_limits(&mut state);
        }
        Some(state)
    }

    #[cold]
    fn refresh_limits(&self, state: &mut State) {
        state.common.limits_version = self.limits_version.load(Ordering::Relaxed);
        state.common.limits = self.limits.lock().clone();
    }
}

impl Backend for MemoryBackend {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn shard_count(&self) -> u32 {
        self.shards.len() as u32
    }

    #[inline]
    fn hash(&self, key: &[u8]) -> u64 {
        self.hash_key(key)
    }

    #[inline]
    fn shard_of(&self, hash: u64) -> u32 {
        self.shard_of_hash(hash)
    }

    fn shard_of_cursor(&self, cursor: u64) -> u32 {
        self.shard_of_hash(cursor)
    }

    fn prefetch(&self, db: Db, hashes: &[u64]) {
        /// Enough for memory to answer in parallel.
        const GROUP: usize = 32;
        // Whatever probes lead to stays readable until this is dropped.
        let _pinned = crossbeam_epoch::pin();
        for hashes in hashes.chunks(GROUP) {
            let mut probes = [Probe::NONE; GROUP];
            for (probe, &hash) in probes.iter_mut().zip(hashes) {
                *probe = self.shard(self.shard_of_hash(hash)).probe(db, hash);
                probe.prefetch_bucket();
            }
            for probe in &probes[..hashes.len()] {
                // SAFETY: the segment was found under the pin.
                unsafe { probe.prefetch_entry() };
            }
        }
    }

    #[inline]
    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()> {
        if let Locks::One(number) = locks
            && let Some(mut tx) = MemoryTx::on(self, number, now_ms)
        {
            body(&mut tx);
            return Ok(());
        }
        let mut tx = MemoryTx::new(self, now_ms);
        while !tx.lock_all(locks) {
            // The shard may be held by a script that wants one of ours: see `Tx::extend`.
            tx.unlock();
            if self.busy.is_so() {
                return Err(storage::Error::Busy);
            }
        }
        body(&mut tx);
        Ok(())
    }

    fn is_contended(&self, locks: Locks<'_>) -> bool {
        locks.any(self.shard_count(), |number| self.shard(number).state.is_locked())
    }

    fn shard_load(&self, shard: u32) -> ShardLoad {
        self.shard(shard).load.read()
    }

    fn len(&self, db: Db) -> u64 {
        self.sum(db, 0..self.shards(), |sizes| &sizes.keys)
    }

    fn len_in(&self, db: Db, shards: Range<u32>) -> u64 {
        let shards = shards.start as usize..shards.end as usize;
        self.sum(db, shards, |sizes| &sizes.keys)
    }

    fn bytes_in(&self, shards: Range<u32>) -> u64 {
        let shards = &self.shards[shards.start as usize..shards.end as usize];
        shards.iter().map(|shard| shard.bytes() as u64).sum()
    }

    fn expires_len(&self, db: Db) -> u64 {
        self.sum(db, 0..self.shards(), |sizes| &sizes.expires)
    }

    fn used_dbs(&self) -> Vec<Db> {
        (0..self.databases).filter(|&db| self.len(db) > 0).collect()
    }

    fn maintain(&self, shard: u32) -> bool {
        // Segments retired lately go back to the allocator even when nothing else happens.
        crossbeam_epoch::pin().flush();
        let shard = self.shard(shard);
        // A script may have the shard for long; there are others to look after.
        let Some(mut state) = shard.state.try_lock() else { return false };
        shard.publish_accesses(&state);
        state.sweep()
    }

    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>> {
        let all: Vec<u32> = (0..self.shard_count()).collect();
        self.snapshot_of(&all, at_cut)
    }

    fn snapshot_of(
        self: Arc<Self>,
        shards: &[u32],
        at_cut: &mut dyn FnMut(),
    ) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(MemorySnapshot::cut(self, shards, at_cut)?))
    }

    fn set_busy(&self, busy: bool) {
        self.busy.tell(busy);
    }

    fn when_waiting(&self, ask: HeldUp) {
        self.busy.ask(ask);
    }

    fn can_sample(&self) -> bool {
        true
    }

    fn set_frequency(&self, log_factor: u32, decay_min: u32) {
        self.frequency.set(log_factor, decay_min);
    }

    fn can_extend(&self) -> bool {
        true
    }

    fn set_encoding_limits(&self, limits: &EncodingLimits) {
        // Shards take them over when they are next locked: the caller may hold some now.
        *self.limits.lock() = limits.clone();
        self.limits_version.fetch_add(1, Ordering::Relaxed);
    }

    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()> {
        self.load_at(self.hash_key(key), (db, key), expiry_ms, object)
    }

    fn lazily_freed(&self) -> LazilyFreed {
        self.freed.counts()
    }

    fn stats(&self) -> BackendStats {
        let memory_bytes: usize = self.shards.iter().map(Shard::bytes).sum();
        // A shard in use is left out: the caller itself may be using it.
        let free = self.shards.iter().filter_map(|shard| shard.state.try_lock());
        let garbage: usize = free.map(|state| state.common.garbage.len()).sum();
        BackendStats {
            memory_bytes: memory_bytes as u64,
            disk_bytes: 0,
            details: vec![
                ("shards", self.shards.len().to_string()),
                ("values_being_dropped", garbage.to_string()),
            ],
        }
    }
}
