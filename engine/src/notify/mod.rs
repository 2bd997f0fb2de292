//! Notifications of clients: of keys that change, of messages, of commands that run.
//!
//! | module | which clients are notified |
//! | --- | --- |
//! | [`keyspace`] | transactions that watch a key; subscribers of keyspace events |
//! | [`blocking`] | sessions that wait for a key |
//! | [`tracking`] | clients that cache keys |
//! | [`pubsub`] | subscribers of channels |
//! | [`monitor`], [`capture`] | clients that are sent every command, as text or as records |

pub mod blocking;
pub mod capture;
pub mod keyspace;
pub mod monitor;
pub mod pubsub;
pub mod tracking;
