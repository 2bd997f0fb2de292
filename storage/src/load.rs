//! [`Load`]: how much a shard is used, and how long its lock is waited for.
//!
//! A transaction that finds the lock free writes nothing here.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// The counts of one shard since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardLoad {
    /// Accesses to keys that exist: those that count for eviction and `OBJECT IDLETIME`. Whether to make a
    /// key counts depends on the backend.
    pub accesses: u64,
    /// How often a transaction found the shard's lock taken.
    pub lock_waits: u64,
    /// The time that transactions have waited for the lock, nanoseconds.
    pub lock_wait_ns: u64,
}

/// The same, as a backend keeps it beside a shard: in a cache line of its own, because those who
/// wait write it while others work.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Load {
    accesses: AtomicU64,
    lock_waits: AtomicU64,
    lock_wait_ns: AtomicU64,
}

impl Load {
    /// Counts one more access. Only who has the shard's lock may call it.
    pub fn accessed(&self) {
        self.accesses.store(self.accesses.load(Relaxed) + 1, Relaxed);
    }

    /// Publishes the number of accesses that is counted elsewhere.
    pub fn set_accesses(&self, accesses: u64) {
        if self.accesses.load(Relaxed) != accesses {
            self.accesses.store(accesses, Relaxed);
        }
    }

    /// Runs what waits for a lock that was found taken.
    #[cold]
    #[inline(never)]
    pub fn waiting<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.lock_waits.fetch_add(1, Relaxed);
        let began = Instant::now();
        let waited = wait();
        let took_ns = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.lock_wait_ns.fetch_add(took_ns, Relaxed);
        waited
    }

    /// The counts now. Takes no lock.
    pub fn read(&self) -> ShardLoad {
        ShardLoad {
            accesses: self.accesses.load(Relaxed),
            lock_waits: self.lock_waits.load(Relaxed),
            lock_wait_ns: self.lock_wait_ns.load(Relaxed),
        }
    }
}
