//! [`CopyOnWrite`]: what commits replace while a snapshot is written of an engine that keeps no old versions.

use super::keys;
use super::kv::{Batch, OrderedKv, SPACES_MAX, Space, SpaceChanges};
use parking_lot::{Mutex, MutexGuard};
use storage::Result;

/// Copies of the records that commits have replaced since the cut. Grows with the number of distinct records changed
/// while the snapshot is written.
pub(super) struct CopyOnWrite {
    cut_version: u64,
    saved: Mutex<[SpaceChanges; SPACES_MAX]>,
}

impl CopyOnWrite {
    /// Nothing saved yet. Elements of versions from `cut_version` on are newer than the snapshot.
    pub(super) fn since(cut_version: u64) -> Self {
        CopyOnWrite { cut_version, saved: Mutex::default() }
    }

    /// Returns the records saved so far, by space.
    pub(super) fn saved(&self) -> MutexGuard<'_, [SpaceChanges; SPACES_MAX]> {
        self.saved.lock()
    }

    /// Saves the records that a batch is about to change, unless they are saved already. The
    /// batch's shards are locked, so no other thread changes these records meanwhile.
    pub(super) fn save(&self, kv: &dyn OrderedKv, batch: &Batch) -> Result<()> {
        for space in [keys::META, keys::ELEMENTS] {
            for key in batch.space(space).keys() {
                if self.needs(space, key) {
                    let old = kv.get(space, key)?;
                    self.saved.lock()[usize::from(space.0)].entry(key.clone()).or_insert(old);
                }
            }
        }
        Ok(())
    }

    fn needs(&self, space: Space, key: &[u8]) -> bool {
        let version = key.get(..8).and_then(keys::be64).unwrap_or_default();
        let newer = space == keys::ELEMENTS && version >= self.cut_version;
        !newer && !self.saved.lock()[usize::from(space.0)].contains_key(key)
    }
}
