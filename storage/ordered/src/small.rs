//! A small sorted set in memory, in score order.
//!
//! A small set has no tree of counts, so whatever asks for an order walks over its by-score records. On an engine that
//! keeps tombstones, a set whose scores change all the time is surrounded by those: a rank among ten members took
//! 1.3 ms on fjall. So the order of small sets in use is kept in memory.

use super::backend::OrderedBackend;
use super::keys;
use super::kv::{Read, VisitRecord};
use super::tx::OrderedTx;
use smallvec::SmallVec;
use std::cell::RefCell;
use std::sync::Arc;
use storage::Result;

/// A set that takes more bytes in memory is not kept.
const BYTES_MAX: usize = 32 << 10;

/// The number of sets that a transaction remembers: two MiB at most. A script may use any number of them.
const SETS_MAX: usize = 64;

/// The by-score records of a set: their places, each with the value behind it, in one piece.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Small {
    /// Where each record ends in `bytes`, and where its value begins.
    ends: Vec<(u32, u32)>,
    bytes: Vec<u8>,
}

impl Small {
    /// The bytes it takes, about.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.ends.capacity() * size_of::<(u32, u32)>() + size_of::<Self>()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    fn begin(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.ends[before].0 as usize)
    }

    fn place(&self, index: usize) -> &[u8] {
        &self.bytes[self.begin(index)..self.ends[index].1 as usize]
    }

    fn value(&self, index: usize) -> &[u8] {
        let (end, value_at) = self.ends[index];
        &self.bytes[value_at as usize..end as usize]
    }

    /// The index of the first record that is not before a place.
    fn find(&self, place: &[u8]) -> usize {
        let (mut low, mut high) = (0, self.ends.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.place(middle) < place { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Adds a record, or replaces the one at its place.
    pub(super) fn put(&mut self, place: &[u8], value: &[u8]) {
        self.remove(place);
        let index = self.find(place);
        let (begin, bytes) = (self.begin(index), (place.len() + value.len()) as u32);
        self.bytes.splice(begin..begin, place.iter().chain(value).copied());
        for (end, value_at) in &mut self.ends[index..] {
            *end += bytes;
            *value_at += bytes;
        }
        self.ends.insert(index, (begin as u32 + bytes, (begin + place.len()) as u32));
    }

    /// Removes the record at a place, if there is one.
    pub(super) fn remove(&mut self, place: &[u8]) {
        let index = self.find(place);
        if index == self.ends.len() || self.place(index) != place {
            return;
        }
        let (begin, end) = (self.begin(index), self.ends[index].0 as usize);
        self.bytes.drain(begin..end);
        self.ends.remove(index);
        let bytes = (end - begin) as u32;
        for (end, value_at) in &mut self.ends[index..] {
            *end -= bytes;
            *value_at -= bytes;
        }
    }

    /// Visits records as a scan of the engine does, from the by-score key `lo` up to `hi`.
    pub(super) fn scan(&self, lo: &[u8], hi: &[u8], reverse: bool, visit: VisitRecord<'_>) {
        let index =
            |key: &[u8], otherwise| keys::place(key).map_or(otherwise, |place| self.find(place));
        let (from, to) = (index(lo, 0), index(hi, self.ends.len()));
        let mut key = lo[..keys::PLACE_AT].to_vec();
        for step in 0..to.saturating_sub(from) {
            let index = if reverse { to - 1 - step } else { from + step };
            key.truncate(keys::PLACE_AT);
            key.extend_from_slice(self.place(index));
            if !visit(&key, self.value(index)) {
                return;
            }
        }
    }
}

/// Small sets that a transaction has changed or read from the engine, by version, as it sees them. Those that
/// have no place are read again.
#[derive(Default)]
pub(super) struct SmallSets(RefCell<ByVersion>);

type ByVersion = SmallVec<[(u64, Arc<Small>); 1]>;

impl SmallSets {
    fn get(&self, version: u64) -> Option<Arc<Small>> {
        let sets = self.0.borrow();
        sets.iter().find(|(of, _)| *of == version).map(|(_, small)| small.clone())
    }

    fn add(&self, version: u64, small: Arc<Small>) {
        let mut sets = self.0.borrow_mut();
        if sets.len() < SETS_MAX {
            sets.push((version, small));
        }
    }

    /// Forgets a set: it is no longer small.
    fn remove(&mut self, version: u64) {
        self.0.get_mut().retain(|(of, _)| *of != version);
    }

    /// Keeps the sets, which are as they have been written.
    pub(super) fn keep(self, backend: &OrderedBackend) {
        for (version, small) in self.0.into_inner() {
            let size = small.size();
            if !small.is_empty() && size <= BYTES_MAX {
                backend.small.put((version, 0), small, size);
            }
        }
    }
}

impl OrderedTx<'_> {
    /// The order of a set without a tree. `None` if it takes too much memory.
    pub(super) fn small_set(&self, version: u64) -> Result<Option<Arc<Small>>> {
        let kept = self.small.get(version).or_else(|| self.backend.small.get((version, 0)));
        if kept.is_some() {
            return Ok(kept);
        }
        let (lo, hi) = keys::all_by_score(version);
        let mut small = Small::default();
        self.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, value| {
            small.put(keys::place(key).unwrap_or_default(), value);
            small.size() <= BYTES_MAX
        })?;
        if small.size() > BYTES_MAX {
            return Ok(None);
        }
        let small = Arc::new(small);
        self.small.add(version, small.clone());
        Ok(Some(small))
    }

    /// Changes the order of a set as its records were changed, if it is in memory, or if the set was empty before.
    pub(super) fn change_small_set(
        &mut self,
        version: u64,
        was_empty: bool,
        change: impl FnOnce(&mut Small),
    ) {
        // What is kept is what has been written.
        let kept = self.backend.small.take((version, 0));
        if self.small.get(version).is_none() {
            match kept {
                Some(small) => self.small.add(version, small),
                None if was_empty => self.small.add(version, Arc::default()),
                None => return,
            }
        }
        let sets = self.small.0.get_mut();
        if let Some((_, small)) = sets.iter_mut().find(|(of, _)| *of == version) {
            change(Arc::make_mut(small));
        }
    }

    /// Forgets the order of a set that has a tree from now on.
    pub(super) fn forget_small_set(&mut self, version: u64) {
        self.backend.small.take((version, 0));
        self.small.remove(version);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use storage::testing::Random;

    fn scanned(small: &Small, lo: &[u8], hi: &[u8], reverse: bool) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut all = Vec::new();
        small.scan(lo, hi, reverse, &mut |key, value| {
            all.push((key.to_vec(), value.to_vec()));
            true
        });
        all
    }

    #[test]
    fn a_transaction_remembers_so_many_sets_and_no_more() {
        let sets = SmallSets::default();
        (0..1000).for_each(|version| sets.add(version, Arc::default()));
        assert_eq!(sets.0.borrow().len(), SETS_MAX);
        assert!(sets.get(0).is_some() && sets.get(999).is_none());
    }

    #[test]
    fn it_holds_what_a_map_holds() {
        let (mut small, mut model, mut random) =
            (Small::default(), BTreeMap::new(), Random::new(7));
        let place = |n: u64| format!("{:0width$}", n, width = 1 + (n % 5) as usize).into_bytes();
        for _ in 0..3000 {
            let at = place(random.below(60));
            if random.below(5) < 3 {
                let value = vec![b'-'; random.below(2) as usize];
                small.put(&at, &value);
                model.insert(keys::at_place(9, &at), value);
            } else {
                small.remove(&at);
                model.remove(&keys::at_place(9, &at));
            }
            let (all_from, all_to) = keys::all_by_score(9);
            let all: Vec<_> = model.clone().into_iter().collect();
            assert_eq!(scanned(&small, &all_from, &all_to, false), all);
            let (lo, hi) = (keys::at_place(9, &place(random.below(60))), keys::at_place(9, b"3"));
            let some = model.range(lo.clone()..).take_while(|(key, _)| **key < hi);
            let mut some: Vec<_> = some.map(|(key, value)| (key.clone(), value.clone())).collect();
            some.reverse();
            assert_eq!(scanned(&small, &lo, &hi, true), some);
        }
        assert!(!small.is_empty());
    }
}
