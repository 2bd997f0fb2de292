//! [`Gate`]: what makes the engine look at requests more closely than usual.

use std::sync::atomic::{AtomicU32, Ordering};

bitflags::bitflags! {
    /// Reasons why commands must be checked more closely before they run.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Gate: u32 {
        /// `CLIENT PAUSE` is in force.
        const PAUSED = 1;
        /// The journal cannot write: writes are refused.
        const JOURNAL_FAILED = 1 << 1;
        /// Memory use exceeds `maxmemory`, and no key can be evicted.
        const OVER_MEMORY = 1 << 2;
        /// Memory use exceeds `maxmemory`, and keys can be evicted.
        const CROWDED = 1 << 29;
        /// A script has been running for longer than `busy-reply-threshold`.
        const BUSY = 1 << 30;
        /// The data are still being loaded.
        const LOADING = 1 << 3;
        /// A panic has left half a transaction, so no request is served any more.
        const BROKEN = 1 << 28;
        /// There are clients that monitor.
        const MONITORED = 1 << 4;
        /// There are clients that capture traffic.
        const CAPTURED = 1 << 8;
        /// Times of stages are recorded (`trace`).
        const TRACED = 1 << 6;
        /// This server follows a master.
        const REPLICA = 1 << 9;
        /// The link to the master is down, and its data must not be shown
        /// (`replica-serve-stale-data no`).
        const STALE = 1 << 10;
        /// A cluster decides where requests are executed.
        const CLUSTER = 1 << 12;
        /// There are rate limits.
        const LIMITED = 1 << 14;
        /// A share of the requests is refused, because connections wait too long.
        const OVERLOADED = 1 << 15;
        /// Fewer replicas than `min-replicas-to-write` follow.
        const FEW_REPLICAS = 1 << 11;
    }
}

/// The reasons that are in force, which all threads share.
#[derive(Debug, Default)]
pub struct Gates(AtomicU32);

impl Gates {
    /// All reasons that are in force.
    #[inline]
    pub fn get(&self) -> Gate {
        Gate::from_bits_retain(self.0.load(Ordering::Relaxed))
    }

    /// Whether one of these reasons is in force.
    #[inline]
    pub fn any(&self, reasons: Gate) -> bool {
        self.get().intersects(reasons)
    }

    /// Adds reasons, or takes them away.
    pub fn set(&self, reasons: Gate, on: bool) {
        match on {
            true => self.0.fetch_or(reasons.bits(), Ordering::SeqCst),
            false => self.0.fetch_and(!reasons.bits(), Ordering::SeqCst),
        };
    }
}
