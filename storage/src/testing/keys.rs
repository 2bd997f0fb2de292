//! Tests of keys of any type.

use super::{NOW, Store};
use crate::tx::{Kind, NewExpiry, Open, Tx};
use crate::types::End;
use crate::{Error, Key, rdb};
use std::collections::BTreeSet;

/// Makes one key of every type, named after it.
fn one_of_each(store: &Store) {
    let [s, l, e, h, z] = ["string", "list", "set", "hash", "zset"].map(|name| store.key(name));
    store.with(&[s, l, e, h, z], |tx| {
        tx.set_string(&s, b"text", NewExpiry::Clear).unwrap();
        tx.list(&l, Open::Create).unwrap().unwrap().push(End::Tail, b"element").unwrap();
        tx.set(&e, Open::Create).unwrap().unwrap().insert(b"member").unwrap();
        tx.hash(&h, Open::Create).unwrap().unwrap().insert(b"field", b"value").unwrap();
        tx.sorted_set(&z, Open::Create).unwrap().unwrap().insert(b"member", 1.5).unwrap();
    });
}

const KINDS: [(&str, Kind); 5] = [
    ("string", Kind::String),
    ("list", Kind::List),
    ("set", Kind::Set),
    ("hash", Kind::Hash),
    ("zset", Kind::SortedSet),
];

pub fn absent_keys_are_absent(store: &Store) {
    let key = store.key("nothing");
    store.with(&[key], |tx| {
        assert_eq!(tx.kind(&key).unwrap(), None);
        assert!(!tx.remove(&key).unwrap());
        assert_eq!(tx.expiry(&key).unwrap(), None);
        assert!(!tx.set_expiry(&key, Some(NOW + 1)).unwrap());
        assert!(tx.info(&key, 0).unwrap().is_none());
        assert!(!tx.touch(&key).unwrap());
        assert!(!tx.dump(&key, &mut Vec::new()).unwrap());
        assert!(tx.string(&key).unwrap().is_none());
        assert_eq!(tx.string_len(&key).unwrap(), 0);
        assert!(tx.list(&key, Open::Existing).unwrap().is_none());
        assert!(tx.set(&key, Open::Existing).unwrap().is_none());
        assert!(tx.hash(&key, Open::Existing).unwrap().is_none());
        assert!(tx.sorted_set(&key, Open::Existing).unwrap().is_none());
        assert!(tx.expired().is_empty());
    });
    assert_eq!(store.backend.len(0), 0);
    assert_eq!(store.backend.used_dbs(), []);
}

pub fn kinds_are_told_apart(store: &Store) {
    one_of_each(store);
    for (name, kind) in KINDS {
        let key = store.key(name);
        assert_eq!(store.with(&[key], |tx| tx.kind(&key).unwrap()), Some(kind));
    }
    assert_eq!(store.backend.len(0), 5);
}

/// Whether opening a key as some type says that it has another.
fn is_wrong(tx: &mut dyn Tx, key: &Key<'_>, kind: Kind) -> bool {
    let wrong = |error: &Error| matches!(error, Error::WrongType);
    match kind {
        Kind::String => {
            tx.string(key).is_err_and(|e| wrong(&e))
                && tx.string_len(key).is_err_and(|e| wrong(&e))
                && tx.append(key, b"x").is_err_and(|e| wrong(&e))
                && tx.set_range(key, 1, b"x").is_err_and(|e| wrong(&e))
                && tx.get_range(key, 0, 1, &mut Vec::new()).is_err_and(|e| wrong(&e))
        }
        Kind::List => tx.list(key, Open::Create).is_err_and(|e| wrong(&e)),
        Kind::Set => tx.set(key, Open::Create).is_err_and(|e| wrong(&e)),
        Kind::Hash => tx.hash(key, Open::Create).is_err_and(|e| wrong(&e)),
        _ => tx.sorted_set(key, Open::Create).is_err_and(|e| wrong(&e)),
    }
}

pub fn wrong_type_changes_nothing(store: &Store) {
    one_of_each(store);
    for (name, is) in KINDS {
        for (_, asked) in KINDS {
            let key = store.key(name);
            let wrong = store.with(&[key], |tx| is_wrong(tx, &key, asked));
            assert!(wrong || is == asked, "{name} opened as {asked:?}");
            assert_eq!(store.with(&[key], |tx| tx.kind(&key).unwrap()), Some(is));
        }
        // The string was appended to by the checks above, in its own right.
        if is != Kind::String {
            let key = store.key(name);
            let dumped = store.with(&[key], |tx| tx.dump(&key, &mut Vec::new()).unwrap());
            assert!(dumped);
        }
    }
}

pub fn removing(store: &Store) {
    one_of_each(store);
    for (name, _) in KINDS {
        let key = store.key(name);
        store.with(&[key], |tx| {
            assert!(tx.remove(&key).unwrap());
            assert!(!tx.remove(&key).unwrap());
            assert_eq!(tx.kind(&key).unwrap(), None);
        });
    }
    assert_eq!(store.backend.len(0), 0);
    // A removed key starts afresh.
    one_of_each(store);
    let key = store.key("list");
    let len = store.with(&[key], |tx| tx.list(&key, Open::Existing).unwrap().unwrap().len());
    assert_eq!(len.unwrap(), 1);
}

pub fn renaming_replaces(store: &Store) {
    one_of_each(store);
    let (from, to) = (store.key("list"), store.key("string"));
    store.with(&[from, to], |tx| {
        assert!(tx.rename(&from, &to).unwrap());
        assert!(!tx.rename(&from, &to).unwrap());
        assert_eq!(tx.kind(&from).unwrap(), None);
        let mut list = tx.list(&to, Open::Existing).unwrap().unwrap();
        assert_eq!(list.get(0).unwrap(), Some(&b"element"[..]));
    });
    assert!(store.with(&[to], |tx| tx.rename(&to, &to).unwrap()), "to itself");
    assert_eq!(store.with(&[to], |tx| tx.kind(&to).unwrap()), Some(Kind::List));
    assert_eq!(store.backend.len(0), 4);
}

pub fn renaming_across_shards_and_databases(store: &Store) {
    let (first, second) = store.names_in_two_shards();
    let (from, to) = (store.key(&first), store.key(&second));
    let away = store.key_in(3, &second);
    store.set(&first, b"moved");
    store.with(&[from, to], |tx| assert!(tx.rename(&from, &to).unwrap()));
    assert_eq!((store.get(&first), store.get(&second)), (None, Some(b"moved".to_vec())));
    store.with(&[to, away], |tx| {
        assert!(tx.rename(&to, &away).unwrap());
        assert_eq!(tx.kind(&to).unwrap(), None);
        assert_eq!(tx.string(&away).unwrap().unwrap().as_bytes(), b"moved");
    });
    assert_eq!(store.backend.used_dbs(), [3]);
}

pub fn touching(store: &Store) {
    store.set("key", b"value");
    let key = store.key("key");
    assert!(store.with_at(NOW + 10_000, &[key], |tx| tx.touch(&key).unwrap()));
}

pub fn introspection(store: &Store) {
    one_of_each(store);
    for (name, kind) in KINDS {
        let key = store.key(name);
        let info = store.with(&[key], |tx| tx.info(&key, 5).unwrap()).expect("it exists");
        assert_eq!(info.kind, kind);
        assert!(!info.encoding.is_empty());
        assert!(info.bytes > 0);
    }
}

pub fn databases_are_separate(store: &Store) {
    for db in [0, 1, 3] {
        let key = store.key_in(db, "key");
        let value = [db as u8];
        store.with(&[key], |tx| tx.set_string(&key, &value, NewExpiry::Clear)).unwrap();
    }
    for db in [0, 1, 3] {
        let key = store.key_in(db, "key");
        store.with(&[key], |tx| {
            assert_eq!(tx.string(&key).unwrap().unwrap().as_bytes(), [db as u8]);
        });
    }
    assert_eq!(store.backend.used_dbs(), [0, 1, 3]);
    assert_eq!([0, 1, 2, 3].map(|db| store.backend.len(db)), [1, 1, 0, 1]);
}

pub fn clearing(store: &Store) {
    for n in 0..1000 {
        store.set(&format!("key:{n}"), b"value");
    }
    one_of_each(store);
    let other = store.key_in(1, "other");
    store.with(&[other], |tx| tx.set_string(&other, b"stays", NewExpiry::Clear)).unwrap();
    assert_eq!(store.with_all(|tx| tx.clear(0).unwrap()), 1005);
    assert_eq!(store.with_all(|tx| tx.clear(0).unwrap()), 0);
    assert_eq!((store.backend.len(0), store.backend.len(1)), (0, 1));
    assert_eq!(store.get("key:1"), None);
    store.set("key:1", b"new");
    assert_eq!(store.get("key:1"), Some(b"new".to_vec()));
    // What was cleared is cleaned up in slices; that ends, and touches nothing that is there.
    for shard in 0..store.backend.shard_count() {
        let slices = (0..1_000_000).take_while(|_| store.backend.maintain(shard)).count();
        assert!(slices < 1_000_000, "maintenance ends");
    }
    assert_eq!(store.get("key:1"), Some(b"new".to_vec()));
    assert_eq!(store.backend.len(0), 1);
}

/// A large collection is dropped in every way there is: another takes its name at once, and is
/// left alone by the cleaning up.
pub fn dropping_large_keys(store: &Store) {
    let (large, other) = (store.key("large"), store.key("other"));
    for way in 0..5 {
        store.with(&[large], |tx| {
            let mut set = tx.sorted_set(&large, Open::Create).unwrap().unwrap();
            for n in 0..1000 {
                set.insert(format!("member:{n}").as_bytes(), f64::from(n)).unwrap();
            }
        });
        store.with_all(|tx| match way {
            0 => assert!(tx.remove(&large).unwrap()),
            1 => tx.set_string(&large, b"short", NewExpiry::Clear).unwrap(),
            2 => {
                tx.set_string(&other, b"short", NewExpiry::Clear).unwrap();
                assert!(tx.rename(&other, &large).unwrap());
            }
            3 => assert!(tx.set_expiry(&large, Some(NOW - 1)).unwrap()),
            _ => assert_eq!(tx.clear(0).unwrap(), 1),
        });
        store.with(&[large], |tx| {
            tx.remove(&large).unwrap();
            let mut set = tx.sorted_set(&large, Open::Create).unwrap().unwrap();
            set.insert(b"new", 1.0).unwrap();
        });
        for shard in 0..store.backend.shard_count() {
            let slices = (0..100_000).take_while(|_| store.backend.maintain(shard)).count();
            assert!(slices < 100_000, "cleaning comes to an end");
        }
        store.with(&[large], |tx| {
            let mut set = tx.sorted_set(&large, Open::Existing).unwrap().unwrap();
            assert_eq!((set.len().unwrap(), set.score(b"new").unwrap()), (1, Some(1.0)));
        });
        store.with(&[large], |tx| assert!(tx.remove(&large).unwrap()));
    }
}

pub fn swapping_databases(store: &Store) {
    store.set("zero", b"0");
    let one = store.key_in(1, "one");
    store.with(&[one], |tx| tx.set_string(&one, b"1", NewExpiry::At(NOW + 5000))).unwrap();
    store.with_all(|tx| tx.swap_dbs(0, 1).unwrap());
    assert_eq!((store.get("zero"), store.get("one")), (None, Some(b"1".to_vec())));
    assert_eq!((store.backend.len(0), store.backend.len(1)), (1, 1));
    assert_eq!((store.backend.expires_len(0), store.backend.expires_len(1)), (1, 0));
    let zero = store.key_in(1, "zero");
    assert!(store.with(&[zero], |tx| tx.kind(&zero).unwrap()).is_some());
    // With an empty database, there and back.
    store.with_all(|tx| tx.swap_dbs(0, 2).unwrap());
    assert_eq!(store.get("one"), None);
    store.with_all(|tx| tx.swap_dbs(2, 0).unwrap());
    assert_eq!(store.get("one"), Some(b"1".to_vec()));
}

pub fn random_keys(store: &Store) {
    assert_eq!(store.with_all(|tx| tx.random_key(0, 1).unwrap()), None);
    for n in 0..20 {
        store.set(&format!("key:{n}"), b"value");
    }
    let mut met = BTreeSet::new();
    for seed in 0..2000 {
        met.insert(store.with_all(|tx| tx.random_key(0, seed).unwrap()).expect("a key"));
    }
    assert_eq!(met.len(), 20, "every key is met sooner or later");
    for name in met {
        assert!(store.get(std::str::from_utf8(&name).unwrap()).is_some());
    }
    assert_eq!(store.with_all(|tx| tx.random_key(1, 1).unwrap()), None);
}

pub fn counting(store: &Store) {
    for n in 0..500 {
        store.set(&format!("key:{n}"), b"1");
        store.set(&format!("key:{n}"), b"2");
    }
    assert_eq!(store.backend.len(0), 500);
    for n in 0..400 {
        let name = format!("key:{n}");
        let key = store.key(&name);
        store.with(&[key], |tx| assert!(tx.remove(&key).unwrap()));
    }
    assert_eq!(store.backend.len(0), 100);
}

/// A copy of a key by way of its dump.
fn copy(store: &Store, name: &str, to: &str, expiry_ms: Option<u64>) {
    let (from, to) = (store.key(name), store.key(to));
    let mut value = Vec::new();
    assert!(store.with(&[from], |tx| tx.dump(&from, &mut value).unwrap()));
    rdb::seal_payload(&mut value);
    let object = rdb::decode_payload(&value).expect("a dump can be decoded");
    store.with(&[to], |tx| tx.restore(&to, object, expiry_ms).unwrap());
}

pub fn dump_and_restore(store: &Store) {
    one_of_each(store);
    let [l, s, h, z] = ["long list", "long set", "long hash", "long zset"].map(|n| store.key(n));
    store.with(&[l, s, h, z], |tx| {
        for n in 0..1000u32 {
            let text = format!("element number {n}");
            let text = text.as_bytes();
            tx.list(&l, Open::Create).unwrap().unwrap().push(End::Tail, text).unwrap();
            tx.set(&s, Open::Create).unwrap().unwrap().insert(text).unwrap();
            tx.hash(&h, Open::Create).unwrap().unwrap().insert(text, text).unwrap();
            let score = f64::from(n) * 0.1 - 50.0;
            tx.sorted_set(&z, Open::Create).unwrap().unwrap().insert(text, score).unwrap();
        }
    });
    let names = KINDS.iter().map(|(name, _)| *name);
    for name in names.chain(["long list", "long set", "long hash", "long zset"]) {
        copy(store, name, "copy", Some(NOW + 1000));
        let (original, copied) = (store.key(name), store.key("copy"));
        let mut dumps = [original, copied].map(|key| {
            let mut value = Vec::new();
            store.with(&[key], |tx| assert!(tx.dump(&key, &mut value).unwrap()));
            rdb::seal_payload(&mut value);
            sorted(rdb::decode_payload(&value).unwrap())
        });
        assert!(dumps[0] == dumps[1], "{name} is the same after dump and restore");
        dumps.reverse();
        assert_eq!(store.with(&[copied], |tx| tx.expiry(&copied).unwrap()), Some(Some(NOW + 1000)));
    }
}

/// An object with its elements in a fixed order, where order means nothing.
pub fn sorted(mut object: rdb::Object) -> rdb::Object {
    match &mut object {
        rdb::Object::Set(members) => members.sort(),
        rdb::Object::Hash(fields) => fields.sort_by(|a, b| a.field.cmp(&b.field)),
        rdb::Object::SortedSet(members) => {
            members.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        }
        _ => {}
    }
    object
}

pub fn binary_keys(store: &Store) {
    let long = vec![0xff; 100_000];
    let names: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\xff\xfe", b"a\r\nb", &long];
    for (n, name) in names.iter().enumerate() {
        let key = store.key(name);
        store.with(&[key], |tx| tx.set_string(&key, &[n as u8], NewExpiry::Clear)).unwrap();
    }
    for (n, name) in names.iter().enumerate() {
        let key = store.key(name);
        store.with(&[key], |tx| {
            assert_eq!(tx.string(&key).unwrap().unwrap().as_bytes(), [n as u8]);
        });
    }
    assert_eq!(store.backend.len(0), 6);
}
