//! Scans of the keyspace.

use super::{NOW, Store};
use crate::Locks;
use std::collections::BTreeSet;

fn name(n: u32) -> String {
    format!("key:{n}")
}

fn is_complete(met: Vec<Vec<u8>>, size: u32) -> bool {
    let met: BTreeSet<_> = met.into_iter().collect();
    (0..size).all(|n| met.contains(name(n).as_bytes()))
}

pub fn everything_is_met(store: &Store) {
    assert!(store.scan_names(10, || ()).is_empty());
    for size in [1, 10, 100, 3000] {
        (0..size).for_each(|n| store.set(&name(n), b"value"));
        let met = store.scan_names(10, || ());
        assert_eq!(met.len(), size as usize, "a database at rest shows every key once");
        assert!(is_complete(met, size));
    }
    let elsewhere = store.key_in(1, "elsewhere");
    store.with(&[elsewhere], |tx| tx.append(&elsewhere, b"x").unwrap());
    assert_eq!(store.scan_names(1000, || ()).len(), 3000);
}

pub fn what_stays_is_met_while_keys_come(store: &Store) {
    (0..500).for_each(|n| store.set(&name(n), b"value"));
    let mut size = 500;
    let met = store.scan_names(10, || {
        for _ in 0..if size < 8000 { 100 } else { 0 } {
            store.set(&name(size), b"late");
            size += 1;
        }
    });
    assert!(is_complete(met, 500));
}

pub fn what_stays_is_met_while_keys_go(store: &Store) {
    (0..8000).for_each(|n| store.set(&name(n), b"value"));
    let mut size = 8000;
    let met = store.scan_names(10, || {
        for _ in 0..if size > 300 { 50 } else { 0 } {
            size -= 1;
            let name = name(size);
            let key = store.key(&name);
            store.with(&[key], |tx| assert!(tx.remove(&key).unwrap()));
        }
    });
    assert!(is_complete(met, 300));
}

pub fn counts_bound_the_work(store: &Store) {
    (0..5000).for_each(|n| store.set(&name(n), b"value"));
    let (mut cursor, mut steps) = (0, 0);
    loop {
        let mut visited = 0;
        let shard = store.backend.shard_of_cursor(cursor);
        cursor = store.run(Locks::One(shard), NOW, |tx| {
            tx.scan(0, cursor, 10, &mut |_, _| visited += 1).unwrap()
        });
        assert!(visited < 60, "about ten, not {visited}");
        steps += 1;
        if cursor == 0 {
            break;
        }
    }
    assert!(steps > 80, "{steps} steps of about ten");
}
