//! Configuration: every directive of Redis 7.2 by name, Varve's own, and their current values.
//!
//! - [`Directive`]: one row per directive, in [`rows`], by topic. Everything that depends on a
//!   directive (parsing, `CONFIG GET/SET/REWRITE`, `--help`, the docs page) is derived from its row.
//! - [`Id`]: names a directive in code, so that reading a value hashes nothing.
//! - [`ConfigStore`]: the current values, shared by all threads. Numbers (yes/no, integers, memory
//!   sizes, choices) live in atomics: a read on the hot path is one relaxed load.
//!
//! Nothing here knows a file or a socket; `server::config` reads files and command lines into a
//! store. To add a directive: a name in `id.rs`, a row in `rows/`. Tests over all rows do the rest.

pub mod cores;
mod directive;
mod grammar;
mod id;
mod keyspace_events;
pub mod memory;
pub mod rows;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use directive::{Directive, Effect, Grammar, Initial, Kind};
pub use grammar::{OutputBufferLimit, SavePoint};
pub use id::Id;
pub use keyspace_events::KeyspaceEvents;
pub use rows::{Section, all, by_id, lookup, names};
pub use store::{ConfigStore, Observer, SetContext, SetError};
pub use value::Value;
