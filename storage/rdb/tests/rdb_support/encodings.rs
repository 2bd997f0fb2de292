//! Values in encodings that no server at hand writes: too old, or too new. Built here by hand from
//! the layouts in Redis's `rdb.c`, `zipmap.c`, `ziplist.c`.
#![allow(dead_code)] // each test binary uses its part

use storage_rdb::packed::listpack::ListpackBuilder;
use storage_rdb::{HashField, Object};

use super::{hash, list, set, zset};

/// An encoded value, type byte first, and what it means.
pub struct Example {
    /// The name of its type in `rdb.h`.
    pub name: &'static str,
    /// The RDB version that brought it.
    pub since: u16,
    pub bytes: Vec<u8>,
    pub object: Object,
}

/// A string as is, behind its length.
pub fn raw(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap();
    [&(length | 0x4000).to_be_bytes()[..], text].concat()
}

/// A listpack as a string.
pub fn listpack(elements: &[&str]) -> Vec<u8> {
    let mut builder = ListpackBuilder::default();
    elements.iter().for_each(|element| builder.push(element.as_bytes()));
    raw(&builder.finish().unwrap())
}

fn typed(kind: u8, parts: &[&[u8]]) -> Vec<u8> {
    [&[kind], &parts.concat()[..]].concat()
}

fn expiring(fields: &[(&str, &str, Option<u64>)]) -> Object {
    let field = |&(f, v, expiry_ms): &(&str, &str, Option<u64>)| HashField {
        field: f.into(),
        value: v.into(),
        expiry_ms,
    };
    Object::Hash(fields.iter().map(field).collect())
}

/// 2100-01-01, so that nothing here has expired.
const LATER: u64 = 4_102_444_800_000;

/// The examples.
pub fn examples() -> Vec<Example> {
    let mut out = Vec::new();
    let mut put = |name, since, bytes, object| out.push(Example { name, since, bytes, object });
    put("LIST", 1, typed(1, &[b"\x03\x01a\x00\xc0\xfb"]), list(["a", "", "-5"]));
    put(
        "ZSET",
        1,
        typed(3, &[b"\x04\x01a\x031.5\x01b\xff\x01c\xfe\x01d\x05-1e99"]),
        zset([("a", 1.5), ("b", f64::NEG_INFINITY), ("c", f64::INFINITY), ("d", -1e99)]),
    );
    let zipmap = b"\x02\x03foo\x03\x00bar\x05hello\x05\x01world!\xff";
    put("HASH_ZIPMAP", 2, typed(9, &[&raw(zipmap)]), hash([("foo", "bar"), ("hello", "world")]));
    // Entries: "ab" after nothing (0), 5 as an immediate, 1000 as 16 bits.
    let ziplist = b"\x15\0\0\0\x10\0\0\0\x03\0\x00\x02ab\x04\xf6\x02\xc0\xe8\x03\xff";
    put("LIST_ZIPLIST", 2, typed(10, &[&raw(ziplist)]), list(["ab", "5", "1000"]));
    let ziplist = b"\x11\0\0\0\x0e\0\0\0\x02\0\x00\x02ab\x04\xf6\xff";
    put("HASH_ZIPLIST", 4, typed(13, &[&raw(ziplist)]), hash([("ab", "5")]));
    put("ZSET_ZIPLIST", 2, typed(12, &[&raw(ziplist)]), zset([("ab", 5.0)]));
    let intset = b"\x04\0\0\0\x02\0\0\0\xff\xff\xfe\xff\x01\0\0\0";
    put("SET_INTSET", 2, typed(11, &[&raw(intset)]), set(["-65537", "1"]));
    put(
        "HASH_LISTPACK",
        10,
        typed(16, &[&listpack(&["f", "v", "n", "7"])]),
        hash([("f", "v"), ("n", "7")]),
    );
    put(
        "ZSET_LISTPACK",
        10,
        typed(17, &[&listpack(&["m", "2.5", "n", "7"])]),
        zset([("m", 2.5), ("n", 7.0)]),
    );
    put(
        "LIST_QUICKLIST_2",
        10,
        typed(
            18,
            &[
                b"\x03\x02",
                &listpack(&["a", "1"]),
                b"\x01",
                &raw(b"plain"),
                b"\x02",
                &listpack(&["z"]),
            ],
        ),
        list(["a", "1", "plain", "z"]),
    );
    put(
        "SET_LISTPACK",
        11,
        typed(20, &[&listpack(&["a", "12", "-4000"])]),
        set(["a", "12", "-4000"]),
    );
    let fields = [("f", "v", None), ("g", "w", Some(LATER)), ("h", "x", Some(LATER + 5))];
    let absolute = |at: u64| [&[0x81][..], &at.to_be_bytes()].concat();
    put(
        "HASH_METADATA_PRE_GA",
        12,
        typed(
            22,
            &[
                b"\x03\x00\x01f\x01v",
                &absolute(LATER),
                b"\x01g\x01w",
                &absolute(LATER + 5),
                b"\x01h\x01x",
            ],
        ),
        expiring(&fields),
    );
    put(
        "HASH_METADATA",
        12,
        typed(24, &[&LATER.to_le_bytes(), b"\x03\x00\x01f\x01v\x01\x01g\x01w\x06\x01h\x01x"]),
        expiring(&fields),
    );
    let (first, second) = (LATER.to_string(), (LATER + 5).to_string());
    let triples = listpack(&["f", "v", "0", "g", "w", &first, "h", "x", &second]);
    put("HASH_LISTPACK_EX_PRE_GA", 12, typed(23, &[&triples]), expiring(&fields));
    put("HASH_LISTPACK_EX", 12, typed(25, &[&LATER.to_le_bytes(), &triples]), expiring(&fields));
    out
}
