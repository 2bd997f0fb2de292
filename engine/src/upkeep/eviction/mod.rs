//! Eviction: removes keys when memory use exceeds `maxmemory`.
//!
//! As in Redis, victims are found by sampling: each time, a few keys at a random place are compared
//! with the best of earlier samples, and the one that `maxmemory-policy` values least is removed.
//! Before a command runs, the thread that is about to run it frees memory, a bounded slice at a
//! time. The used memory is checked after a certain number of bytes of requests, or of memory that
//! a thread allocated for them, and by the housekeeper. So one command may take any amount of
//! memory, and the next one that needs some is affected.

mod engine;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};
use storage::{Db, Sampled};

/// Candidates remembered from earlier samples; Redis's `EVPOOL_SIZE`.
const POOL_SIZE: usize = 16;
/// The property of a key that `maxmemory-policy` ranks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Value {
    /// The time of the last access.
    Recency,
    /// The access counter.
    Frequency,
    /// Its remaining time to live.
    Life,
    /// Nothing.
    Nothing,
}

/// A `maxmemory-policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Policy {
    /// Only keys with an expiry are evicted.
    volatile: bool,
    value: Value,
}

impl Policy {
    /// The policy of a name; `None` if nothing may be evicted.
    fn named(name: &str) -> Option<Policy> {
        let (keys, value) = name.split_once('-')?;
        let value = match value {
            "lru" => Value::Recency,
            "lfu" => Value::Frequency,
            "ttl" => Value::Life,
            _ => Value::Nothing,
        };
        Some(Policy { volatile: keys == "volatile", value })
    }

    /// The higher, the sooner it goes.
    fn score(self, key: &Sampled) -> u64 {
        match self.value {
            Value::Recency => key.idle_ms,
            Value::Frequency => 255 - u64::from(key.freq),
            Value::Life => u64::MAX - key.expiry_ms.unwrap_or(u64::MAX),
            Value::Nothing => 0,
        }
    }
}

#[derive(Debug)]
struct Candidate {
    score: u64,
    db: Db,
    key: Box<[u8]>,
}

/// State kept between evictions.
#[derive(Debug, Default)]
pub struct Eviction {
    /// In ascending order of scores. The thread that holds the lock evicts.
    pool: Mutex<Vec<Candidate>>,
    /// Whether there is a limit.
    limited: AtomicBool,
    /// Bytes that came or were allocated since memory was last looked at.
    grown: AtomicU64,
}

impl Eviction {
    /// Forgets candidates: they were found by another policy.
    pub(crate) fn forget(&self) {
        self.pool.lock().clear();
    }
}

/// Keeps the candidates with the highest scores.
fn remember(pool: &mut Vec<Candidate>, candidate: Candidate) {
    if pool.iter().any(|other| other.db == candidate.db && other.key == candidate.key) {
        return;
    }
    let at = pool.partition_point(|other| other.score <= candidate.score);
    pool.insert(at, candidate);
    if pool.len() > POOL_SIZE {
        pool.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampled(idle_ms: u64, freq: u8, expiry_ms: Option<u64>) -> Sampled {
        Sampled { idle_ms, freq, expiry_ms }
    }

    #[test]
    fn policies_value_what_their_names_say() {
        let (old, fresh) = (sampled(9000, 3, Some(50)), sampled(1000, 9, Some(90)));
        for (name, volatile) in [
            ("allkeys-lru", false),
            ("allkeys-lfu", false),
            ("volatile-lru", true),
            ("volatile-lfu", true),
            ("volatile-ttl", true),
        ] {
            let policy = Policy::named(name).expect(name);
            assert_eq!(policy.volatile, volatile, "{name}");
            assert!(policy.score(&old) > policy.score(&fresh), "{name}");
        }
        assert_eq!(Policy::named("noeviction"), None);
        assert_eq!(Policy::named("allkeys-random").map(|p| p.value), Some(Value::Nothing));
    }

    #[test]
    fn the_pool_keeps_the_best_and_each_once() {
        let mut pool = Vec::new();
        for score in (0..40).chain(0..40) {
            let key = [score as u8];
            remember(&mut pool, Candidate { score, db: 0, key: key.as_slice().into() });
        }
        let scores: Vec<u64> = pool.iter().map(|candidate| candidate.score).collect();
        assert_eq!(scores, (24..40).collect::<Vec<_>>());
    }
}
