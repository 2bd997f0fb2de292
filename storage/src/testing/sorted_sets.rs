//! Sorted sets.

use super::{Random, Store};
use crate::tx::Open;
use crate::types::{Inserted, LexBound, ScoreBound, SortedSet, ZRange};
use std::collections::{BTreeMap, BTreeSet};

const EVERYTHING: ZRange<'static> = ZRange::Rank { start: 0, end: u64::MAX };

fn on_zset<R>(store: &Store, body: impl FnOnce(&mut dyn SortedSet) -> R) -> R {
    let key = store.key("zset");
    store.with(&[key], |tx| body(&mut *tx.sorted_set(&key, Open::Create).unwrap().unwrap()))
}

fn names(zset: &mut dyn SortedSet, range: &ZRange<'_>, reverse: bool) -> Vec<String> {
    let mut seen = Vec::new();
    zset.range(range, reverse, 0, u64::MAX, &mut |member, _| {
        seen.push(String::from_utf8_lossy(member).into_owned());
        true
    })
    .unwrap();
    seen
}

fn at_least(score: f64) -> ScoreBound {
    ScoreBound { score, exclusive: false }
}

fn beyond(score: f64) -> ScoreBound {
    ScoreBound { score, exclusive: true }
}

/// The sizes at which backends change their representation lie between these.
const SIZES: [u32; 3] = [10, 120, 2000];

pub fn ordering(store: &Store) {
    on_zset(store, |zset| {
        for (member, score) in [("b", 1.0), ("c", -0.5), ("a", 1.0), ("inf", f64::INFINITY)] {
            assert_eq!(zset.insert(member.as_bytes(), score).unwrap(), Inserted::Added);
        }
        assert_eq!(zset.insert(b"low", f64::NEG_INFINITY).unwrap(), Inserted::Added);
        assert_eq!(names(zset, &EVERYTHING, false), ["low", "c", "a", "b", "inf"]);
        assert_eq!(names(zset, &EVERYTHING, true), ["inf", "b", "a", "c", "low"]);
        assert_eq!(zset.insert(b"a", 1.0).unwrap(), Inserted::Unchanged);
        assert_eq!(zset.insert(b"a", 1e300).unwrap(), Inserted::Updated);
        assert_eq!(names(zset, &EVERYTHING, false), ["low", "c", "b", "a", "inf"]);
        assert_eq!(zset.score(b"a").unwrap(), Some(1e300));
        assert_eq!(zset.score(b"nobody").unwrap(), None);
        assert_eq!(zset.remove(b"c").unwrap(), Some(-0.5));
        assert_eq!(zset.remove(b"c").unwrap(), None);
        assert_eq!(zset.len().unwrap(), 4);
    });
}

/// Members `m0000`… with their numbers as scores.
fn fill(zset: &mut dyn SortedSet, size: u32) {
    for n in 0..size {
        // In an order that is neither ascending nor descending.
        let n = n * 7919 % size;
        zset.insert(format!("m{n:04}").as_bytes(), f64::from(n)).unwrap();
    }
}

pub fn ranks(store: &Store) {
    for size in SIZES {
        on_zset(store, |zset| {
            fill(zset, size);
            for n in [0, 1, size / 2, size - 1] {
                let member = format!("m{n:04}");
                let rank = zset.rank(member.as_bytes(), false).unwrap();
                assert_eq!(rank, Some((u64::from(n), f64::from(n))));
                let rank = zset.rank(member.as_bytes(), true).unwrap();
                assert_eq!(rank, Some((u64::from(size - 1 - n), f64::from(n))));
            }
            assert_eq!(zset.rank(b"nobody", false).unwrap(), None);
        });
    }
}

pub fn ranges_by_score(store: &Store) {
    for size in SIZES {
        on_zset(store, |zset| {
            fill(zset, size);
            let end = f64::from(size);
            let cases = [
                (at_least(3.0), at_least(6.0), 4),
                (beyond(3.0), at_least(6.0), 3),
                (beyond(3.0), beyond(6.0), 2),
                (at_least(2.5), at_least(2.7), 0),
                (at_least(f64::NEG_INFINITY), at_least(f64::INFINITY), u64::from(size)),
                (at_least(end - 2.0), at_least(1e9), 2),
                (at_least(6.0), at_least(3.0), 0),
            ];
            for (min, max, count) in cases {
                let range = ZRange::Score { min, max };
                assert_eq!(zset.count(&range).unwrap(), count, "{range:?}");
                let up = names(zset, &range, false);
                let mut down = names(zset, &range, true);
                down.reverse();
                assert_eq!((up.len() as u64, &up), (count, &down));
            }
            let range = ZRange::Score { min: at_least(1.0), max: at_least(8.0) };
            let mut seen = Vec::new();
            zset.range(&range, true, 2, 3, &mut |member, score| {
                seen.push((member.to_vec(), score));
                true
            })
            .unwrap();
            let expected = [("m0006", 6.0), ("m0005", 5.0), ("m0004", 4.0)];
            assert_eq!(seen, expected.map(|(m, s)| (m.as_bytes().to_vec(), s)));
        });
    }
}

pub fn ranges_by_lex(store: &Store) {
    for size in SIZES {
        let key = store.key("zset");
        store.with(&[key], |tx| tx.remove(&key).unwrap());
        on_zset(store, |zset| {
            for n in 0..size {
                zset.insert(format!("m{n:04}").as_bytes(), 0.0).unwrap();
            }
            let cases = [
                (LexBound::Min, LexBound::Max, u64::from(size)),
                (LexBound::Inclusive(b"m0002"), LexBound::Inclusive(b"m0005"), 4),
                (LexBound::Exclusive(b"m0002"), LexBound::Exclusive(b"m0005"), 2),
                (LexBound::Min, LexBound::Exclusive(b"m0003"), 3),
                (LexBound::Inclusive(b"m00021"), LexBound::Inclusive(b"m0003"), 1),
                (LexBound::Max, LexBound::Min, 0),
                (LexBound::Inclusive(b"z"), LexBound::Max, 0),
            ];
            for (min, max, count) in cases {
                let range = ZRange::Lex { min, max };
                assert_eq!(zset.count(&range).unwrap(), count, "{range:?}");
                assert_eq!(names(zset, &range, false).len() as u64, count);
            }
        });
    }
}

pub fn ranges_by_rank(store: &Store) {
    for size in SIZES {
        on_zset(store, |zset| {
            fill(zset, size);
            let range = ZRange::Rank { start: 1, end: 4 };
            assert_eq!(names(zset, &range, false), ["m0001", "m0002", "m0003"]);
            let last = |n: u32| format!("m{:04}", size - n);
            assert_eq!(names(zset, &range, true), [last(2), last(3), last(4)]);
            let beyond = ZRange::Rank { start: u64::from(size) - 1, end: u64::MAX };
            assert_eq!(names(zset, &beyond, false), [last(1)]);
            assert_eq!(names(zset, &beyond, true), ["m0000"]);
        });
    }
}

pub fn popping(store: &Store) {
    on_zset(store, |zset| {
        assert_eq!(zset.pop(true).unwrap(), None);
        fill(zset, 300);
        assert_eq!(zset.pop(false).unwrap(), Some((b"m0000".to_vec(), 0.0)));
        assert_eq!(zset.pop(true).unwrap(), Some((b"m0299".to_vec(), 299.0)));
        assert_eq!(zset.pop(true).unwrap(), Some((b"m0298".to_vec(), 298.0)));
        assert_eq!((zset.len().unwrap(), zset.score(b"m0299").unwrap()), (297, None));
    });
}

pub fn removing_ranges(store: &Store) {
    for size in SIZES {
        on_zset(store, |zset| {
            fill(zset, size);
            let removed = zset.remove_range(&ZRange::Rank { start: 0, end: 2 }).unwrap();
            assert_eq!(removed, 2);
            let range = ZRange::Score { min: beyond(4.0), max: at_least(7.0) };
            assert_eq!(zset.remove_range(&range).unwrap(), 3);
            assert_eq!(zset.remove_range(&range).unwrap(), 0);
            assert_eq!(zset.len().unwrap(), u64::from(size) - 5);
            let first = ZRange::Rank { start: 0, end: 4 };
            assert_eq!(names(zset, &first, false), ["m0002", "m0003", "m0004", "m0008"]);
            assert_eq!(zset.score(b"m0005").unwrap(), None);
            assert_eq!(zset.rank(b"m0008", false).unwrap(), Some((3, 8.0)));
        });
    }
}

pub fn scanning_scores(store: &Store) {
    for size in SIZES {
        on_zset(store, |zset| fill(zset, size));
        let (mut seen, mut cursor) = (BTreeMap::new(), 0);
        loop {
            cursor = on_zset(store, |zset| {
                zset.scan(cursor, 10, &mut |member, score| {
                    seen.insert(member.to_vec(), score);
                    true
                })
                .unwrap()
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), size as usize);
        assert_eq!(seen[&b"m0007"[..]], 7.0);
    }
}

/// The model's order: what a `BTreeSet` of these gives.
fn ordered(score: f64, member: &[u8]) -> (i64, Vec<u8>) {
    ((score * 4.0) as i64, member.to_vec())
}

pub fn like_a_sorted_vector(store: &Store) {
    let (mut random, mut order, mut scores) = (Random::new(9), BTreeSet::new(), BTreeMap::new());
    for step in 0..12_000 {
        let member = format!("member {}", random.below(2500)).into_bytes();
        let score = random.below(200) as f64 / 4.0 - 25.0;
        let adds = random.below(10) < if step < 8000 { 8 } else { 3 };
        on_zset(store, |zset| {
            let old: Option<f64> = scores.get(&member).copied();
            if let Some(old) = old {
                order.remove(&ordered(old, &member));
            }
            if adds {
                let expected = match old {
                    None => Inserted::Added,
                    Some(old) if old == score => Inserted::Unchanged,
                    Some(_) => Inserted::Updated,
                };
                assert_eq!(zset.insert(&member, score).unwrap(), expected);
                order.insert(ordered(score, &member));
                scores.insert(member, score);
            } else {
                assert_eq!(zset.remove(&member).unwrap(), scores.remove(&member));
                assert_eq!(zset.len().unwrap(), order.len() as u64);
            }
        });
    }
    let expected: Vec<_> = order.iter().map(|(_, member)| member.clone()).collect();
    on_zset(store, |zset| {
        let mut seen = Vec::new();
        zset.range(&EVERYTHING, false, 0, u64::MAX, &mut |member, _| {
            seen.push(member.to_vec());
            true
        })
        .unwrap();
        assert!(seen == expected);
        for (rank, member) in expected.iter().enumerate().step_by(37) {
            let found = zset.rank(member, false).unwrap().expect("it is there");
            assert_eq!(found, (rank as u64, scores[member]));
        }
        let (mut random, mut met) = (Random::new(5), BTreeSet::new());
        for _ in 0..100 {
            let (member, score) = zset.random(random.number()).unwrap().expect("a member");
            assert_eq!(scores[member], score);
            met.insert(member.to_vec());
        }
        assert!(met.len() > 50);
    });
}

/// Ranks, counts and offsets in a set that is large and goes on changing, against a sorted vector.
pub fn ranks_while_it_changes(store: &Store) {
    let (mut random, mut scores) = (Random::new(31), BTreeMap::<Vec<u8>, f64>::new());
    for round in 0..9 {
        for _ in 0..300 {
            let member = format!("member:{:05}", random.below(4000)).into_bytes();
            // Few scores at times: then members decide.
            let score = random.below(if round % 3 == 0 { 3 } else { 5000 }) as f64;
            let goes = round >= 6 && random.below(3) > 0;
            on_zset(store, |zset| match goes {
                true => assert_eq!(zset.remove(&member).unwrap(), scores.remove(&member)),
                false => {
                    zset.insert(&member, score).unwrap();
                    scores.insert(member, score);
                }
            });
        }
        let mut order: Vec<_> = scores.iter().map(|(m, s)| (m.clone(), *s)).collect();
        order.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        on_zset(store, |zset| (0..20).for_each(|_| check_order(zset, &order, &mut random)));
    }
}

/// One random rank, count, and range in either direction.
fn check_order(zset: &mut dyn SortedSet, order: &[(Vec<u8>, f64)], random: &mut Random) {
    let len = order.len() as u64;
    let rank = random.below(len);
    let (member, score) = &order[rank as usize];
    assert_eq!(zset.rank(member, false).unwrap(), Some((rank, *score)));
    assert_eq!(zset.rank(member, true).unwrap(), Some((len - 1 - rank, *score)));
    let (low, high) = (random.below(3000) as f64, random.below(5000) as f64);
    let scored = ZRange::Score { min: beyond(low), max: at_least(high) };
    let inside: Vec<_> = order.iter().filter(|(_, s)| *s > low && *s <= high).cloned().collect();
    assert_eq!(zset.count(&scored).unwrap(), inside.len() as u64);
    let skip = random.below(inside.len() as u64 + 10);
    for reverse in [false, true] {
        let mut expected = [inside.clone(), order.to_vec()];
        if reverse {
            expected.iter_mut().for_each(|list| list.reverse());
        }
        let ranked = ZRange::Rank { start: rank, end: rank + 7 };
        for ((range, skip), expected) in [(&scored, skip), (&ranked, 0)].into_iter().zip(&expected)
        {
            let from = (skip + if skip == 0 && range == &ranked { rank } else { 0 }) as usize;
            let mut seen = Vec::new();
            zset.range(range, reverse, skip, 7, &mut |member, score| {
                seen.push((member.to_vec(), score));
                true
            })
            .unwrap();
            let expected = expected.iter().skip(from).take(7).cloned().collect::<Vec<_>>();
            assert_eq!(seen, expected, "{range:?} from {skip}, reverse: {reverse}");
        }
    }
}

pub fn empty_ones_go(store: &Store) {
    on_zset(store, |_| ());
    assert_eq!(store.backend.len(0), 0, "opened and left empty");
    for size in SIZES {
        on_zset(store, |zset| fill(zset, size));
        assert_eq!(store.backend.len(0), 1);
        on_zset(store, |zset| assert_eq!(zset.remove_range(&EVERYTHING).unwrap(), size.into()));
        assert_eq!(store.backend.len(0), 0, "emptied");
    }
}
