//! [`Tx`]: typed access to the keys that a transaction has locked.

use crate::backend::Locks;
use crate::journal::Position;
use crate::stream::Stream;
use crate::types::{Hash, List, Set, SortedSet};
use crate::{Result, rdb};
use bytes::Bytes;
use std::ops::Range;

/// A database number, `0..16` by default.
pub type Db = u32;

/// A key with its hash, which is computed only once (by [`crate::Backend::hash`]).
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    /// The database.
    pub db: Db,
    /// The hash of `bytes`.
    pub hash: u64,
    /// The name.
    pub bytes: &'a [u8],
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `string`
    String,
    /// `list`
    List,
    /// `set`
    Set,
    /// `hash`
    Hash,
    /// `zset`
    SortedSet,
    /// `stream`
    Stream,
}

impl Kind {
    /// The name in the reply to `TYPE`.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::List => "list",
            Kind::Set => "set",
            Kind::Hash => "hash",
            Kind::SortedSet => "zset",
            Kind::Stream => "stream",
        }
    }
}

/// A string value as it is stored.
#[derive(Clone, Copy, Debug)]
pub enum Str<'a> {
    /// Bytes, to be copied.
    Bytes(&'a [u8]),
    /// A large value, which can be passed on without copying.
    Shared(&'a Bytes),
}

impl<'a> Str<'a> {
    /// The bytes of either variant.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Str::Bytes(bytes) => bytes,
            Str::Shared(bytes) => bytes,
        }
    }
}

/// How a transaction treats keys, and fields of hashes, that have expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// They are absent: they are deleted when found, and recorded in [`Tx::expired`].
    #[default]
    Delete,
    /// They are absent, but not deleted: a master decides when they are deleted, or nothing may
    /// change now. This is only for transactions that do not write, because a key that is still
    /// there cannot be created.
    Hide,
    /// They are present. A master, or a log, decides when they are deleted.
    Ignore,
}

/// The expiry of a key whose value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewExpiry {
    /// The expiry is removed.
    Clear,
    /// The expiry is kept.
    Keep,
    /// The expiry is set to this Unix time in milliseconds.
    At(u64),
}

/// The properties of a key that `OBJECT` and `MEMORY USAGE` report.
#[derive(Clone, Debug, PartialEq)]
pub struct KeyInfo {
    /// The type.
    pub kind: Kind,
    /// Redis's name of the encoding: `int`, `embstr`, `raw`, `listpack`, `hashtable`, `skiplist`, …
    pub encoding: &'static str,
    /// Milliseconds since the last access.
    pub idle_ms: u64,
    /// The logarithmic access counter, 0–255.
    pub freq: u8,
    /// The estimated number of bytes for key and value. Of large collections only `samples`
    /// elements may be counted.
    pub bytes: u64,
}

/// The properties of a key by which eviction chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Milliseconds since the last access.
    pub idle_ms: u64,
    /// The logarithmic access counter.
    pub freq: u8,
    /// The expiry in Unix milliseconds.
    pub expiry_ms: Option<u64>,
}

/// Whether a key exists, and whether it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There is no such key.
    Absent,
    /// The key has expired, and has not been deleted yet.
    Stale,
    /// The key exists. A hash counts as existing even if some of its fields have expired.
    Live,
}

impl Presence {
    /// Converts the expiry state of an existing key, or its absence. `true` means expired.
    #[inline]
    pub fn of(found: Option<bool>) -> Self {
        match found {
            None => Presence::Absent,
            Some(true) => Presence::Stale,
            Some(false) => Presence::Live,
        }
    }
}

/// Whether opening a collection may create it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// Only if it exists.
    Existing,
    /// If the key does not exist, create it empty. A collection that is left empty is removed when
    /// the transaction uses another key or ends, so no empty collection is visible; only streams
    /// may be empty.
    Create,
}

/// An expired key, or expired fields of a hash, that a transaction found and deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The key's database.
    pub db: Db,
    /// The key.
    pub key: Box<[u8]>,
    /// The fields that were deleted from a hash that still exists; empty if the whole key was
    /// deleted.
    pub fields: Vec<Box<[u8]>>,
}

impl Expired {
    /// A whole key.
    pub fn key(db: Db, key: &[u8]) -> Self {
        Expired { db, key: key.into(), fields: Vec::new() }
    }
}

/// The changes that are left of a transaction that a panic has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing: it has changed nothing, or its changes are undone.
    Nothing,
    /// The changes to the collections that it opened, if it made any.
    Perhaps,
    /// Some changes, which may be half of an operation.
    Something,
}

/// The locked keys.
///
/// Every operation except [`Tx::presence`] and [`Tx::scan`] first treats an expired key as
/// [`Expiry`] says: usually it is deleted, and recorded in [`Tx::expired`]. Reading a key marks it
/// as accessed, unless [`Tx::set_no_touch`] was called. Using a key outside the locked shards is a
/// programming error, which every backend refuses by a panic.
pub trait Tx {
    /// The time of this transaction, in Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// The keys and fields that this transaction found expired and deleted, in order. The caller
    /// takes them out, and logs and announces them: without a record of when a field was deleted, a
    /// log could not be replayed exactly.
    fn expired(&mut self) -> &mut Vec<Expired>;

    /// Whether [`Tx::expired`] may be non-empty. This is called after every command.
    fn met_expired(&self) -> bool;

    /// Sets how expired keys and fields are treated from now on. A transaction begins with
    /// [`Expiry::Delete`].
    fn set_expiry_mode(&mut self, mode: Expiry);

    /// If `no_touch`, accesses from now on leave idle times and counters alone (`CLIENT NO-TOUCH`).
    fn set_no_touch(&mut self, no_touch: bool);

    /// Records that, with this transaction, the locked shards contain the effects up to `position`
    /// of its stream. To be called after each append to the journal, before the transaction ends.
    /// The last call for a stream counts.
    ///
    /// A persistent backend stores the position for every shard that the transaction has locked, in
    /// the same atomic batch as the changes, so that a replay knows exactly which records its image
    /// lacks. Other backends remember it while they run.
    fn set_last(&mut self, position: Position);

    /// The highest position in `stream` recorded for any of the locked shards. A reply that shows
    /// their data depends on it. When a log is replayed, a record at or below this position is
    /// already contained in the image of a persistent backend and must not be applied again.
    fn last(&self, stream: u16) -> Position;

    /// Undoes all changes of this transaction so far, and continues it. Returns false if that is
    /// not possible; then nothing is undone.
    fn roll_back(&mut self) -> bool {
        false
    }

    /// Returns which changes would be left if the transaction were abandoned now. Called after a
    /// panic, while the shards are still locked.
    fn left_by_panic(&self) -> Left {
        Left::Something
    }

    /// Locks further shards in the middle of the transaction. The wait is bounded, because their
    /// holder may itself wait for one of this transaction's shards. Returns false if they could not
    /// be locked. Only for transactions that cannot know their shards beforehand.
    fn extend(&mut self, _locks: Locks<'_>) -> bool {
        false
    }

    // -- any key ---------------------------------------------------------------------------------

    /// The type of the value, `None` if the key does not exist. Does not count as an access.
    fn kind(&mut self, key: &Key<'_>) -> Result<Option<Kind>>;

    /// Whether the key exists, without deleting an expired one. Does not count as an access.
    fn presence(&mut self, key: &Key<'_>) -> Result<Presence>;

    /// Removes a key and its value, in bounded time: a large value is freed later.
    fn remove(&mut self, key: &Key<'_>) -> Result<bool>;

    /// The expiry: `None` if the key does not exist, `Some(None)` if it has none.
    fn expiry(&mut self, key: &Key<'_>) -> Result<Option<Option<u64>>>;

    /// Sets or (with `None`) removes the expiry, in Unix milliseconds. Returns false if the key
    /// does not exist.
    fn set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) -> Result<bool>;

    /// Moves value and expiry to another name or database, replacing the key there. Returns false
    /// if the source does not exist. In memory this takes time independent of the value's size.
    fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) -> Result<bool>;

    /// Returns the properties of a key, without counting as an access. `samples` is the highest
    /// number of elements that are counted for the size; 0 means all.
    fn info(&mut self, key: &Key<'_>, samples: usize) -> Result<Option<KeyInfo>>;

    /// Marks a key as accessed. Returns false if it does not exist.
    fn touch(&mut self, key: &Key<'_>) -> Result<bool>;

    /// Sets the access history (`RESTORE … IDLETIME`, `FREQ`): milliseconds since the last access,
    /// and the counter. `None` leaves a value unchanged. A backend that keeps neither does nothing.
    fn set_access(&mut self, _key: &Key<'_>, _idle_ms: Option<u64>, _freq: Option<u8>) {}

    /// Appends the value to `out` as an RDB type byte and encoding, without footer. Returns false
    /// if the key does not exist. Does not count as an access.
    fn dump(&mut self, key: &Key<'_>, out: &mut Vec<u8>) -> Result<bool>;

    /// Replaces the key by a decoded value.
    fn restore(&mut self, key: &Key<'_>, object: rdb::Object, expiry_ms: Option<u64>)
    -> Result<()>;

    // -- strings ---------------------------------------------------------------------------------

    /// The value, `None` if the key does not exist.
    fn string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>>;

    /// The length of the value in bytes, 0 if the key does not exist. Does not read the value.
    fn string_len(&mut self, key: &Key<'_>) -> Result<u64>;

    /// Replaces the value of the key, whatever its type.
    fn set_string(&mut self, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Result<()>;

    /// Appends to the value, creating the key if necessary. Returns the new length.
    fn append(&mut self, key: &Key<'_>, suffix: &[u8]) -> Result<u64>;

    /// Overwrites the value from `offset` on, filling a gap with zero bytes. Returns the new
    /// length. The caller must have checked the limit of the length.
    fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64>;

    /// Appends bytes `start..end` of the value (clamped to its length) to `out`.
    fn get_range(&mut self, key: &Key<'_>, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()>;

    // -- collections -----------------------------------------------------------------------------

    /// Opens a list. Returns `None` if it does not exist and `open` does not create it.
    fn list<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn List + 't>>>;

    /// Opens a set.
    fn set<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Set + 't>>>;

    /// Opens a hash.
    fn hash<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Hash + 't>>>;

    /// Opens a sorted set.
    fn sorted_set<'t>(
        &'t mut self,
        key: &Key<'t>,
        open: Open,
    ) -> Result<Option<Box<dyn SortedSet + 't>>>;

    /// Opens a stream. It may be empty: if `open` creates it, it remains.
    fn stream<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Stream + 't>>>;

    // -- whole shards and databases --------------------------------------------------------------

    /// Visits about `count` keys of `db` from `cursor` on, all in the shard that
    /// [`crate::Backend::shard_of_cursor`] names (which the caller has locked). Returns the next
    /// cursor, 0 at the end. Every key that exists during the whole of a full scan is visited at
    /// least once, even while tables grow and shrink. For an expired key no type is passed, and it
    /// is not deleted.
    fn scan(
        &mut self,
        db: Db,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Option<Kind>),
    ) -> Result<u64>;

    /// A random key of `db` that has not expired, chosen by `seed`. Needs every shard. Expired keys
    /// that are found on the way are deleted; if there are no others, all of them.
    fn random_key(&mut self, db: Db, seed: u64) -> Result<Option<Vec<u8>>>;

    /// Visits up to `count` keys of `db` in the locked `shard`, beginning at a place that `seed`
    /// determines; if `volatile`, only keys with an expiry. May find none although there are some,
    /// if they are rare. Does not count as an access.
    fn sample(
        &mut self,
        _shard: u32,
        _db: Db,
        _seed: u64,
        _count: usize,
        _volatile: bool,
        _visit: &mut dyn FnMut(&[u8], Sampled),
    ) {
    }

    /// The number of keys in `db`, and how many of them have an expiry, as this transaction sees
    /// them. Includes expired ones that were not deleted yet. Needs every shard.
    fn counts(&mut self, db: Db) -> Result<(u64, u64)>;

    /// Removes every key of `db`; the values are freed later in bounded slices. Needs every shard.
    /// Returns the number of removed keys.
    fn clear(&mut self, db: Db) -> Result<u64>;

    /// Like [`Tx::clear`], only in `shards`, all of which are locked.
    ///
    /// # Errors
    /// Fails as well if the backend can clear only all shards.
    fn clear_in(&mut self, _db: Db, _shards: Range<u32>) -> Result<u64> {
        Err(crate::Error::backend("some shards cannot be cleared"))
    }

    /// Exchanges the contents of two databases. Needs every shard.
    fn swap_dbs(&mut self, a: Db, b: Db) -> Result<()>;

    /// Deletes up to `limit` expired keys of `shard`, and records them in [`Tx::expired`]. Returns
    /// true if there are more.
    fn expire_due(&mut self, shard: u32, limit: usize) -> Result<bool>;
}
