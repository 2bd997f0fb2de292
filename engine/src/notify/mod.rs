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

use blocking::Blocking;
use capture::Captures;
use keyspace::Keyspace;
use monitor::Monitors;
use pubsub::PubSub;
use tracking::Tracking;

/// Everyone who is to be notified.
#[derive(Default)]
pub struct Notify {
    /// Watched keys and keyspace events.
    pub keyspace: Keyspace,
    /// Clients that wait for keys.
    pub blocking: Blocking,
    /// Subscriptions.
    pub pubsub: PubSub,
    /// Client-side caching.
    pub tracking: Tracking,
    /// Clients that see every command (`MONITOR`).
    pub monitors: Monitors,
    /// Clients that are sent every request (`CAPTURE`).
    pub captures: Captures,
}
