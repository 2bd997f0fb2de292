//! Encodings that no fixture has, opcodes around keys, and how bad payloads are told apart.

mod rdb_support;

use rdb_support::encodings::{examples, listpack, raw};
use rdb_support::{hash, list, set};
use storage_rdb::{
    Item, KeyValue, Object, Options, PayloadError, RdbErrorKind, Reader, ValueWriter, Writer,
    decode_payload, encode_payload, seal_payload,
};

fn sealed(value: &[u8]) -> Vec<u8> {
    let mut payload = value.to_vec();
    seal_payload(&mut payload);
    payload
}

/// A file of version 12 around these bytes, without a checksum.
fn file(body: &[u8]) -> Vec<u8> {
    [b"REDIS0012", body, b"\xff", &[0; 8]].concat()
}

fn bad_data(value: &[u8]) -> RdbErrorKind {
    match decode_payload(&sealed(value)) {
        Err(PayloadError::BadData(error)) => error.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_example_is_decoded() {
    for example in examples() {
        let decoded = decode_payload(&sealed(&example.bytes));
        assert_eq!(decoded.expect(example.name), example.object, "{}", example.name);
    }
}

#[test]
fn payloads_say_the_version_that_has_their_encoding() {
    for example in examples() {
        let payload = sealed(&example.bytes);
        let version = u16::from_le_bytes([payload[payload.len() - 10], payload[payload.len() - 9]]);
        assert_eq!(version, example.since.max(10), "{}", example.name);
    }
}

#[test]
fn no_example_cut_short_is_accepted() {
    for example in examples() {
        for length in 0..example.bytes.len() {
            let result = decode_payload(&sealed(&example.bytes[..length]));
            assert!(matches!(result, Err(PayloadError::BadData(_))), "{} {length}", example.name);
        }
    }
}

#[test]
fn two_kinds_of_refusal() {
    let payload = encode_payload(&Object::String(b"x".to_vec()), Options::default()).unwrap();
    let of_redis = b"\x00\x01x\n\x00\"\x80\x86_\xbd\xe8H\xd0";
    assert_eq!(payload, of_redis, "what DUMP of Redis 7.0 returns for x");
    for (damaged, why) in [
        (payload[..9].to_vec(), "too short"),
        ([b"\x00\x01y", &payload[3..]].concat(), "checksum"),
        ([&payload[..3], b"\x0d\x00", &payload[5..]].concat(), "version"),
    ] {
        let error = decode_payload(&damaged).unwrap_err();
        assert_eq!(error.to_string(), "DUMP payload version or checksum are wrong", "{why}");
    }
    let error = decode_payload(&sealed(b"\x63nonsense")).unwrap_err();
    assert_eq!(error.to_string(), "Bad data format");
}

#[test]
fn values_that_cannot_be() {
    let nan = [b"\x05\x01\x01m".as_slice(), &f64::NAN.to_le_bytes()].concat();
    assert!(matches!(bad_data(&nan), RdbErrorKind::Corrupt("a score that is no number")));
    assert!(matches!(bad_data(b"\x03\x01\x01m\xfd"), RdbErrorKind::Corrupt(_)), "NaN as text");
    assert!(matches!(bad_data(b"\x01\x00"), RdbErrorKind::EmptyKey));
    assert!(matches!(bad_data(&[&[20], &listpack(&[])[..]].concat()), RdbErrorKind::EmptyKey));
    let odd = [&[16], &listpack(&["field alone"])[..]].concat();
    assert!(matches!(bad_data(&odd), RdbErrorKind::Packed(e) if e.what == "ends inside a pair"));
    let no_number = [&[17], &listpack(&["m", "high"])[..]].concat();
    assert!(matches!(bad_data(&no_number), RdbErrorKind::Packed(_)));
    let node = [&b"\x12\x01\x03"[..], &raw(b"x")].concat();
    assert!(matches!(bad_data(&node), RdbErrorKind::Corrupt("unknown kind of quicklist node")));
}

#[test]
fn a_claim_of_more_than_is_there_costs_nothing() {
    for kind in [1, 2, 3, 4, 5, 14, 18, 15, 19, 21, 22] {
        let claim = [&[kind, 0x81, 0x0f], &[0xff; 7][..], &[0; 3]].concat();
        assert!(matches!(decode_payload(&sealed(&claim)), Err(PayloadError::BadData(_))), "{kind}");
    }
}

#[test]
fn modules_are_named_and_refused() {
    // "ReJSON-RL", version 3: the JSON type of RedisJSON.
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let digit = |c| alphabet.iter().position(|a| *a == c).unwrap() as u64;
    let id = b"ReJSON-RL".iter().fold(0, |id, &c| (id << 6) | digit(c)) << 10 | 3;
    let id = [&[0x81][..], &id.to_be_bytes()].concat();
    let kind = bad_data(&[&[7], &id[..], b"\x05\x02{}\x00"].concat());
    assert!(matches!(kind, RdbErrorKind::ModuleType(name) if name == "ReJSON-RL"));

    // Auxiliary data of a module is skipped: when (2: before keys), then one value of each kind.
    let aux = b"\x02\x02\x05\x01x\x01\x07\x03\0\0\0\0\x04\0\0\0\0\0\0\0\0\x00";
    let bytes = file(&[&[247], &id[..], aux, b"\x00\x01k\x01v"].concat());
    let items = rdb_support::items(&bytes);
    assert_eq!(items[0], Item::ModuleAux { module: "ReJSON-RL".into() });
    assert!(matches!(&items[1], Item::KeyValue(entry) if entry.key == b"k"));
}

#[test]
fn everything_that_may_precede_a_key() {
    let body = b"\xf4\x05\x02\x01\xfe\x03\xfd\x64\0\0\0\xf9\x07\x00\x01a\x01v\
                 \xfc\xe8\x03\0\0\0\0\0\0\xf8\x09\x00\x01b\x01v\x00\x01c\x01v";
    let entry = |key: &[u8], expiry_ms, idle_seconds, frequency| {
        let object = Object::String(b"v".to_vec());
        let key = key.to_vec();
        Item::KeyValue(KeyValue { db: 3, key, expiry_ms, idle_seconds, frequency, object })
    };
    let expected = [
        Item::SelectDb(3),
        entry(b"a", Some(100_000), None, Some(7)),
        entry(b"b", Some(1000), Some(9), None),
        entry(b"c", None, None, None),
    ];
    assert_eq!(rdb_support::items(&file(body)), expected);
}

#[test]
fn an_expiry_before_1970_has_passed() {
    let items = rdb_support::items(&file(b"\xfd\xfe\xff\xff\xff\x00\x01k\x01v"));
    assert!(matches!(&items[0], Item::KeyValue(entry) if entry.expiry_ms == Some(0)));
}

#[test]
fn empty_collections_in_files_are_skipped_and_counted() {
    let bytes = file(b"\x01\x01a\x00\x04\x01b\x00\x00\x01c\x01v");
    let mut reader = Reader::new(bytes.as_slice()).unwrap();
    assert!(matches!(reader.next(), Ok(Some(Item::KeyValue(entry))) if entry.key == b"c"));
    assert_eq!(reader.empty_keys(), 2);
}

#[test]
fn unknown_bytes_are_named_with_their_place() {
    for (body, code) in [(&b"\x1a\x01k"[..], 26), (b"\x08", 8), (b"\xf0", 240)] {
        let error = Reader::new(file(body).as_slice()).unwrap().next().unwrap_err();
        assert!(matches!(error.kind, RdbErrorKind::UnknownType(found) if found == code));
        assert_eq!(error.offset, 9);
    }
}

#[test]
fn a_backend_feeds_elements_one_by_one() {
    let mut encoded = Vec::new();
    let mut fields = ValueWriter::new(&mut encoded, Options::default()).hash(2);
    fields.field(b"f", b"v");
    fields.field(b"g", b"7");
    fields.finish().unwrap();

    let mut writer = Writer::new(Vec::new(), Options { checksum: false, ..Options::default() });
    writer.aux(b"aof-base", b"1").unwrap();
    writer.select_db(2).unwrap();
    writer.resize_db(3, 1).unwrap();
    writer.encoded_entry(b"hash", Some(99), &encoded).unwrap();
    let list_of_two = |value: ValueWriter<'_>| {
        let mut elements = value.list(2);
        elements.element(b"a");
        elements.element(b"b");
        elements.finish()
    };
    writer.entry(b"list", None, list_of_two).unwrap();
    let short = writer.entry(b"short", None, |value| value.set(1).finish());
    assert_eq!(short.unwrap_err().to_string(), "a collection of 1 elements was written with 0");
    writer.entry(b"set", None, |value| value.object(&set(["m"]))).unwrap();
    let bytes = writer.finish().unwrap();

    assert_eq!(bytes[bytes.len() - 8..], [0; 8], "no checksum was asked for");
    let items = rdb_support::items(&bytes);
    assert_eq!(items[0], Item::Aux { key: b"aof-base".to_vec(), value: b"1".to_vec() });
    assert_eq!(items[2], Item::Resize { keys: 3, expires: 1 });
    let found: Vec<_> = rdb_support::entries(items).into_iter().collect();
    assert_eq!(
        found,
        [
            ((2, b"hash".to_vec()), (Some(99), hash([("f", "v"), ("g", "7")]))),
            ((2, b"list".to_vec()), (None, list(["a", "b"]))),
            ((2, b"set".to_vec()), (None, set(["m"]))),
        ]
    );
}
