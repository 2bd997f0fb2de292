//! Tests that data survive closing, a crash after a flush, and a snapshot taken during writes.

use super::*;
use std::collections::BTreeMap;
use storage::journal::LOG;
use storage::{Db, NewExpiry, Open, Position, Result, SnapshotSink};

fn fill(backend: &OrderedBackend) {
    for n in 0..300u32 {
        let name = format!("key:{n}");
        at(backend, 1, |tx| {
            let expiry = if n % 3 == 0 { NewExpiry::At(50_000) } else { NewExpiry::Clear };
            tx.set_string(&key(backend, n % 2, name.as_bytes()), name.as_bytes(), expiry).unwrap();
        });
    }
}

fn check_filled(backend: &OrderedBackend) {
    assert_eq!((backend.len(0), backend.len(1)), (150, 150));
    assert_eq!((backend.expires_len(0), backend.expires_len(1)), (50, 50));
    assert_eq!(backend.used_dbs(), [0, 1]);
    for n in 0..300u32 {
        let name = format!("key:{n}");
        at(backend, 1, |tx| {
            let value = tx.string(&key(backend, n % 2, name.as_bytes())).unwrap();
            assert_eq!(value.unwrap().as_bytes(), name.as_bytes());
        });
    }
}

fn a_copy_made_after_a_flush_has_everything(engine: Engine) {
    let (dir, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backend = open(dir.path(), engine, 8);
    fill(&backend);
    backend.set_checkpoint(b"mark").unwrap();
    backend.flush().unwrap();
    // The store stays open: the copy is what a crash at this moment leaves.
    copy_dir(dir.path(), copy.path());
    let copied = open(copy.path(), engine, 8);
    check_filled(&copied);
    assert_eq!(copied.checkpoint().unwrap().as_deref(), Some(&b"mark"[..]));
    let more = (0..4).map(|shard| at(&copied, 60_000, |tx| tx.expire_due(shard, 1000).unwrap()));
    assert!(more.eq([false; 4]));
}

fn reopening_keeps_everything(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let hash = {
        let backend = open(dir.path(), engine, 8);
        fill(&backend);
        backend.hash(b"key")
    };
    for shards in [8, 2, 32] {
        let backend = open(dir.path(), engine, shards);
        assert_eq!(backend.hash(b"key"), hash, "the seed is stored");
        check_filled(&backend);
    }
    let backend = open(dir.path(), engine, 4);
    let mut expired = 0;
    for shard in 0..4 {
        while at(&backend, 60_000, |tx| {
            let more = tx.expire_due(shard, 7).unwrap();
            expired += tx.expired().len();
            more
        }) {}
    }
    assert_eq!((expired, backend.len(0), backend.expires_len(0)), (100, 100, 0));
}

/// Expiry and encoded value.
type Saved = (Option<u64>, Vec<u8>);

#[derive(Default)]
struct Collected(BTreeMap<(Db, Vec<u8>), Saved>);

impl SnapshotSink for Collected {
    fn entry(&mut self, db: Db, key: &[u8], expiry: Option<u64>, value: &[u8]) -> Result<()> {
        let again = self.0.insert((db, key.to_vec()), (expiry, value.to_vec()));
        assert!(again.is_none(), "a key comes once");
        Ok(())
    }
}

fn collect(backend: &Arc<OrderedBackend>, meanwhile: impl FnOnce()) -> Collected {
    let mut cuts = 0;
    let snapshot = backend.clone().snapshot(&mut || cuts += 1).unwrap();
    assert_eq!(cuts, 1);
    assert!(backend.clone().snapshot(&mut || ()).is_err(), "one at a time");
    meanwhile();
    let mut collected = Collected::default();
    snapshot.write(&mut collected).unwrap();
    collected
}

fn a_snapshot_is_of_the_moment_of_its_cut(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 8);
    fill(&backend);
    at(&backend, 1, |tx| {
        let mut hash = tx.hash(&key(&backend, 0, b"hash"), Open::Create).unwrap().unwrap();
        (0..2000u32).for_each(|n| assert!(hash.insert(&n.to_le_bytes(), b"before").unwrap()));
    });
    let before = collect(&backend, || ());
    assert_eq!(before.0.len(), 301);
    let during = collect(&backend, || {
        fill_differently(&backend);
        clean(&backend);
    });
    assert_eq!(before.0, during.0);
    let after = collect(&backend, || ());
    assert_ne!(before.0, after.0);
}

fn fill_differently(backend: &OrderedBackend) {
    at(backend, 1, |tx| {
        let mut hash = tx.hash(&key(backend, 0, b"hash"), Open::Existing).unwrap().unwrap();
        (0..500u32).for_each(|n| assert!(hash.remove(&n.to_le_bytes()).unwrap()));
        (700..900u32).for_each(|n| assert!(!hash.insert(&n.to_le_bytes(), b"after").unwrap()));
    });
    at(backend, 1, |tx| tx.remove(&key(backend, 0, b"hash")).unwrap());
    for n in 0..100u32 {
        at(backend, 1, |tx| {
            let name = format!("key:{n}");
            tx.remove(&key(backend, n % 2, name.as_bytes())).unwrap();
            let name = format!("new:{n}");
            tx.set_string(&key(backend, 0, name.as_bytes()), b"new", NewExpiry::Clear).unwrap();
        });
    }
    at(backend, 1, |tx| tx.clear(1).unwrap());
}

/// Threads move one unit between two keys in different shards; whoever looks sees the sum.
fn transactions_are_isolated(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 8);
    let names: Vec<String> = (0..16).map(|n| format!("account:{n}")).collect();
    at(&backend, 1, |tx| {
        for name in &names {
            tx.set_string(&key(&backend, 0, name.as_bytes()), b"100", NewExpiry::Clear).unwrap();
        }
    });
    std::thread::scope(|scope| {
        for seed in 0..3 {
            let (backend, names) = (&backend, &names);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                (0..100).for_each(|_| transfer(backend, names, &mut random));
            });
        }
        for _ in 0..50 {
            assert_eq!(at(&backend, 1, |tx| total(tx, &backend, &names)), 1600);
        }
    });
    assert_eq!(at(&backend, 1, |tx| total(tx, &backend, &names)), 1600);
}

fn balance(tx: &mut dyn Tx, at: &Key<'_>) -> i64 {
    let text = tx.string(at).unwrap().unwrap().as_bytes().to_vec();
    String::from_utf8(text).unwrap().parse().unwrap()
}

fn total(tx: &mut dyn Tx, backend: &OrderedBackend, names: &[String]) -> i64 {
    names.iter().map(|name| balance(tx, &key(backend, 0, name.as_bytes()))).sum()
}

fn transfer(backend: &OrderedBackend, names: &[String], random: &mut Random) {
    let mut pick = || &names[random.below(names.len() as u64) as usize];
    let (from, to) = (key(backend, 0, pick().as_bytes()), key(backend, 0, pick().as_bytes()));
    let mut shards = storage::ShardSet::new();
    shards.add(backend.shard_of(from.hash));
    shards.add(backend.shard_of(to.hash));
    let body = &mut |tx: &mut dyn Tx| {
        for (at, by) in [(&from, -1), (&to, 1)] {
            let text = (balance(tx, at) + by).to_string();
            tx.set_string(at, text.as_bytes(), NewExpiry::Clear).unwrap();
        }
    };
    backend.transact(shards.locks(), 1, body).unwrap();
}

/// Journal positions are stored with the changes, and survive shards being split and merged.
fn applied_positions_follow_the_shards(engine: Engine) {
    let (dir, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let backend = open(dir.path(), engine, 4);
    let set = |shard: u32, position| {
        let body = &mut |tx: &mut dyn Tx| {
            assert!(tx.last(LOG) < Position::log(position));
            // A second stream's positions are stored beside them.
            for position in [Position { stream: 7, seq: 100 - position }, Position::log(position)] {
                tx.set_last(position);
                assert_eq!(tx.last(position.stream), position);
            }
        };
        backend.transact(Locks::One(shard), 1, body).unwrap();
    };
    (0..4).for_each(|shard| set(shard, 10 + u64::from(shard)));
    assert_eq!(backend.last(LOG), Position::log(13));
    backend.flush().unwrap();
    copy_dir(dir.path(), crashed.path());
    let positions = |backend: &OrderedBackend| -> Vec<(u64, u64)> {
        let last = |shard: u32| {
            let mut last = (0, 0);
            let body = &mut |tx: &mut dyn Tx| last = (tx.last(LOG).seq, tx.last(7).seq);
            backend.transact(Locks::One(shard), 1, body).unwrap();
            last
        };
        (0..backend.shards.len() as u32).map(last).collect()
    };
    // After a crash two shards cannot become one, but one can become two.
    assert_eq!(
        positions(&open(crashed.path(), engine, 2)),
        [(10, 90), (11, 89), (12, 88), (13, 87)]
    );
    drop(backend);
    let split = [(10, 90), (11, 89), (12, 88), (13, 87)].map(|at| [at, at]).concat();
    assert_eq!(positions(&open(dir.path(), engine, 8)), split);
    assert_eq!(positions(&open(dir.path(), engine, 2)), [(11, 90), (13, 88)]);
    assert_eq!(positions(&open(dir.path(), engine, 2)), [(11, 90), (13, 88)]);
}

on_engines!(
    applied_positions_follow_the_shards,
    a_copy_made_after_a_flush_has_everything,
    reopening_keeps_everything,
    a_snapshot_is_of_the_moment_of_its_cut,
    transactions_are_isolated,
);
