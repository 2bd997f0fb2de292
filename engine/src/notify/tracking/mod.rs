//! Client-side caching: notifies clients that keys which they may have cached have changed.
//!
//! A client that tracks keys is remembered with every key it reads ([`Table`]) or, if it asked for
//! broadcasts, with prefixes ([`Prefixes`]). Both happen under the locks of the keys, so that no
//! change can happen between a read and its being remembered.
//!
//! A change under those locks removes the key's clients from the table. Other clients are notified
//! at once, through their inbox. Notices to the client of the running command, and broadcasts, wait
//! in [`Stale`] until the command, the transaction or the script has replied.
//!
//! While no client tracks keys, nothing of this is reached: a read checks a flag of its own
//! session, and a write
//! [`Keyspace::has_interest`](crate::notify::keyspace::Keyspace::has_interest).

mod notice;
mod prefixes;
mod readers;
mod table;

pub use notice::Notice;
use prefixes::Prefixes;
pub(crate) use prefixes::Stale;

use crate::clients::Client;
use bytes::Bytes;
use parking_lot::RwLock;
use resp::Output;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::Table;

/// The options with which a client tracks keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Whether it is notified of all keys with its prefixes, even if it has not read them.
    pub broadcast: bool,
    /// Whether only keys are remembered that are read right after `CLIENT CACHING yes`.
    pub opt_in: bool,
    /// Whether all keys are remembered except those that are read right after `CLIENT CACHING no`.
    pub opt_out: bool,
    /// Whether it is not notified of its own changes.
    pub no_loop: bool,
}

/// A client that tracks keys.
#[derive(Debug)]
pub struct Tracker {
    client: Arc<Client>,
    /// The options with which it tracks keys.
    pub options: Options,
    /// The client to which notices are redirected.
    pub redirect: Option<u64>,
    /// The prefixes of a client that asked for broadcasts, in order.
    pub prefixes: Vec<Bytes>,
}

impl Tracker {
    /// Whether `CLIENT CACHING` decides about the next command, and did not say yes.
    fn opted_out(&self, caching: bool) -> bool {
        self.options.opt_in && !caching || self.options.opt_out && caching
    }
}

/// The session that runs a command: its notices are written where its reply was.
pub(crate) struct Issuer<'a> {
    pub client: &'a Arc<Client>,
    pub out: &'a mut Output,
    pub subscribed: bool,
}

/// All clients that track keys.
#[derive(Default)]
pub struct Tracking {
    /// Locked before a part of `table`, where both are.
    trackers: RwLock<BTreeMap<u64, Arc<Tracker>>>,
    count: AtomicUsize,
    prefixes: Prefixes,
    table: Table,
}

impl Tracking {
    /// Whether any client tracks keys.
    pub fn is_on(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }

    /// The tracking of a client, if it tracks keys.
    pub fn of(&self, client: u64) -> Option<Arc<Tracker>> {
        self.trackers.read().get(&client).cloned()
    }

    /// The number of keys that clients may have cached.
    pub fn keys(&self) -> usize {
        self.table.keys()
    }

    /// Clients of all those keys, each counted for every key.
    pub fn items(&self) -> usize {
        self.table.items()
    }

    /// Prefixes that are broadcast.
    pub fn prefixes(&self) -> usize {
        self.prefixes.len()
    }
}

/// The client to which notices are redirected: 0 if they are not, -1 if the client does not track.
pub fn redirection(tracker: Option<&Tracker>) -> i64 {
    tracker.map_or(-1, |tracker| tracker.redirect.unwrap_or(0) as i64)
}
