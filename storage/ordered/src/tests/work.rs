//! How much work operations do: counted where possible, timed where not.

use super::super::keys;
use super::*;
use std::time::{Duration, Instant};
use storage::types::FieldExpiry;
use storage::{Kind, NewExpiry, Open};

fn fill_hash(backend: &OrderedBackend, name: &[u8], fields: u32) {
    let at_key = key(backend, 0, name);
    for start in (0..fields).step_by(5000) {
        at(backend, 1, |tx| {
            let mut hash = tx.hash(&at_key, Open::Create).unwrap().unwrap();
            for n in start..(start + 5000).min(fields) {
                hash.insert(format!("field:{n}").as_bytes(), b"a value").unwrap();
            }
        });
    }
}

/// The median time of setting one field, each in its own transaction.
fn set_one_field(backend: &OrderedBackend, name: &[u8], fields: u64) -> Duration {
    let at_key = key(backend, 0, name);
    let mut random = Random::new(7);
    let mut times: Vec<_> = (0..2001)
        .map(|n: u32| {
            let field = format!("field:{}", random.below(fields));
            let value = format!("value:{n}");
            let begin = Instant::now();
            let body = &mut |tx: &mut dyn Tx| {
                let mut hash = tx.hash(&at_key, Open::Create).unwrap().unwrap();
                hash.insert(field.as_bytes(), value.as_bytes()).unwrap();
            };
            backend.transact(Locks::One(backend.shard_of(at_key.hash)), 1, body).unwrap();
            begin.elapsed()
        })
        .collect();
    times.sort();
    times[times.len() / 2]
}

/// A field of a large hash is written as one record, and costs about what it does in a small one.
fn a_field_costs_the_same_in_a_large_hash(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 8);
    fill_hash(&backend, b"small", 10);
    fill_hash(&backend, b"large", 50_000);
    set_one_field(&backend, b"small", 10);
    let small = set_one_field(&backend, b"small", 10);
    let large = set_one_field(&backend, b"large", 50_000);
    // Twice is the promise; the rest is for a busy machine and an unoptimised build.
    assert!(large < small * 5, "{large:?} against {small:?}");
}

fn deleting_a_large_key_is_quick_and_cleaned_in_slices(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 8);
    fill_hash(&backend, b"large", 50_000);
    clean(&backend);
    let begin = Instant::now();
    at(&backend, 1, |tx| assert!(tx.remove(&key(&backend, 0, b"large")).unwrap()));
    let took = begin.elapsed();
    assert!(took < Duration::from_millis(50), "{took:?}");
    assert_eq!(records(&backend, keys::ELEMENTS), 50_000);
    assert!(backend.maintain(0), "more is waiting");
    assert_eq!(records(&backend, keys::ELEMENTS), 50_000 - 512);
    drop(backend);
    // The debt survives a restart.
    let backend = open(dir.path(), engine, 8);
    clean(&backend);
    assert_eq!((records(&backend, keys::ELEMENTS), records(&backend, keys::GARBAGE)), (0, 0));
}

fn fields_expire_by_themselves(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let hash = key(&backend, 0, b"hash");
    at(&backend, 1, |tx| {
        let mut opened = tx.hash(&hash, Open::Create).unwrap().unwrap();
        for (field, when) in [("a", Some(100)), ("b", Some(200)), ("c", None)] {
            opened.insert(field.as_bytes(), b"value").unwrap();
            assert!(opened.set_field_expiry(field.as_bytes(), when).unwrap());
        }
        assert_eq!(opened.field_expiry(b"a").unwrap(), FieldExpiry::At(100));
        assert!(!opened.set_field_expiry(b"none", Some(5)).unwrap());
    });
    at(&backend, 150, |tx| {
        let mut opened = tx.hash(&hash, Open::Existing).unwrap().unwrap();
        assert_eq!(opened.len().unwrap(), 2);
        assert_eq!(opened.get(b"a").unwrap(), None);
        assert_eq!(opened.field_expiry(b"c").unwrap(), FieldExpiry::Persistent);
        assert!(opened.remove(b"c").unwrap());
    });
    // The active cycle finds the last field, and with it the key.
    for shard in 0..2 {
        at(&backend, 250, |tx| assert!(!tx.expire_due(shard, 10).unwrap()));
    }
    assert_eq!(backend.len(0), 0);
    clean(&backend);
    assert_eq!((records(&backend, keys::ELEMENTS), records(&backend, keys::EXPIRY)), (0, 0));
}

fn encodings_follow_redis(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let named = |name: &'static str| key(&backend, 0, name.as_bytes());
    let info = |name| at(&backend, 1, |tx| tx.info(&named(name), 0).unwrap().unwrap());
    let encoding = |name| Some(info(name).encoding);
    let clear = NewExpiry::Clear;
    for (value, expected) in [("12", "int"), ("x", "embstr"), (&"x".repeat(45), "raw")] {
        at(&backend, 1, |tx| tx.set_string(&named("s"), value.as_bytes(), clear).unwrap());
        assert_eq!(encoding("s"), Some(expected));
    }
    let add = |from: u32, to: u32| {
        at(&backend, 1, |tx| {
            let mut set = tx.set(&named("set"), Open::Create).unwrap().unwrap();
            for n in from..to {
                set.insert(n.to_string().as_bytes()).unwrap();
            }
        });
    };
    let members = || {
        let mut all = Vec::new();
        at(&backend, 1, |tx| {
            let mut set = tx.set(&named("set"), Open::Create).unwrap().unwrap();
            set.for_each(&mut |member| {
                all.push(String::from_utf8_lossy(member).into_owned());
                true
            })
            .unwrap();
        });
        all
    };
    [(90, 100), (5, 12)].iter().for_each(|&(from, to)| add(from, to));
    assert_eq!(encoding("set"), Some("intset"));
    assert_eq!(members()[..3], ["5", "6", "7"]);
    at(&backend, 1, |tx| {
        let mut set = tx.set(&named("set"), Open::Create).unwrap().unwrap();
        assert!(set.insert(b"b").unwrap() && set.insert(b"a").unwrap());
    });
    assert_eq!(encoding("set"), Some("listpack"));
    assert_eq!(members()[14..], ["97", "98", "99", "b", "a"]);
    add(0, 200);
    assert_eq!(encoding("set"), Some("hashtable"));
    at(&backend, 1, |tx| assert_eq!(tx.kind(&named("set")).unwrap(), Some(Kind::Set)));
}

/// A gap left by SETRANGE costs no records, and reads as zeros.
fn gaps_in_strings_cost_nothing(engine: Engine) {
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let sparse = key(&backend, 0, b"sparse");
    at(&backend, 1, |tx| {
        assert_eq!(tx.set_range(&sparse, 100_000_000, b"end").unwrap(), 100_000_003);
        let mut out = Vec::new();
        tx.get_range(&sparse, 99_999_998, u64::MAX, &mut out).unwrap();
        assert_eq!(out, b"\0\0end");
    });
    assert_eq!(records(&backend, keys::ELEMENTS), 1);
}

/// An entry is one record more; with the stream everything goes, groups and chunks included.
fn streams_are_records_and_leave_none(engine: Engine) {
    use storage::stream::{Pending, StreamId};
    let dir = tempfile::tempdir().unwrap();
    let backend = open(dir.path(), engine, 2);
    let long = key(&backend, 0, b"long");
    let append = |ms, value: &[u8]| {
        at(&backend, 1, |tx| {
            let mut stream = tx.stream(&long, Open::Create).unwrap().unwrap();
            stream.append(StreamId { ms, seq: 0 }, &[(b"field", value)]).unwrap();
        });
    };
    (1..=500).for_each(|ms| append(ms, b"value"));
    assert_eq!(records(&backend, keys::ELEMENTS), 500);
    append(501, b"value");
    assert_eq!(records(&backend, keys::ELEMENTS), 501);
    append(502, &[b'x'; 200_000]);
    at(&backend, 1, |tx| {
        let mut stream = tx.stream(&long, Open::Existing).unwrap().unwrap();
        for group in [&b"one"[..], b"two"] {
            stream.set_group(group, StreamId::MIN, None).unwrap();
            stream.set_consumer(group, b"consumer", 1, None).unwrap();
            for ms in 1..50 {
                let id = StreamId { ms, seq: 0 };
                let pending = Pending { id, consumer: b"consumer", delivered_ms: 1, deliveries: 1 };
                stream.set_pending(group, &pending).unwrap();
            }
        }
        assert!(stream.remove_group(b"one").unwrap());
    });
    at(&backend, 1, |tx| assert!(tx.remove(&long).unwrap()));
    clean(&backend);
    assert_eq!((records(&backend, keys::ELEMENTS), records(&backend, keys::GARBAGE)), (0, 0));
}

on_engines!(
    streams_are_records_and_leave_none,
    a_field_costs_the_same_in_a_large_hash,
    deleting_a_large_key_is_quick_and_cleaned_in_slices,
    fields_expire_by_themselves,
    encodings_follow_redis,
    gaps_in_strings_cost_nothing,
);
