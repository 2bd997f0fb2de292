//! A model of how the memory backend scales, for machines with more cores than this one. Its parameters are
//! measured, and its curve is shown beside what was measured.
//!
//! The model, for `n` threads that draw keys independently:
//!
//! - A command takes the time it takes on one thread, and what follows.
//! - Every command that takes a lock writes the line of its shard, which the core has fetched for writing a batch
//!   of commands earlier. It waits for the line again, once, if another thread has used the shard since.
//! - If another thread has the lock at that moment, it waits for half the time for which a lock is held, and for
//!   the line.
//! - The commands of one shard follow one another, so the fullest shard bounds the rate.
//!
//! Not in it: bandwidth of memory and of the last-level cache, clocks that drop when all cores work, two threads on a
//! core, and several sockets, between which a line takes three times as long. Where it is wrong, it promises
//! too much.

/// The commands between the moment when a line is fetched and that when it is used: a batch of the bench.
const AHEAD: f64 = 16.0;

/// The share of a command's time in which it has the lock: of the instructions of a `SET`, counted with callgrind,
/// those between locking and unlocking.
const HELD: f64 = 0.4;

/// The threads for which the model is shown, as far as they were not measured.
pub const SHOWN: [usize; 5] = [4, 8, 16, 32, 64];

/// A measured rate this much beside the predicted one is a disagreement.
const TOLERANCE: f64 = 0.15;

/// Parameters of a prediction.
#[derive(Debug, Clone, Copy)]
pub struct Model {
    /// Nanoseconds a command takes on one thread.
    pub alone_ns: f64,
    /// Nanoseconds a cache line takes from one core to another.
    pub line_ns: f64,
    /// The odds that commands have the same key.
    pub keys: Meetings,
}

/// The odds that two commands have the same key.
#[derive(Debug, Clone, Copy)]
pub struct Meetings {
    /// The probability that they do.
    same: f64,
    /// The share of the most popular key.
    top: f64,
}

impl Meetings {
    /// For `count` keys drawn as `bench engine --keys` says.
    pub fn of(keys: &str, count: u64, theta: f64) -> Meetings {
        let weight = |rank: u64| match keys {
            "zipf" => (rank as f64).powf(-theta),
            _ => 1.0,
        };
        let count = if keys == "hot" { 1 } else { count.max(1) };
        let (total, squares) =
            (1..=count).map(weight).fold((0.0, 0.0), |(total, squares), weight| {
                (total + weight, squares + weight * weight)
            });
        Meetings { same: squares / (total * total), top: weight(1) / total }
    }
}

impl Model {
    /// The work of `threads` threads beside that of one, on as many cores, with `shards` shards.
    pub fn speedup(&self, threads: usize, shards: u32) -> f64 {
        let (others, threads) = (threads.saturating_sub(1) as f64, threads as f64);
        if others == 0.0 {
            return threads;
        }
        let held = self.alone_ns * HELD;
        // Whatever the key is, it may be of the same shard.
        let meet = (self.keys.same + 1.0 / f64::from(shards)).min(1.0);
        let fetched_again = (AHEAD * others * meet).min(1.0) * self.line_ns;
        let waiting = (others * meet * HELD).min(1.0) * (held / 2.0 + self.line_ns);
        let alike = threads * self.alone_ns / (self.alone_ns + fetched_again + waiting);
        // Commands of one shard follow one another. Whoever has it does some in a row, so that the line
        // hardly counts.
        let fullest = (self.keys.top + 1.0 / f64::from(shards)).min(1.0);
        // Who waits does not work meanwhile, so a shard that has everything is as fast as one thread.
        let serial = if fullest >= 1.0 { 1.0 } else { 1.0 / (fullest * HELD) };
        alike.min(serial)
    }

    /// Whether a measured speedup is not what this predicts.
    pub fn disagrees(predicted: f64, measured: f64) -> bool {
        (measured / predicted - 1.0).abs() > TOLERANCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(keys: &str) -> Model {
        let keys = Meetings::of(keys, 1_000_000, 0.99);
        Model { alone_ns: 150.0, line_ns: 80.0, keys }
    }

    #[test]
    fn one_hot_key_does_not_scale() {
        assert_eq!(model("hot").speedup(1, 64), 1.0);
        assert!(model("hot").speedup(64, 1024) <= 1.0);
    }

    #[test]
    fn more_shards_and_evener_keys_scale_better() {
        let uniform = |shards| model("uniform").speedup(8, shards);
        assert!(uniform(1024) > uniform(256) && uniform(256) > uniform(64));
        assert!(uniform(1024) > model("zipf").speedup(8, 1024));
        assert!(uniform(1024) < 8.0);
    }

    #[test]
    fn the_keys_of_a_zipf_distribution_meet_as_often_as_its_weights_say() {
        // Three keys of weights 1, 1/2, 1/3: (1 + 1/4 + 1/9) / (11/6)².
        let keys = Meetings::of("zipf", 3, 1.0);
        assert!((keys.same - 49.0 / 121.0).abs() < 1e-9 && (keys.top - 6.0 / 11.0).abs() < 1e-9);
    }

    #[test]
    fn a_sixth_beside_the_prediction_is_a_disagreement() {
        assert!(!Model::disagrees(2.0, 1.75) && !Model::disagrees(2.0, 2.25));
        assert!(Model::disagrees(2.0, 1.65) && Model::disagrees(2.0, 2.35));
    }
}
