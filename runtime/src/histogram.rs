//! [`Histogram`]: a distribution of times, in buckets whose width grows with the value.
//!
//! Each power of two of nanoseconds is divided into eight equal buckets. So every value from a
//! nanosecond to 17 seconds is known to within an eighth, in two kilobytes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Buckets per power of two.
const STEPS: usize = 8;
/// log2 of [`STEPS`].
const STEP_BITS: u32 = 3;
/// Powers of two that are told apart; longer times share the last bucket.
const OCTAVES: usize = 32;
/// Buckets in all.
const BUCKETS: usize = STEPS * OCTAVES;

/// Counters that any thread may add to.
#[derive(Debug)]
pub struct Recorder([AtomicU64; BUCKETS]);

impl Default for Recorder {
    fn default() -> Self {
        Recorder([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Recorder {
    /// Counts `times` values of `nanos`.
    #[inline]
    pub fn record(&self, nanos: u64, times: u64) {
        self.0[bucket(nanos)].fetch_add(times, Relaxed);
    }

    /// Back to zero.
    pub fn clear(&self) {
        self.0.iter().for_each(|counter| counter.store(0, Relaxed));
    }
}

/// A value's bucket.
#[inline]
fn bucket(nanos: u64) -> usize {
    if nanos < STEPS as u64 {
        return nanos as usize;
    }
    let octave = nanos.ilog2();
    let step = (nanos >> (octave - STEP_BITS)) as usize & (STEPS - 1);
    // Octave `STEP_BITS` is the first with steps; the values below it fill one octave's buckets.
    let index = (octave - STEP_BITS + 1) as usize * STEPS + step;
    index.min(BUCKETS - 1)
}

/// The largest value in a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) as u64) << shift
}

/// A sum of recorders at one moment.
#[derive(Clone, Debug)]
pub struct Histogram([u64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; BUCKETS])
    }
}

impl Histogram {
    /// Adds what a recorder counted.
    pub fn add(&mut self, recorder: &Recorder) {
        for (sum, counter) in self.0.iter_mut().zip(&recorder.0) {
            *sum += counter.load(Relaxed);
        }
    }

    /// Values counted.
    pub fn count(&self) -> u64 {
        self.0.iter().sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|&count| count == 0)
    }

    /// The value, in nanoseconds, that `percent` of the values do not exceed: the upper end of its
    /// bucket, 0 without values.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (percent.clamp(0.0, 100.0) / 100.0 * self.count() as f64).ceil().max(1.0);
        let mut seen = 0;
        for (index, count) in self.0.iter().enumerate() {
            seen += count;
            if seen as f64 >= wanted {
                return upper(index);
            }
        }
        0
    }

    /// The number of values below this power of two of nanoseconds, which is where buckets end.
    pub fn below_power(&self, power: u32) -> u64 {
        let limit = 1 << power;
        let counts = self.0.iter().enumerate().take_while(|(index, _)| upper(*index) <= limit);
        counts.map(|(_, count)| count).sum()
    }

    /// The approximate sum of all values in nanoseconds; each value counts as the middle of its
    /// bucket.
    pub fn sum_nanos(&self) -> f64 {
        let middle = |index: usize| (upper(index.saturating_sub(1)) + upper(index)) as f64 / 2.0;
        let counts = self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        counts.map(|(index, count)| middle(index) * *count as f64).sum()
    }

    /// The number of values that do not exceed each power of two from 1,024 ns on, as `LATENCY
    /// HISTOGRAM` shows it: microseconds and the cumulative count, only where the count grows.
    pub fn cumulative_micros(&self) -> Vec<(u64, u64)> {
        let mut shown = Vec::new();
        let (mut limit, mut seen, mut told) = (1024_u64, 0, 0);
        for (index, count) in self.0.iter().enumerate() {
            while upper(index) > limit {
                if seen > told {
                    shown.push((bound_micros(limit), seen));
                    told = seen;
                }
                limit *= 2;
            }
            seen += count;
        }
        if seen > told {
            shown.push((bound_micros(limit), seen));
        }
        shown
    }
}

/// How Redis shows the bound 2^k ns: its histogram keeps 128 steps per power of two and names the
/// last nanosecond of the step that begins there (so 32,768 ns is `33`).
fn bound_micros(nanos: u64) -> u64 {
    (nanos + nanos / 128 - 1) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_within_an_eighth_of_its_bucket() {
        let mut value = 1_u64;
        while value < 1 << 33 {
            let (at, end) = (bucket(value), upper(bucket(value)));
            assert!(end >= value, "{value} lies above its bucket {at}");
            assert!(end as f64 <= value as f64 * 1.1251 + 1.0, "{value} in a bucket up to {end}");
            assert!(bucket(value + 1) >= at);
            value += value / 13 + 1;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_and_cumulative_counts() {
        let recorder = Recorder::default();
        recorder.record(1_500, 90);
        recorder.record(40_000, 10);
        let mut histogram = Histogram::default();
        histogram.add(&recorder);
        assert_eq!(histogram.count(), 100);
        assert!((1_500..1_700).contains(&histogram.percentile(50.0)));
        assert!((40_000..45_100).contains(&histogram.percentile(99.0)));
        assert_eq!(histogram.cumulative_micros(), [(2, 90), (66, 100)]);
        assert_eq!(Histogram::default().percentile(50.0), 0);
        assert!(Histogram::default().cumulative_micros().is_empty());
    }
}
