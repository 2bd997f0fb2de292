//! Any values are the same after writing and reading them, and no bytes cause a panic.

mod rdb_support;

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::Index;
use storage_rdb::{
    HashField, Item, Object, Options, PendingEntry, Reader, StreamConsumer, StreamEntry,
    StreamGroup, StreamId, StreamMeta, StreamObject, Writer, decode_payload, encode_payload,
    seal_payload,
};

/// Texts of all kinds: integers, short, compressible, arbitrary.
fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-300i64..300).prop_map(|n| n.to_string().into_bytes()),
        vec(any::<u8>(), 0..40),
        (any::<u8>(), 0usize..20_000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn score() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("scores are numbers", |score| !score.is_nan())
}

fn id() -> impl Strategy<Value = StreamId> {
    (any::<u64>(), any::<u64>()).prop_map(|(ms, seq)| StreamId { ms, seq })
}

fn field() -> impl Strategy<Value = HashField> {
    (text(), text(), proptest::option::of(0u64..1 << 46))
        .prop_map(|(field, value, expiry_ms)| HashField { field, value, expiry_ms })
}

fn group() -> impl Strategy<Value = StreamGroup> {
    let consumers = vec((text(), 0u64..1 << 50), 1..4);
    let pending = btree_map(id(), (any::<Index>(), 0u64..1 << 50, any::<u64>()), 0..8);
    (text(), id(), proptest::option::of(0u64..1 << 63), consumers, pending).prop_map(
        |(name, last_id, entries_read, consumers, pending)| {
            let count = consumers.len();
            let consumers = consumers.into_iter().enumerate().map(|(n, (mut name, seen))| {
                name.push(n as u8); // names differ
                StreamConsumer { name, seen_time_ms: seen, active_time_ms: (n > 0).then_some(seen) }
            });
            let pending =
                pending.into_iter().map(|(id, (owner, delivery_time_ms, delivery_count))| {
                    let consumer = owner.index(count);
                    PendingEntry { id, consumer, delivery_time_ms, delivery_count }
                });
            let (consumers, pending) = (consumers.collect(), pending.collect());
            StreamGroup { name, last_id, entries_read, pending, consumers }
        },
    )
}

fn stream() -> impl Strategy<Value = StreamObject> {
    let names = prop_oneof![Just("a"), Just("b"), Just("7")];
    let fields = vec((names, text()), 1..4);
    let entries = btree_map(id(), fields, 0..12);
    (entries, id(), any::<u64>(), proptest::option::of(group())).prop_map(
        |(entries, max_deleted_id, entries_added, group)| {
            let entry = |(id, fields): (StreamId, Vec<(&str, Vec<u8>)>)| {
                let fields = fields.into_iter();
                StreamEntry { id, fields: fields.map(|(f, v)| (f.to_owned().into(), v)).collect() }
            };
            let entries: Vec<StreamEntry> = entries.into_iter().map(entry).collect();
            let edge = |entry: Option<&StreamEntry>| entry.map_or(StreamId::default(), |e| e.id);
            let meta = StreamMeta {
                last_id: edge(entries.last()),
                first_id: edge(entries.first()),
                max_deleted_id,
                entries_added,
                groups: group.into_iter().collect(),
            };
            StreamObject { entries, meta }
        },
    )
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        text().prop_map(Object::String),
        vec(text(), 1..20).prop_map(Object::List),
        vec(text(), 1..20).prop_map(Object::Set),
        vec(field(), 1..20).prop_map(Object::Hash),
        vec((text(), score()), 1..20).prop_map(Object::SortedSet),
        stream().prop_map(|stream| Object::Stream(Box::new(stream))),
    ]
}

/// Version 11 keeps all that the model can say.
fn options(compress: bool) -> Options {
    Options { version: 11, compress, checksum: true }
}

/// Reads a file to its end or first error, whatever it holds.
fn exhaust(bytes: &[u8]) -> usize {
    let Ok(mut reader) = Reader::new(bytes) else { return 0 };
    let mut items = 0;
    while let Ok(Some(_)) = reader.next() {
        items += 1;
    }
    assert!(reader.offset() <= bytes.len() as u64);
    items
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn payloads_round_trip(object in object(), compress: bool) {
        let payload = encode_payload(&object, options(compress)).unwrap();
        prop_assert_eq!(decode_payload(&payload).unwrap(), object);
    }

    #[test]
    fn files_round_trip(
        entries in vec((text(), proptest::option::of(0u64..1 << 62), object()), 0..12),
        compress: bool,
        buffer in 1usize..5000,
    ) {
        let mut writer = Writer::new(Vec::new(), options(compress));
        writer.select_db(5).unwrap();
        for (key, expiry_ms, object) in &entries {
            writer.entry(key, *expiry_ms, |value| value.object(object)).unwrap();
        }
        let length = writer.len() + 9;
        let bytes = writer.finish().unwrap();
        prop_assert_eq!(length, bytes.len() as u64);
        let source = std::io::BufReader::with_capacity(buffer, bytes.as_slice());
        let mut reader = Reader::new(source).unwrap();
        prop_assert_eq!(reader.next().unwrap(), Some(Item::SelectDb(5)));
        for expected in entries {
            let Some(Item::KeyValue(entry)) = reader.next().unwrap() else { panic!("an entry") };
            prop_assert_eq!(entry.db, 5);
            prop_assert_eq!((entry.key, entry.expiry_ms, entry.object), expected);
        }
        prop_assert_eq!(reader.next().unwrap(), None);
    }

    /// Any byte after any type byte, behind a right checksum.
    #[test]
    fn arbitrary_payloads_do_not_panic(kind in 0u8..27, body in vec(any::<u8>(), 0..300)) {
        let mut payload = vec![kind];
        payload.extend_from_slice(&body);
        seal_payload(&mut payload);
        if let Ok(object) = decode_payload(&payload) {
            // What was accepted can be written, and means the same again.
            let again = encode_payload(&object, options(true)).unwrap();
            prop_assert_eq!(decode_payload(&again).unwrap(), object);
        }
    }

    #[test]
    fn damaged_payloads_do_not_panic(
        object in object(),
        damage in vec((any::<Index>(), any::<u8>()), 1..6),
    ) {
        let mut value = encode_payload(&object, options(false)).unwrap();
        value.truncate(value.len() - 10);
        for (at, byte) in damage {
            let at = at.index(value.len());
            value[at] = byte;
        }
        seal_payload(&mut value);
        let _ = decode_payload(&value);
    }

    #[test]
    fn damaged_files_do_not_panic(
        which in 0usize..4,
        damage in vec((any::<Index>(), any::<u8>()), 1..20),
        cut in any::<Index>(),
    ) {
        let names = ["redis-7.0", "redis-7.0-plain", "redis-6.2", "redis-6.2-plain"];
        let path = rdb_support::fixture(&format!("{}.rdb", names[which]));
        let mut bytes = std::fs::read(path).unwrap();
        for (at, byte) in damage {
            let at = 9 + at.index(bytes.len() - 9);
            bytes[at] = byte;
        }
        prop_assert!(exhaust(&bytes) < bytes.len());
        bytes.truncate(cut.index(bytes.len()));
        prop_assert!(exhaust(&bytes) <= bytes.len());
    }
}
