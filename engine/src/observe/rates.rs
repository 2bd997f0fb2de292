//! [`Rates`]: how much happens per second, averaged over the last moments.

use crate::observe::stats::Stats;
use parking_lot::Mutex;
use runtime::Now;

/// Samples averaged, as Redis's `STATS_METRIC_SAMPLES`.
const SAMPLES: usize = 16;
/// Least time between two samples, microseconds.
const INTERVAL_US: u64 = 100_000;

/// Rates of events, per second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PerSecond {
    /// Commands run.
    pub commands: f64,
    /// Bytes received.
    pub bytes_in: f64,
    /// Bytes sent.
    pub bytes_out: f64,
}

#[derive(Debug, Default)]
struct State {
    last: Option<(u64, [u64; 3])>,
    samples: [[f64; 3]; SAMPLES],
    next: usize,
}

/// Rates sampled by housekeeping.
#[derive(Debug, Default)]
pub struct Rates(Mutex<State>);

impl Rates {
    /// Takes a sample if the last one is old enough.
    pub fn sample(&self, stats: &Stats, now: Now) {
        let mut state = self.0.lock();
        let elapsed = state.last.map(|(at, _)| now.mono_us.saturating_sub(at));
        if elapsed.is_some_and(|us| us < INTERVAL_US) {
            return;
        }
        let (bytes_in, bytes_out) = stats.traffic();
        let totals = [stats.total_calls(), bytes_in, bytes_out];
        if let (Some((_, before)), Some(us)) = (state.last, elapsed) {
            // After a reset the totals are smaller than before.
            let rate = |i: usize| totals[i].saturating_sub(before[i]) as f64 * 1e6 / us as f64;
            let next = state.next;
            state.samples[next] = [rate(0), rate(1), rate(2)];
            state.next = (next + 1) % SAMPLES;
        }
        state.last = Some((now.mono_us, totals));
    }

    /// The average of the last samples.
    pub fn per_second(&self) -> PerSecond {
        let state = self.0.lock();
        let mean = |i: usize| state.samples.iter().map(|s| s[i]).sum::<f64>() / SAMPLES as f64;
        PerSecond { commands: mean(0), bytes_in: mean(1), bytes_out: mean(2) }
    }

    /// `CONFIG RESETSTAT`.
    pub fn reset(&self) {
        *self.0.lock() = State::default();
    }
}
