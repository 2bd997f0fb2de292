//! Threads, and the promise that a transaction is atomic and isolated.

use super::{NOW, Raise, Store, until};
use crate::Locks;
use crate::load::ShardLoad;
use crate::tx::{Key, Left, NewExpiry, Open, Tx};
use crate::types::End;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

const THREADS: u64 = 4;

fn number(tx: &mut dyn Tx, key: &Key<'_>) -> i64 {
    let value = tx.string(key).unwrap().map(|value| value.as_bytes().to_vec());
    value.map_or(0, |text| String::from_utf8(text).unwrap().parse().unwrap())
}

fn add(tx: &mut dyn Tx, key: &Key<'_>, amount: i64) {
    let sum = number(tx, key) + amount;
    tx.set_string(key, sum.to_string().as_bytes(), NewExpiry::Clear).unwrap();
}

pub fn increments_are_not_lost(store: &Store) {
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let shared = store.key("shared");
                let name = format!("own:{thread}");
                let own = store.key(&name);
                for _ in 0..500 {
                    store.with(&[shared], |tx| add(tx, &shared, 1));
                    store.with(&[own], |tx| add(tx, &own, 1));
                }
            });
        }
    });
    assert_eq!(store.get("shared"), Some((THREADS * 500).to_string().into_bytes()));
    assert_eq!(store.get("own:3"), Some(b"500".to_vec()));
}

const ACCOUNTS: u64 = 16;

fn account(n: u64) -> String {
    format!("account:{n}")
}

/// Moves one unit from one account to another, in one transaction.
pub(super) fn transfer(store: &Store, from: u64, to: u64) {
    let (from, to) = (account(from % ACCOUNTS), account(to % ACCOUNTS));
    let (from, to) = (store.key(&from), store.key(&to));
    store.with(&[from, to], |tx| {
        add(tx, &from, -1);
        add(tx, &to, 1);
    });
}

fn sum(store: &Store) -> i64 {
    let names: Vec<_> = (0..ACCOUNTS).map(account).collect();
    let keys: Vec<_> = names.iter().map(|name| store.key(name)).collect();
    store.with(&keys, |tx| keys.iter().map(|key| number(tx, key)).sum())
}

pub fn transfers_keep_the_sum(store: &Store) {
    let done = &AtomicBool::new(false);
    thread::scope(|scope| {
        let movers: Vec<_> = (0..THREADS)
            .map(|thread| {
                let mut random = super::Random::new(thread);
                scope.spawn(move || {
                    (0..500).for_each(|_| transfer(store, random.number(), random.number()));
                })
            })
            .collect();
        let reader = scope.spawn(move || {
            while !done.load(Ordering::Relaxed) {
                assert_eq!(sum(store), 0);
            }
        });
        let raise = Raise(done);
        let moved: Vec<_> = movers.into_iter().map(thread::ScopedJoinHandle::join).collect();
        drop(raise);
        reader.join().unwrap();
        assert!(moved.iter().all(Result::is_ok));
    });
    assert_eq!(sum(store), 0);
}

pub fn transactions_are_seen_whole(store: &Store) {
    let (first, second) = store.names_in_two_shards();
    let (first, second) = (&first, &second);
    thread::scope(|scope| {
        let writer = scope.spawn(move || {
            let (a, b) = (store.key(first), store.key(second));
            for n in 0..1000u32 {
                store.with(&[a, b], |tx| {
                    tx.set_string(&a, &n.to_le_bytes(), NewExpiry::Clear).unwrap();
                    thread::yield_now();
                    tx.set_string(&b, &n.to_le_bytes(), NewExpiry::Clear).unwrap();
                });
            }
        });
        while !writer.is_finished() {
            let (a, b) = (store.key(first), store.key(second));
            store.with(&[a, b], |tx| {
                let a = tx.string(&a).unwrap().map(|value| value.as_bytes().to_vec());
                let b = tx.string(&b).unwrap().map(|value| value.as_bytes().to_vec());
                assert_eq!(a, b);
            });
        }
        writer.join().unwrap();
    });
}

pub fn locking_everything_excludes_everyone(store: &Store) {
    let inside = &AtomicBool::new(false);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                for n in 0..100 {
                    let name = format!("key:{thread}:{n}");
                    let key = store.key(&name);
                    let locks = match n % 4 {
                        0 => Locks::All,
                        _ => Locks::One(store.backend.shard_of(key.hash)),
                    };
                    store.run(locks, NOW, |tx| {
                        if locks == Locks::All {
                            assert!(!inside.swap(true, Ordering::SeqCst));
                            thread::yield_now();
                            inside.store(false, Ordering::SeqCst);
                        } else {
                            assert!(!inside.load(Ordering::SeqCst));
                        }
                        tx.append(&key, b"x").unwrap();
                    });
                }
            });
        }
    });
    assert_eq!(store.backend.len(0), THREADS * 100);
}

pub fn a_panic_releases_locks_and_tells_what_stays(store: &Store) {
    let (first, second) = store.names_in_two_shards();
    let (a, b, l) = (store.key(&first), store.key(&second), store.key("list"));
    store.set(&first, b"before");
    store.with(&[l], |tx| {
        tx.list(&l, Open::Create).unwrap().unwrap().push(End::Tail, b"x").unwrap()
    });
    let broken = |steps: usize| {
        let mut left = Left::Nothing;
        let body = || {
            store.with(&[a, b, l], |tx| {
                assert!(tx.string(&a).unwrap().is_some());
                left = tx.left_by_panic();
                if steps > 0 {
                    tx.list(&l, Open::Existing).unwrap();
                    left = tx.left_by_panic();
                }
                if steps > 1 {
                    tx.set_string(&a, b"after", NewExpiry::Clear).unwrap();
                    tx.set_string(&b, b"after", NewExpiry::Clear).unwrap();
                    left = tx.left_by_panic();
                }
                assert_eq!(steps, usize::MAX, "a panic in the middle");
            })
        };
        assert!(catch_unwind(AssertUnwindSafe(body)).is_err());
        left
    };
    assert_eq!(broken(0), Left::Nothing, "reading leaves nothing");
    assert!(broken(1) < Left::Something, "opening changes nothing by itself");
    if broken(2) == Left::Nothing {
        assert_eq!((store.get(&first), store.get(&second)), (Some(b"before".to_vec()), None));
    }
    // No lock is held.
    store.with_all(|tx| tx.clear(0)).unwrap();
    assert_eq!(store.backend.len(0), 0);
}

pub fn the_load_of_shards_is_counted(store: &Store) {
    let (first, second) = store.names_in_two_shards();
    let (key, shard) = (store.key(&first), store.backend.shard_of(store.key(&first).hash));
    let load = || {
        store.backend.maintain(shard);
        store.backend.shard_load(shard)
    };
    assert_eq!(load(), ShardLoad::default());
    store.set(&first, b"v");
    let before = load();
    assert!(before.accesses <= 1, "to make a key may count: {before:?}");
    (0..7).for_each(|_| assert!(store.get(&first).is_some()));
    assert_eq!(load(), ShardLoad { accesses: before.accesses + 7, ..before });
    thread::scope(|scope| {
        store.with(&[key], |_| {
            scope.spawn(|| store.with(&[key], |tx| assert!(tx.touch(&key).unwrap())));
            until("it is waited for", || store.backend.shard_load(shard).lock_waits > 0);
        });
    });
    assert!(load().lock_wait_ns > 0);
    assert_eq!(load().accesses, before.accesses + 8);
    let other = store.backend.shard_of(store.key(&second).hash);
    assert!(other == shard || store.backend.shard_load(other) == ShardLoad::default());
}
