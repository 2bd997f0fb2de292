//! Numbers that follow from a seed: SplitMix64.

use crate::tikv::mix;
use rand_xoshiro::SplitMix64;
use rand_xoshiro::rand_core::{Rng as _, SeedableRng as _};

/// See the module.
#[derive(Debug, Clone)]
pub struct Numbers(SplitMix64);

impl Numbers {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Numbers {
        let mut numbers = SplitMix64::seed_from_u64(mix(seed));
        // Runs are known by their seeds: the numbers are those that they have always been.
        numbers.next_u64();
        Numbers(numbers)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `end`, which is not zero.
    pub fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    /// True once in `n` times, on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of these; there is at least one.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
