//! [`Unauthenticated`]: connections that have not authenticated yet, where that is needed. How many there
//! may be, and for how long each, is configurable.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts the connections that have never authenticated.
#[derive(Debug, Default)]
pub struct Unauthenticated(Arc<AtomicUsize>);

impl Unauthenticated {
    /// The number of such connections.
    pub fn len(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts a connection made at this monotonic time, in microseconds, until the result is dropped.
    pub(crate) fn add(&self, since_us: u64) -> Pending {
        self.0.fetch_add(1, Ordering::Relaxed);
        Pending { count: self.0.clone(), since_us }
    }
}

/// A connection that has never authenticated.
#[derive(Debug)]
pub(crate) struct Pending {
    count: Arc<AtomicUsize>,
    /// When it was made, in monotonic microseconds.
    pub since_us: u64,
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}
