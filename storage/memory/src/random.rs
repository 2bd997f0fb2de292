//! `RANDOMKEY`: a key of any of the shards.

use super::guards::Marks;
use super::tx::MemoryTx;
use storage::random::mix;
use storage::tx::{Db, Key};

/// Expired keys looked at before one of them is the answer, while they are hidden.
const EXPIRED_MAX: u32 = 100;

impl MemoryTx<'_> {
    /// A key that has not expired, if there is one and the others do not hide it.
    pub(super) fn random_live(&mut self, db: Db, mut seed: u64) -> Option<Vec<u8>> {
        // An expired key is deleted here, so the loop ends; those that are hidden are counted.
        for tried in 1.. {
            seed = mix(seed);
            let (hash, bytes) = self.any_key(db, seed)?;
            let kept = self.marks.contains(Marks::HIDES_EXPIRED) && tried == EXPIRED_MAX;
            if self.live(&Key { db, hash, bytes: &bytes }).is_some() || kept {
                return Some(bytes);
            }
        }
        None
    }

    /// A key chosen by `random` among all shards, expired or not.
    fn any_key(&self, db: Db, random: u64) -> Option<(u64, Vec<u8>)> {
        let total: usize = self.spaces(db).map(|(_, space)| space.table.len()).sum();
        let mut left = (random as usize).checked_rem(total)?;
        for (shard, space) in self.spaces(db) {
            if left < space.table.len() {
                let entry = space.table.random(mix(random))?;
                return Some((self.backend.hash_in(shard, entry.key()), entry.key().to_vec()));
            }
            left -= space.table.len();
        }
        None
    }
}
