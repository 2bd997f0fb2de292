//! [`OrderedBackend`]: shards, versions, counts, and the writing of batches. `backend_impl`
//! implements [`storage::Backend`] for it.

use super::copying::CopyOnWrite;
use super::garbage::Cleaner;
use super::hashing::Seed;
use super::kept::Kept;
use super::keys;
use super::kv::{Batch, OrderedKv};
use super::ranks::Node;
use super::small::Small;
use super::waits::Waits;
use parking_lot::{Mutex, MutexGuard, RwLock};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use storage::busy::Busy;
use storage::journal::Positions;
use storage::load::Load;
use storage::{Db, EncodingLimits, Error, Locks, Result};

/// The number of versions that are reserved on disk at a time.
const VERSIONS_RESERVED: u64 = 1 << 20;
/// The time that a transaction waits for a shard before it lets go of those it has and starts
/// again.
const PATIENCE: Duration = Duration::from_millis(20);
/// Bytes of sorted sets' nodes that are kept in memory at most, and as many of small sorted sets.
pub(super) const KEPT_BYTES_MAX: usize = 8 << 20;
/// Entries of a shard's table of recent accesses.
const RECENT_ENTRIES: usize = 256;

/// Every data type over an ordered engine.
pub struct OrderedBackend {
    pub(super) kv: Box<dyn OrderedKv>,
    pub(super) seed: Seed,
    /// `64 − log2(shards)`: a hash shifted right by this is its shard (64: one shard).
    pub(super) shard_shift: u32,
    pub(super) shards: Vec<Mutex<Shard>>,
    pub(super) counts: Vec<ShardCounts>,
    /// How much each shard is used.
    pub(super) loads: Vec<Load>,
    /// The physical database of each logical one; changes only while all shards are locked.
    pub(super) physical: Vec<AtomicU32>,
    pub(super) next_physical: AtomicU32,
    pub(super) versions: Versions,
    pub(super) limits: RwLock<EncodingLimits>,
    pub(super) cleaner: Mutex<Cleaner>,
    /// Whether garbage may be waiting.
    pub(super) garbage: AtomicBool,
    /// Records that the cleaner has deleted since the start.
    pub(super) cleaned: AtomicU64,
    /// The copies for a snapshot under way; set and cleared while all shards are locked.
    pub(super) copying: RwLock<Option<Arc<CopyOnWrite>>>,
    pub(super) snapshotting: AtomicBool,
    /// A script runs that may hold its shards for long.
    pub(super) busy: Busy,
    pub(super) waits: Waits,
    /// The number of crashes before this start, about: what an earlier session has in memory only is lost.
    pub(super) session: u32,
    /// Nodes of sorted sets' trees.
    pub(super) nodes: Kept<Node>,
    /// Sorted sets without a tree.
    pub(super) small: Kept<Arc<Small>>,
}

/// The state that a shard's lock guards beside its keys. The times of recent accesses: a read does not
/// write to disk, so this is all that `OBJECT IDLETIME` knows. And where what expires begins.
pub(super) struct Shard {
    recent: Vec<(u64, u64)>,
    /// Nothing in the expiry index is due before this time: an engine that keeps tombstones would
    /// walk over everything that ever expired.
    pub(super) due_from_ms: u64,
    /// The journal's positions that the shard's records are of.
    pub(super) last: Positions,
}

impl Shard {
    pub(super) fn new(last: Positions) -> Self {
        Shard { recent: vec![(0, 0); RECENT_ENTRIES], due_from_ms: 0, last }
    }

    fn slot(&mut self, hash: u64) -> &mut (u64, u64) {
        &mut self.recent[hash as usize % RECENT_ENTRIES]
    }

    pub(super) fn touch(&mut self, hash: u64, now_ms: u64) {
        *self.slot(hash) = (hash, now_ms);
    }

    /// The time of the last access to the key, as far as remembered.
    pub(super) fn touched(&mut self, hash: u64) -> Option<u64> {
        let (of, at_ms) = *self.slot(hash);
        (of == hash && at_ms != 0).then_some(at_ms)
    }
}

/// Keys, and keys with expiry, of one shard by logical database. Written under the shard's lock,
/// read without.
pub(super) struct ShardCounts {
    pub(super) keys: Vec<AtomicU64>,
    pub(super) expires: Vec<AtomicU64>,
}

impl ShardCounts {
    pub(super) fn new(databases: usize) -> Self {
        let zeros = || (0..databases).map(|_| AtomicU64::new(0)).collect();
        ShardCounts { keys: zeros(), expires: zeros() }
    }
}

/// Hands out version numbers, never one twice, restarts and crashes included: a mark ahead of all
/// handed out is stored before any above the last mark is.
pub(super) struct Versions {
    next: AtomicU64,
    reserved: Mutex<u64>,
    reserved_hint: AtomicU64,
}

impl Versions {
    /// Goes on from the stored mark.
    pub(super) fn from_mark(mark: u64) -> Self {
        Versions {
            next: AtomicU64::new(mark),
            reserved: Mutex::new(mark),
            reserved_hint: AtomicU64::new(mark),
        }
    }

    fn next(&self, kv: &dyn OrderedKv) -> Result<u64> {
        let version = self.next.fetch_add(1, Ordering::Relaxed);
        if version < self.reserved_hint.load(Ordering::Acquire) {
            return Ok(version);
        }
        let mut reserved = self.reserved.lock();
        if version >= *reserved {
            let mark = version + VERSIONS_RESERVED;
            let mut batch = Batch::default();
            batch.put(keys::SYSTEM, keys::VERSIONS.to_vec(), mark.to_be_bytes().to_vec());
            kv.write(batch)?;
            *reserved = mark;
            self.reserved_hint.store(mark, Ordering::Release);
        }
        Ok(version)
    }

    /// The lowest version not handed out yet.
    pub(super) fn upcoming(&self) -> u64 {
        self.next.load(Ordering::Relaxed)
    }
}

/// The locked shards of a transaction.
pub(super) type Guards<'b> = SmallVec<[(u32, MutexGuard<'b, Shard>); 2]>;

/// Changes of the counters: (shard, db) → (keys, keys with expiry).
pub(super) type Deltas = SmallVec<[((u32, Db), (i64, i64)); 2]>;

impl OrderedBackend {
    /// A version number never used before.
    pub(super) fn new_version(&self) -> Result<u64> {
        self.versions.next(&*self.kv)
    }

    /// The engine, for layers that keep records of their own beside the data.
    pub fn engine(&self) -> &dyn OrderedKv {
        &*self.kv
    }

    /// Locks shards, however long that takes.
    pub(super) fn lock(&self, locks: Locks<'_>) -> Guards<'_> {
        loop {
            if let Some(guards) = self.try_lock(locks) {
                return guards;
            }
        }
    }

    /// Locks shards. Returns `None` if one could not be locked for a while, for example because a
    /// script holds it, so that the others are not kept from other transactions meanwhile.
    pub(super) fn try_lock(&self, locks: Locks<'_>) -> Option<Guards<'_>> {
        let one = |shard: u32| Some((shard, self.lock_one(shard)?));
        match locks {
            Locks::None => Some(SmallVec::new()),
            Locks::One(shard) => Some(SmallVec::from_iter([one(shard)?])),
            Locks::Many(shards) => shards.iter().map(|&shard| one(shard)).collect(),
            Locks::All => (0..self.shards.len() as u32).map(one).collect(),
        }
    }

    fn lock_one(&self, number: u32) -> Option<MutexGuard<'_, Shard>> {
        let (shard, load) = (&self.shards[number as usize], &self.loads[number as usize]);
        shard.try_lock().or_else(|| load.waiting(|| shard.try_lock_for(PATIENCE)))
    }

    /// Writes a batch while its shards are locked. For a running snapshot, first saves the records
    /// that the batch is about to change.
    pub(super) fn write(&self, batch: Batch) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let garbage = !batch.space(keys::GARBAGE).is_empty();
        if let Some(copying) = self.copying.read().as_ref() {
            copying.save(&*self.kv, &batch)?;
        }
        self.kv.write(batch)?;
        if garbage {
            self.garbage.store(true, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn apply_counts(&self, deltas: &Deltas) {
        for &((shard, db), (keys, expires)) in deltas {
            let counts = &self.counts[shard as usize];
            counts.keys[db as usize].fetch_add(keys as u64, Ordering::Relaxed);
            counts.expires[db as usize].fetch_add(expires as u64, Ordering::Relaxed);
        }
    }

    pub(super) fn sum(&self, db: Db, of: impl Fn(&ShardCounts) -> &Vec<AtomicU64>) -> u64 {
        let counts = self.counts.iter().filter_map(|shard| of(shard).get(db as usize));
        counts.map(|count| count.load(Ordering::Relaxed)).sum()
    }
}

/// The error for a database beyond the configured ones.
pub(super) fn no_such_db(db: Db) -> Error {
    Error::backend(format_args!("database {db} is not configured"))
}
