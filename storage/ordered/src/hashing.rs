//! SipHash-1-3 with a seed that is stored with the data.
//!
//! The hash orders keys on disk, so it has to be the same in every run and for every compiler: the
//! standard library promises neither. The seed keeps hostile keys from aiming at one shard.

use siphasher::sip::SipHasher13;
use storage::random::mix;

/// The two halves of a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64, pub u64);

impl Seed {
    /// A seed that cannot be guessed, from the entropy that the standard library gives its hash
    /// maps.
    pub fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Seed(RandomState::new().hash_one(1), RandomState::new().hash_one(2))
    }

    /// As stored.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.0) << 64) | u128::from(self.1)).to_be_bytes()
    }

    /// From its stored form.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Seed((both >> 64) as u64, both as u64)
    }

    /// The hash of `bytes`.
    pub fn hash(self, bytes: &[u8]) -> u64 {
        siphash_1_3(self.0, self.1, bytes)
    }

    /// 128 bits standing for a name too long to be part of a record's key.
    pub fn digest(self, bytes: &[u8]) -> [u8; 16] {
        let high = siphash_1_3(self.0 ^ 0xa5a5_a5a5_a5a5_a5a5, self.1, bytes);
        let low = siphash_1_3(self.0, self.1 ^ 0x5a5a_5a5a_5a5a_5a5a, bytes);
        Seed(high, low).to_bytes()
    }
}

/// The number of elements that a random draw may skip after the position in hash order at which it
/// starts. Without skipping, an element's chance would be proportional to the gap before it, which
/// varies a lot; with skipping, it is proportional to the mean of this many gaps (whose standard
/// deviation is a quarter of that).
pub const DRAW_STEPS: u64 = 16;

/// Returns the position in hash order at which a random draw starts, and the number of elements
/// that it skips from there. The number is mixed (splitmix64), so its quality does not matter.
pub fn draw(random: u64) -> (u64, u64) {
    let mixed = mix(random);
    (mixed, mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32 & (DRAW_STEPS - 1))
}

fn siphash_1_3(k0: u64, k1: u64, bytes: &[u8]) -> u64 {
    SipHasher13::new_with_keys(k0, k1).hash(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::hash::Hasher;

    /// The standard library's `DefaultHasher` happens to be SipHash-1-3 with a zero key today.
    #[test]
    fn agrees_with_the_standard_library() {
        for len in 0..40 {
            let bytes: Vec<u8> = (0..len).collect();
            let mut std = std::hash::DefaultHasher::new();
            std.write(&bytes);
            assert_eq!(Seed(0, 0).hash(&bytes), std.finish(), "{len} bytes");
        }
    }
}
