//! A cache of the parts of sorted sets that transactions have read and will need again: nodes of trees of counts, and whole
//! small sets in score order.
//!
//! Everything is named by a version, so it is of one key, whose shard is locked by whoever asks or changes it. What is
//! kept is as in the engine: a commit removes what it changes before it writes, and puts it back as it is then.

use parking_lot::Mutex;
use std::collections::HashMap;

/// Parts with a lock each.
const PARTS: u64 = 16;

/// A version, and a number that distinguishes what is of the same version.
pub(super) type Id = (u64, u32);

/// Values up to a number of bytes. What does not fit displaces others, which are read again when needed.
pub(super) struct Kept<V> {
    parts: Vec<Mutex<Part<V>>>,
    part_bytes_max: usize,
}

struct Part<V> {
    values: HashMap<Id, (V, usize)>,
    bytes: usize,
}

impl<V> Part<V> {
    fn take(&mut self, id: Id) -> Option<V> {
        let (value, bytes) = self.values.remove(&id)?;
        self.bytes -= bytes;
        Some(value)
    }

    /// Drops values, whichever come first, until a quarter is free.
    fn make_room(&mut self, bytes_max: usize) {
        let Part { values, bytes } = self;
        values.retain(|_, (_, of_value)| {
            let keeps = *bytes <= bytes_max / 4 * 3;
            *bytes -= if keeps { 0 } else { *of_value };
            keeps
        });
    }
}

impl<V: Clone> Kept<V> {
    /// Keeps about so many bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        let part = || Mutex::new(Part { values: HashMap::new(), bytes: 0 });
        let parts = (0..PARTS).map(|_| part()).collect();
        Kept { parts, part_bytes_max: bytes_max / PARTS as usize }
    }

    fn part(&self, (version, _): Id) -> &Mutex<Part<V>> {
        &self.parts[(version % PARTS) as usize]
    }

    /// The value of this name, if it is kept.
    pub(super) fn get(&self, id: Id) -> Option<V> {
        self.part(id).lock().values.get(&id).map(|(value, _)| value.clone())
    }

    /// The value of this name, which is no longer kept then.
    pub(super) fn take(&self, id: Id) -> Option<V> {
        self.part(id).lock().take(id)
    }

    /// Keeps a value that takes so many bytes.
    pub(super) fn put(&self, id: Id, value: V, bytes: usize) {
        let mut part = self.part(id).lock();
        drop(part.take(id));
        if bytes > self.part_bytes_max / 4 {
            return;
        }
        part.bytes += bytes;
        part.values.insert(id, (value, bytes));
        if part.bytes > self.part_bytes_max {
            part.make_room(self.part_bytes_max);
        }
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
            assert!((100..=1000).contains(&part.bytes), "{}", part.bytes);
        }
        kept.put((1, 1), 1, 1000);
        assert_eq!(kept.get((1, 1)), None, "it would displace all others");
    }
}
