//! [`Backend`]: the interface of every storage.

use crate::journal::Position;
use crate::load::ShardLoad;
use crate::tx::{Db, Tx};
use crate::{Result, rdb};
use smallvec::SmallVec;
use std::ops::Range;
use std::sync::Arc;

/// The number of slots of a cluster, each of which has a part of the keys.
pub const SLOTS: u16 = 16_384;

/// The shards that a transaction locks. They are locked in ascending order, so transactions that
/// declare their shards beforehand cannot deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks<'a> {
    /// No shard: the body may use only what needs none.
    None,
    /// One shard, the usual case.
    One(u32),
    /// Several shards: ascending and distinct.
    Many(&'a [u32]),
    /// Every shard.
    All,
}

impl Locks<'_> {
    /// Whether `test` holds for any of the shards, of which there are `count`.
    pub fn any(self, count: u32, mut test: impl FnMut(u32) -> bool) -> bool {
        match self {
            Locks::None => false,
            Locks::One(shard) => test(shard),
            Locks::Many(shards) => shards.iter().any(|&shard| test(shard)),
            Locks::All => (0..count).any(test),
        }
    }
}

/// Collects shard numbers and presents them as [`Locks`].
#[derive(Clone, Debug, Default)]
pub struct ShardSet {
    shards: SmallVec<[u32; 16]>,
    all: bool,
}

impl ShardSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one shard.
    pub fn add(&mut self, shard: u32) {
        if let Err(at) = self.shards.binary_search(&shard) {
            self.shards.insert(at, shard);
        }
    }

    /// Adds every shard.
    pub fn add_all(&mut self) {
        self.all = true;
    }

    /// Adds the shards that `locks` locks.
    pub fn add_locks(&mut self, locks: Locks<'_>) {
        match locks {
            Locks::None => {}
            Locks::One(shard) => self.add(shard),
            Locks::Many(many) => many.iter().for_each(|&shard| self.add(shard)),
            Locks::All => self.add_all(),
        }
    }

    /// Whether a shard is in the set.
    pub fn contains(&self, shard: u32) -> bool {
        self.all || self.shards.binary_search(&shard).is_ok()
    }

    /// The set as an argument of [`Backend::transact`].
    pub fn locks(&self) -> Locks<'_> {
        match (self.all, &self.shards[..]) {
            (true, _) => Locks::All,
            (false, []) => Locks::None,
            (false, [one]) => Locks::One(*one),
            (false, many) => Locks::Many(many),
        }
    }
}

/// Sizes and counters of a backend, for `INFO`, `MEMORY STATS` and metrics.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BackendStats {
    /// Bytes of memory held for data, as far as the backend counts them.
    pub memory_bytes: u64,
    /// Bytes on disk, zero for memory.
    pub disk_bytes: u64,
    /// Figures of this backend, shown as they are: names and values.
    pub details: Vec<(&'static str, String)>,
}

/// Thresholds above which small collections are no longer stored compactly: Redis's
/// `*-max-listpack-*` directives. A backend without compact encodings ignores them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodingLimits {
    /// `hash-max-listpack-entries`.
    pub hash_entries: usize,
    /// `hash-max-listpack-value`, bytes.
    pub hash_value: usize,
    /// `set-max-intset-entries`.
    pub set_intset_entries: usize,
    /// `set-max-listpack-entries`.
    pub set_entries: usize,
    /// `set-max-listpack-value`, bytes.
    pub set_value: usize,
    /// `zset-max-listpack-entries`.
    pub zset_entries: usize,
    /// `zset-max-listpack-value`, bytes.
    pub zset_value: usize,
    /// `list-max-listpack-size`: entries when positive, size class −1…−5 when negative.
    pub list_size: i64,
    /// `stream-node-max-entries`; 0 for no limit.
    pub stream_node_entries: usize,
    /// `stream-node-max-bytes`; 0 for no limit.
    pub stream_node_bytes: usize,
}

impl Default for EncodingLimits {
    fn default() -> Self {
        EncodingLimits {
            hash_entries: 128,
            hash_value: 64,
            set_intset_entries: 512,
            set_entries: 128,
            set_value: 64,
            zset_entries: 128,
            zset_value: 64,
            list_size: -2,
            stream_node_entries: 100,
            stream_node_bytes: 4096,
        }
    }
}

/// Receives the entries of a snapshot, see [`Snapshot::write`].
pub trait SnapshotSink: Send {
    /// Receives one key. The value is an RDB type byte followed by the RDB encoding, without
    /// footer.
    ///
    /// # Errors
    /// An error ends the snapshot.
    fn entry(&mut self, db: Db, key: &[u8], expiry_ms: Option<u64>, value: &[u8]) -> Result<()>;
}

/// Whether a script holds locks for too long; `None` if that can no longer be known. See
/// [`Backend::when_waiting`].
pub type HeldUp = Box<dyn Fn() -> Option<bool> + Send + Sync>;

/// A store of keys, split into shards that are locked independently.
pub trait Backend: Send + Sync {
    /// The name in the configuration: `memory`, `sled`, `fjall`.
    fn name(&self) -> &'static str;

    /// The number of shards: a power of two, which never changes while running.
    fn shard_count(&self) -> u32;

    /// The hash of a key. It is seeded per process, so that clients cannot choose keys that
    /// collide. It determines the shard and the place within it, and is the same in every database.
    fn hash(&self, key: &[u8]) -> u64;

    /// The shard of a hash.
    fn shard_of(&self, hash: u64) -> u32;

    /// The shard in which a cursor of [`Tx::scan`] continues.
    fn shard_of_cursor(&self, cursor: u64) -> u32;

    /// The shards that hold the keys of these slots of a cluster, and no others; `None` if there are
    /// none such. A backend that does not place keys by their slots knows the shards of all slots.
    fn shards_of_slots(&self, slots: Range<u16>) -> Option<Range<u32>> {
        (slots == (0..SLOTS)).then(|| 0..self.shard_count())
    }

    /// The first slot whose keys a shard holds.
    fn slot_of_shard(&self, _shard: u32) -> u16 {
        0
    }

    /// A hint that keys with these hashes are about to be used, so that their memory can be
    /// prefetched. It is cheap, takes locks only for moments, and changes nothing.
    fn prefetch(&self, _db: Db, _hashes: &[u64]) {}

    /// Locks `locks`, runs `body` once, and unlocks. Keys are expired as of `now_ms` (Unix
    /// milliseconds). All changes become visible at once. Not reentrant.
    ///
    /// # Errors
    /// Fails if the changes could not be made (a disk backend that cannot write); none of them is
    /// visible then.
    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()>;

    /// The number of keys in a database, including expired ones that were not deleted yet.
    /// O(shards). May lock each shard for a moment, so use [`Tx::counts`] inside a transaction.
    fn len(&self, db: Db) -> u64;

    /// The number of keys of a database in some shards. Only a backend that places keys by their
    /// slots is asked for less than all.
    fn len_in(&self, db: Db, _shards: Range<u32>) -> u64 {
        self.len(db)
    }

    /// Bytes of memory held for the data of some shards, as far as the backend counts them.
    fn bytes_in(&self, _shards: Range<u32>) -> u64 {
        0
    }

    /// The number of keys with an expiry in a database. O(shards). Like [`Backend::len`], not to be
    /// called inside a transaction.
    fn expires_len(&self, db: Db) -> u64;

    /// The databases with at least one key, in ascending order. Like [`Backend::len`], not to be
    /// called inside a transaction.
    fn used_dbs(&self) -> Vec<Db>;

    /// Does a bounded slice of background work on one shard (table migration, freeing of deleted
    /// collections). Returns true if more is left there.
    fn maintain(&self, _shard: u32) -> bool {
        false
    }

    /// Begins a point-in-time snapshot, and returns an object that writes it. The snapshot captures
    /// the state at the moment when `at_cut` is called. Every shard is locked during that call (so
    /// that a journal can be switched at exactly that point), and only during that call.
    ///
    /// # Errors
    /// Fails if a snapshot is already running, or the backend fails.
    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>>;

    /// Like [`Backend::snapshot`], of some shards only, which are ascending and distinct: the others
    /// are not locked. Snapshots of different shards may be written at the same time.
    ///
    /// # Errors
    /// Fails like [`Backend::snapshot`], or if the backend has only snapshots of all shards.
    fn snapshot_of(
        self: Arc<Self>,
        shards: &[u32],
        at_cut: &mut dyn FnMut(),
    ) -> Result<Box<dyn Snapshot>> {
        match shards.len() == self.shard_count() as usize {
            true => self.snapshot(at_cut),
            false => Err(crate::Error::backend("no snapshot can be taken of some shards")),
        }
    }

    /// Makes everything from transactions before the call survive a power failure, if the backend
    /// is persistent. A backend in memory does nothing.
    ///
    /// # Errors
    /// Fails if syncing failed; then nothing may be assumed to be durable.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Whether the data survive a restart without a journal.
    fn persistent(&self) -> bool {
        false
    }

    /// Stores a small mark durably together with the data (the journal position that a checkpoint
    /// covers). Only persistent backends store it.
    fn set_checkpoint(&self, _mark: &[u8]) -> Result<()> {
        Ok(())
    }

    /// Returns the mark that [`Backend::set_checkpoint`] stored last.
    fn checkpoint(&self) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    /// The highest position in `stream` that [`Tx::set_last`] stored for any shard and that is in the
    /// store now. Only meaningful for persistent backends. Not to be called inside a transaction.
    fn last(&self, stream: u16) -> Position {
        Position { stream, seq: 0 }
    }

    /// Whether one of these locks is held at this moment. This is a hint to tell transactions that
    /// will wait from others. A backend that does not know returns false.
    fn is_contended(&self, _locks: Locks<'_>) -> bool {
        false
    }

    /// How much a shard is used. Takes no lock; accesses may be those of the last call of
    /// [`Backend::maintain`] for it.
    fn shard_load(&self, _shard: u32) -> ShardLoad {
        ShardLoad::default()
    }

    /// Reports whether a script is running that may hold its shards for long. While it does,
    /// [`Backend::transact`] need not wait for a lock indefinitely: it may fail with
    /// [`crate::Error::Busy`].
    fn set_busy(&self, _busy: bool) {}

    /// Registers a function that a transaction calls after it has waited for a lock for a while. It
    /// returns whether a script holds its locks too long without having been able to report that.
    /// If so, [`Backend::transact`] may fail as after [`Backend::set_busy`].
    fn when_waiting(&self, _ask: HeldUp) {}

    /// Whether [`Tx::extend`] is able to lock anything.
    fn can_extend(&self) -> bool {
        false
    }

    /// Whether [`Tx::sample`] finds keys, so that keys can be evicted.
    fn can_sample(&self) -> bool {
        false
    }

    /// Sets how access counters change: the higher `log_factor`, the slower they grow; after
    /// `decay_min` minutes without an access they lose one, never if it is 0.
    fn set_frequency(&self, _log_factor: u32, _decay_min: u32) {}

    /// Whether the next call is likely to wait for a disk longer than it takes to give the thread's other work
    /// to another thread, some tens of microseconds. The answer costs about a nanosecond and changes with what
    /// the last calls took.
    fn may_block(&self) -> bool {
        false
    }

    /// Sets new thresholds, which apply to collections when they are next changed.
    fn set_encoding_limits(&self, _limits: &EncodingLimits) {}

    /// Adds a value that was decoded from an RDB file, for loading and `RESTORE`. Replaces an
    /// existing value.
    ///
    /// # Errors
    /// Fails like [`Backend::transact`].
    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()>;

    /// Counts of values and keys whose memory is freed after the request that removed them.
    fn lazily_freed(&self) -> LazilyFreed {
        LazilyFreed::default()
    }

    /// Sizes and counters.
    fn stats(&self) -> BackendStats;
}

/// Counts of objects that are freed after the request that removed them: collections of many
/// elements, and keys of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LazilyFreed {
    /// Objects that are still to be freed.
    pub pending: u64,
    /// Objects freed since the start.
    pub freed: u64,
}

/// A snapshot in progress. Dropping it abandons it.
pub trait Snapshot: Send {
    /// Passes every key of the captured state to `sink`, shard by shard, while writes go on.
    ///
    /// # Errors
    /// Fails with the error of the sink or the backend.
    fn write(self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()>;
}
