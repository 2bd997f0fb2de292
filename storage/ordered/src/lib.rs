//! `ordered`: every data type over any ordered key-value engine.
//!
//! Promises: a transaction is one atomic write batch that reads its own writes. Every operation on
//! an element uses O(1) records, and a rank in a sorted set O(log n); an insertion or removal in
//! the middle of a list moves the elements of the shorter side. Dropping a key or a whole database
//! is O(1), and its records are deleted later in bounded slices.
//!
//! The crate knows nothing of other backends and the clock. Only `sled`, `fjall` and `open` know on
//! which engine it runs.
//!
//! | module | what |
//! | --- | --- |
//! | [`kv`] | [`OrderedKv`]: what an engine must offer |
//! | `sled`, `fjall` | the engines |
//! | `keys`, `codec`, `hashing` | how records are named, encoded and ordered |
//! | `backend`, `backend_impl`, `open` | [`OrderedBackend`]: shards, commit, start |
//! | `tx`, `tx_impl` | the transaction: overlay, metadata, whole-key operations |
//! | `encoding` | the names of encodings that Redis would give |
//! | `strings`, `list`, `set`, `hash`, `sorted_set`, `stream` | the types; `elements` is their common part |
//! | `ranks` | counts that tell a rank in a sorted set without walking to it |
//! | `small` | a small sorted set in score order, in memory |
//! | `kept` | nodes of `ranks`, and small sorted sets, that are kept in memory |
//! | `garbage` | deleting the records of dropped values |
//! | `waits` | whether the next call is likely to wait for the disk |
//! | `snapshot`, `copying`, `value` | point-in-time copies; values as RDB objects |
//! | [`testing`] | the suite that every engine passes, and an engine that counts operations |
//!
//! ## Layout
//!
//! A key has one *metadata* record: expiry, type, length and, for a short string, the value itself.
//! It is named `physical db ‖ hash ‖ name`, so keys lie in hash order: a SCAN cursor is a hash, a
//! random key is a seek to a random hash, and a shard (the hash's top bits) is a contiguous range.
//! Elements are named `version ‖ …`, where a version is a number that is never reused: dropping a
//! collection forgets its version and leaves a *garbage* record naming it. A logical database maps
//! to a physical one, so `FLUSHDB` and `SWAPDB` only change the map.

pub mod kv;
pub mod testing;

mod backend;
mod backend_impl;
mod codec;
mod copying;
mod elements;
mod encoding;
#[cfg(feature = "fjall")]
mod fjall;
mod garbage;
mod hash;
mod hashing;
mod kept;
mod keys;
mod list;
mod open;
mod ranks;
mod set;
#[cfg(feature = "sled")]
mod sled;
mod small;
mod snapshot;
mod sorted_set;
mod stream;
mod strings;
mod tx;
mod tx_impl;
mod value;
mod waits;

#[cfg(all(test, any(feature = "sled", feature = "fjall")))]
mod tests;

pub use backend::OrderedBackend;
pub use kv::OrderedKv;

use std::path::PathBuf;

/// An engine that can be compiled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// sled 0.34: run it with the AOF in front, it buffers writes in memory for up to half a second.
    #[cfg(feature = "sled")]
    Sled,
    /// fjall 3: a log-structured merge tree; a committed transaction survives the process.
    #[cfg(feature = "fjall")]
    Fjall,
}

/// The options for opening an [`OrderedBackend`].
#[derive(Clone, Debug)]
pub struct Config {
    /// The engine's directory, created when missing; nothing else may be in it.
    pub dir: PathBuf,
    /// The number of shards, rounded up to a power of two, 1–4096. May differ from the last run's,
    /// at the price of rebuilding the expiry index once.
    pub shards: u32,
    /// The number of databases.
    pub databases: u32,
    /// The engine.
    pub engine: Engine,
    /// The engine's cache, in bytes. Not a cap on its memory: both engines hold write buffers
    /// beside it, and sled's accounting is approximate.
    pub cache_bytes: u64,
}

impl Config {
    /// Sixteen databases, sixteen shards, 64 MiB of cache.
    pub fn new(dir: impl Into<PathBuf>, engine: Engine) -> Self {
        Config { dir: dir.into(), shards: 16, databases: 16, engine, cache_bytes: 64 << 20 }
    }
}
