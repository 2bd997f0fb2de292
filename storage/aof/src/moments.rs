//! [`Moment`]s: what the log spends time on, told to whoever wants to know (`LATENCY`).

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Something that may take long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// write(2) of what was appended.
    Write {
        /// A sync was under way, which may hold it up.
        syncing: bool,
    },
    /// A sync that replies wait for (`appendfsync always`).
    Sync,
    /// fstat(2) of the log's files.
    Stat,
    /// Putting a new base in its place.
    Rename,
}

/// Is told of moments.
pub trait Observer: Send + Sync {
    /// Whether it wants to know: nothing is measured if not.
    fn is_on(&self) -> bool;

    /// `what` took so long. Called by whatever thread did it, which may hold the log's locks.
    fn took(&self, what: Moment, time: Duration);
}

/// Who is told, if anybody.
#[derive(Default)]
pub(super) struct Moments(OnceLock<Box<dyn Observer>>);

impl Moments {
    /// Tells `observer` from now on; once only.
    pub fn observe(&self, observer: Box<dyn Observer>) {
        let first = self.0.set(observer).is_ok();
        debug_assert!(first, "a log has one observer");
    }

    /// Does `work`, and tells how long it took.
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
