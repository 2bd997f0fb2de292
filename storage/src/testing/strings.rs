//! Strings.

use super::{NOW, Store};
use crate::tx::{Kind, NewExpiry, Open};

pub fn setting_and_getting(store: &Store) {
    store.set("key", b"value");
    assert_eq!(store.get("key"), Some(b"value".to_vec()));
    for value in [&b""[..], b"other", &[0; 300]] {
        store.set("key", value);
        assert_eq!(store.get("key"), Some(value.to_vec()));
        let key = store.key("key");
        assert_eq!(store.with(&[key], |tx| tx.string_len(&key).unwrap()), value.len() as u64);
    }
}

pub fn appending(store: &Store) {
    let key = store.key("key");
    let mut model = Vec::new();
    for n in 0..2000u32 {
        let suffix = n.to_string();
        model.extend_from_slice(suffix.as_bytes());
        let len = store.with(&[key], |tx| tx.append(&key, suffix.as_bytes()).unwrap());
        assert_eq!(len, model.len() as u64);
    }
    assert_eq!(store.get("key"), Some(model.clone()));
    // Beyond where a backend may begin to treat a string as large.
    let block = vec![b'x'; 50_000];
    model.extend_from_slice(&block);
    store.with(&[key], |tx| tx.append(&key, &block).unwrap());
    store.with(&[key], |tx| tx.append(&key, b"end").unwrap());
    model.extend_from_slice(b"end");
    assert_eq!(store.get("key"), Some(model));
}

pub fn ranges(store: &Store) {
    store.set("key", b"0123456789");
    let key = store.key("key");
    for (start, end, expected) in
        [(0, 10, &b"0123456789"[..]), (2, 5, b"234"), (8, 99, b"89"), (10, 20, b""), (5, 5, b"")]
    {
        let mut out = b">".to_vec();
        store.with(&[key], |tx| tx.get_range(&key, start, end, &mut out).unwrap());
        assert_eq!(out, [b">", expected].concat(), "{start}..{end}");
    }
    let (absent, mut out) = (store.key("absent"), Vec::new());
    store.with(&[absent], |tx| tx.get_range(&absent, 0, 9, &mut out).unwrap());
    assert!(out.is_empty());
}

pub fn overwriting_ranges(store: &Store) {
    let key = store.key("key");
    let steps: [(u64, &[u8], &[u8]); 4] = [
        (2, b"ab", b"\0\0ab"),
        (0, b"x", b"x\0ab"),
        (3, b"yz!", b"x\0ayz!"),
        (8, b"e", b"x\0ayz!\0\0e"),
    ];
    for (offset, bytes, expected) in steps {
        let len = store.with(&[key], |tx| tx.set_range(&key, offset, bytes).unwrap());
        assert_eq!((len, store.get("key")), (expected.len() as u64, Some(expected.to_vec())));
    }
    let len = store.with(&[key], |tx| tx.set_range(&key, 200_000, b"far").unwrap());
    assert_eq!(len, 200_003);
    let value = store.get("key").unwrap();
    assert_eq!((&value[..9], &value[200_000..]), (&b"x\0ayz!\0\0e"[..], &b"far"[..]));
    assert!(value[9..200_000].iter().all(|&byte| byte == 0));
}

pub fn large_values(store: &Store) {
    for len in [16_383, 16_384, 16_385, 131_072, 1_000_003] {
        let value: Vec<u8> = (0..len).map(|n| (n % 251) as u8).collect();
        store.set("key", &value);
        assert!(store.get("key") == Some(value), "{len} bytes come back");
    }
    let key = store.key("key");
    // What was handed out stays as it was when the value changes.
    let shared = store.with(&[key], |tx| match tx.string(&key).unwrap().unwrap() {
        crate::Str::Shared(bytes) => Some(bytes.clone()),
        crate::Str::Bytes(_) => None,
    });
    store.with(&[key], |tx| tx.set_range(&key, 0, b"changed").unwrap());
    if let Some(shared) = shared {
        assert_eq!(shared[1], 1);
    }
    assert_eq!(&store.get("key").unwrap()[..7], b"changed");
    store.set("key", b"small again");
    assert_eq!(store.get("key"), Some(b"small again".to_vec()));
}

pub fn replacing_other_types(store: &Store) {
    let key = store.key("key");
    store.with(&[key], |tx| {
        let mut set = tx.set(&key, Open::Create).unwrap().unwrap();
        for n in 0..1000 {
            set.insert(format!("member {n}").as_bytes()).unwrap();
        }
    });
    store.set("key", b"now a string");
    store.with(&[key], |tx| {
        assert_eq!(tx.kind(&key).unwrap(), Some(Kind::String));
        assert!(tx.remove(&key).unwrap());
        assert!(tx.set(&key, Open::Existing).unwrap().is_none(), "no member comes back");
    });
}

pub fn growing_through_every_size(store: &Store) {
    let key = store.key("a key of some length");
    for len in (0..300).chain((300..40_000).step_by(977)) {
        let value = vec![len as u8; len];
        let expiry = if len % 3 == 0 { NewExpiry::At(NOW + 1) } else { NewExpiry::Keep };
        store.with(&[key], |tx| {
            tx.set_string(&key, &value, expiry).unwrap();
            assert!(tx.string(&key).unwrap().unwrap().as_bytes() == value, "{len} bytes");
        });
    }
}
