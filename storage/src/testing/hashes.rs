//! Hashes, and the expiry of fields.

use super::{NOW, Random, Store};
use crate::tx::{Expired, Expiry, Open};
use crate::types::{FieldExpiry, Hash};
use std::collections::{BTreeMap, BTreeSet};

fn on_hash_at<R>(store: &Store, now_ms: u64, body: impl FnOnce(&mut dyn Hash) -> R) -> R {
    let key = store.key("hash");
    store.with_at(now_ms, &[key], |tx| body(&mut *tx.hash(&key, Open::Create).unwrap().unwrap()))
}

fn on_hash<R>(store: &Store, body: impl FnOnce(&mut dyn Hash) -> R) -> R {
    on_hash_at(store, NOW, body)
}

fn all(hash: &mut dyn Hash) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut seen = Vec::new();
    hash.for_each(&mut |field, value| {
        seen.push((field.to_vec(), value.to_vec()));
        true
    })
    .unwrap();
    assert_eq!(seen.len() as u64, hash.len().unwrap());
    seen
}

pub fn fields(store: &Store) {
    let (mut random, mut model) = (Random::new(1), BTreeMap::new());
    for step in 0..6000 {
        let field = format!("field {}", random.below(500)).into_bytes();
        let longest = if random.below(400) == 0 { 40_000 } else { 20 };
        let value = random.bytes(longest);
        let adds = random.below(10) < if step < 3000 { 7 } else { 3 };
        on_hash(store, |hash| {
            assert_eq!(hash.get(&field).unwrap(), model.get(&field).map(|v: &Vec<u8>| &v[..]));
            if adds {
                let new = hash.insert(&field, &value).unwrap();
                assert_eq!(new, model.insert(field, value).is_none());
            } else {
                assert_eq!(hash.remove(&field).unwrap(), model.remove(&field).is_some());
            }
        });
    }
    let seen: BTreeMap<_, _> = on_hash(store, all).into_iter().collect();
    assert!(seen == model);
}

pub fn insertion_order(store: &Store) {
    let names = ["z", "a", "m", "b"];
    on_hash(store, |hash| {
        names.iter().for_each(|name| assert!(hash.insert(name.as_bytes(), b"1").unwrap()));
        assert!(!hash.insert(b"a", b"changed").unwrap());
        assert!(!hash.update(b"m", b"changed").unwrap());
        let seen: BTreeSet<_> = all(hash).into_iter().map(|(field, _)| field).collect();
        assert_eq!(seen, names.map(|name| name.as_bytes().to_vec()).into());
    });
}

pub fn field_expiry(store: &Store) {
    on_hash(store, |hash| {
        for field in ["a", "b", "c"] {
            hash.insert(field.as_bytes(), b"value").unwrap();
        }
        assert_eq!(hash.field_expiry(b"a").unwrap(), FieldExpiry::Persistent);
        assert_eq!(hash.field_expiry(b"x").unwrap(), FieldExpiry::NoField);
        assert!(hash.set_field_expiry(b"a", Some(NOW + 10)).unwrap());
        assert!(hash.set_field_expiry(b"b", Some(NOW + 20)).unwrap());
        assert!(!hash.set_field_expiry(b"x", Some(NOW + 20)).unwrap());
        assert_eq!(hash.field_expiry(b"a").unwrap(), FieldExpiry::At(NOW + 10));
        hash.update(b"a", b"kept").unwrap();
        assert_eq!(hash.field_expiry(b"a").unwrap(), FieldExpiry::At(NOW + 10));
        hash.insert(b"b", b"replaced").unwrap();
        assert_eq!(hash.field_expiry(b"b").unwrap(), FieldExpiry::Persistent);
        assert_eq!(hash.len().unwrap(), 3);
    });
    on_hash_at(store, NOW + 10, |hash| {
        assert_eq!(hash.get(b"a").unwrap(), None);
        assert_eq!(hash.field_expiry(b"a").unwrap(), FieldExpiry::NoField);
        assert_eq!(hash.len().unwrap(), 2);
        assert_eq!(all(hash).len(), 2);
        assert!(hash.insert(b"a", b"new").unwrap(), "an expired field is new again");
        assert!(hash.set_field_expiry(b"c", Some(NOW + 30)).unwrap());
        assert!(hash.set_field_expiry(b"c", None).unwrap());
    });
    on_hash_at(store, NOW + 40, |hash| {
        assert_eq!(hash.len().unwrap(), 3);
        for field in ["a", "b", "c"] {
            assert!(hash.set_field_expiry(field.as_bytes(), Some(NOW + 50)).unwrap());
        }
    });
    let key = store.key("hash");
    store.with_at(NOW + 50, &[key], |tx| {
        assert!(tx.hash(&key, Open::Existing).unwrap().is_none(), "no field, no hash");
        assert_eq!(tx.kind(&key).unwrap(), None);
    });
    assert_eq!(store.backend.len(0), 0);
}

pub fn hashes_of_expired_fields_are_found(store: &Store) {
    on_hash(store, |hash| {
        hash.insert(b"a", b"value").unwrap();
        assert!(hash.set_field_expiry(b"a", Some(NOW + 10)).unwrap());
    });
    let shard = store.backend.shard_of(store.key("hash").hash);
    let mut expired = Vec::new();
    for _ in 0..100 {
        store.run(crate::Locks::One(shard), NOW + 10, |tx| {
            tx.expire_due(shard, 20).unwrap();
            expired.append(tx.expired());
        });
    }
    assert_eq!(expired, [Expired::key(0, b"hash")]);
    assert_eq!(store.backend.len(0), 0);
}

pub fn expired_fields_are_noted(store: &Store) {
    // A name that no disk backend keeps in its keys.
    let long = vec![b'l'; 5000];
    on_hash(store, |hash| {
        hash.insert(b"stays", b"value").unwrap();
        for field in [b"short", &long[..]] {
            hash.insert(field, b"value").unwrap();
            assert!(hash.set_field_expiry(field, Some(NOW + 10)).unwrap());
        }
    });
    let key = store.key("hash");
    store.with_at(NOW + 10, &[key], |tx| {
        assert!(tx.hash(&key, Open::Existing).unwrap().is_some());
        let mut expired = std::mem::take(tx.expired());
        assert_eq!(expired.len(), 1, "one note for all fields");
        expired[0].fields.sort();
        let fields = vec![Box::from(&long[..]), Box::from(&b"short"[..])];
        assert_eq!(expired[0], Expired { db: 0, key: Box::from(&b"hash"[..]), fields });
        assert!(tx.hash(&key, Open::Existing).unwrap().is_some());
        assert!(tx.expired().is_empty(), "noted once");
    });
}

/// Looks at a key as a reader does: expired keys and fields are hidden.
fn look_at(store: &Store, at_ms: u64, look: impl FnOnce(Option<&mut dyn Hash>)) {
    let key = store.key("hash");
    store.with_at(at_ms, &[key], |tx| {
        tx.set_expiry_mode(Expiry::Hide);
        let is_there = tx.kind(&key).unwrap().is_some();
        let mut hash = tx.hash(&key, Open::Existing).unwrap();
        assert_eq!(hash.is_some(), is_there);
        look(hash.as_mut().map(|hash| &mut **hash as &mut dyn Hash));
        drop(hash);
        assert!(!tx.met_expired());
    });
}

fn scanned(hash: &mut dyn Hash) -> Vec<Vec<u8>> {
    let (mut scanned, mut cursor) = (Vec::new(), 0);
    loop {
        let visit = &mut |field: &[u8], _: &[u8]| {
            scanned.push(field.to_vec());
            true
        };
        cursor = hash.scan(cursor, 10, visit).unwrap();
        if cursor == 0 {
            return scanned;
        }
    }
}

pub fn expired_fields_are_hidden_when_asked(store: &Store) {
    // A name that no disk backend keeps in its keys, and a value that is not in its record.
    let (long, large) = (vec![b'l'; 5000], vec![b'v'; 40_000]);
    on_hash(store, |hash| {
        for (field, at_ms) in [(&b"stays"[..], NOW + 20), (b"hides", NOW + 10), (&long, NOW + 9)] {
            hash.insert(field, &large).unwrap();
            assert!(hash.set_field_expiry(field, Some(at_ms)).unwrap());
        }
    });
    look_at(store, NOW + 10, |hash| {
        let hash = hash.expect("one field is left");
        assert_eq!(all(hash), [(b"stays".to_vec(), large.clone())]);
        for field in [b"hides", &long[..]] {
            assert_eq!(hash.get(field).unwrap(), None);
            assert_eq!(hash.field_expiry(field).unwrap(), FieldExpiry::NoField);
        }
        assert_eq!(scanned(hash), [b"stays".to_vec()]);
        (0..20).for_each(|n| assert_eq!(hash.random(n).unwrap().unwrap().0, b"stays"));
    });
    look_at(store, NOW + 20, |hash| assert!(hash.is_none(), "no field, no hash"));
    // Nothing has gone: who says which goes finds it.
    let key = store.key("hash");
    store.with_at(NOW + 30, &[key], |tx| {
        tx.set_expiry_mode(Expiry::Ignore);
        let mut hash = tx.hash(&key, Open::Existing).unwrap().unwrap();
        assert_eq!(hash.len().unwrap(), 3);
        assert!(hash.remove(b"hides").unwrap() && hash.remove(&long).unwrap());
        assert_eq!(hash.get(b"stays").unwrap(), Some(&large[..]));
    });
    store.with_at(NOW + 30, &[key], |tx| assert_eq!(tx.kind(&key).unwrap(), None));
    assert_eq!(store.backend.len(0), 0);
}

pub fn random_fields(store: &Store) {
    on_hash(store, |hash| assert!(hash.random(1).unwrap().is_none()));
    for size in [3u64, 100, 1000] {
        on_hash(store, |hash| {
            for n in 0..size {
                hash.insert(format!("f{n}").as_bytes(), format!("v{n}").as_bytes()).unwrap();
            }
            let (mut random, mut met) = (Random::new(5), BTreeSet::new());
            for _ in 0..size * 20 {
                let (field, value) = hash.random(random.number()).unwrap().expect("a field");
                assert_eq!(field[1..], value[1..]);
                met.insert(field.to_vec());
            }
            assert!(met.len() as u64 > size * 95 / 100, "{} of {size} met", met.len());
        });
    }
}

pub fn scanning_fields(store: &Store) {
    for size in [5, 100, 3000] {
        on_hash(store, |hash| {
            for n in 0..size {
                hash.insert(format!("field {n}").as_bytes(), b"value").unwrap();
            }
        });
        let (mut seen, mut cursor) = (BTreeSet::new(), 0);
        loop {
            cursor = on_hash(store, |hash| {
                hash.scan(cursor, 10, &mut |field, value| {
                    assert_eq!(value, b"value");
                    seen.insert(field.to_vec());
                    true
                })
                .unwrap()
            });
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(seen.len(), size);
    }
}

pub fn empty_hashes_go(store: &Store) {
    on_hash(store, |_| ());
    assert_eq!(store.backend.len(0), 0, "opened and left empty");
    for size in [1, 1000] {
        on_hash(store, |hash| {
            (0..size).for_each(|n| assert!(hash.insert(format!("f{n}").as_bytes(), b"").unwrap()));
        });
        assert_eq!(store.backend.len(0), 1);
        on_hash(store, |hash| {
            (0..size).for_each(|n| assert!(hash.remove(format!("f{n}").as_bytes()).unwrap()));
        });
        assert_eq!(store.backend.len(0), 0, "emptied");
    }
}

pub fn many_fields(store: &Store) {
    on_hash(store, |hash| {
        for n in 0..20_000u32 {
            assert!(hash.insert(&n.to_le_bytes(), &n.to_be_bytes()).unwrap());
        }
        for n in (0..20_000u32).rev() {
            assert_eq!(hash.get(&n.to_le_bytes()).unwrap(), Some(&n.to_be_bytes()[..]));
        }
    });
}
