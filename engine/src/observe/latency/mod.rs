//! [`LatencyMonitor`]: the slowest moments by kind of event (`LATENCY`), when
//! `latency-monitor-threshold` asks for it.

mod moments;

use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Samples kept per event, as in Redis.
const SAMPLES_MAX: usize = 160;

/// One moment: Unix seconds, milliseconds it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unix seconds.
    pub time_s: u64,
    /// Milliseconds.
    pub latency_ms: u64,
}

/// The moments of one event.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// Oldest first; at most one per second.
    pub samples: VecDeque<Sample>,
    /// The longest ever, milliseconds.
    pub max_ms: u64,
}

/// All events.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    threshold_ms: AtomicU64,
    events: Mutex<BTreeMap<&'static str, Series>>,
}

impl LatencyMonitor {
    /// `latency-monitor-threshold`: shorter moments are not kept; 0 keeps nothing.
    pub fn set_threshold_ms(&self, threshold: u64) {
        self.threshold_ms.store(threshold, Relaxed);
    }

    /// Whether anything is kept.
    pub fn is_on(&self) -> bool {
        self.threshold_ms.load(Relaxed) > 0
    }

    /// Shorter moments are not kept, in nanoseconds; `None` if none are.
    pub fn threshold_nanos(&self) -> Option<u64> {
        let threshold_ms = self.threshold_ms.load(Relaxed);
        (threshold_ms > 0).then(|| threshold_ms.saturating_mul(1_000_000))
    }

    /// Records that `event` took `nanos`, if that is long.
    #[inline]
    pub fn note(&self, event: &'static str, nanos: u64, now_ms: u64) {
        if self.threshold_nanos().is_some_and(|threshold| nanos >= threshold) {
            self.add(event, nanos / 1_000_000, now_ms / 1000);
        }
    }

    #[cold]
    fn add(&self, event: &'static str, latency_ms: u64, time_s: u64) {
        let mut events = self.events.lock();
        let series = events.entry(event).or_default();
        series.max_ms = series.max_ms.max(latency_ms);
        match series.samples.back_mut() {
            // One sample per second: the longest.
            Some(last) if last.time_s == time_s => {
                last.latency_ms = last.latency_ms.max(latency_ms)
            }
            _ => {
                if series.samples.len() == SAMPLES_MAX {
                    series.samples.pop_front();
                }
                series.samples.push_back(Sample { time_s, latency_ms });
            }
        }
    }

    /// Every event with its moments, by name.
    pub fn all(&self) -> Vec<(&'static str, Series)> {
        self.events.lock().iter().map(|(name, series)| (*name, series.clone())).collect()
    }

    /// One event's moments.
    pub fn series(&self, event: &[u8]) -> Option<Series> {
        let name = std::str::from_utf8(event).ok()?;
        self.events.lock().get(name).cloned()
    }

    /// Forgets the events that `forget` names; how many there were.
    pub fn reset(&self, forget: impl Fn(&str) -> bool) -> usize {
        let mut events = self.events.lock();
        let before = events.len();
        events.retain(|name, _| !forget(name));
        before - events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_long_moments_are_kept_one_a_second() {
        let monitor = LatencyMonitor::default();
        monitor.note("command", 5_000_000_000, 1_000);
        assert!(monitor.all().is_empty(), "off by default");
        monitor.set_threshold_ms(10);
        monitor.note("command", 9_999_999, 1_000);
        assert!(monitor.all().is_empty(), "below the threshold");
        for ms in [12, 30, 20] {
            monitor.note("command", ms * 1_000_000, 1_500);
        }
        monitor.note("command", 11_000_000, 2_000);
        let series = monitor.series(b"command").expect("noted");
        let samples: Vec<_> = series.samples.iter().map(|s| (s.time_s, s.latency_ms)).collect();
        assert_eq!((samples, series.max_ms), (vec![(1, 30), (2, 11)], 30));
        for second in 0..300 {
            monitor.note("command", 11_000_000, second * 1000);
        }
        assert_eq!(monitor.series(b"command").map(|s| s.samples.len()), Some(SAMPLES_MAX));
        assert_eq!(monitor.reset(|name| name == "other"), 0);
        assert_eq!(monitor.reset(|_| true), 1);
    }
}
