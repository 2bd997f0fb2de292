//! Random transactions against plain collections: what is read inside the transaction, after it,
//! and after closing and opening the store.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use storage::rdb::{Object, decode_payload, seal_payload};
use storage::types::{End, Inserted, ScoreBound, ZRange};
use storage::{Kind, NewExpiry, Open};

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(Vec<u8>),
    List(Vec<Vec<u8>>),
    Set(BTreeSet<Vec<u8>>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
    Sorted(BTreeMap<Vec<u8>, u64>),
}

impl Value {
    fn is_empty(&self) -> bool {
        match self {
            Value::Text(_) => false,
            Value::List(list) => list.is_empty(),
            Value::Set(set) => set.is_empty(),
            Value::Hash(hash) => hash.is_empty(),
            Value::Sorted(sorted) => sorted.is_empty(),
        }
    }
}

type Model = BTreeMap<(u32, Vec<u8>), (Value, Option<u64>)>;

/// Names of every length class: short, empty, too long to be part of a record's key.
fn name(random: &mut Random) -> Vec<u8> {
    match random.below(40) {
        0 => Vec::new(),
        1 => vec![b'n'; 2000 + random.below(2) as usize],
        n => format!("name:{}", n % 25).into_bytes(),
    }
}

/// Contents, now and then longer than any chunk.
fn content(random: &mut Random) -> Vec<u8> {
    let len = match random.below(100) {
        0 => 70_000 + random.below(5000),
        1..5 => 4000 + random.below(300),
        n => n % 30,
    };
    let first = random.number() as u8;
    (0..len).map(|at| first ^ at as u8).collect()
}

fn scored(sorted: &BTreeMap<Vec<u8>, u64>) -> Vec<(Vec<u8>, f64)> {
    let mut all: Vec<_> = sorted.iter().map(|(m, s)| (m.clone(), f64::from_bits(*s))).collect();
    all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
    all
}

fn step(tx: &mut dyn Tx, backend: &OrderedBackend, model: &mut Model, random: &mut Random) {
    let db = random.below(2) as u32;
    let bytes = name(random);
    let at = key(backend, db, &bytes);
    let slot = (db, bytes.clone());
    let now = model.get(&slot).map(|(value, _)| value.clone());
    match random.below(24) {
        0 => assert_eq!(tx.remove(&at).unwrap(), model.remove(&slot).is_some()),
        1 => {
            let other = name(random);
            let to = key(backend, 1 - db, &other);
            assert_eq!(tx.rename(&at, &to).unwrap(), now.is_some());
            if let Some(value) = model.remove(&slot) {
                model.insert((1 - db, other), value);
            }
        }
        2 => {
            let when = (random.below(2) == 0).then(|| 1_000_000 + random.below(5));
            assert_eq!(tx.set_expiry(&at, when).unwrap(), now.is_some());
            model.entry(slot).and_modify(|(_, expiry)| *expiry = when);
        }
        3 if random.below(20) == 0 => {
            let gone = model.keys().filter(|(of, _)| *of == db).count();
            assert_eq!(tx.clear(db).unwrap(), gone as u64);
            model.retain(|(of, _), _| *of != db);
        }
        4 if random.below(20) == 0 => {
            tx.swap_dbs(0, 1).unwrap();
            *model = std::mem::take(model).into_iter().map(|((d, n), v)| ((1 - d, n), v)).collect();
        }
        5 => {
            let value = content(random);
            tx.set_string(&at, &value, NewExpiry::Keep).unwrap();
            model.entry(slot).or_insert((Value::Text(Vec::new()), None)).0 = Value::Text(value);
        }
        pick => {
            let fresh = [
                Value::Text(Vec::new()),
                Value::List(Vec::new()),
                Value::Set(BTreeSet::new()),
                Value::Hash(BTreeMap::new()),
                Value::Sorted(BTreeMap::new()),
            ];
            let existed = now.is_some();
            let mut value = now.unwrap_or(fresh[pick as usize % 5].clone());
            let written = match &mut value {
                Value::Text(text) => step_text(tx, &at, text, existed, random),
                Value::List(list) => step_list(tx, &at, list, random),
                Value::Set(set) => step_set(tx, &at, set, random),
                Value::Hash(hash) => step_hash(tx, &at, hash, random),
                Value::Sorted(sorted) => step_sorted(tx, &at, sorted, random),
            };
            if value.is_empty() || !(written || existed) {
                model.remove(&slot);
            } else {
                model.entry(slot).or_insert((Value::Text(Vec::new()), None)).0 = value;
            }
        }
    }
}

fn step_text(
    tx: &mut dyn Tx,
    at: &Key<'_>,
    text: &mut Vec<u8>,
    existed: bool,
    random: &mut Random,
) -> bool {
    let bytes = content(random);
    match random.below(3) {
        0 => {
            text.extend_from_slice(&bytes);
            assert_eq!(tx.append(at, &bytes).unwrap(), text.len() as u64);
            true
        }
        1 => {
            let offset = random.below(9000) as usize;
            let end = offset + bytes.len();
            if !bytes.is_empty() {
                text.resize(text.len().max(end), 0);
                text[offset..end].copy_from_slice(&bytes);
            }
            assert_eq!(tx.set_range(at, offset as u64, &bytes).unwrap(), text.len() as u64);
            existed || !bytes.is_empty()
        }
        _ => {
            let (start, end) = (random.below(9000), random.below(90_000));
            let mut got = Vec::new();
            tx.get_range(at, start, end, &mut got).unwrap();
            let end = (end as usize).min(text.len());
            assert_eq!(got, text.get(start as usize..end).unwrap_or_default());
            false
        }
    }
}

fn step_list(tx: &mut dyn Tx, at: &Key<'_>, list: &mut Vec<Vec<u8>>, random: &mut Random) -> bool {
    let element = if random.below(3) == 0 { content(random) } else { vec![b'e'] };
    let mut handle = tx.list(at, Open::Create).unwrap().unwrap();
    assert_eq!(handle.len().unwrap(), list.len() as u64);
    let index = random.below(list.len() as u64 + 1);
    let end = if random.below(2) == 0 { End::Head } else { End::Tail };
    match random.below(8) {
        0..3 => {
            handle.push(end, &element).unwrap();
            let place = if end == End::Head { 0 } else { list.len() };
            list.insert(place, element);
        }
        3 => {
            let expected = match (list.is_empty(), end) {
                (true, _) => None,
                (_, End::Head) => Some(list.remove(0)),
                (_, End::Tail) => list.pop(),
            };
            assert_eq!(handle.pop(end).unwrap(), expected);
        }
        4 => {
            handle.insert(index, &element).unwrap();
            list.insert(index as usize, element);
        }
        5 => {
            let limit = random.below(4);
            let mut left = if limit == 0 { usize::MAX } else { limit as usize };
            let before = list.len();
            let mut keep = |candidate: &Vec<u8>| {
                let goes = left > 0 && *candidate == element;
                left -= usize::from(goes);
                !goes
            };
            if end == End::Head {
                list.retain(&mut keep);
            } else {
                list.reverse();
                list.retain(&mut keep);
                list.reverse();
            }
            let removed = handle.remove(&element, limit, end).unwrap();
            assert_eq!(removed, (before - list.len()) as u64);
        }
        6 => {
            let (start, len) = (random.below(3), list.len() as u64);
            let stop = len.saturating_sub(random.below(3)).max(start);
            handle.trim(start, stop).unwrap();
            let (start, stop) = (start.min(len) as usize, stop.min(len) as usize);
            *list = list[start.min(stop)..stop].to_vec();
        }
        _ => {
            let there = (index as usize) < list.len();
            assert_eq!(handle.set(index, &element).unwrap(), there);
            if there {
                list[index as usize] = element;
                assert_eq!(handle.get(index).unwrap(), Some(&list[index as usize][..]));
            }
        }
    }
    true
}

fn step_set(
    tx: &mut dyn Tx,
    at: &Key<'_>,
    set: &mut BTreeSet<Vec<u8>>,
    random: &mut Random,
) -> bool {
    let mut handle = tx.set(at, Open::Create).unwrap().unwrap();
    for _ in 0..random.below(60) {
        let member = format!("{}", random.below(400)).into_bytes();
        let member = if random.below(60) == 0 { name(random) } else { member };
        if random.below(3) == 0 {
            assert_eq!(handle.remove(&member).unwrap(), set.remove(&member));
        } else {
            assert_eq!(handle.insert(&member).unwrap(), set.insert(member));
        }
    }
    let drawn = handle.random(random.number() << 20).unwrap().map(<[u8]>::to_vec);
    assert_eq!(drawn.is_some(), !set.is_empty());
    assert!(drawn.is_none_or(|member| set.contains(&member)));
    true
}

fn step_hash(
    tx: &mut dyn Tx,
    at: &Key<'_>,
    hash: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    random: &mut Random,
) -> bool {
    let mut handle = tx.hash(at, Open::Create).unwrap().unwrap();
    for _ in 0..random.below(30) {
        let field = name(random);
        if random.below(3) == 0 {
            assert_eq!(handle.remove(&field).unwrap(), hash.remove(&field).is_some());
        } else {
            let value = content(random);
            assert_eq!(handle.insert(&field, &value).unwrap(), !hash.contains_key(&field));
            hash.insert(field.clone(), value);
        }
        assert_eq!(handle.get(&field).unwrap(), hash.get(&field).map(Vec::as_slice));
    }
    assert_eq!(handle.len().unwrap(), hash.len() as u64);
    true
}

fn step_sorted(
    tx: &mut dyn Tx,
    at: &Key<'_>,
    sorted: &mut BTreeMap<Vec<u8>, u64>,
    random: &mut Random,
) -> bool {
    let mut handle = tx.sorted_set(at, Open::Create).unwrap().unwrap();
    for _ in 0..random.below(30) {
        let member = name(random);
        let score = random.below(8) as f64 - 3.5;
        match random.below(4) {
            0 => {
                let old = sorted.remove(&member).map(f64::from_bits);
                assert_eq!(handle.remove(&member).unwrap(), old);
            }
            1 => {
                let rank = scored(sorted).iter().position(|(m, _)| *m == member);
                let got = handle.rank(&member, false).unwrap().map(|(rank, _)| rank as usize);
                assert_eq!(got, rank);
            }
            _ => {
                let old = sorted.insert(member.clone(), score.to_bits());
                let expected = match old {
                    None => Inserted::Added,
                    Some(old) if old == score.to_bits() => Inserted::Unchanged,
                    Some(_) => Inserted::Updated,
                };
                assert_eq!(handle.insert(&member, score).unwrap(), expected);
            }
        }
    }
    let bound = |score, exclusive| ScoreBound { score, exclusive };
    let range = ZRange::Score { min: bound(-1.5, true), max: bound(2.5, false) };
    let inside = |(_, score): &&(Vec<u8>, f64)| *score > -1.5 && *score <= 2.5;
    let expected = scored(sorted).iter().filter(inside).count() as u64;
    assert_eq!(handle.count(&range).unwrap(), expected);
    if random.below(4) == 0 {
        assert_eq!(handle.remove_range(&range).unwrap(), expected);
        sorted.retain(|_, score| !(-1.5 < f64::from_bits(*score) && f64::from_bits(*score) <= 2.5));
    }
    let (start, len, reverse) = (random.below(30), random.below(9), random.below(2) == 0);
    let mut all = scored(sorted);
    if reverse {
        all.reverse();
    }
    let mut got = Vec::new();
    let ranks = ZRange::Rank { start, end: start + len };
    handle
        .range(&ranks, reverse, 0, u64::MAX, &mut |member, score| {
            got.push((member.to_vec(), score));
            true
        })
        .unwrap();
    let expected: Vec<_> = all.into_iter().skip(start as usize).take(len as usize).collect();
    assert_eq!(got, expected);
    true
}

/// Everything the store holds, read through `DUMP` and SCAN, against the model.
fn compare(backend: &OrderedBackend, model: &Model) {
    for db in 0..2 {
        let expected = model.iter().filter(|((of, _), _)| *of == db);
        assert_eq!(backend.len(db), expected.clone().count() as u64, "keys of {db}");
        let expiring = expected.clone().filter(|(_, (_, expiry))| expiry.is_some());
        assert_eq!(backend.expires_len(db), expiring.count() as u64, "expiries of {db}");
        let mut seen = BTreeSet::new();
        at(backend, 1, |tx| {
            let mut cursor = 0;
            loop {
                let visit = &mut |name: &[u8], kind: Option<Kind>| {
                    seen.extend(kind.map(|_| name.to_vec()));
                };
                cursor = tx.scan(db, cursor, 3, visit).unwrap();
                if cursor == 0 {
                    break;
                }
            }
        });
        assert!(seen.iter().eq(expected.clone().map(|((_, name), _)| name)), "SCAN of {db}");
        for ((_, name), (value, expiry)) in expected {
            at(backend, 1, |tx| check(tx, &key(backend, db, name), value, *expiry));
        }
    }
}

fn check(tx: &mut dyn Tx, at: &Key<'_>, value: &Value, expiry: Option<u64>) {
    assert_eq!(tx.expiry(at).unwrap(), Some(expiry));
    let mut dump = Vec::new();
    assert!(tx.dump(at, &mut dump).unwrap());
    seal_payload(&mut dump);
    let object = decode_payload(&dump).unwrap();
    match (value, object) {
        (Value::Text(text), Object::String(got)) => {
            assert_eq!(*text, got);
            assert_eq!(tx.string(at).unwrap().unwrap().as_bytes(), text);
            assert_eq!(tx.string_len(at).unwrap(), text.len() as u64);
        }
        (Value::List(list), Object::List(got)) => assert_eq!(*list, got),
        (Value::Set(set), Object::Set(got)) => {
            assert_eq!(set.len(), got.len());
            assert!(got.iter().all(|member| set.contains(member)));
        }
        (Value::Hash(hash), Object::Hash(got)) => {
            assert_eq!(hash.len(), got.len());
            assert!(got.iter().all(|field| hash.get(&field.field) == Some(&field.value)));
        }
        (Value::Sorted(sorted), Object::SortedSet(got)) => {
            assert_eq!(sorted.len(), got.len());
            assert!(got.iter().all(|(m, s)| sorted.get(m) == Some(&s.to_bits())));
        }
        (value, object) => panic!("{value:?} is stored as {object:?}"),
    }
}

fn random_transactions(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::new(42);
    let mut model = Model::new();
    for round in 0..6u32 {
        // Another number of shards each time: the expiry index is rebuilt, nothing else changes.
        let backend = open(dir.path(), engine, [1, 4, 4, 16, 2, 2][round as usize]);
        compare(&backend, &model);
        for _ in 0..150 {
            let steps = 1 + random.below(4);
            at(&backend, 1, |tx| {
                (0..steps).for_each(|_| step(tx, &backend, &mut model, &mut random));
            });
            backend.maintain(0);
        }
        compare(&backend, &model);
        clean(&backend);
        compare(&backend, &model);
    }
    let backend = open(dir.path(), engine, 4);
    at(&backend, 1, |tx| assert!(tx.clear(0).unwrap() + tx.clear(1).unwrap() > 0));
    clean(&backend);
    for space in
        [super::super::keys::META, super::super::keys::ELEMENTS, super::super::keys::EXPIRY]
    {
        assert_eq!(records(&backend, space), 0, "nothing leaks into {space:?}");
    }
}

on_engines!(random_transactions);
