//! The keyed hash of keys, fields and members.

use rapidhash::v3::{RapidSecrets, rapidhash_v3_micro_inline};
use std::fmt;

/// Hashes byte strings with a secret from the process's seed, so that a peer who does not know the
/// seed cannot choose keys that collide.
#[derive(Clone, Copy)]
pub struct Hasher {
    secrets: RapidSecrets,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The secrets stay out of logs: who knows them can build colliding keys.
        f.write_str("Hasher")
    }
}

impl Hasher {
    /// A hasher whose secrets are derived from `seed`.
    pub fn new(seed: u64) -> Self {
        Hasher { secrets: RapidSecrets::seed(seed) }
    }

    /// The hash of `bytes`.
    #[inline]
    pub fn hash(&self, bytes: &[u8]) -> u64 {
        // The protected variant: two more XORs per step close the known seed-independent
        // collisions of the multiply-mix family.
        rapidhash_v3_micro_inline::<true, true>(bytes, &self.secrets)
    }
}
