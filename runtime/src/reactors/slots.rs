//! A reactor's connections, in reusable slots that are found by index.

/// Identifies one connection of one reactor uniquely: a reused slot has another generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

/// Generations are below this, so that the four highest bits of [`Key::number`] are free for other uses.
const GENERATIONS: u32 = 1 << 28;

impl Key {
    /// The key as a number below 2⁶⁰, for a poller.
    #[inline]
    pub fn number(self) -> u64 {
        u64::from(self.index) | u64::from(self.generation) << 32
    }

    /// The key whose [`Key::number`] is the lower 60 bits of `number`.
    #[inline]
    pub fn from_number(number: u64) -> Key {
        Key { index: number as u32, generation: (number >> 32) as u32 & (GENERATIONS - 1) }
    }
}

struct VersionedSlot<S> {
    generation: u32,
    slot: Option<S>,
}

/// The slots of one reactor. `S` is a connection and the reactor's state for it.
pub struct Slots<S> {
    entries: Vec<VersionedSlot<S>>,
    free: Vec<u32>,
}

impl<S> Default for Slots<S> {
    fn default() -> Self {
        Slots { entries: Vec::new(), free: Vec::new() }
    }
}

impl<S> Slots<S> {
    /// The number of slots in use.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    /// Reserves the key that the next [`Slots::insert`] will use.
    pub fn next_key(&mut self) -> Key {
        if self.free.is_empty() {
            self.free.push(self.entries.len() as u32);
            self.entries.push(VersionedSlot { generation: 0, slot: None });
        }
        let index = self.free[self.free.len() - 1];
        Key { index, generation: self.entries[index as usize].generation }
    }

    /// Puts `slot` into a free place, and returns its key.
    pub fn insert(&mut self, slot: S) -> Key {
        let key = self.next_key();
        self.free.pop();
        self.entries[key.index as usize].slot = Some(slot);
        key
    }

    /// The slot of that key, unless it was removed.
    #[inline]
    pub fn get_mut(&mut self, key: Key) -> Option<&mut S> {
        let entry = self.entries.get_mut(key.index as usize)?;
        if entry.generation == key.generation { entry.slot.as_mut() } else { None }
    }

    /// Removes a slot; its key will not be used again for long.
    pub fn remove(&mut self, key: Key) -> Option<S> {
        self.get_mut(key)?;
        let entry = &mut self.entries[key.index as usize];
        entry.generation = (entry.generation + 1) & (GENERATIONS - 1);
        self.free.push(key.index);
        entry.slot.take()
    }

    /// The keys of all connections.
    pub fn keys(&self) -> Vec<Key> {
        let with_index = self.entries.iter().zip(0u32..);
        with_index
            .filter(|(entry, _)| entry.slot.is_some())
            .map(|(entry, index)| Key { index, generation: entry.generation })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reused_slot_has_another_key() {
        let mut slots = Slots::default();
        let (first, second) = (slots.insert("a"), slots.insert("b"));
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!((slots.remove(first), slots.len()), (None, 1));
        assert_eq!(slots.next_key(), slots.insert("c"));
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "b"));
        assert_eq!(slots.len(), slots.keys().len());
        let key = slots.keys()[0];
        assert_eq!(slots.get_mut(Key::from_number(key.number() | 0xF << 60)), Some(&mut "c"));
    }
}
