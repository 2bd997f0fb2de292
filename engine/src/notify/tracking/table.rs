//! [`Table`]: which clients may hold which keys in their caches.
//!
//! Keys are names only, without the database, as in Redis: an invalidation does not say one. The
//! table is striped by the key's hash, so that readers of different keys do not meet. Clients are
//! known by number: one that is gone stays in the lists of its keys until they change, or until a
//! list grows and is swept.

use hashbrown::HashTable;
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Parts with a lock each.
const STRIPES: usize = 16;

/// Clients by number, ascending.
pub(super) type Holders = SmallVec<[u64; 2]>;

struct Slot {
    hash: u64,
    key: Box<[u8]>,
    holders: Holders,
}

/// Slots lie in a row, so that one can be picked at random; `places` finds them by key.
#[derive(Default)]
struct Stripe {
    places: HashTable<usize>,
    slots: Vec<Slot>,
}

impl Stripe {
    fn slot(&mut self, hash: u64, key: &[u8]) -> Option<&mut Slot> {
        let at = *self.places.find(hash, |&at| *self.slots[at].key == *key)?;
        self.slots.get_mut(at)
    }

    fn push(&mut self, hash: u64, key: &[u8], holder: u64) {
        let Stripe { places, slots } = self;
        places.insert_unique(hash, slots.len(), |&at| slots[at].hash);
        let holders = Holders::from_slice(&[holder]);
        slots.push(Slot { hash, key: key.into(), holders });
    }

    /// Takes a slot out; the last one moves to its place.
    fn remove(&mut self, at: usize) -> Slot {
        let hash = self.slots[at].hash;
        if let Ok(place) = self.places.find_entry(hash, |&other| other == at) {
            place.remove();
        }
        let slot = self.slots.swap_remove(at);
        if let Some(moved) = self.slots.get(at)
            && let Some(place) = self.places.find_mut(moved.hash, |&old| old == self.slots.len())
        {
            *place = at;
        }
        slot
    }
}

/// The keys that clients may have cached, with these clients.
#[derive(Default)]
pub(super) struct Table {
    stripes: [Mutex<Stripe>; STRIPES],
    keys: AtomicUsize,
    items: AtomicUsize,
}

impl Table {
    fn stripe(&self, hash: u64) -> &Mutex<Stripe> {
        &self.stripes[(hash >> 24) as usize % STRIPES]
    }

    /// Records that `holder` may have cached `key`. Returns how many clients may have now, 0 if it
    /// was recorded already.
    pub fn add(&self, hash: u64, key: &[u8], holder: u64) -> usize {
        let mut stripe = self.stripe(hash).lock();
        let Some(slot) = stripe.slot(hash, key) else {
            stripe.push(hash, key, holder);
            self.keys.fetch_add(1, Ordering::Relaxed);
            self.items.fetch_add(1, Ordering::Relaxed);
            return 1;
        };
        let Err(at) = slot.holders.binary_search(&holder) else { return 0 };
        slot.holders.insert(at, holder);
        self.items.fetch_add(1, Ordering::Relaxed);
        slot.holders.len()
    }

    /// Forgets `key`. Returns the clients that may have cached it.
    pub fn take(&self, hash: u64, key: &[u8]) -> Holders {
        let mut stripe = self.stripe(hash).lock();
        let place = stripe.places.find(hash, |&at| *stripe.slots[at].key == *key).copied();
        place.map(|at| self.remove(&mut stripe, at).holders).unwrap_or_default()
    }

    /// Forgets a key that `random` picks, if there is any.
    pub fn take_any(&self, random: u64) -> Option<(Box<[u8]>, Holders)> {
        let first = random as usize % STRIPES;
        for stripe in self.stripes[first..].iter().chain(&self.stripes[..first]) {
            let mut stripe = stripe.lock();
            if !stripe.slots.is_empty() {
                let at = (random >> 8) as usize % stripe.slots.len();
                let slot = self.remove(&mut stripe, at);
                return Some((slot.key, slot.holders));
            }
        }
        None
    }

    fn remove(&self, stripe: &mut Stripe, at: usize) -> Slot {
        let slot = stripe.remove(at);
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.items.fetch_sub(slot.holders.len(), Ordering::Relaxed);
        slot
    }

    /// Takes clients that are gone out of a key's list.
    pub fn sweep(&self, hash: u64, key: &[u8], is_there: impl Fn(u64) -> bool) {
        let mut stripe = self.stripe(hash).lock();
        let Some(slot) = stripe.slot(hash, key) else { return };
        let before = slot.holders.len();
        slot.holders.retain(|holder| is_there(*holder));
        self.items.fetch_sub(before - slot.holders.len(), Ordering::Relaxed);
    }

    /// Forgets everything.
    pub fn clear(&self) {
        for stripe in &self.stripes {
            let mut stripe = stripe.lock();
            let items: usize = stripe.slots.iter().map(|slot| slot.holders.len()).sum();
            self.keys.fetch_sub(stripe.slots.len(), Ordering::Relaxed);
            self.items.fetch_sub(items, Ordering::Relaxed);
            *stripe = Stripe::default();
        }
    }

    /// The number of keys that clients may have cached.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed)
    }

    /// Clients of all keys, each counted for every key.
    pub fn items(&self) -> usize {
        self.items.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::Table;
    use std::collections::{BTreeMap, BTreeSet};

    /// Few hashes, so that keys collide.
    fn hash(key: u64) -> u64 {
        (key % 7).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    #[test]
    fn behaves_as_a_map_of_sets() {
        let table = Table::default();
        let mut model: BTreeMap<Vec<u8>, BTreeSet<u64>> = BTreeMap::new();
        let mut random = 1_u64;
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (number, holder) = ((random >> 33) % 60, (random >> 40) % 5);
            let key = number.to_string().into_bytes();
            match (random >> 50) % 8 {
                0 => {
                    let expected = model.remove(&key).unwrap_or_default();
                    let taken = table.take(hash(number), &key);
                    assert_eq!(taken.to_vec(), expected.into_iter().collect::<Vec<_>>());
                }
                1 => match table.take_any(random) {
                    None => assert!(model.is_empty()),
                    Some((key, holders)) => {
                        let expected = model.remove(&*key).expect("a known key");
                        assert_eq!(holders.to_vec(), expected.into_iter().collect::<Vec<_>>());
                    }
                },
                2 => {
                    table.sweep(hash(number), &key, |holder| holder != 3);
                    model.entry(key).and_modify(|holders| {
                        holders.remove(&3);
                    });
                }
                _ => {
                    let holders = model.entry(key.clone()).or_default();
                    let new = holders.insert(holder);
                    let expected = if new { holders.len() } else { 0 };
                    assert_eq!(table.add(hash(number), &key, holder), expected, "step {step}");
                }
            }
            assert_eq!(table.keys(), model.len());
            assert_eq!(table.items(), model.values().map(BTreeSet::len).sum::<usize>());
        }
        assert!(table.keys() > 0);
        table.clear();
        assert_eq!((table.keys(), table.items()), (0, 0));
        assert!(table.take_any(7).is_none());
    }
}
