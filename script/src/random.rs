//! `math.random`'s generator: the 48-bit linear congruential one of POSIX, as Redis uses it, so
//! that a seed gives the same numbers everywhere.

/// Source: POSIX, drand48.
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
const LOW_OF_SEED: u64 = 0x330E;

/// The generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// As POSIX's `srand48`.
    pub fn new(seed: u32) -> Random {
        Random(u64::from(seed) << 16 | LOW_OF_SEED)
    }

    /// The next number, in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK;
        let max = f64::from(i32::MAX);
        let next = (self.0 >> 17) as f64;
        (next % max) / max
    }
}
