//! Snapshots: the state of one moment, written while writes go on.

use super::concurrency::transfer;
use super::keys::sorted;
use super::{NOW, Raise, Random, Store};
use crate::stream::{Pending, Stream, Trim, TrimTo};
use crate::tx::{Db, NewExpiry, Open};
use crate::types::{End, List};
use crate::{Error, Result, SnapshotSink, rdb};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The contents of a snapshot: value and expiry by database and key.
type Contents = BTreeMap<(Db, Vec<u8>), (rdb::Object, Option<u64>)>;

/// Collects a snapshot; `during` runs at every entry.
struct Collector<'a> {
    contents: Contents,
    during: &'a mut (dyn FnMut() + Send),
}

impl SnapshotSink for Collector<'_> {
    fn entry(&mut self, db: Db, key: &[u8], expiry_ms: Option<u64>, value: &[u8]) -> Result<()> {
        let mut value = value.to_vec();
        rdb::seal_payload(&mut value);
        let object = rdb::decode_payload(&value).map_err(|_| Error::corrupt("snapshot entry"))?;
        let before = self.contents.insert((db, key.to_vec()), (sorted(object), expiry_ms));
        assert!(before.is_none(), "a key comes once");
        (self.during)();
        Ok(())
    }
}

/// Takes a snapshot, with `during` running between its entries.
fn snapshot(store: &Store, during: &mut (dyn FnMut() + Send)) -> Contents {
    let mut cuts = 0;
    let snapshot = Arc::clone(&store.backend).snapshot(&mut || cuts += 1).expect("it begins");
    assert_eq!(cuts, 1, "the cut is announced once, before the snapshot is returned");
    let mut collector = Collector { contents: Contents::new(), during };
    snapshot.write(&mut collector).expect("it is written");
    collector.contents
}

/// The same contents by way of transactions; nothing else may be going on.
fn contents(store: &Store, dbs: &[Db], names: &[String]) -> Contents {
    let mut contents = Contents::new();
    for (db, name) in dbs.iter().flat_map(|db| names.iter().map(move |name| (*db, name))) {
        let key = store.key_in(db, name);
        let mut value = Vec::new();
        let expiry = store.with(&[key], |tx| {
            tx.dump(&key, &mut value).unwrap();
            tx.expiry(&key).unwrap()
        });
        if let Some(expiry) = expiry {
            rdb::seal_payload(&mut value);
            let object = sorted(rdb::decode_payload(&value).unwrap());
            contents.insert((db, name.as_bytes().to_vec()), (object, expiry));
        }
    }
    contents
}

fn names() -> Vec<String> {
    (0..1500).map(|n| format!("key:{n}")).collect()
}

/// A random change to a random key.
fn change(store: &Store, random: &mut Random) {
    let (name, other) = (random.below(1500), random.below(1500));
    let (name, other) = (format!("key:{name}"), format!("key:{other}"));
    let (key, other) = (store.key_in(random.below(2) as Db, &name), store.key(&other));
    let (value, choice) = (random.bytes(100), random.below(13));
    store.with(&[key, other], |tx| match choice {
        0..=2 => tx.set_string(&key, &value, NewExpiry::Keep).unwrap(),
        3 => tx.set_string(&key, &value, NewExpiry::At(NOW + 1_000_000)).unwrap(),
        4 => drop(tx.remove(&key).unwrap()),
        5 => drop(tx.rename(&key, &other).unwrap()),
        6 => drop(tx.set_expiry(&key, Some(NOW + 2_000_000)).unwrap()),
        7 => drop(tx.append(&key, &value)),
        8 => {
            if let Ok(Some(mut list)) = tx.list(&key, Open::Create) {
                change_list(&mut *list, &value, random);
            }
        }
        9 => {
            if let Ok(Some(mut set)) = tx.set(&key, Open::Create) {
                match set.random(random.number()).unwrap().map(<[u8]>::to_vec) {
                    Some(member) if random.below(3) == 0 => drop(set.remove(&member).unwrap()),
                    _ => drop(set.insert(&value).unwrap()),
                }
            }
        }
        10 => {
            if let Ok(Some(mut hash)) = tx.hash(&key, Open::Create) {
                hash.insert(&value, b"value").unwrap();
            }
        }
        11 => {
            if let Ok(Some(mut stream)) = tx.stream(&key, Open::Create) {
                change_stream(&mut *stream, random);
            }
        }
        _ => {
            if let Ok(Some(mut zset)) = tx.sorted_set(&key, Open::Create) {
                match random.below(3) {
                    0 => drop(zset.pop(true).unwrap()),
                    _ => drop(zset.insert(&value, choice as f64).unwrap()),
                }
            }
        }
    });
}

/// Pushes, takes, trims or replaces: one change, so that each must by itself save what a snapshot
/// has not seen.
fn change_list(list: &mut dyn List, value: &[u8], random: &mut Random) {
    match random.below(12) {
        0 => drop(list.take(End::Head, 1, &mut |_| true).unwrap()),
        1 => list.trim(0, 3).unwrap(),
        2 => drop(list.set(0, b"replaced").unwrap()),
        3 => drop(list.pop(End::Tail).unwrap()),
        4..=7 => list.push(End::Tail, value).unwrap(),
        _ => list.push(End::Head, value).unwrap(),
    }
}

/// Adds, reads, acknowledges, trims.
fn change_stream(stream: &mut dyn Stream, random: &mut Random) {
    let id = stream.info().unwrap().last_id.next().unwrap();
    stream.append(id, &[(b"field", &random.bytes(40))]).unwrap();
    stream.set_group(b"group", id, None).unwrap();
    stream.set_consumer(b"group", b"consumer", NOW, Some(NOW)).unwrap();
    let pending = Pending { id, consumer: b"consumer", delivered_ms: NOW, deliveries: 1 };
    stream.set_pending(b"group", &pending).unwrap();
    match random.below(6) {
        0 => drop(stream.remove_pending(b"group", id).unwrap()),
        1 => drop(stream.delete(id).unwrap()),
        2 => drop(stream.remove_group(b"group").unwrap()),
        3 => {
            let trim = Trim { to: TrimTo::MaxLen(2), approximate: false, limit: 0 };
            stream.trim(&trim).unwrap();
        }
        _ => {}
    }
}

fn fill(store: &Store, random: &mut Random) {
    (0..6000).for_each(|_| change(store, random));
}

pub fn a_snapshot_holds_everything(store: &Store) {
    assert!(snapshot(store, &mut || ()).is_empty());
    fill(store, &mut Random::new(1));
    let expected = contents(store, &[0, 1], &names());
    assert!(expected.len() > 500);
    assert!(snapshot(store, &mut || ()) == expected);
}

pub fn a_snapshot_is_of_one_moment(store: &Store) {
    let mut random = Random::new(2);
    fill(store, &mut random);
    let expected = contents(store, &[0, 1], &names());
    let taken = snapshot(store, &mut || {
        (0..10).for_each(|_| change(store, &mut random));
        if random.below(200) == 0 {
            store.with_all(|tx| tx.swap_dbs(0, 1).unwrap());
        }
    });
    assert_eq!(taken.len(), expected.len());
    assert!(taken == expected, "changes made meanwhile are not in it");
}

pub fn sums_agree_in_a_snapshot(store: &Store) {
    (0..64).for_each(|n| transfer(store, n, n + 1));
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let raise = Raise(done);
        let movers: Vec<_> = (0..2)
            .map(|seed| {
                let mut random = Random::new(seed);
                scope.spawn(move || {
                    while !done.load(Ordering::Relaxed) {
                        transfer(store, random.number(), random.number());
                    }
                })
            })
            .collect();
        for _ in 0..20 {
            let mut sum = 0;
            for (object, _) in snapshot(store, &mut thread::yield_now).into_values() {
                if let rdb::Object::String(text) = object {
                    sum += String::from_utf8(text).unwrap().parse::<i64>().unwrap();
                }
            }
            assert_eq!(sum, 0, "every transfer is in it whole or not at all");
        }
        drop(raise);
        assert!(movers.into_iter().all(|mover| mover.join().is_ok()));
    });
}

pub fn clearing_during_a_snapshot(store: &Store) {
    let mut random = Random::new(3);
    fill(store, &mut random);
    let expected = contents(store, &[0, 1], &names());
    let mut entries = 0;
    let taken = snapshot(store, &mut || {
        entries += 1;
        if entries == 100 {
            store.with_all(|tx| {
                tx.clear(0).unwrap();
                tx.clear(1).unwrap();
            });
        }
        if entries > 100 && entries % 7 == 0 {
            change(store, &mut random);
        }
        for shard in 0..store.backend.shard_count() {
            store.backend.maintain(shard);
        }
    });
    assert_eq!(taken.len(), expected.len());
    assert!(taken == expected);
}

pub fn one_snapshot_after_another(store: &Store) {
    let mut random = Random::new(4);
    for _ in 0..4 {
        (0..800).for_each(|_| change(store, &mut random));
        let expected = contents(store, &[0, 1], &names());
        let taken = snapshot(store, &mut || change(store, &mut random));
        assert!(taken == expected);
    }
}

pub fn an_abandoned_snapshot_leaves_no_trace(store: &Store) {
    let mut random = Random::new(5);
    fill(store, &mut random);
    for _ in 0..3 {
        let begun = Arc::clone(&store.backend).snapshot(&mut || ()).expect("it begins");
        (0..300).for_each(|_| change(store, &mut random));
        drop(begun);
        let expected = contents(store, &[0, 1], &names());
        assert!(snapshot(store, &mut || change(store, &mut random)) == expected);
    }
}
