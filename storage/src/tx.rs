//! [`Tx`]: typed access to the keys a transaction has locked.

use crate::backend::Locks;
use crate::journal::Position;
use crate::stream::Stream;
use crate::types::{Hash, List, Set, SortedSet};
use crate::{Result, rdb};
use bytes::Bytes;

/// A database number, `0..16` by default.
pub type Db = u32;

/// A key, with its hash computed once (by [`crate::Backend::hash`]) and carried along.
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
    /// The name `TYPE` answers.
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

/// A string value as it lies in storage.
#[derive(Clone, Copy, Debug)]
pub enum Str<'a> {
    /// Bytes to copy out.
    Bytes(&'a [u8]),
    /// A large value that can be handed on without copying.
    Shared(&'a Bytes),
}

impl<'a> Str<'a> {
    /// The bytes, wherever they are.
    #[inline]
    pub fn as_bytes(self) -> &'a [u8] {
        match self {
            Str::Bytes(bytes) => bytes,
            Str::Shared(bytes) => bytes,
        }
    }
}

/// How a transaction treats keys, and fields of hashes, whose time has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// They are absent: deleted, and noted in [`Tx::expired`].
    #[default]
    Delete,
    /// They are absent, and stay where they are: a master will say that they go, or nothing may
    /// change now. Only while nothing is written, for a key that is there cannot be made.
    Hide,
    /// They are there. A master, or a log, says when something goes.
    Ignore,
}

/// The expiry that a key gets when its value is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewExpiry {
    /// It goes.
    Clear,
    /// It stays.
    Keep,
    /// It becomes this Unix time in milliseconds.
    At(u64),
}

/// The facts about a key that `OBJECT` and `MEMORY USAGE` report.
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
    /// Bytes held for key and value, estimated; large collections may be sampled with `samples`.
    pub bytes: u64,
}

/// The facts by which eviction judges a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampled {
    /// Milliseconds since the last access.
    pub idle_ms: u64,
    /// The logarithmic access counter.
    pub freq: u8,
    /// The expiry, Unix milliseconds.
    pub expiry_ms: Option<u64>,
}

/// Says whether a key exists, and whether it has expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Nothing.
    Absent,
    /// A key whose time has passed, which nobody has met yet.
    Stale,
    /// A key. A hash counts as one although the time of its fields may have passed.
    Live,
}

impl Presence {
    /// Of a key that is there, whether its time has passed.
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
    /// Create it empty when the key does not exist. A collection left empty is removed when the
    /// transaction turns to another key or ends, so nothing observes an empty collection; streams
    /// alone may be empty.
    Create,
}

/// Something whose time had passed when it was looked at, and that was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expired {
    /// The key's database.
    pub db: Db,
    /// The key.
    pub key: Box<[u8]>,
    /// The fields that went from a hash that lives on; empty when the whole key went.
    pub fields: Vec<Box<[u8]>>,
}

impl Expired {
    /// A whole key.
    pub fn key(db: Db, key: &[u8]) -> Self {
        Expired { db, key: key.into(), fields: Vec::new() }
    }
}

/// The effect of a transaction that is abandoned in its middle, by a panic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Left {
    /// Nothing: it has changed nothing, or its changes go with it.
    Nothing,
    /// The changes to the collections that it opened, if there were any.
    Perhaps,
    /// Something, which may be half of an operation.
    Something,
}

/// The locked keys.
///
/// Every operation but [`Tx::presence`] and [`Tx::scan`] first treats a key whose expiry has passed
/// as its [`Expiry`] says: usually it is deleted, and noted in [`Tx::expired`]. Reading marks the key as accessed unless [`Tx::set_no_touch`] was called.
/// Using a key outside the locked shards is a programming error and panics in debug builds.
pub trait Tx {
    /// The time this transaction runs at, Unix milliseconds.
    fn now_ms(&self) -> u64;

    /// Returns the keys that this transaction found expired and deleted, in order. The caller takes them, logs and
    /// announces it: a log that does not say when a field went cannot be replayed exactly.
    fn expired(&mut self) -> &mut Vec<Expired>;

    /// Whether [`Tx::expired`] may hold anything: asked after every command.
    fn met_expired(&self) -> bool;

    /// Sets how expired keys and fields are treated from here on; a transaction begins with
    /// [`Expiry::Delete`].
    fn set_expiry_mode(&mut self, mode: Expiry);

    /// When true, accesses from here on leave idle times and counters alone (`CLIENT NO-TOUCH`).
    fn set_no_touch(&mut self, no_touch: bool);

    /// Notes that with this transaction the locked shards hold the effects up to `position` of its
    /// stream. To be called after each append to the journal, before the transaction ends; the last
    /// call for a stream counts.
    ///
    /// A persistent backend stores the position for every shard the transaction has locked, in the
    /// same atomic batch as the changes, so that a replay can tell exactly which records its image
    /// lacks. Others remember it while they run.
    fn set_last(&mut self, position: Position);

    /// The highest position in `stream` noted for any of the locked shards: what whoever has seen
    /// their data depends on. While a log is replayed, a record at or below it is in a persistent
    /// backend's image already and must not be applied again.
    fn last(&self, stream: u16) -> Position;

    /// Takes back all that this transaction has changed, and goes on; false when that cannot be done,
    /// and nothing was.
    fn roll_back(&mut self) -> bool {
        false
    }

    /// Returns what would stay if the transaction were abandoned now. For whoever catches it: shards are still
    /// locked.
    fn left_by_panic(&self) -> Left {
        Left::Something
    }

    /// Locks further shards in the middle of the transaction, waiting for a bounded time: whoever
    /// has them may wait for one of this transaction's. False when they could not be had. Only for
    /// what cannot know its shards beforehand.
    fn extend(&mut self, _locks: Locks<'_>) -> bool {
        false
    }

    // -- any key ---------------------------------------------------------------------------------

    /// The type of the value, `None` when there is no such key. Does not count as an access.
    fn kind(&mut self, key: &Key<'_>) -> Result<Option<Kind>>;

    /// Returns whether the key exists, without deleting one whose expiry has passed. Does not count as an access.
    fn presence(&mut self, key: &Key<'_>) -> Result<Presence>;

    /// Removes a key and all it holds, in bounded time: what is large is cleaned up later.
    fn remove(&mut self, key: &Key<'_>) -> Result<bool>;

    /// The expiry: `None` without the key, `Some(None)` for one that lives on.
    fn expiry(&mut self, key: &Key<'_>) -> Result<Option<Option<u64>>>;

    /// Sets or (with `None`) clears the expiry, Unix milliseconds; false without the key.
    fn set_expiry(&mut self, key: &Key<'_>, at_ms: Option<u64>) -> Result<bool>;

    /// Moves value and expiry to another name or database, replacing what is there; false without
    /// the source. O(1) in the size of the value on memory.
    fn rename(&mut self, from: &Key<'_>, to: &Key<'_>) -> Result<bool>;

    /// Returns the facts about a key, without counting as an access. `samples` bounds how many elements
    /// are looked at for the size; 0 means all.
    fn info(&mut self, key: &Key<'_>, samples: usize) -> Result<Option<KeyInfo>>;

    /// Marks as accessed; false without the key.
    fn touch(&mut self, key: &Key<'_>) -> Result<bool>;

    /// Sets what is known of accesses (`RESTORE … IDLETIME`, `FREQ`): milliseconds since the last
    /// one, and the counter; `None` leaves it. A backend that keeps neither does nothing.
    fn set_access(&mut self, _key: &Key<'_>, _idle_ms: Option<u64>, _freq: Option<u8>) {}

    /// Appends the value to `out` as an RDB type byte and encoding, without footer; false without
    /// the key. Does not count as an access.
    fn dump(&mut self, key: &Key<'_>, out: &mut Vec<u8>) -> Result<bool>;

    /// Replaces the key with a decoded value.
    fn restore(&mut self, key: &Key<'_>, object: rdb::Object, expiry_ms: Option<u64>)
    -> Result<()>;

    // -- strings ---------------------------------------------------------------------------------

    /// The value, `None` without the key.
    fn string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>>;

    /// The value's length in bytes, 0 without the key, without reading the value.
    fn string_len(&mut self, key: &Key<'_>) -> Result<u64>;

    /// Replaces whatever the key held, of any type.
    fn set_string(&mut self, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Result<()>;

    /// Appends, creating the key when needed; the new length.
    fn append(&mut self, key: &Key<'_>, suffix: &[u8]) -> Result<u64>;

    /// Overwrites from `offset` on, padding a gap with zero bytes; the new length. The caller has
    /// checked the length limit.
    fn set_range(&mut self, key: &Key<'_>, offset: u64, bytes: &[u8]) -> Result<u64>;

    /// Bytes `start..end` (clamped to the value) appended to `out`.
    fn get_range(&mut self, key: &Key<'_>, start: u64, end: u64, out: &mut Vec<u8>) -> Result<()>;

    // -- collections -----------------------------------------------------------------------------

    /// Opens a list; `None` when it does not exist and `open` does not create it.
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

    /// Opens a stream. It may be empty: what `open` creates stays.
    fn stream<'t>(&'t mut self, key: &Key<'t>, open: Open) -> Result<Option<Box<dyn Stream + 't>>>;

    // -- whole shards and databases --------------------------------------------------------------

    /// Visits about `count` keys of `db` from `cursor` on, all in the shard
    /// [`crate::Backend::shard_of_cursor`] names (locked by the caller), and returns the next cursor, 0 at the
    /// end. Every key present from start to end of a full scan is visited at least once, while
    /// tables grow and shrink. Of a key whose expiry has passed no kind is told; it stays.
    fn scan(
        &mut self,
        db: Db,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], Option<Kind>),
    ) -> Result<u64>;

    /// A random live key of `db`, chosen by `seed`. Needs every shard. Expired keys that are met on
    /// the way are deleted, all of them if no other is found.
    fn random_key(&mut self, db: Db, seed: u64) -> Result<Option<Vec<u8>>>;

    /// Visits up to `count` keys of `db` in the locked `shard` from a place on that `seed` chooses,
    /// with `volatile` only such with an expiry. May find none though there are some, when they are
    /// rare. Does not count as an access.
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

    /// How many keys `db` has, and how many of them have an expiry, as this transaction sees it;
    /// expired ones that were not yet met included. Needs every shard.
    fn counts(&mut self, db: Db) -> Result<(u64, u64)>;

    /// Removes every key of `db`; what was there is cleaned up later, in bounded slices. Needs
    /// every shard. Returns how many keys went.
    fn clear(&mut self, db: Db) -> Result<u64>;

    /// Exchanges two databases. Needs every shard.
    fn swap_dbs(&mut self, a: Db, b: Db) -> Result<()>;

    /// Deletes up to `limit` keys of `shard` whose expiry has passed, noting them in
    /// [`Tx::expired`]; true when more are due.
    fn expire_due(&mut self, shard: u32, limit: usize) -> Result<bool>;
}
