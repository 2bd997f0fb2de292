//! An ordered engine in memory that counts the records it is asked for: how much work an operation
//! is, without the noise of a clock or a disk.

use crate::kv::{Batch, OrderedKv, Read, SPACES_MAX, Space, VisitRecord, bounds};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::Result;

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// The engine. Clones share everything; nothing is durable.
#[derive(Clone, Debug, Default)]
pub struct CountingKv(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    spaces: RwLock<[Records; SPACES_MAX]>,
    read: AtomicU64,
    written: AtomicU64,
}

impl CountingKv {
    /// Records read (found or not, one for each that a scan meets) and written since the last
    /// call.
    pub fn take_counts(&self) -> (u64, u64) {
        (self.0.read.swap(0, Ordering::Relaxed), self.0.written.swap(0, Ordering::Relaxed))
    }

    /// Records of a space.
    pub fn records(&self, space: Space) -> usize {
        self.0.spaces.read()[usize::from(space.0)].len()
    }
}

impl Read for CountingKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.read.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.spaces.read()[usize::from(space.0)].get(key).cloned())
    }

    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let Some(bounds) = bounds(lo, hi) else { return Ok(()) };
        let (mut lo, mut hi) = (bounds.0.map(<[u8]>::to_vec), bounds.1.map(<[u8]>::to_vec));
        loop {
            // Not locked while visiting: who visits may read.
            let next = {
                let spaces = self.0.spaces.read();
                let mut left = spaces[usize::from(space.0)].range((lo.clone(), hi.clone()));
                let next = if reverse { left.next_back() } else { left.next() };
                next.map(|(key, value)| (key.clone(), value.clone()))
            };
            let Some((key, value)) = next else { return Ok(()) };
            self.0.read.fetch_add(1, Ordering::Relaxed);
            if !visit(&key, &value) {
                return Ok(());
            }
            if reverse {
                hi = Bound::Excluded(key)
            } else {
                lo = Bound::Excluded(key)
            }
            if matches!((&lo, &hi), (Bound::Excluded(a), Bound::Excluded(b)) if a >= b)
                || matches!((&lo, &hi), (Bound::Included(a), Bound::Excluded(b)) if a >= b)
            {
                return Ok(());
            }
        }
    }
}

impl OrderedKv for CountingKv {
    fn name(&self) -> &'static str {
        "counting"
    }

    fn chunk_bytes(&self) -> usize {
        4 << 10
    }

    fn write(&self, batch: Batch) -> Result<()> {
        let mut spaces = self.0.spaces.write();
        self.0.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
        for (space, key, value) in batch.into_changes() {
            let records = &mut spaces[usize::from(space.0)];
            match value {
                Some(value) => drop(records.insert(key, value)),
                None => drop(records.remove(&key)),
            }
        }
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
