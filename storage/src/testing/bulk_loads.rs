//! Loading a file's entries on all cores.

use super::{NOW, Store};
use crate::bulk_load::{BulkLoad, Existing};
use crate::rdb::{KeyValue, Object};
use crate::tx::{Db, NewExpiry};

/// Large enough for several batches of [`BATCH`], and for every shard of a backend.
const KEYS: u64 = 1000;
const BATCH: usize = 100;

fn entry(number: u64, value: &str) -> KeyValue {
    KeyValue {
        db: 0,
        key: format!("key:{number}").into_bytes(),
        expiry_ms: number.is_multiple_of(3).then_some(NOW + 1 + number),
        idle_seconds: None,
        frequency: None,
        object: Object::String(value.into()),
    }
}

fn loader(store: &Store, existing: Existing) -> BulkLoad {
    BulkLoad::new(store.backend.clone(), existing).in_batches_of(BATCH)
}

fn value(store: &Store, db: Db, number: u64) -> Option<Vec<u8>> {
    let name = format!("key:{number}");
    let key = store.key_in(db, &name);
    store.with(&[key], |tx| tx.string(&key).unwrap().map(|text| text.as_bytes().to_vec()))
}

pub fn what_is_loaded_is_there(store: &Store) {
    let mut load = loader(store, Existing::Replaced);
    for db in [0, 2] {
        (0..KEYS).for_each(|number| load.entry(db, entry(number, &format!("{db}"))).unwrap());
    }
    load.finish().unwrap();
    for db in [0, 2] {
        assert_eq!(store.backend.len(db), KEYS);
        assert_eq!(store.backend.expires_len(db), KEYS.div_ceil(3));
        let expected = Some(format!("{db}").into_bytes());
        (0..KEYS).for_each(|number| assert_eq!(value(store, db, number), expected));
    }
}

pub fn of_two_the_later_one_stays(store: &Store) {
    let mut load = loader(store, Existing::Replaced);
    // In one batch, and in two that follow each other.
    for number in 0..KEYS {
        for value in ["first", "second"] {
            load.entry(0, entry(number / 2, value)).unwrap();
        }
        load.entry(0, entry(number.saturating_sub(BATCH as u64), "last")).unwrap();
    }
    load.finish().unwrap();
    assert_eq!(value(store, 0, KEYS / 2 + 1), Some(b"last".to_vec()));
    assert_eq!(value(store, 0, 0), Some(b"last".to_vec()));
    assert_eq!(value(store, 0, KEYS / 2 - 1), Some(b"second".to_vec()));
}

pub fn what_is_there_is_refused_when_asked(store: &Store) {
    let there = store.key("key:990");
    store.with(&[there], |tx| tx.set_string(&there, b"before", NewExpiry::Clear).unwrap());
    let mut load = loader(store, Existing::Refused);
    let stored = (0..KEYS).try_for_each(|number| load.entry(0, entry(number, "loaded")));
    let error = stored.and_then(|()| load.finish()).unwrap_err();
    assert!(error.to_string().contains("the key 'key:990' is there already"), "{error}");
    assert_eq!(value(store, 0, 990), Some(b"before".to_vec()));
}
