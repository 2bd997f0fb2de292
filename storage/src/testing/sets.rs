//! Sets.

use super::{Random, Store};
use crate::tx::Open;
use crate::types::Set;
use std::collections::BTreeSet;

fn on_set<R>(store: &Store, body: impl FnOnce(&mut dyn Set) -> R) -> R {
    let key = store.key("set");
    store.with(&[key], |tx| body(&mut *tx.set(&key, Open::Create).unwrap().unwrap()))
}

fn all(store: &Store) -> BTreeSet<Vec<u8>> {
    on_set(store, |set| {
        let (mut seen, mut visits) = (BTreeSet::new(), 0);
        set.for_each(&mut |member| {
            visits += 1;
            seen.insert(member.to_vec());
            true
        })
        .unwrap();
        assert_eq!((visits, visits as u64), (seen.len(), set.len().unwrap()));
        seen
    })
}

pub fn members(store: &Store) {
    let (mut random, mut model) = (Random::new(3), BTreeSet::new());
    for step in 0..6000 {
        let long = random.below(300) == 0;
        let mut member = format!("member {}", random.below(700)).into_bytes();
        member.resize(if long { 200 } else { member.len() }, b'.');
        let adds = random.below(10) < if step < 3000 { 7 } else { 3 };
        on_set(store, |set| {
            assert_eq!(set.contains(&member).unwrap(), model.contains(&member));
            if adds {
                assert_eq!(set.insert(&member).unwrap(), model.insert(member));
            } else {
                assert_eq!(set.remove(&member).unwrap(), model.remove(&member));
            }
        });
    }
    assert!(all(store) == model);
}

pub fn integers_and_text(store: &Store) {
    let numbers = ["0", "-1", "7", "32768", "-2147483649", "9223372036854775807"];
    let lookalikes = ["00", "-0", "+7", "7 ", "9223372036854775808", ""];
    on_set(store, |set| {
        for number in numbers {
            assert!(set.insert(number.as_bytes()).unwrap());
            assert!(!set.insert(number.as_bytes()).unwrap());
        }
        for text in lookalikes {
            assert!(!set.contains(text.as_bytes()).unwrap(), "{text:?} is another member");
        }
    });
    assert_eq!(all(store), numbers.map(|n| n.as_bytes().to_vec()).into());
    on_set(store, |set| {
        assert!(set.remove(b"7").unwrap());
        for text in lookalikes {
            assert!(set.insert(text.as_bytes()).unwrap());
        }
        assert!(set.contains(b"-2147483649").unwrap());
        assert_eq!(set.len().unwrap(), 11);
    });
}

pub fn random_members(store: &Store) {
    for size in [3, 100, 1000] {
        on_set(store, |set| {
            for n in 0..size {
                set.insert(format!("member {n}").as_bytes()).unwrap();
            }
            let (mut random, mut met) = (Random::new(5), BTreeSet::new());
            for _ in 0..size * 20 {
                let member = set.random(random.number()).unwrap().expect("a member").to_vec();
                met.insert(member);
            }
            assert!(met.len() as u64 > size * 95 / 100, "{} of {size} met", met.len());
            for member in met {
                assert!(set.contains(&member).unwrap());
            }
        });
    }
}

pub fn scanning_members(store: &Store) {
    for size in [5, 100, 3000] {
        on_set(store, |set| {
            for n in 0..size {
                set.insert(format!("member {n}").as_bytes()).unwrap();
            }
        });
        let (mut seen, mut cursor, mut added) = (BTreeSet::new(), 0, 0);
        loop {
            cursor = on_set(store, |set| {
                let next = set.scan(cursor, 10, &mut |member| {
                    seen.insert(member.to_vec());
                    true
                });
                // What comes meanwhile may be met or not, and must not hide what was there.
                set.insert(format!("late {added}").as_bytes()).unwrap();
                next.unwrap()
            });
            added += 1;
            if cursor == 0 {
                break;
            }
        }
        for n in 0..size {
            assert!(seen.contains(format!("member {n}").as_bytes()), "member {n} of {size}");
        }
    }
}

pub fn empty_sets_go(store: &Store) {
    on_set(store, |_| ());
    assert_eq!(store.backend.len(0), 0, "opened and left empty");
    for size in [1, 1000] {
        on_set(store, |set| {
            (0..size).for_each(|n| assert!(set.insert(format!("m{n}").as_bytes()).unwrap()));
        });
        assert_eq!(store.backend.len(0), 1);
        on_set(store, |set| {
            (0..size).for_each(|n| assert!(set.remove(format!("m{n}").as_bytes()).unwrap()));
        });
        assert_eq!(store.backend.len(0), 0, "emptied");
    }
}
