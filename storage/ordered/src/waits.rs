//! Whether the next call is likely to wait for the disk: what the last ones have waited.
//!
//! No engine says beforehand whether its cache, or the kernel's, has a record. But how long a call took is known
//! afterwards, and calls resemble those before them. Leaving the core for a call costs the same whether it waits
//! or not (25 µs of CPU with tokio), so it is worth while if calls wait longer than that on average. A call that
//! waits unexpectedly delays the other connections of its thread once, as a slow command does.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// A call that takes less did not wait: it found everything in a cache.
const WAIT_NS_MIN: u64 = 100_000;
/// One call counts at most as this long, so that a single slow command is forgotten after some hundred calls.
const WAIT_NS_MAX: u64 = 10_000_000;
/// The mean wait from which leaving the core is worth while.
const WORTH_NS: u64 = 20_000;
/// The mean is that of about this many calls.
const CALLS: u64 = 256;
/// A smaller mean is rounded to zero, so that a call that does not wait need not write it.
const MEAN_NS_MIN: u64 = 4096;

/// The mean wait of the last calls of all threads, in nanoseconds. Updates that collide are lost.
pub(super) struct Waits(AtomicU64);

impl Default for Waits {
    /// Calls on a store that was just opened are expected to wait, until they have shown that they do not.
    fn default() -> Self {
        Waits(AtomicU64::new(5 * WORTH_NS))
    }
}

impl Waits {
    /// Whether the next call is likely to wait for so long that leaving the core for it is worth while.
    #[inline]
    pub(super) fn are_likely(&self) -> bool {
        self.0.load(Relaxed) >= WORTH_NS
    }

    /// Adds what a call took.
    #[inline]
    pub(super) fn note(&self, took: Duration) {
        let mean = self.0.load(Relaxed);
        let took_ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let wait_ns = if took_ns < WAIT_NS_MIN { 0 } else { took_ns.min(WAIT_NS_MAX) };
        if mean | wait_ns != 0 {
            let next = mean - mean / CALLS + wait_ns / CALLS;
            self.0.store(if next < MEAN_NS_MIN && wait_ns == 0 { 0 } else { next }, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Duration = Duration::from_micros(20);
    const WAITS: Duration = Duration::from_micros(200);

    fn after(calls: impl IntoIterator<Item = Duration>) -> bool {
        let waits = Waits::default();
        calls.into_iter().for_each(|took| waits.note(took));
        waits.are_likely()
    }

    #[test]
    fn a_new_store_may_wait_until_calls_are_quick() {
        assert!(after([]));
        assert!(after([QUICK; 100]));
        assert!(!after([QUICK; 1000]));
    }

    #[test]
    fn a_call_in_five_that_waits_is_expected_again() {
        let calls = (0..5000).map(|n| if n % 5 == 0 { WAITS } else { QUICK });
        assert!(after(calls));
        let rarely = (0..5000).map(|n| if n % 50 == 0 { WAITS } else { QUICK });
        assert!(!after(rarely));
    }

    #[test]
    fn one_slow_command_is_soon_forgotten() {
        let slow = Duration::from_secs(3600);
        let quick = std::iter::repeat_n(QUICK, 1000);
        assert!(after(quick.clone().chain([slow])));
        assert!(!after(quick.clone().chain([slow]).chain(quick)));
    }
}
