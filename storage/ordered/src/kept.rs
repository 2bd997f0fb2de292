//! A cache of the parts of sorted sets that transactions have read and will need again: nodes of trees of counts, and whole
//! small sets in score order.
//!
//! Everything is named by a version, so it is of one key, whose shard is locked by whoever asks or changes it. What is
//! kept is as committed. A value that is *pinned* is newer than its record, and stays until it has been written.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

/// Parts with a lock each.
const PARTS: u64 = 16;

/// A version, and a number that distinguishes what is of the same version.
pub(super) type Id = (u64, u32);

/// Values up to a number of bytes, and pinned ones up to as many. What does not fit displaces others, which are read
/// again when needed.
pub(super) struct Kept<V> {
    parts: Vec<Mutex<Part<V>>>,
    bytes_max: usize,
    pinned_bytes: AtomicUsize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    pinned: bool,
}

struct Part<V> {
    values: HashMap<Id, Entry<V>>,
    /// Of those that are not pinned.
    bytes: usize,
}

impl<V> Part<V> {
    /// Drops values, whichever come first, until a quarter is free.
    fn make_room(&mut self, bytes_max: usize) {
        let Part { values, bytes } = self;
        values.retain(|_, entry| {
            let keeps = entry.pinned || *bytes <= bytes_max / 4 * 3;
            *bytes -= if keeps { 0 } else { entry.bytes };
            keeps
        });
    }
}

impl<V: Clone> Kept<V> {
    /// Keeps about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let part = || Mutex::new(Part { values: HashMap::new(), bytes: 0 });
        let parts = (0..PARTS).map(|_| part()).collect();
        Kept { parts, bytes_max, pinned_bytes: AtomicUsize::new(0) }
    }

    fn part_bytes_max(&self) -> usize {
        self.bytes_max / PARTS as usize
    }

    /// No longer counts an entry that is not there any more.
    fn forgotten(&self, part_bytes: &mut usize, entry: Entry<V>) -> V {
        if entry.pinned {
            self.pinned_bytes.fetch_sub(entry.bytes, Relaxed);
        } else {
            *part_bytes -= entry.bytes;
        }
        entry.value
    }

    fn part(&self, (version, _): Id) -> &Mutex<Part<V>> {
        &self.parts[(version % PARTS) as usize]
    }

    /// The value of this name, if it is kept.
    pub(super) fn get(&self, id: Id) -> Option<V> {
        self.part(id).lock().values.get(&id).map(|entry| entry.value.clone())
    }

    /// The value of this name, which is no longer kept then.
    pub(super) fn take(&self, id: Id) -> Option<V> {
        let mut part = self.part(id).lock();
        let entry = part.values.remove(&id)?;
        Some(self.forgotten(&mut part.bytes, entry))
    }

    /// Keeps a value that takes so many bytes.
    pub(super) fn put(&self, id: Id, value: V, bytes: usize) {
        drop(self.take(id));
        if bytes > self.part_bytes_max() / 4 {
            return;
        }
        let mut part = self.part(id).lock();
        part.bytes += bytes;
        part.values.insert(id, Entry { value, bytes, pinned: false });
        if part.bytes > self.part_bytes_max() {
            part.make_room(self.part_bytes_max());
        }
    }

    /// Whether another value may be pinned. Each thread may pin a few more than fit.
    pub(super) fn may_pin(&self) -> bool {
        self.pinned_bytes.load(Relaxed) < self.bytes_max
    }

    /// Keeps a value that is newer than its record, until it is put as one that is not, or taken.
    pub(super) fn pin(&self, id: Id, value: V, bytes: usize) {
        drop(self.take(id));
        self.pinned_bytes.fetch_add(bytes, Relaxed);
        self.part(id).lock().values.insert(id, Entry { value, bytes, pinned: true });
    }

    /// The pinned values.
    pub(super) fn pinned(&self) -> Vec<(Id, V)> {
        let mut all = Vec::new();
        for part in &self.parts {
            let part = part.lock();
            let pinned = part.values.iter().filter(|(_, entry)| entry.pinned);
            all.extend(pinned.map(|(&id, entry)| (id, entry.value.clone())));
        }
        all
    }

    /// Forgets everything of a version.
    pub(super) fn forget(&self, version: u64) {
        let part = self.part((version, 0)).lock();
        let ids: Vec<Id> = part.values.keys().filter(|id| id.0 == version).copied().collect();
        drop(part);
        ids.into_iter().for_each(|id| drop(self.take(id)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_found_until_it_is_taken() {
        let kept = Kept::new(1 << 20);
        kept.put((3, 1), "a", 10);
        kept.put((3, 2), "b", 10);
        kept.put((3, 1), "c", 10);
        assert_eq!(
            (kept.get((3, 1)), kept.get((3, 2)), kept.get((4, 1))),
            (Some("c"), Some("b"), None)
        );
        assert_eq!(
            (kept.take((3, 1)), kept.take((3, 1)), kept.get((3, 1))),
            (Some("c"), None, None)
        );
    }

    #[test]
    fn no_more_is_kept_than_allowed() {
        let kept = Kept::new(16 * 1000);
        (0..10_000).for_each(|n| kept.put((n, 0), n, 100));
        for part in &kept.parts {
            let part = part.lock();
            assert_eq!(part.bytes, part.values.len() * 100);
            assert!(!part.values.contains_key(&(0, 1)));
            assert!((100..=1000).contains(&part.bytes), "{}", part.bytes);
        }
        kept.put((1, 1), 1, 1000);
        assert_eq!(kept.get((1, 1)), None, "it would displace all others");
    }

    #[test]
    fn what_is_pinned_stays_until_it_is_put_or_its_version_is_forgotten() {
        let kept = Kept::new(16 * 1000);
        (0..4).for_each(|n| kept.pin((n, 1), n, 6000));
        assert!(!kept.may_pin());
        (0..10_000).for_each(|n| kept.put((n, 0), n, 100));
        let mut pinned = kept.pinned();
        pinned.sort_unstable();
        assert_eq!(pinned, (0..4).map(|n| ((n, 1), n)).collect::<Vec<_>>());
        kept.put((0, 1), 0, 100);
        kept.forget(1);
        assert_eq!((kept.get((1, 0)), kept.get((1, 1))), (None, None));
        assert_eq!(kept.pinned().len(), 2);
        assert!(kept.may_pin());
    }
}
