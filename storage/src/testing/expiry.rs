//! Expiry of keys.

use super::{NOW, Store};
use crate::tx::{Expiry, NewExpiry, Open, Presence};
use crate::types::End;
use crate::{Expired, Locks};

fn set_until(store: &Store, name: &str, at_ms: u64) {
    let key = store.key(name);
    store.with(&[key], |tx| tx.set_string(&key, b"value", NewExpiry::At(at_ms))).unwrap();
}

pub fn expired_keys_are_absent_and_noted(store: &Store) {
    set_until(store, "key", NOW + 100);
    assert!(store.get_at(NOW + 99, "key").is_some());
    let key = store.key("key");
    store.with_at(NOW + 100, &[key], |tx| {
        assert_eq!(tx.kind(&key).unwrap(), None);
        assert_eq!(tx.kind(&key).unwrap(), None);
        assert_eq!(*tx.expired(), [Expired::key(0, b"key")], "noted once");
        tx.set_string(&key, b"again", NewExpiry::Clear).unwrap();
    });
    assert_eq!(store.get_at(NOW + 1000, "key"), Some(b"again".to_vec()));
    // A collection whose time has passed does not live on in a new one.
    let list = store.key("list");
    store.with(&[list], |tx| {
        tx.list(&list, Open::Create).unwrap().unwrap().push(End::Tail, b"old").unwrap();
        tx.set_expiry(&list, Some(NOW + 5)).unwrap();
    });
    store.with_at(NOW + 5, &[list], |tx| {
        let mut opened = tx.list(&list, Open::Create).unwrap().unwrap();
        opened.push(End::Tail, b"new").unwrap();
        assert_eq!(opened.len().unwrap(), 1);
        drop(opened);
        assert_eq!(tx.expiry(&list).unwrap(), Some(None));
        assert_eq!(tx.expired().len(), 1);
    });
}

pub fn what_has_expired_is_kept_when_asked(store: &Store) {
    set_until(store, "key", NOW + 100);
    let key = store.key("key");
    store.with_at(NOW + 100, &[key], |tx| {
        tx.set_expiry_mode(Expiry::Hide);
        assert_eq!(tx.kind(&key).unwrap(), None);
        assert!(tx.string(&key).unwrap().is_none());
        assert!(!tx.met_expired());
    });
    assert_eq!(store.backend.len(0), 1, "it is still there");
    store.with_at(NOW + 100, &[key], |tx| {
        assert_eq!(tx.kind(&key).unwrap(), None);
        assert_eq!(*tx.expired(), [Expired::key(0, b"key")]);
    });
    assert_eq!(store.backend.len(0), 0);
}

pub fn expiry_is_kept_cleared_and_set(store: &Store) {
    let key = store.key("key");
    store.with(&[key], |tx| {
        tx.set_string(&key, b"1", NewExpiry::At(NOW + 50)).unwrap();
        assert_eq!(tx.expiry(&key).unwrap(), Some(Some(NOW + 50)));
        tx.set_string(&key, b"a longer value than before, moved perhaps", NewExpiry::Keep).unwrap();
        assert_eq!(tx.expiry(&key).unwrap(), Some(Some(NOW + 50)));
        tx.append(&key, b"more").unwrap();
        assert_eq!(tx.expiry(&key).unwrap(), Some(Some(NOW + 50)));
        tx.set_string(&key, b"2", NewExpiry::Clear).unwrap();
        assert_eq!(tx.expiry(&key).unwrap(), Some(None));
        assert!(tx.set_expiry(&key, Some(NOW + 70)).unwrap());
        assert_eq!(tx.expiry(&key).unwrap(), Some(Some(NOW + 70)));
        assert!(tx.set_expiry(&key, None).unwrap());
        assert_eq!(tx.expiry(&key).unwrap(), Some(None));
    });
}

pub fn renaming_takes_the_expiry_along(store: &Store) {
    set_until(store, "from", NOW + 100);
    set_until(store, "to", NOW + 200);
    let (from, to) = (store.key("from"), store.key("to"));
    store.with(&[from, to], |tx| {
        tx.rename(&from, &to).unwrap();
        assert_eq!(tx.expiry(&to).unwrap(), Some(Some(NOW + 100)));
    });
    store.set("from", b"forever");
    store.with(&[from, to], |tx| {
        tx.rename(&from, &to).unwrap();
        assert_eq!(tx.expiry(&to).unwrap(), Some(None));
    });
    assert_eq!(store.backend.expires_len(0), 0);
}

/// Calls `expire_due` on every shard, once; what was deleted.
fn expire_round(store: &Store, now_ms: u64, limit: usize) -> Vec<Expired> {
    let mut deleted = Vec::new();
    for shard in 0..store.backend.shard_count() {
        store.run(Locks::One(shard), now_ms, |tx| {
            tx.expire_due(shard, limit).unwrap();
            deleted.append(tx.expired());
        });
    }
    deleted
}

pub fn expiring_what_is_due(store: &Store) {
    for n in 0..3000 {
        // Every third stays for good, every third goes at once, every third later.
        match n % 3 {
            0 => store.set(&format!("key:{n}"), b"stays"),
            1 => set_until(store, &format!("key:{n}"), NOW + 10),
            _ => set_until(store, &format!("key:{n}"), NOW + 20),
        }
    }
    assert!(expire_round(store, NOW + 9, 1000).is_empty());
    for (now_ms, left) in [(NOW + 10, 2000), (NOW + 20, 1000)] {
        let mut deleted = Vec::new();
        for _ in 0..1000 {
            let round = expire_round(store, now_ms, 20);
            let most = 40 * store.backend.shard_count() as usize;
            assert!(round.len() <= most, "a round is bounded: {}", round.len());
            deleted.extend(round);
            if store.backend.len(0) == left {
                break;
            }
        }
        assert_eq!((deleted.len(), store.backend.len(0)), (1000, left));
    }
    assert_eq!(store.backend.expires_len(0), 0);
}

pub fn expiries_are_counted(store: &Store) {
    for n in 0..10 {
        set_until(store, &format!("key:{n}"), NOW + 10);
    }
    assert_eq!((store.backend.len(0), store.backend.expires_len(0)), (10, 10));
    store.set("key:0", b"no expiry any more");
    set_until(store, "key:1", NOW + 30);
    let key = store.key("key:2");
    store.with(&[key], |tx| assert!(tx.remove(&key).unwrap()));
    assert_eq!((store.backend.len(0), store.backend.expires_len(0)), (9, 8));
    store.with_all(|tx| tx.clear(0).unwrap());
    assert_eq!(store.backend.expires_len(0), 0);
}

pub fn expired_keys_are_scanned_without_a_kind(store: &Store) {
    set_until(store, "past", NOW);
    set_until(store, "future", NOW + 1);
    assert_eq!(store.scan_names(10, || ()), [b"future"]);
    let mut stale = Vec::new();
    store.with_all(|tx| {
        let mut cursor = 0;
        loop {
            cursor = tx
                .scan(0, cursor, 10, &mut |name, kind| {
                    stale.extend(kind.is_none().then(|| name.to_vec()));
                })
                .unwrap();
            if cursor == 0 {
                break;
            }
        }
        assert!(tx.expired().is_empty(), "a scan deletes nothing");
    });
    assert_eq!((stale, store.backend.len(0)), (vec![b"past".to_vec()], 2));
}

pub fn a_random_key_is_alive(store: &Store) {
    set_until(store, "past", NOW);
    set_until(store, "future", NOW + 1);
    assert_eq!(store.with_all(|tx| tx.random_key(0, 5).unwrap()), Some(b"future".to_vec()));
    let (found, expired) = store.run(Locks::All, NOW + 1, |tx| {
        (tx.random_key(0, 5).unwrap(), tx.expired().iter().map(|met| met.key.clone()).collect())
    });
    let mut expired: Vec<Box<[u8]>> = expired;
    expired.retain(|key| **key == *b"future");
    assert_eq!((found, expired.len()), (None, 1), "what was met expired is deleted and noted");
    assert_eq!(store.backend.len(0), 0);
}

pub fn presence_deletes_nothing(store: &Store) {
    set_until(store, "past", NOW);
    set_until(store, "future", NOW + 1);
    for (name, expected) in
        [("past", Presence::Stale), ("future", Presence::Live), ("never", Presence::Absent)]
    {
        let key = store.key(name);
        store.with(&[key], |tx| {
            assert_eq!(tx.presence(&key).unwrap(), expected, "{name}");
            assert!(tx.expired().is_empty());
        });
    }
    assert_eq!(store.backend.len(0), 2);
}
