//! Damaged records and failing engines: errors, never panics, never wrong data.

use super::super::keys::{self, DATABASES};
use super::super::kv::{Batch, OrderedKv, Read, Space, VisitRecord};
use super::*;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::{Error, NewExpiry, Open, Result, StreamId};

/// Rewrites every record of a space with bytes that are none.
fn damage(backend: &OrderedBackend, space: Space) {
    let mut batch = Batch::default();
    let mut one = |key: &[u8], _: &[u8]| {
        batch.put(space, key.to_vec(), vec![0xff; 3]);
        true
    };
    backend.kv.scan(space, &[], &[], false, &mut one).unwrap();
    backend.kv.write(batch).unwrap();
}

fn damaged_records_are_reported(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let (text, hash) = (key(&backend, 0, b"text"), key(&backend, 0, b"hash"));
    let stream = key(&backend, 0, b"stream");
    at(&backend, 1, |tx| {
        tx.set_string(&text, b"value", NewExpiry::Clear).unwrap();
        tx.hash(&hash, Open::Create).unwrap().unwrap().insert(b"field", b"value").unwrap();
        let mut opened = tx.stream(&stream, Open::Create).unwrap().unwrap();
        opened.append(StreamId { ms: 1, seq: 1 }, &[(b"field", b"value")]).unwrap();
        opened.set_group(b"group", StreamId::MIN, None).unwrap();
    });
    damage(&backend, keys::ELEMENTS);
    at(&backend, 1, |tx| {
        let mut opened = tx.stream(&stream, Open::Existing).unwrap().unwrap();
        let read = opened.range(StreamId::MIN, StreamId::MAX, false, &mut |_, _| true);
        assert!(matches!(read, Err(Error::Corrupt(_))));
        assert!(matches!(opened.group(b"group"), Err(Error::Corrupt(_))));
    });
    at(&backend, 1, |tx| {
        let mut opened = tx.hash(&hash, Open::Existing).unwrap().unwrap();
        assert!(matches!(opened.get(b"field"), Err(Error::Corrupt(_))));
        assert!(matches!(opened.for_each(&mut |_, _| true), Err(Error::Corrupt(_))));
    });
    damage(&backend, keys::META);
    at(&backend, 1, |tx| {
        assert!(matches!(tx.string(&text), Err(Error::Corrupt(_))));
        assert!(matches!(tx.kind(&hash), Err(Error::Corrupt(_))));
        assert!(matches!(
            tx.scan(0, 0, 10, &mut |_, _| ()).and(tx.scan(0, 1 << 63, 10, &mut |_, _| ())),
            Err(Error::Corrupt(_))
        ));
    });
    // Clearing needs no record, so it is the way out.
    at(&backend, 1, |tx| assert_eq!(tx.clear(0).unwrap(), 3));
    clean(&backend);
    assert_eq!(records(&backend, keys::META), 0);
}

fn a_damaged_start_is_refused(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let mut batch = Batch::default();
    batch.put(keys::SYSTEM, DATABASES.to_vec(), vec![0xff; 2]);
    backend.kv.write(batch).unwrap();
    drop(backend);
    let config = Config { shards: 2, ..Config::new(dir.path(), engine) };
    assert!(matches!(OrderedBackend::open(&config), Err(Error::Corrupt(_))));
}

fn a_directory_that_cannot_be_used_is_an_error(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, b"not a directory").unwrap();
    let opened = OrderedBackend::open(&Config::new(file.join("below"), engine));
    assert!(matches!(opened, Err(Error::Backend(_))));
    let first = open(dir.path(), engine, 2);
    let second = OrderedBackend::open(&Config::new(dir.path(), engine));
    assert!(matches!(second, Err(Error::Backend(_))), "the directory is in use");
    drop(first);
}

on_engines!(
    damaged_records_are_reported,
    a_damaged_start_is_refused,
    a_directory_that_cannot_be_used_is_an_error,
);

/// An engine in memory whose writes can be made to fail or panic.
#[derive(Default)]
struct Failing {
    records: parking_lot::RwLock<[super::super::kv::SpaceChanges; 8]>,
    fail: Arc<AtomicBool>,
    panic: Arc<AtomicBool>,
}

impl Read for Failing {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.records.read()[usize::from(space.0)].get(key).cloned().flatten())
    }

    fn scan(
        &self,
        s: Space,
        lo: &[u8],
        hi: &[u8],
        rev: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let Some(bounds) = super::super::kv::bounds(lo, hi) else { return Ok(()) };
        let all = self.records.read()[usize::from(s.0)].clone();
        let mut range: Vec<_> = all.range::<[u8], _>(bounds).collect();
        if rev {
            range.reverse();
        }
        range.iter().all(|(key, value)| visit(key, value.as_deref().unwrap_or_default()));
        Ok(())
    }
}

impl OrderedKv for Failing {
    fn name(&self) -> &'static str {
        "failing"
    }

    fn chunk_bytes(&self) -> usize {
        100
    }

    fn write(&self, batch: Batch) -> Result<()> {
        if self.fail.load(Ordering::Relaxed) {
            return Err(Error::backend("no space left on device"));
        }
        super::super::kv::guarded("write", || {
            assert!(!self.panic.load(Ordering::Relaxed), "poisoned");
            for (space, key, value) in batch.into_changes() {
                let mut records = self.records.write();
                match value {
                    Some(value) => drop(records[usize::from(space.0)].insert(key, Some(value))),
                    None => drop(records[usize::from(space.0)].remove(&key)),
                }
            }
            Ok(())
        })
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn disk_bytes(&self) -> u64 {
        0
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}

#[test]
fn a_failed_transaction_leaves_nothing_behind() {
    let engine = Failing::default();
    let (fail, panic) = (engine.fail.clone(), engine.panic.clone());
    let backend = OrderedBackend::over(Box::new(engine), 4, 2).unwrap();
    let (a, b) = (key(&backend, 0, b"a"), key(&backend, 0, b"b"));
    at(&backend, 1, |tx| tx.set_string(&a, b"old", NewExpiry::At(5000)).unwrap());
    for switch in [fail, panic] {
        switch.store(true, Ordering::Relaxed);
        let result = backend.transact(Locks::All, 1, &mut |tx| {
            tx.set_string(&a, b"new", NewExpiry::Clear).unwrap();
            tx.set_string(&b, b"new", NewExpiry::Clear).unwrap();
            assert_eq!(tx.string(&a).unwrap().unwrap().as_bytes(), b"new", "its own writes");
            tx.clear(1).unwrap();
        });
        assert!(matches!(result, Err(Error::Backend(_))));
        switch.store(false, Ordering::Relaxed);
        assert_eq!((backend.len(0), backend.expires_len(0)), (1, 1));
        at(&backend, 1, |tx| {
            assert_eq!(tx.string(&a).unwrap().unwrap().as_bytes(), b"old");
            assert_eq!(tx.kind(&b).unwrap(), None);
        });
    }
}

/// The cache of a sorted set, small or large, holds only what has been written.
#[test]
fn a_failed_change_of_a_sorted_set_is_not_remembered() {
    let engine = Failing::default();
    let fail = engine.fail.clone();
    let backend = OrderedBackend::over(Box::new(engine), 4, 2).unwrap();
    for (name, members) in [(&b"small"[..], 5), (b"large", 100)] {
        let name = key(&backend, 0, name);
        let change = |member: &[u8], score: f64| {
            backend.transact(Locks::All, 1, &mut |tx| {
                let mut zset = tx.sorted_set(&name, Open::Create).unwrap().unwrap();
                zset.insert(member, score).unwrap();
                assert_eq!(zset.rank(member, false).unwrap().unwrap().1, score, "its own writes");
            })
        };
        let ranks = || {
            let mut ranks = Vec::new();
            at(&backend, 1, |tx| {
                let mut zset = tx.sorted_set(&name, Open::Existing).unwrap().unwrap();
                ranks.extend((0..members).map(|n: u8| zset.rank(&[n], false).unwrap()));
            });
            ranks
        };
        (0..members).for_each(|n| change(&[n], f64::from(n)).unwrap());
        let before = ranks();
        assert_eq!(before[4], Some((4, 4.0)));
        fail.store(true, Ordering::Relaxed);
        assert!(change(&[4], -1.0).is_err());
        assert!(change(&[200], -2.0).is_err());
        fail.store(false, Ordering::Relaxed);
        assert_eq!(ranks(), before);
        change(&[4], -1.0).unwrap();
        assert_eq!((ranks()[4], ranks()[0]), (Some((0, -1.0)), Some((1, 0.0))));
    }
}

/// More sets than a transaction remembers are nevertheless seen as it has changed them.
#[test]
fn a_transaction_over_many_small_sorted_sets_sees_its_changes() {
    let backend = OrderedBackend::over(Box::new(Failing::default()), 4, 2).unwrap();
    let names: Vec<Vec<u8>> = (0..200u8).map(|n| vec![b'z', n]).collect();
    for round in 0..3 {
        backend
            .transact(Locks::All, 1, &mut |tx| {
                for name in names.iter().chain(&names) {
                    let name = key(&backend, 0, name);
                    let mut zset = tx.sorted_set(&name, Open::Create).unwrap().unwrap();
                    for n in 0..4 {
                        zset.insert(&[n], f64::from((n + round) % 4)).unwrap();
                    }
                    let first = (4 - round) % 4;
                    assert_eq!(zset.rank(&[first], false).unwrap(), Some((0, 0.0)));
                }
            })
            .unwrap();
        at(&backend, 1, |tx| {
            for name in &names {
                let name = key(&backend, 0, name);
                let mut zset = tx.sorted_set(&name, Open::Existing).unwrap().unwrap();
                assert_eq!(zset.rank(&[(4 - round) % 4], false).unwrap(), Some((0, 0.0)));
            }
        });
    }
}
