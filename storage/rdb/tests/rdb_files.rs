//! Files that real servers wrote, read.

mod rdb_support;

use rdb_support::{contents, entries, fixture, items};
use storage_rdb::{Item, KeyValue, Object, RdbErrorKind, Reader, StreamId, StreamObject};

fn read(name: &str) -> Vec<Item> {
    items(&std::fs::read(fixture(name)).unwrap())
}

fn stream(items: &[Item], name: &str) -> StreamObject {
    items
        .iter()
        .find_map(|item| match item {
            Item::KeyValue(KeyValue { key, object: Object::Stream(stream), .. })
                if key == name.as_bytes() =>
            {
                Some((**stream).clone())
            }
            _ => None,
        })
        .unwrap_or_else(|| panic!("no stream {name}"))
}

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

#[test]
fn every_value_of_every_file() {
    for (name, large) in [
        ("redis-7.0.rdb", true),
        ("redis-6.2.rdb", true),
        ("redis-7.0-plain.rdb", false),
        ("redis-6.2-plain.rdb", false),
    ] {
        let mut found = entries(read(name));
        found.retain(|_, (_, object)| !matches!(object, Object::Stream(_)));
        let expected = contents(large);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{name}");
        for (key, value) in &expected {
            assert_eq!(&found[key], value, "{name}: {}", String::from_utf8_lossy(&key.1));
        }
    }
}

#[test]
fn remarks_and_hints() {
    let items = read("redis-7.0.rdb");
    let version = Item::Aux { key: b"redis-ver".to_vec(), value: b"7.0.15".to_vec() };
    assert_eq!(items[0], version);
    assert!(items.contains(&Item::SelectDb(9)));
    assert!(items.contains(&Item::Resize { keys: 1, expires: 0 }));
    let library = items.iter().find_map(|item| match item {
        Item::Function(code) => Some(String::from_utf8(code.clone()).unwrap()),
        _ => None,
    });
    assert!(library.unwrap().starts_with("#!lua name=lib\n"));
}

#[test]
fn what_eviction_knows() {
    let entry = |item: &Item| matches!(item, Item::KeyValue(KeyValue { frequency: Some(_), .. }));
    assert!(read("redis-7.0-plain.rdb").iter().any(entry), "LFU");
    let entry =
        |item: &Item| matches!(item, Item::KeyValue(KeyValue { idle_seconds: Some(_), .. }));
    assert!(read("redis-6.2-plain.rdb").iter().any(entry), "LRU");
}

#[test]
fn streams_with_groups() {
    for name in ["redis-7.0.rdb", "redis-7.0-plain.rdb", "redis-6.2.rdb", "redis-6.2-plain.rdb"] {
        let has_offsets = name.starts_with("redis-7");
        let StreamObject { entries, meta } = stream(&read(name), "stream");
        let ids: Vec<StreamId> = entries.iter().map(|entry| entry.id).collect();
        let live = [1001, 1002, 1004, 1005, 1006, 1007].map(|ms| id(ms, 1));
        assert_eq!(ids, [&live[..], &[id(2000, 5)]].concat(), "{name}");
        let fields = |at: usize| -> Vec<(&[u8], &[u8])> {
            entries[at].fields.iter().map(|(f, v)| (f.as_ref(), v.as_ref())).collect()
        };
        assert_eq!(fields(1), [(b"temp".as_ref(), b"22".as_ref()), (b"hum", b"x2")], "{name}");
        assert_eq!(fields(6), [(b"other".as_ref(), b"field".as_ref()), (b"temp", b"1")], "{name}");
        assert_eq!((meta.last_id, meta.first_id), (id(2000, 5), id(1001, 1)), "{name}");
        let deleted = if has_offsets { id(1003, 1) } else { id(0, 0) };
        assert_eq!(meta.max_deleted_id, deleted, "{name}");
        assert_eq!(meta.entries_added, if has_offsets { 8 } else { 7 }, "{name}");

        let [first, second] = &meta.groups[..] else { panic!("{name}: two groups") };
        assert_eq!((&first.name[..], first.last_id), (&b"g1"[..], id(1004, 1)), "{name}");
        let pending: Vec<_> = first.pending.iter().map(|p| (p.id, p.consumer)).collect();
        assert_eq!(pending, [(id(1002, 1), 0), (id(1004, 1), 1)], "{name}");
        assert!(first.pending.iter().all(|p| p.delivery_count == 1 && p.delivery_time_ms > 0));
        let names: Vec<&[u8]> = first.consumers.iter().map(|c| c.name.as_ref()).collect();
        assert_eq!(names, [b"alice".as_ref(), b"bob"], "{name}");
        assert_eq!((second.last_id, second.pending.len()), (id(1002, 1), 0), "{name}");
        assert_eq!(second.consumers[0].name, b"idle", "{name}");
    }
}

#[test]
fn long_and_empty_streams() {
    for name in ["redis-7.0.rdb", "redis-6.2.rdb"] {
        let large = stream(&read(name), "stream:large");
        assert_eq!(large.entries.len(), 220, "{name}");
        assert_eq!(large.entries[0].id, id(31, 0), "{name}");
        assert_eq!(large.entries[219].fields[0].1, b"249", "{name}");
        let empty = stream(&read(name), "stream:empty");
        assert_eq!((empty.entries.len(), empty.meta.groups.len()), (0, 1), "{name}");
    }
}

#[test]
fn a_flipped_bit_is_found() {
    let good = std::fs::read(fixture("redis-7.0.rdb")).unwrap();
    let mut caught_by_checksum = 0;
    for at in (9..good.len()).step_by(97) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        let mut reader = Reader::new(bytes.as_slice()).unwrap();
        let error = loop {
            match reader.next() {
                Ok(Some(_)) => {}
                Ok(None) => panic!("byte {at} was flipped and nobody noticed"),
                Err(error) => break error,
            }
        };
        if let RdbErrorKind::Checksum { stored, computed } = error.kind {
            assert_ne!(stored, computed);
            assert_eq!(error.offset, good.len() as u64 - 8);
            caught_by_checksum += 1;
        }
        assert!(matches!(reader.next(), Ok(None)), "nothing comes after an error");
    }
    assert!(caught_by_checksum > 10, "flips inside values are for the checksum to find");
}

#[test]
fn a_torn_file_is_found() {
    let good = std::fs::read(fixture("redis-7.0.rdb")).unwrap();
    for length in (0..good.len()).step_by(41) {
        let result = Reader::new(&good[..length]).and_then(|mut reader| {
            while reader.next()?.is_some() {}
            Ok(())
        });
        let error = result.unwrap_err();
        assert!(matches!(error.kind, RdbErrorKind::UnexpectedEof), "{length}: {error}");
        assert_eq!(error.offset, length as u64);
    }
}

#[test]
fn what_follows_the_file_is_left_in_the_source() {
    let mut bytes = std::fs::read(fixture("redis-7.0-plain.rdb")).unwrap();
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    let source = std::io::BufReader::with_capacity(100, bytes.as_slice());
    let mut reader = Reader::new(source).unwrap();
    while reader.next().unwrap().is_some() {}
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut reader.into_inner().unwrap(), &mut rest).unwrap();
    assert_eq!(rest, b"*1\r\n$4\r\nPING\r\n");
}

#[test]
fn headers_that_are_none() {
    let refused = |bytes: &[u8]| Reader::new(bytes).err().unwrap().to_string();
    assert!(refused(b"REDIS0013").contains("can't handle RDB version 13"));
    assert!(refused(b"REDIS0000").contains("can't handle RDB version 0"));
    assert!(refused(b"VALKEY080").contains("not an RDB file"));
    assert!(refused(b"REDIS").contains("ends here"));
}
