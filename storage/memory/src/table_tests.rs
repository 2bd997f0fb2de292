//! The table against a plain map, and what it promises while it grows and shrinks.

use super::directory::{Pool, Source};
use super::entry::{Entry, Payload};
use super::hashing::Hasher;
use super::table::Table;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use storage::random::mix;
use storage::tx::Kind;

fn key(n: u64) -> Vec<u8> {
    format!("key:{n}").into_bytes()
}

/// A table with its hasher.
struct Subject {
    table: Table,
    hasher: Hasher,
}

impl Subject {
    fn new(source: Source) -> Self {
        Subject { table: Table::new(source), hasher: Hasher::new(7) }
    }

    fn put(&mut self, n: u64, value: &[u8]) {
        let hash = self.hasher.hash(&key(n));
        if let Some(mut found) = self.table.find(hash, &key(n)) {
            found.get_mut().resize_inline(value.len(), false).copy_from_slice(value);
            return;
        }
        let entry = Entry::new(Kind::String, &key(n), Payload::Inline(value), None);
        self.table.insert(&self.hasher, hash, entry);
    }

    fn remove(&mut self, n: u64) -> bool {
        let hash = self.hasher.hash(&key(n));
        let found = self.table.find(hash, &key(n));
        found.map(|found| found.remove(&self.hasher)).is_some()
    }

    fn get(&self, n: u64) -> Option<Vec<u8>> {
        let entry = self.table.get(self.hasher.hash(&key(n)), &key(n))?;
        entry.inline().map(<[u8]>::to_vec)
    }

    /// One step of a scan, noting the keys met.
    fn scan(&self, cursor: u64, count: usize, seen: &mut BTreeMap<Vec<u8>, u32>) -> u64 {
        self.table.scan(&self.hasher, cursor, count, &mut |entry| {
            *seen.entry(entry.key().to_vec()).or_default() += 1;
        })
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, Vec<u8>),
    Remove(u64),
    Get(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let n = 0..2000u64;
    prop_oneof![
        4 => (n.clone(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(n, v)| Step::Put(n, v)),
        3 => n.clone().prop_map(Step::Remove),
        1 => n.prop_map(Step::Get),
    ]
}

/// How many programs are tried: fewer where each step costs fifty times as much (`ci/valgrind.sh`).
fn cases() -> u32 {
    let asked = std::env::var("PROPTEST_CASES").ok();
    asked.and_then(|number| number.parse().ok()).unwrap_or(64)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn behaves_like_a_map(steps in proptest::collection::vec(step(), 1..3000)) {
        let mut subject = Subject::new(Source::Heap);
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Put(n, value) => {
                    subject.put(n, &value);
                    model.insert(n, value);
                }
                Step::Remove(n) => prop_assert_eq!(subject.remove(n), model.remove(&n).is_some()),
                Step::Get(n) => prop_assert_eq!(subject.get(n), model.get(&n).cloned()),
            }
            prop_assert_eq!(subject.table.len(), model.len());
        }
        let mut all = BTreeMap::new();
        subject.table.for_each(&mut |entry| {
            all.insert(entry.key().to_vec(), entry.inline().unwrap_or_default().to_vec());
            true
        });
        prop_assert_eq!(all, model.into_iter().map(|(n, value)| (key(n), value)).collect());
    }
}

#[test]
fn a_scan_of_a_table_at_rest_meets_every_key_once() {
    let mut subject = Subject::new(Source::Heap);
    for size in [0, 1, 6, 7, 50, 400, 5000] {
        (0..size).for_each(|n| subject.put(n, b""));
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = subject.scan(cursor, 10, &mut seen);
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len() as u64, size);
        assert!(seen.values().all(|&times| times == 1));
    }
}

#[test]
fn a_scan_meets_what_stays_while_the_table_grows_and_shrinks() {
    for grow in [true, false] {
        let mut subject = Subject::new(Source::Heap);
        let (start, end) = if grow { (300, 9000) } else { (9000, 300) };
        (0..start).for_each(|n| subject.put(n, b""));
        let (mut seen, mut cursor, mut size) = (BTreeMap::new(), 0, start);
        loop {
            cursor = subject.scan(cursor, 10, &mut seen);
            if cursor == 0 {
                break;
            }
            for _ in 0..200 {
                if grow && size < end {
                    subject.put(size, b"");
                    size += 1;
                } else if !grow && size > end {
                    size -= 1;
                    assert!(subject.remove(size));
                }
            }
        }
        let stayed: BTreeSet<_> = (0..300).map(key).collect();
        let met: BTreeSet<_> = seen.into_keys().collect();
        assert!(stayed.is_subset(&met), "grow: {grow}");
    }
}

#[test]
fn memory_comes_back_when_keys_go() {
    let mut subject = Subject::new(Source::Pool(Arc::new(Pool::default())));
    (0..20_000).for_each(|n| subject.put(n, b""));
    let full = subject.table.own_bytes();
    assert!(full / 20_000 <= 15, "{} bytes per key", full / 20_000);
    (100..20_000).for_each(|n| assert!(subject.remove(n)));
    assert!((0..100).all(|n| subject.get(n).is_some()));
    // What stays is mostly the directory, and one small segment in every few slots.
    assert!(subject.table.own_bytes() < full / 3, "{} of {full}", subject.table.own_bytes());
}

#[test]
fn random_entries_are_spread_evenly() {
    let mut subject = Subject::new(Source::Heap);
    (0..100).for_each(|n| subject.put(n, b""));
    let mut hits = BTreeMap::new();
    for seed in 0..20_000 {
        let entry = subject.table.random(mix(seed)).expect("the table is not empty");
        *hits.entry(entry.key().to_vec()).or_insert(0) += 1;
    }
    assert_eq!(hits.len(), 100);
    assert!(hits.values().all(|&n| (80..400).contains(&n)), "{hits:?}");
}

#[test]
fn sweeping_takes_a_table_apart_in_slices() {
    let mut subject = Subject::new(Source::Heap);
    (0..10_000).for_each(|n| subject.put(n, b""));
    let (mut taken, mut slices) = (0, 0);
    loop {
        let mut slice = 0;
        let more = subject.table.sweep(&mut |_| slice += 1);
        assert!(slice < 1400, "a slice is bounded");
        taken += slice;
        slices += 1;
        if !more {
            break;
        }
    }
    assert_eq!(taken, 10_000);
    assert!(slices > 5);
}
