//! [`Moment`]s: operations of the log whose times are reported to an observer (`LATENCY`); and [`SyncTimes`], which are
//! only summed up.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Something that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// A write(2) of appended records.
    Write {
        /// Whether a sync was in progress, which may delay it.
        syncing: bool,
    },
    /// A sync that replies wait for (`appendfsync always`).
    Sync,
    /// fstat(2) of the log's files.
    Stat,
    /// Putting a new base in its place.
    Rename,
}

/// Receives the times of operations.
pub trait Observer: Send + Sync {
    /// Whether it wants times. If not, nothing is measured.
    fn is_on(&self) -> bool;

    /// `what` took so long. Called by whatever thread did it, which may hold the log's locks.
    fn took(&self, what: Moment, time: Duration);
}

/// The observer, if there is one.
#[derive(Default)]
pub(super) struct Moments(OnceLock<Box<dyn Observer>>);

impl Moments {
    /// Sets the observer; once only.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        let first = self.0.set(observer).is_ok();
        debug_assert!(first, "a log has one observer");
    }

    /// Runs `work`, and reports its time.
    pub fn of<T>(&self, what: Moment, work: impl FnOnce() -> T) -> T {
        let Some(observer) = self.0.get().filter(|observer| observer.is_on()) else {
            return work();
        };
        let begun = Instant::now();
        let done = work();
        observer.took(what, begun.elapsed());
        done
    }
}

/// How long syncs of the log took: calls of fdatasync(2), whoever waits for them. For statistics.
#[derive(Debug, Default)]
pub struct SyncTimes {
    pub count: AtomicU64,
    /// All of them together, microseconds.
    pub total_us: AtomicU64,
    /// The last, microseconds.
    pub last_us: AtomicU64,
}

impl SyncTimes {
    /// Adds one that took this long.
    pub fn add(&self, took: Duration) {
        let us = took.as_micros() as u64;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.total_us.fetch_add(us, Ordering::Relaxed);
        self.last_us.store(us, Ordering::Relaxed);
    }
}
