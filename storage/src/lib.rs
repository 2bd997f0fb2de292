//! The storage traits, what backends share, and the conformance suites. The backends are crates of
//! their own.
//!
//! Promises: a [`Backend`] runs a function over a set of locked shards ([`Backend::transact`]).
//! Inside, a [`Tx`] gives typed access to keys, element by element. Everything the function does is
//! atomic and isolated: no thread sees half of it. A backend declares whether it may block, never
//! forks, and never delays the command of one key by the growth of another key for more than a
//! bounded slice of work.
//!
//! The crate knows nothing of connections, sessions, commands, particular backends and wire formats
//! (values are passed as objects of [`rdb`], the crate below this one).
//!
//! | module | what |
//! | --- | --- |
//! | [`backend`] | [`Backend`], [`Locks`]: opening, locking, iterating |
//! | [`tx`] | [`Tx`], [`Key`]: the locked keys |
//! | [`types`] | [`List`], [`Set`], [`Hash`], [`SortedSet`]: element-level operations |
//! | [`stream`] | [`Stream`]: the same for streams |
//! | [`journal`] | [`Journal`], [`Position`]: streams of effects |
//! | [`error`] | [`Error`]: why a storage refused |
//! | [`bulk_load`] | [`BulkLoad`]: the entries of a file, stored on all cores |
//! | [`busy`], [`hiding`], [`load`], [`random`] | what several backends need: waiting for a long script, fields that have expired, how much shards are used, numbers from a seed |
//! | [`testing`] | the conformance suites that every backend and every journal runs |
//!
//! Behind the traits, in folders below this crate's:
//!
//! | crate | what |
//! | --- | --- |
//! | `storage-memory` | the default backend: sharded cache-line tables |
//! | `storage-ordered` | a backend over an ordered key-value engine: sled, fjall |
//! | `storage-aof` | the journal: Redis's multi-part append-only file |
//! | [`rdb`] (`storage-rdb`) | Redis's dump format; this crate's only dependency within the workspace besides `resp` |

pub mod backend;
pub mod bulk_load;
pub mod busy;
pub mod error;
pub mod hiding;
pub mod journal;
pub mod load;
pub mod random;
pub mod stream;
pub mod testing;
pub mod tx;
pub mod types;

pub use backend::{
    Backend, BackendStats, EncodingLimits, Locks, SLOTS, ShardSet, Snapshot, SnapshotSink,
};
pub use bulk_load::{BulkLoad, Existing};
pub use error::{Error, Result};
pub use journal::{Appended, Durability, Fate, Journal, Position, Refusal, Withholds};
pub use storage_rdb::{self as rdb, fields};
pub use stream::{Stream, StreamId};
pub use tx::{
    Db, Expired, Expiry, Key, KeyInfo, Kind, Left, NewExpiry, Open, Presence, Sampled, Str, Tx,
};
pub use types::{Hash, List, Set, SortedSet};
