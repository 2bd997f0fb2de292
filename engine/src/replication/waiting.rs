//! `WAIT` and `WAITAOF`: sessions that wait for replicas.

use super::Replication;
use crate::config::Id;
use crate::engine::Engine;
use crate::notify::blocking::{Progress, Waiter};
use runtime::Now;
use std::sync::Arc;
use std::sync::atomic::Ordering;

impl Replication {
    pub(crate) fn add_waiter(&self, waiter: &Arc<Waiter>) {
        self.waiters.lock().push(waiter.clone());
        self.waiting.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn remove_waiter(&self, waiter: &Arc<Waiter>) {
        let mut waiters = self.waiters.lock();
        let before = waiters.len();
        waiters.retain(|other| !Arc::ptr_eq(other, waiter));
        self.waiting.fetch_sub(before - waiters.len(), Ordering::SeqCst);
    }
}

impl Engine {
    /// How far the replicas and the log are.
    pub fn progress(&self) -> Progress {
        Progress {
            acks: self.replication.acks(),
            end: self.replication.out.end(),
            keeps_log: self.is_logging() && self.config.boolean(Id::Appendonly),
        }
    }

    /// Lets those who wait for replicas look again.
    pub fn serve_acks(&self, now: Now) {
        if self.replication.waiting.load(Ordering::SeqCst) == 0 {
            return;
        }
        let waiters = self.replication.waiters.lock().clone();
        for waiter in waiters {
            self.serve_one(&waiter, now);
        }
    }
}
