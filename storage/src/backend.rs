//! [`Backend`]: what every storage offers, whatever it is made of.

use crate::journal::Position;
use crate::tx::{Db, Tx};
use crate::{Result, rdb};
use smallvec::SmallVec;
use std::sync::Arc;

/// Which shards a transaction locks. Shards are locked in ascending order, so any two
/// transactions that declare their shards up front cannot deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks<'a> {
    /// No shard: the body may only use what needs none.
    None,
    /// One shard: the common case.
    One(u32),
    /// Several: ascending, without duplicates.
    Many(&'a [u32]),
    /// Every shard.
    All,
}

impl Locks<'_> {
    /// Whether any of the shards, of `count` there are, is such that `test` says so.
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

    /// Adds what is locked by `locks`.
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
    /// Backend-specific figures, printed as they are: name and value.
    pub details: Vec<(&'static str, String)>,
}

/// Thresholds at which small collections stop being compact; Redis's `*-max-listpack-*`
/// directives. A backend without compact encodings ignores them.
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

/// Takes the entries of a snapshot; what [`Backend::snapshot`] feeds.
pub trait SnapshotSink: Send {
    /// One key: its value as an RDB type byte followed by the value's RDB encoding, without footer.
    ///
    /// # Errors
    /// An error ends the snapshot.
    fn entry(&mut self, db: Db, key: &[u8], expiry_ms: Option<u64>, value: &[u8]) -> Result<()>;
}

/// Whether somebody holds locks for too long, `None` when that will never be known again; see
/// [`Backend::when_waiting`].
pub type HeldUp = Box<dyn Fn() -> Option<bool> + Send + Sync>;

/// A store of keys, split into shards that are locked independently.
pub trait Backend: Send + Sync {
    /// The name used on the command line: `memory`, `sled`, `fjall`.
    fn name(&self) -> &'static str;

    /// How many shards there are; a power of two, fixed while running.
    fn shard_count(&self) -> u32;

    /// The hash of a key, seeded per process so that hostile keys cannot aim at a bucket. It
    /// decides the shard and the place within it, and is the same in every database.
    fn hash(&self, key: &[u8]) -> u64;

    /// The shard a hash belongs to.
    fn shard_of(&self, hash: u64) -> u32;

    /// The shard that a cursor of [`Tx::scan`] continues in.
    fn shard_of_cursor(&self, cursor: u64) -> u32;

    /// A hint that keys with these hashes are about to be used, so that their memory can be on its
    /// way. Cheap, takes locks only for moments, and changes nothing.
    fn prefetch(&self, _db: Db, _hashes: &[u64]) {}

    /// Locks `locks`, runs `body` once, unlocks. `now_ms` (Unix milliseconds) decides what has
    /// expired. Everything the body changed becomes visible at once. Not reentrant.
    ///
    /// # Errors
    /// When the changes could not be made (a disk backend failing to write): none of them is then
    /// visible.
    fn transact(
        &self,
        locks: Locks<'_>,
        now_ms: u64,
        body: &mut dyn FnMut(&mut dyn Tx),
    ) -> Result<()>;

    /// Number of keys in a database, expired ones that were not yet met included. O(shards). May
    /// lock each shard for a moment: inside a transaction ask [`Tx::counts`] instead.
    fn len(&self, db: Db) -> u64;

    /// Number of keys with an expiry in a database. O(shards). As [`Backend::len`], not to be
    /// called inside a transaction.
    fn expires_len(&self, db: Db) -> u64;

    /// Databases that hold at least one key, ascending. As [`Backend::len`], not to be called
    /// inside a transaction.
    fn used_dbs(&self) -> Vec<Db>;

    /// Does a bounded slice of background work on one shard (table migration, lazy cleaning of
    /// deleted collections); true when more is waiting there.
    fn maintain(&self, _shard: u32) -> bool {
        false
    }

    /// Begins a point-in-time snapshot and returns what will write it. The state it captures is
    /// that of the moment `at_cut` runs: every shard is locked while `at_cut` is called (so that a
    /// journal can be switched at exactly that point), and only for that long.
    ///
    /// # Errors
    /// When a snapshot is already running, or the backend fails.
    fn snapshot(self: Arc<Self>, at_cut: &mut dyn FnMut()) -> Result<Box<dyn Snapshot>>;

    /// Makes everything that was transacted before the call survive power loss, where the backend
    /// itself is persistent. Memory does nothing.
    ///
    /// # Errors
    /// When syncing failed; nothing may then be assumed durable.
    fn flush(&self) -> Result<()> {
        Ok(())
    }

    /// Whether data survives a restart without a journal.
    fn persistent(&self) -> bool {
        false
    }

    /// Stores small facts about the backend durably with the data itself (the journal position
    /// covered by a checkpoint). Only meaningful for persistent backends.
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

    /// Whether somebody holds one of these locks at this moment: a hint, for telling transactions
    /// that will wait from those that will not. A backend that does not know says no.
    fn is_contended(&self, _locks: Locks<'_>) -> bool {
        false
    }

    /// Says whether a script runs that may hold its shards for long. While it does,
    /// [`Backend::transact`] need not wait for a lock for ever: it may answer
    /// [`crate::Error::Busy`] instead.
    fn set_busy(&self, _busy: bool) {}

    /// Says whom to ask, by who has waited for a lock for a while: whether a script holds its locks
    /// too long without having come to say so. If it does, that is as [`Backend::set_busy`].
    fn when_waiting(&self, _ask: HeldUp) {}

    /// Whether [`Tx::extend`] can lock anything.
    fn can_extend(&self) -> bool {
        false
    }

    /// Whether [`Tx::sample`] finds keys: whether anything can be evicted.
    fn can_sample(&self) -> bool {
        false
    }

    /// How access counters move: `log_factor` is how slowly they grow, `decay_min` the minutes
    /// without an access after which they lose one, 0 for never.
    fn set_frequency(&self, _log_factor: u32, _decay_min: u32) {}

    /// Whether calls may block on a disk for long.
    fn may_block(&self) -> bool {
        false
    }

    /// Applies new thresholds to collections as they are next changed.
    fn set_encoding_limits(&self, _limits: &EncodingLimits) {}

    /// Adds a value decoded from an RDB file, replacing what is there; for loading and `RESTORE`.
    ///
    /// # Errors
    /// As [`Backend::transact`].
    fn load(&self, db: Db, key: &[u8], expiry_ms: Option<u64>, object: rdb::Object) -> Result<()>;

    /// Values and keys whose memory is freed after the request that removed them.
    fn lazily_freed(&self) -> LazilyFreed {
        LazilyFreed::default()
    }

    /// Sizes and counters.
    fn stats(&self) -> BackendStats;
}

/// Counts of values that are freed after the request that removed them: collections of many elements, the keys of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LazilyFreed {
    /// Still to be freed.
    pub pending: u64,
    /// Freed since the start.
    pub freed: u64,
}

/// A snapshot under way. Dropping it abandons it.
pub trait Snapshot: Send {
    /// Feeds every key of the captured state to `sink`, shard by shard, while writes go on.
    ///
    /// # Errors
    /// The sink's, or the backend's.
    fn write(self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()>;
}
