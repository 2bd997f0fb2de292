//! [`Sketch`]: the keys with the greatest weights, in bounded memory (Space-Saving; Metwally, Agrawal and El Abbadi,
//! 2005).
//!
//! If there is no room for a key, it takes the place and the weight of the key with the least, which is remembered
//! as its possible error. So every key whose weight is more than that of all keys divided by the number of places
//! has one, and a weight without its error is never too high.

use super::Hot;
use hashbrown::HashMap;

/// Places for each key that is asked for: the more there are, the smaller the errors.
const PLACES_PER_KEY: usize = 16;

/// The fewest places.
const PLACES_MIN: usize = 128;

/// Longer keys are not remembered, in bytes.
const KEY_MAX: usize = 1024;

/// One place.
#[derive(Debug)]
struct Place {
    key: Box<[u8]>,
    error: u64,
}

/// Keys with their weights.
#[derive(Debug)]
pub(super) struct Sketch {
    size: usize,
    index: HashMap<Box<[u8]>, usize>,
    places: Vec<Place>,
    /// The weights of the places, by themselves, because the least is searched for often.
    weights: Vec<u64>,
}

impl Sketch {
    /// One that can name this many keys.
    pub fn for_top(count: usize) -> Self {
        let size = count.saturating_mul(PLACES_PER_KEY).max(PLACES_MIN);
        let (index, places, weights) = (HashMap::new(), Vec::new(), Vec::new());
        Sketch { size, index, places, weights }
    }

    /// Adds to the weight of a key.
    pub fn add(&mut self, key: &[u8], weight: u64) {
        if weight == 0 || key.len() > KEY_MAX {
            return;
        }
        if let Some(at) = self.index.get(key) {
            self.weights[*at] += weight;
        } else if self.places.len() < self.size {
            self.index.insert(key.into(), self.places.len());
            self.places.push(Place { key: key.into(), error: 0 });
            self.weights.push(weight);
        } else {
            self.replace_least(key, weight);
        }
    }

    fn replace_least(&mut self, key: &[u8], weight: u64) {
        let least = self.weights.iter().enumerate().min_by_key(|(_, weight)| **weight);
        let Some((at, error)) = least.map(|(at, weight)| (at, *weight)) else { return };
        let gone = std::mem::replace(&mut self.places[at], Place { key: key.into(), error });
        self.index.remove(&gone.key);
        self.index.insert(key.into(), at);
        self.weights[at] += weight;
    }

    /// Up to `count` keys, the heaviest first, with the weights that they have at least.
    pub fn top(&self, count: usize) -> Vec<Hot> {
        let surely = self.places.iter().zip(&self.weights);
        let mut all: Vec<Hot> =
            surely.map(|(place, weight)| (place.key.clone(), weight - place.error)).collect();
        all.sort_unstable_by(|(a, least), (b, most)| most.cmp(least).then_with(|| a.cmp(b)));
        all.truncate(count);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn heavy_keys_are_there_and_no_weight_is_too_high(
            stream in proptest::collection::vec((0..400_u32, 1..50_u64), 0..4000),
            heavy in 0..400_u32,
        ) {
            let (mut sketch, mut exact) = (Sketch::for_top(3), BTreeMap::<Box<[u8]>, u64>::new());
            for (n, (key, weight)) in stream.iter().enumerate() {
                let key = if n % 4 == 0 { heavy } else { *key };
                let key = key.to_be_bytes();
                sketch.add(&key, *weight);
                *exact.entry(key.as_slice().into()).or_default() += weight;
            }
            prop_assert!(sketch.places.len() <= PLACES_MIN);
            prop_assert_eq!(sketch.places.len(), sketch.index.len());
            let found: BTreeMap<_, _> = sketch.top(usize::MAX).into_iter().collect();
            prop_assert!(found.iter().all(|(key, weight)| *weight <= exact[key]));
            let total: u64 = exact.values().sum();
            let bound = total / PLACES_MIN as u64;
            let lost = exact.iter().find(|(key, weight)| **weight > bound && !found.contains_key(*key));
            prop_assert_eq!(lost, None);
            prop_assert!(found.iter().all(|(key, weight)| exact[key] - weight <= bound));
        }
    }

    #[test]
    fn what_weighs_nothing_and_what_is_too_long_has_no_place() {
        let mut sketch = Sketch::for_top(64);
        assert_eq!(sketch.size, 1024);
        sketch.add(b"k", 0);
        sketch.add(&[b'x'; KEY_MAX + 1], 9);
        assert_eq!(sketch.top(9), []);
        sketch.add(&[b'x'; KEY_MAX], 9);
        assert_eq!(sketch.top(9).len(), 1);
    }
}
