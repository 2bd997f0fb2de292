//! Scripts that run for longer than `busy-reply-threshold`: other clients are told, and may kill
//! them.
//!
//! A script inside one long command cannot check its own time, so transactions that wait for its
//! locks do that ([`super::watch`]). Commands that need no shard of such a script are executed;
//! others get the error that the server is busy. So do all commands without keys, so that clients
//! which only check the server's state learn of it.

pub use super::watch::Kind;
use super::watch::Watch;
use crate::failure::{BUSY_FUNCTION, BUSY_SCRIPT, Failure};
use crate::gate::{Gate, Gates};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Backend, Locks, ShardSet};

/// A script that runs too long.
#[derive(Debug)]
pub struct Running {
    /// Whether it is a script or a function.
    pub kind: Kind,
    /// The digest, or the function's name.
    pub name: String,
    /// The request.
    pub command: Vec<Vec<u8>>,
    /// The time at which it began, by the stopwatch.
    pub began_ns: u64,
    /// The shards it has locked.
    pub holds: ShardSet,
    pub(crate) watch: Arc<Watch>,
}

/// All slow scripts, oldest first.
#[derive(Default)]
pub struct RunningScripts(Mutex<Vec<Arc<Running>>>);

/// The outcome of `SCRIPT KILL` and `FUNCTION KILL`.
pub enum Kill {
    /// It ends soon.
    Killed,
    /// There is none.
    NotBusy,
    /// It has written.
    Unkillable,
    /// There are only ones of the other kind.
    OtherKind,
}

impl RunningScripts {
    /// The oldest.
    pub fn first(&self) -> Option<Arc<Running>> {
        self.0.lock().first().cloned()
    }

    /// Asks the oldest script of this kind that can be killed to end; `overdue` are scripts that run too long, although
    /// they have not noticed it themselves.
    pub(crate) fn kill(&self, kind: Kind, overdue: Vec<Arc<Watch>>) -> Kill {
        let mut running: Vec<Arc<Watch>> =
            self.0.lock().iter().map(|script| script.watch.clone()).collect();
        running.extend(overdue);
        let can_be_killed = |script: &&Arc<Watch>| !script.wrote.load(Ordering::Relaxed);
        let of_kind = || running.iter().filter(|script| script.kind() == kind);
        if running.is_empty() {
            return Kill::NotBusy;
        }
        if running.iter().any(|script| can_be_killed(&script)) && of_kind().next().is_none() {
            return Kill::OtherKind;
        }
        match of_kind().find(can_be_killed) {
            None => Kill::Unkillable,
            Some(script) => {
                script.kill.store(true, Ordering::Relaxed);
                Kill::Killed
            }
        }
    }

    /// The error for other clients while a script or function runs too long.
    pub fn busy(&self) -> Failure {
        match self.first().map(|script| script.kind) {
            Some(Kind::Function) => BUSY_FUNCTION,
            _ => BUSY_SCRIPT,
        }
    }

    /// Whether a command's shards are all free of scripts that run too long, of `all` shards that
    /// there are; not when it has none.
    pub fn is_aside(&self, shards: Locks<'_>, all: u32) -> bool {
        let running = self.0.lock();
        let held = |shard| running.iter().any(|script| script.holds.contains(shard));
        !matches!(shards, Locks::None) && !shards.any(all, held)
    }

    /// Ends the scripts that run too long, because the server ends. Those that have written are
    /// ended only if `all`, because half of their effects would be kept.
    pub fn end(&self, all: bool) {
        for script in self.0.lock().iter() {
            script.watch.kill.store(true, Ordering::Relaxed);
            script.watch.end.fetch_or(all, Ordering::Relaxed);
        }
    }

    /// A script runs too long: from now on others are refused.
    pub(crate) fn add(&self, script: &Arc<Running>, backend: &dyn Backend, gates: &Gates) {
        let mut running = self.0.lock();
        running.push(script.clone());
        gates.set(Gate::BUSY, true);
        backend.set_busy(true);
    }

    /// It has ended.
    pub(crate) fn remove(&self, script: &Arc<Running>, backend: &dyn Backend, gates: &Gates) {
        let mut running = self.0.lock();
        running.retain(|other| !Arc::ptr_eq(other, script));
        gates.set(Gate::BUSY, !running.is_empty());
        backend.set_busy(!running.is_empty());
    }
}
