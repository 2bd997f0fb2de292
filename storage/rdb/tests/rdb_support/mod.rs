//! The contents of the fixtures in `tests/rdb/`, and helpers to compare them with what was read.
#![allow(dead_code)] // each test binary uses its part

pub mod encodings;

use std::collections::BTreeMap;
use std::path::PathBuf;

use storage_rdb::{HashField, Item, KeyValue, Object, Reader};

/// Keys with database, expiry and value.
pub type Contents = BTreeMap<(u64, Vec<u8>), (Option<u64>, Object)>;

/// The path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/rdb").join(name)
}

/// All items of a file.
pub fn items(bytes: &[u8]) -> Vec<Item> {
    let mut reader = Reader::new(bytes).expect("header");
    std::iter::from_fn(|| reader.next().unwrap()).collect()
}

/// The entries among them, brought into an order that does not depend on hash tables.
pub fn entries(items: Vec<Item>) -> Contents {
    let entry = |item| match item {
        Item::KeyValue(KeyValue { db, key, expiry_ms, object, .. }) => {
            Some(((db, key), (expiry_ms, sorted(object))))
        }
        _ => None,
    };
    items.into_iter().filter_map(entry).collect()
}

/// The value with unordered elements in order.
pub fn sorted(mut object: Object) -> Object {
    match &mut object {
        Object::Set(members) => members.sort(),
        Object::Hash(fields) => fields.sort_by(|a, b| a.field.cmp(&b.field)),
        Object::SortedSet(members) => members.sort_by(|a, b| a.0.cmp(&b.0)),
        Object::String(_) | Object::List(_) | Object::Stream(_) => {}
    }
    object
}

fn bytes(text: impl ToString) -> Vec<u8> {
    text.to_string().into_bytes()
}

fn all<T: ToString>(texts: impl IntoIterator<Item = T>) -> Vec<Vec<u8>> {
    texts.into_iter().map(bytes).collect()
}

/// A hash without expiries.
pub fn hash<K: ToString, V: ToString>(pairs: impl IntoIterator<Item = (K, V)>) -> Object {
    let field = |(f, v)| HashField { field: bytes(f), value: bytes(v), expiry_ms: None };
    Object::Hash(pairs.into_iter().map(field).collect())
}

/// A sorted set.
pub fn zset<T: ToString>(members: impl IntoIterator<Item = (T, f64)>) -> Object {
    Object::SortedSet(members.into_iter().map(|(m, score)| (bytes(m), score)).collect())
}

/// A list of texts.
pub fn list<T: ToString>(texts: impl IntoIterator<Item = T>) -> Object {
    Object::List(all(texts))
}

/// A set of texts.
pub fn set<T: ToString>(texts: impl IntoIterator<Item = T>) -> Object {
    Object::Set(all(texts))
}

/// Everything the generator put in but streams; with large collections or without.
pub fn contents(large: bool) -> Contents {
    let mut out = Contents::new();
    let mut put = |key: &str, object| {
        out.insert((0, bytes(key)), (None, sorted(object)));
    };
    let string = |text: &str| Object::String(bytes(text));
    put("str:text", string("hello world"));
    put("str:empty", string(""));
    put("str:int8", string("-5"));
    put("str:int16", string("1000"));
    put("str:int32", string("-2147483648"));
    put("str:int64", string("9223372036854775807"));
    put("str:binary", Object::String((0..=255).collect()));
    put("str:lzf", string(&"abcabcabc".repeat(100)));
    let hundred = "x".repeat(100);
    put("list:small", list(["e0", "e1", "e2", "e3", "e4", "77", "-300", &hundred]));
    put("set:int", set(["0", "1000", "2000", "-70000", "9000000000"]));
    put("set:str", set(["a", "b", "c", "12"]));
    put(
        "hash:small",
        hash([("f0", "v0"), ("f1", "v1"), ("f2", "v2"), ("f3", "v3"), ("n", "123456")]),
    );
    let infinity = f64::INFINITY;
    let members = [("one", 1.0), ("two", 2.5), ("low", -infinity), ("high", infinity)];
    put("zset:small", zset(members.into_iter().chain([("77", 3.0), ("huge", 1e20)])));
    if large {
        put("list:large", list((0..600).map(|i| format!("element:{i:06}"))));
        put("list:plain", list(["p".repeat(9000), "tail".into()]));
        put("set:large", set((0..300).map(|i| format!("member:{i}"))));
        put("set:intlarge", set(0..600));
        put(
            "hash:large",
            hash((0..200).map(|i| (format!("field:{i}"), format!("value:{}", i * 7)))),
        );
        put("zset:large", zset((0..200).map(|i| (format!("member:{i}"), f64::from(i) * 0.5))));
    }
    out.insert((0, bytes("str:expires")), (Some(4_102_444_800_123), string("later")));
    out.insert((9, bytes("other")), (None, string("db")));
    out
}
