//! [`Shards`]: how much each shard is used and waited for, and how much lately.
//!
//! Backends count ([`storage::load`]); housekeeping looks once a second. Nothing here locks a shard.

use parking_lot::Mutex;
use runtime::Now;
use storage::Backend;
use storage::load::ShardLoad;

/// Least time between two samples, microseconds.
const INTERVAL_US: u64 = 1_000_000;
/// The time in seconds after which what happened counts about a third of what happens now.
const MEMORY_S: f64 = 10.0;
/// Shards that are shown for their accesses, and as many again for the time that is waited for them.
const SHOWN: usize = 8;

/// A shard's counts since the start, and its rates of late.
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// The counts.
    pub load: ShardLoad,
    /// Accesses per second, over the last ten seconds or so.
    pub accesses_per_s: f64,
    /// The time for which its lock was waited for in each second, nanoseconds, over the same time.
    pub wait_ns_per_s: f64,
}

impl Used {
    /// Takes new counts over, `elapsed_s` after the last ones.
    fn follow(&mut self, load: ShardLoad, elapsed_s: f64) {
        let weight = 1.0 - (-elapsed_s / MEMORY_S).exp();
        let next = |mean: f64, before: u64, now: u64| {
            mean + weight * (now.saturating_sub(before) as f64 / elapsed_s - mean)
        };
        self.accesses_per_s = next(self.accesses_per_s, self.load.accesses, load.accesses);
        self.wait_ns_per_s = next(self.wait_ns_per_s, self.load.lock_wait_ns, load.lock_wait_ns);
        self.load = load;
    }
}

#[derive(Debug, Default)]
struct State {
    sampled_us: Option<u64>,
    shards: Vec<Used>,
}

/// The rates of all shards, sampled by housekeeping.
#[derive(Debug, Default)]
pub struct Shards(Mutex<State>);

impl Shards {
    /// Takes a sample if the last one is old enough.
    pub fn sample(&self, backend: &dyn Backend, now: Now) {
        let mut state = self.0.lock();
        let elapsed_us = state.sampled_us.map(|at_us| now.mono_us.saturating_sub(at_us));
        if elapsed_us.is_some_and(|us| us < INTERVAL_US) {
            return;
        }
        state.sampled_us = Some(now.mono_us);
        state.shards.resize_with(backend.shard_count() as usize, Used::default);
        for (number, shard) in (0..).zip(&mut state.shards) {
            let load = backend.shard_load(number);
            match elapsed_us {
                Some(us) => shard.follow(load, us as f64 / 1e6),
                None => shard.load = load,
            }
        }
    }

    /// Every shard: its counts now, and its rates at the last sample.
    pub fn all(&self, backend: &dyn Backend) -> Vec<Used> {
        let state = self.0.lock();
        let used = |number: u32| {
            let rates = state.shards.get(number as usize).copied().unwrap_or_default();
            Used { load: backend.shard_load(number), ..rates }
        };
        (0..backend.shard_count()).map(used).collect()
    }
}

/// The numbers of the shards to show, in order: those with most accesses of late, and those that were waited
/// for longest.
pub fn busiest(shards: &[Used]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..shards.len()).collect();
    let by_accesses = |at: &usize| (shards[*at].accesses_per_s, shards[*at].load.accesses);
    order.sort_by(|a, b| by_accesses(b).partial_cmp(&by_accesses(a)).unwrap_or(a.cmp(b)));
    let mut shown: Vec<usize> = order.iter().copied().take(SHOWN).collect();
    order.retain(|at| shards[*at].wait_ns_per_s > 0.0);
    order.sort_by(|a, b| shards[*b].wait_ns_per_s.total_cmp(&shards[*a].wait_ns_per_s));
    shown.extend(order.into_iter().take(SHOWN));
    shown.sort_unstable();
    shown.dedup();
    shown
}

/// A quantile of the shards' accesses per second of late: 0 is the least, 1 the most.
pub fn quantile(shards: &[Used], share: f64) -> f64 {
    let mut rates: Vec<f64> = shards.iter().map(|shard| shard.accesses_per_s).collect();
    rates.sort_by(f64::total_cmp);
    let at = (rates.len().saturating_sub(1) as f64 * share).round() as usize;
    rates.get(at).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(accesses_per_s: f64, wait_ns_per_s: f64) -> Used {
        Used { accesses_per_s, wait_ns_per_s, ..Used::default() }
    }

    #[test]
    fn rates_follow_what_happens_and_forget_what_did() {
        let mut shard = Used::default();
        let load = |accesses| ShardLoad { accesses, lock_waits: 1, lock_wait_ns: 2 * accesses };
        (1..=60).for_each(|second| shard.follow(load(second * 1000), 1.0));
        assert!((990.0..=1000.0).contains(&shard.accesses_per_s), "{shard:?}");
        assert!((1980.0..=2000.0).contains(&shard.wait_ns_per_s), "{shard:?}");
        (0..10).for_each(|_| shard.follow(load(60_000), 1.0));
        assert!((330.0..400.0).contains(&shard.accesses_per_s), "{shard:?}");
        assert_eq!(shard.load, load(60_000));
    }

    #[test]
    fn the_busiest_and_the_most_waited_for_are_shown_however_many_there_are() {
        let mut shards = vec![used(5.0, 0.0); 1024];
        assert_eq!(busiest(&shards).len(), SHOWN);
        (100..120).for_each(|at| shards[at] = used(1000.0 + at as f64, 0.0));
        (0..20).for_each(|at| shards[at] = used(1.0, 1.0 + at as f64));
        let shown: Vec<usize> = (12..20).chain(112..120).collect();
        assert_eq!(busiest(&shards), shown);
        shards[119].wait_ns_per_s = 1e9;
        assert_eq!(busiest(&shards).len(), 2 * SHOWN - 1, "one for both");
        assert_eq!([0.0, 0.5, 1.0].map(|share| quantile(&shards, share)), [1.0, 5.0, 1119.0]);
        assert!(busiest(&[]).is_empty() && quantile(&[], 0.5) == 0.0);
    }
}
