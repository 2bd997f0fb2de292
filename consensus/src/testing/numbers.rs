//! Pseudo-random numbers from a seed, by SplitMix64.

use crate::tikv::mix;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// A generator of pseudo-random numbers.
#[derive(Debug, Clone)]
pub struct Numbers(SplitMix64);

impl Numbers {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Numbers {
        let mut numbers = SplitMix64::seed_from_u64(mix(seed));
        // Runs are identified by their seeds, so the numbers of a seed must never change.
        numbers.next_u64();
        Numbers(numbers)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which must not be zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True in one of `n` calls, on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One element of `from`, which must not be empty.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
