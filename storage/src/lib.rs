//! Where the data lives: the storage traits, and the backends behind them.
//!
//! Promises: a [`Backend`] runs a body over a set of locked shards ([`Backend::transact`]); inside,
//! a [`Tx`] gives typed access to keys, element by element. Everything a body does is atomic and
//! isolated: nobody sees half of it, on any thread. A backend says when it may block, never forks,
//! and never pays for one key's command with another key's growth beyond a bounded slice of work.
//!
//! Must not know: connections, sessions, commands, and no wire format but that of its own files.
//!
//! | module | what |
//! | --- | --- |
//! | [`backend`] | [`Backend`], [`Locks`]: opening, locking, iterating |
//! | [`tx`] | [`Tx`], [`Key`]: the locked keys |
//! | [`types`] | [`List`], [`Set`], [`Hash`], [`SortedSet`]: element-level operations |
//! | [`stream`] | [`Stream`]: the same for streams |
//! | [`journal`] | [`Journal`], [`Position`]: streams of effects |
//! | [`memory`] | the default backend: sharded cache-line tables |
//! | `ordered` | every type over an ordered key-value engine: sled, fjall |
//! | [`rdb`] | Redis's dump format |
//! | [`aof`] | the multi-part append-only log |
//! | [`testing`] | the conformance suite that every backend runs |

#[cfg(feature = "aof")]
pub mod aof;
pub mod backend;
mod busy;
pub mod error;
mod fields;
mod hiding;
pub mod journal;
pub mod memory;
#[cfg(feature = "ordered")]
pub mod ordered;
mod random;
pub mod rdb;
pub mod stream;
pub mod testing;
pub mod tx;
pub mod types;

pub use backend::{Backend, BackendStats, EncodingLimits, Locks, ShardSet, Snapshot, SnapshotSink};
pub use error::{Error, Result};
pub use journal::{Appended, Durability, Fate, Journal, Position, Refusal, Withholds};
pub use stream::{Stream, StreamId};
pub use tx::{
    Db, Expired, Expiry, Key, KeyInfo, Kind, Left, NewExpiry, Open, Presence, Sampled, Str, Tx,
};
pub use types::{Hash, List, Set, SortedSet};
