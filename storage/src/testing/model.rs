//! Random operations on keys, against a plain map.

use super::{NOW, Random, Store};
use crate::tx::{Key, NewExpiry};
use std::collections::BTreeMap;

/// A key of the model: value and expiry.
type Model = BTreeMap<(u32, Vec<u8>), (Vec<u8>, Option<u64>)>;

/// One random operation on both.
fn step(store: &Store, random: &mut Random, model: &mut Model, now_ms: u64) {
    let pick = |random: &mut Random| {
        (random.below(3) as u32, format!("key:{}", random.below(300)).into_bytes())
    };
    let (name, other) = (pick(random), pick(random));
    model.retain(|_, (_, expiry)| expiry.is_none_or(|at_ms| at_ms > now_ms));
    let (from_name, to_name) = (name.1.clone(), other.1.clone());
    let key = store.key_in(name.0, &from_name);
    let to = store.key_in(other.0, &to_name);
    let value = random.bytes(200);
    let at_ms = now_ms + random.below(5000);
    let choice = random.below(10);
    store.with_at(now_ms, &[key, to], |tx| match choice {
        0 | 1 => {
            tx.set_string(&key, &value, NewExpiry::Clear).unwrap();
            model.insert(name, (value, None));
        }
        2 => {
            tx.set_string(&key, &value, NewExpiry::At(at_ms)).unwrap();
            model.insert(name, (value, Some(at_ms)));
        }
        3 => {
            tx.set_string(&key, &value, NewExpiry::Keep).unwrap();
            model.entry(name).or_default().0 = value;
        }
        4 => {
            let held = model.entry(name).or_default();
            held.0.extend_from_slice(&value);
            assert_eq!(tx.append(&key, &value).unwrap(), held.0.len() as u64);
        }
        5 => assert_eq!(tx.remove(&key).unwrap(), model.remove(&name).is_some()),
        6 => {
            let moved = model.remove(&name);
            assert_eq!(tx.rename(&key, &to).unwrap(), moved.is_some());
            if let Some(moved) = moved {
                model.insert(other, moved);
            }
        }
        7 => {
            let at_ms = value.len().is_multiple_of(2).then_some(at_ms);
            let there = model.get_mut(&name).map(|held| held.1 = at_ms).is_some();
            assert_eq!(tx.set_expiry(&key, at_ms).unwrap(), there);
        }
        8 => assert_eq!(tx.expiry(&key).unwrap(), model.get(&name).map(|held| held.1)),
        _ => {
            let held = tx.string(&key).unwrap().map(|value| value.as_bytes().to_vec());
            assert_eq!(held, model.get(&name).map(|held| held.0.clone()));
        }
    });
}

fn check(store: &Store, model: &Model, now_ms: u64) {
    for ((db, name), (value, expiry)) in model {
        let key: Key<'_> = store.key_in(*db, name);
        store.with_at(now_ms, &[key], |tx| {
            assert_eq!(
                tx.string(&key).unwrap().map(|v| v.as_bytes().to_vec()).as_ref(),
                Some(value)
            );
            assert_eq!(tx.expiry(&key).unwrap(), Some(*expiry));
        });
    }
}

pub fn random_operations_agree_with_a_map(store: &Store) {
    let (mut random, mut model, mut now_ms) = (Random::new(42), Model::new(), NOW);
    for n in 0..6000 {
        step(store, &mut random, &mut model, now_ms);
        now_ms += random.below(4);
        if n % 1000 == 999 {
            model.retain(|_, (_, expiry)| expiry.is_none_or(|at_ms| at_ms > now_ms));
            check(store, &model, now_ms);
        }
    }
    for db in 0..3 {
        let held = model.keys().filter(|(of, _)| *of == db).count() as u64;
        assert!(store.backend.len(db) >= held, "expired keys may still be counted, none missing");
    }
}
