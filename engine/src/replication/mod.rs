//! The engine's part of replication: the stream beside the log, its readers, and the master. The
//! crate `replication` implements the protocol; the [`Host`](crate::Host) has sockets and threads.
//!
//! - As a master: a [`tee`](feed::Tee) beside the journal writes every effect into a backlog, under
//!   the locks of its shards and therefore in the right order for every key. The backlog exists
//!   once a replica has asked to follow; before, a write does not check anything. A [`Follower`] is
//!   a session to which all data are sent, as of a moment when every shard was locked, and then the
//!   stream from that position.
//! - As a replica: an [`Applier`] runs the commands that a master sends, and puts the master's
//!   bytes into the backlog unchanged, so that replicas can be chained.

mod apply;
mod failover;
pub(crate) mod feed;
mod follower;
mod following;
mod roles;
mod source;
mod trail;

pub use apply::Applier;
pub(crate) use feed::Tee;
pub use feed::{Cut, Outgoing};
pub(crate) use follower::Fed;
pub use follower::{Announced, Follower, Phase, Wanted};
pub use replication as wire;
pub use source::{Link, Source};
pub use trail::Trail;

use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The engine's state of replication: the stream for our replicas, and the master we follow.
pub struct Replication {
    /// The stream that replicas of ours read.
    pub out: Arc<Outgoing>,
    followers: RwLock<Vec<Arc<Follower>>>,
    /// The master; `None` if this server is one.
    source: Mutex<Option<Source>>,
    /// Increases with every change of the master; everything of an earlier generation ends.
    generation: AtomicU64,
    failover: Mutex<Option<Failover>>,
    tended: Mutex<Tended>,
    /// Counted for `INFO stats`.
    pub counts: Counts,
}

/// The times at which recurring work was last done, in monotonic milliseconds.
#[derive(Debug, Default)]
struct Tended {
    ping_ms: u64,
    life_ms: u64,
    /// Since when there is no replica.
    alone_ms: Option<u64>,
}

/// A handover under way.
#[derive(Clone, Debug)]
pub struct Failover {
    /// The replica; `None` for the first that has everything.
    pub target: Option<(String, u16)>,
    /// The time at which it is given up or forced, in Unix milliseconds.
    pub until_ms: Option<u64>,
    /// Hand over at that time, whatever the replica has.
    pub force: bool,
    /// Set once the replica was told: the generation of the change of master.
    pub told: Option<u64>,
}

/// Counts of the synchronizations of replicas.
#[derive(Debug, Default)]
pub struct Counts {
    /// With all data.
    pub full: AtomicU64,
    /// From the backlog.
    pub partial_ok: AtomicU64,
    /// Asked to go on, and could not.
    pub partial_err: AtomicU64,
}

impl Replication {
    pub(crate) fn new(out: Arc<Outgoing>) -> Self {
        Replication {
            out,
            followers: RwLock::default(),
            source: Mutex::default(),
            generation: AtomicU64::new(0),
            failover: Mutex::default(),
            tended: Mutex::default(),
            counts: Counts::default(),
        }
    }

    /// The replicas that are connected.
    pub fn followers(&self) -> Vec<Arc<Follower>> {
        self.followers.read().clone()
    }

    /// Which change of whom we follow was the last.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Makes every connected replica's session check for new bytes.
    pub fn wake(&self) {
        self.followers.read().iter().for_each(|follower| follower.wake());
    }

    /// The position up to which a replica is still to read, of all of them.
    fn update_needed(&self) {
        let followers = self.followers.read();
        self.out.set_needed(followers.iter().filter_map(|f| f.needs()).min().unwrap_or(u64::MAX));
    }
}
