//! Which key a request goes to: uniform, zipf, one hot key, the latest, or each once in order.

use super::rng::Rng;
use std::sync::Arc;
use storage::random::mix;

/// How many draws of a zipf distribution are made ahead: a draw costs a search, a replay none.
const DRAWN: usize = 1 << 20;

/// The newest insertions are not asked for yet: they may still be under way on other connections.
const UNDER_WAY: u64 = 256;

/// How keys are drawn from the key space.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// Every key alike.
    Uniform,
    /// Few keys get most requests: key of rank r has weight r^-theta, ranks scattered over keys.
    Zipf {
        /// Skew; YCSB uses 0.99.
        theta: f64,
    },
    /// One key gets `share` of all requests, the others divide the rest evenly.
    Hot {
        /// 0 to 1.
        share: f64,
    },
    /// Zipf over age: the newest inserted key is the most popular.
    Latest {
        /// Skew, as in `Zipf`.
        theta: f64,
    },
    /// Every key in order, then again from the first.
    Sequential,
}

/// A stream of key numbers for one load thread.
#[derive(Debug, Clone)]
pub struct Keys {
    distribution: Distribution,
    /// Keys are numbered from 0 to this, exclusive; inserted ones come after.
    space: u64,
    rng: Rng,
    drawn: Arc<[u32]>,
    cursor: usize,
    fresh_base: u64,
    fresh: u64,
    sequence: u64,
    stride: u64,
}

impl Keys {
    /// Keys out of `0..space`; the same `seed` gives the same stream.
    pub fn new(distribution: Distribution, space: u64, seed: u64) -> Self {
        let drawn = match distribution {
            Distribution::Zipf { theta } | Distribution::Latest { theta } => {
                draw_zipf(space, theta, seed)
            }
            _ => Arc::from([]),
        };
        let rng = Rng::new(seed);
        let (cursor, fresh, sequence, stride) = (0, 0, 0, 1);
        Keys { distribution, space, rng, drawn, cursor, fresh_base: space, fresh, sequence, stride }
    }

    /// The share of thread `index` of `count`: its own random stream, its own sequence, and
    /// inserted keys that no other thread and no earlier run (a smaller `run`) inserts.
    pub fn share(&self, index: u64, count: u64, run: u64) -> Self {
        let mut share = self.clone();
        share.rng = Rng::new(self.rng.clone().next() ^ mix(index + 1));
        share.cursor = share.rng.below(DRAWN as u64) as usize;
        share.fresh_base = self.space + (run * count + index) * 100_000_000;
        share.sequence = index;
        share.stride = count;
        share
    }

    /// The next key to ask for.
    #[inline]
    pub fn pick(&mut self) -> u64 {
        match self.distribution {
            Distribution::Uniform => self.rng.below(self.space),
            Distribution::Zipf { .. } => mix(self.rank()) % self.space,
            Distribution::Hot { share } => {
                if self.rng.unit() < share {
                    0
                } else {
                    self.rng.below(self.space)
                }
            }
            Distribution::Latest { .. } => self.latest(),
            Distribution::Sequential => {
                let key = self.sequence % self.space;
                self.sequence += self.stride;
                key
            }
        }
    }

    /// A key that nothing has used before.
    #[inline]
    pub fn insert(&mut self) -> u64 {
        self.fresh += 1;
        self.fresh_base + self.fresh - 1
    }

    /// A random number below `n`, from the same stream.
    #[inline]
    pub fn below(&mut self, n: u64) -> u64 {
        self.rng.below(n)
    }

    fn rank(&mut self) -> u64 {
        self.cursor = (self.cursor + 1) & (DRAWN - 1);
        u64::from(self.drawn[self.cursor])
    }

    fn latest(&mut self) -> u64 {
        let age = self.rank();
        let there = self.fresh.saturating_sub(UNDER_WAY);
        match there.checked_sub(age + 1) {
            Some(index) => self.fresh_base + index,
            None => self.space - 1 - (age - there) % self.space,
        }
    }
}

/// `DRAWN` ranks, 0 the most likely, by searching the cumulative weights.
fn draw_zipf(space: u64, theta: f64, seed: u64) -> Arc<[u32]> {
    let space = space.clamp(1, u64::from(u32::MAX));
    let mut total = 0.0;
    let cumulative: Vec<f64> = (1..=space)
        .map(|rank| {
            total += (rank as f64).powf(-theta);
            total
        })
        .collect();
    let mut rng = Rng::new(seed ^ 0x5A49_5046);
    let last = space as usize - 1;
    (0..DRAWN)
        .map(|_| {
            let at = rng.unit() * total;
            cumulative.partition_point(|&sum| sum <= at).min(last) as u32
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    fn histogram(distribution: Distribution) -> Vec<u64> {
        let mut keys = Keys::new(distribution, 1000, 7).share(0, 1, 0);
        let mut counts: HashMap<u64, u64> = HashMap::new();
        for _ in 0..100_000 {
            *counts.entry(keys.pick()).or_default() += 1;
        }
        assert!(counts.keys().all(|&key| key < 1000));
        let mut counts: Vec<u64> = counts.into_values().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    #[test]
    fn uniform_touches_all_keys_alike() {
        let counts = histogram(Distribution::Uniform);
        assert_eq!(counts.len(), 1000);
        assert!(counts[0] < 200, "most popular {}", counts[0]);
    }

    #[test]
    fn zipf_gives_the_first_key_its_share() {
        // Weights 1/r^0.99 over 1000 ranks sum to 7.73: the first has 12.9 %, the second 6.5 %.
        let counts = histogram(Distribution::Zipf { theta: 0.99 });
        assert!((12_000..16_000).contains(&counts[0]), "{}", counts[0]);
        assert!((5_500..8_500).contains(&counts[1]), "{}", counts[1]);
    }

    #[test]
    fn hot_key_gets_its_share() {
        let counts = histogram(Distribution::Hot { share: 0.9 });
        assert!((89_000..91_500).contains(&counts[0]), "{}", counts[0]);
    }

    #[test]
    fn threads_divide_the_sequence_and_never_insert_the_same_key() {
        let all = Keys::new(Distribution::Sequential, 6, 1);
        let (mut a, mut b) = (all.share(0, 2, 0), all.share(1, 2, 0));
        let picked: Vec<u64> = (0..3).flat_map(|_| [a.pick(), b.pick()]).collect();
        assert_eq!(picked, [0, 1, 2, 3, 4, 5]);
        assert_eq!(a.pick(), 0);
        assert_ne!(a.insert(), b.insert());
        assert!(a.insert() >= 6);
    }

    #[test]
    fn latest_prefers_what_was_just_inserted() {
        let mut keys = Keys::new(Distribution::Latest { theta: 0.99 }, 1000, 3).share(0, 1, 0);
        let newest = keys.insert();
        for _ in 0..UNDER_WAY {
            keys.insert();
        }
        let picked: Vec<u64> = (0..10_000).map(|_| keys.pick()).collect();
        assert!(picked.iter().all(|&key| key <= newest));
        let hits = picked.iter().filter(|&&key| key == newest).count();
        assert!(hits > 800, "{hits}");
    }
}
