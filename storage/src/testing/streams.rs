//! Streams.

use super::{NOW, Random, Store};
use crate::rdb;
use crate::stream::{Pending, Stream, StreamId, StreamInfo, Trim, TrimTo};
use crate::tx::{Kind, Open};
use std::collections::BTreeMap;

type Entries = Vec<(StreamId, Vec<(Vec<u8>, Vec<u8>)>)>;

fn id(ms: u64, seq: u64) -> StreamId {
    StreamId { ms, seq }
}

/// Runs `body` on the stream `stream`, which is made when absent.
fn on_stream<R>(store: &Store, body: impl FnOnce(&mut dyn Stream) -> R) -> R {
    let key = store.key("stream");
    store.with(&[key], |tx| body(&mut *tx.stream(&key, Open::Create).unwrap().unwrap()))
}

fn entries(stream: &mut dyn Stream, first: StreamId, last: StreamId, reverse: bool) -> Entries {
    let mut seen = Vec::new();
    stream
        .range(first, last, reverse, &mut |id, fields| {
            let mut all = Vec::new();
            fields.for_each(|name, value| all.push((name.to_vec(), value.to_vec())));
            assert_eq!(all.len(), fields.len());
            seen.push((id, all));
            true
        })
        .unwrap();
    seen
}

fn ids(stream: &mut dyn Stream) -> Vec<StreamId> {
    let all = entries(stream, StreamId::MIN, StreamId::MAX, false);
    all.into_iter().map(|(id, _)| id).collect()
}

fn fill(stream: &mut dyn Stream, range: std::ops::Range<u64>) {
    for n in range {
        stream.append(id(n, n % 3), &[(b"n", n.to_string().as_bytes())]).unwrap();
    }
}

pub fn appending_and_ranging(store: &Store) {
    let large = vec![b'L'; 200_000];
    on_stream(store, |stream| {
        stream.append(id(1, 1), &[(b"a", b"1"), (b"b", b"-12345")]).unwrap();
        stream.append(id(1, 2), &[(b"a", b"x"), (b"b", b"")]).unwrap();
        stream.append(id(7, 0), &[(b"other", &large)]).unwrap();
        stream.append(StreamId::MAX, &[(b"a", b"007"), (b"", b"y"), (b"a", b"z")]).unwrap();
        let text = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect()
        };
        let all: Entries = vec![
            (id(1, 1), text(&[("a", "1"), ("b", "-12345")])),
            (id(1, 2), text(&[("a", "x"), ("b", "")])),
            (id(7, 0), vec![(b"other".to_vec(), large.clone())]),
            (StreamId::MAX, text(&[("a", "007"), ("", "y"), ("a", "z")])),
        ];
        assert!(entries(stream, StreamId::MIN, StreamId::MAX, false) == all);
        assert!(entries(stream, id(1, 2), id(7, 0), false) == all[1..3]);
        let mut reversed = all[..3].to_vec();
        reversed.reverse();
        assert!(entries(stream, StreamId::MIN, id(8, 0), true) == reversed);
        assert!(entries(stream, id(7, 1), id(8, 0), true).is_empty());
        assert!(entries(stream, id(7, 0), id(1, 1), false).is_empty());
        assert!(stream.contains(id(1, 2)).unwrap() && !stream.contains(id(1, 3)).unwrap());
        let info = stream.info().unwrap();
        assert_eq!((info.len, info.entries_added), (4, 4));
        assert_eq!(
            (info.first_id, info.top_id, info.last_id),
            (id(1, 1), StreamId::MAX, StreamId::MAX)
        );
        let mut visits = 0;
        stream
            .range(StreamId::MIN, StreamId::MAX, true, &mut |_, _| {
                visits += 1;
                visits < 2
            })
            .unwrap();
        assert_eq!(visits, 2, "a visit that says false is the last");
    });
}

pub fn deleting_entries(store: &Store) {
    on_stream(store, |stream| {
        fill(stream, 1..1001);
        for n in [1, 500, 1000] {
            assert!(stream.delete(id(n, n % 3)).unwrap());
            assert!(!stream.delete(id(n, n % 3)).unwrap());
        }
        assert!(!stream.delete(id(5000, 0)).unwrap());
        let info = stream.info().unwrap();
        assert_eq!((info.len, info.entries_added), (997, 1000));
        assert_eq!((info.first_id, info.top_id), (id(2, 2), id(999, 0)));
        assert_eq!((info.last_id, info.max_deleted_id), (id(1000, 1), id(1000, 1)));
        (2..1000).filter(|&n| n != 500).for_each(|n| assert!(stream.delete(id(n, n % 3)).unwrap()));
        let info = stream.info().unwrap();
        assert_eq!((info.len, info.first_id, info.top_id), (0, StreamId::MIN, StreamId::MIN));
        stream.append(id(2000, 0), &[(b"f", b"v")]).unwrap();
        assert_eq!(ids(stream), [id(2000, 0)]);
    });
}

pub fn trimming_streams(store: &Store) {
    let exact = |to| Trim { to, approximate: false, limit: 0 };
    on_stream(store, |stream| {
        fill(stream, 0..1000);
        assert_eq!(stream.trim(&exact(TrimTo::MaxLen(1000))).unwrap(), 0);
        assert_eq!(stream.trim(&exact(TrimTo::MaxLen(750))).unwrap(), 250);
        assert_eq!(stream.info().unwrap().first_id, id(250, 1));
        assert_eq!(stream.trim(&exact(TrimTo::MinId(id(251, 3)))).unwrap(), 2);
        assert_eq!(stream.trim(&exact(TrimTo::MinId(id(3, 0)))).unwrap(), 0);
        assert_eq!(ids(stream).len(), 748);
        assert_eq!(stream.info().unwrap().first_id, id(252, 0));
        assert_eq!(stream.trim(&exact(TrimTo::MinId(StreamId::MAX))).unwrap(), 748);
        let info = stream.info().unwrap();
        assert_eq!((info.len, info.first_id, info.top_id), (0, StreamId::MIN, StreamId::MIN));
        assert_eq!((info.last_id, info.max_deleted_id), (id(999, 0), StreamId::MIN));
    });
    let roughly = |to, limit| Trim { to, approximate: true, limit };
    on_stream(store, |stream| {
        fill(stream, 2000..2250);
        assert_eq!(stream.trim(&roughly(TrimTo::MaxLen(160), 0)).unwrap(), 0);
        assert_eq!(stream.trim(&roughly(TrimTo::MaxLen(60), 99)).unwrap(), 0);
        assert_eq!(stream.trim(&roughly(TrimTo::MaxLen(60), 0)).unwrap(), 100);
        assert_eq!(stream.trim(&roughly(TrimTo::MinId(id(2150, 0)), 0)).unwrap(), 0);
        assert_eq!(stream.trim(&roughly(TrimTo::MinId(id(2240, 0)), 0)).unwrap(), 100);
        assert_eq!(stream.trim(&roughly(TrimTo::MaxLen(0), 0)).unwrap(), 50);
        assert_eq!(stream.info().unwrap().len, 0);
    });
}

/// Much is trimmed at once, from what groups have read: they stay, and what is added later stays.
pub fn trimming_keeps_groups(store: &Store) {
    let large = vec![b'L'; 100_000];
    for (keep, with_large) in [(0, false), (3, false), (0, true), (3, true)] {
        let key = store.key("stream");
        on_stream(store, |stream| {
            fill(stream, 1..2000);
            if with_large {
                stream.append(id(2000, 0), &[(b"large", &large)]).unwrap();
            }
            stream.set_group(b"g", id(9, 0), Some(9)).unwrap();
            stream.set_consumer(b"g", b"a", NOW, None).unwrap();
            deliver(stream, b"a", id(1998, 0), 1);
            let len = stream.info().unwrap().len;
            let trim = Trim { to: TrimTo::MaxLen(keep), approximate: false, limit: 0 };
            assert_eq!(stream.trim(&trim).unwrap(), len - keep);
        });
        for shard in 0..store.backend.shard_count() {
            while store.backend.maintain(shard) {}
        }
        on_stream(store, |stream| {
            let info = stream.info().unwrap();
            assert_eq!((info.len, ids(stream).len() as u64, info.groups), (keep, keep, 1));
            assert!(!stream.contains(id(5, 2)).unwrap());
            assert_eq!(stream.group(b"g").unwrap().unwrap().pending, 1);
            stream.append(id(3000, 0), &[(b"large", &large)]).unwrap();
            let min = Trim { to: TrimTo::MinId(id(4000, 0)), approximate: false, limit: 0 };
            assert_eq!(stream.trim(&min).unwrap(), keep + 1);
            assert!(stream.remove_pending(b"g", id(1998, 0)).unwrap());
            stream.set_ids(StreamId::MIN, None, None).unwrap();
            stream.append(id(1, 1), &[(b"n", b"again")]).unwrap();
        });
        for shard in 0..store.backend.shard_count() {
            while store.backend.maintain(shard) {}
        }
        on_stream(store, |stream| assert_eq!(ids(stream), [id(1, 1)]));
        store.with(&[key], |tx| assert!(tx.remove(&key).unwrap()));
    }
}

pub fn empty_streams_stay(store: &Store) {
    let key = store.key("stream");
    store.with(&[key], |tx| {
        assert!(tx.stream(&key, Open::Existing).unwrap().is_none());
        drop(tx.stream(&key, Open::Create).unwrap());
        assert_eq!(tx.kind(&key).unwrap(), Some(Kind::Stream));
    });
    assert_eq!(store.backend.len(0), 1);
    on_stream(store, |stream| {
        assert_eq!(stream.info().unwrap(), StreamInfo::default());
        stream.append(id(1, 1), &[(b"f", b"v")]).unwrap();
        assert!(stream.delete(id(1, 1)).unwrap());
    });
    assert_eq!(store.backend.len(0), 1);
    on_stream(store, |stream| {
        assert_eq!(stream.info().unwrap().last_id, id(1, 1));
        stream.set_ids(id(9, 9), None, Some(77)).unwrap();
        stream.set_ids(id(10, 9), Some(id(8, 8)), None).unwrap();
        let info = stream.info().unwrap();
        assert_eq!((info.last_id, info.max_deleted_id), (id(10, 9), id(8, 8)));
        assert_eq!(info.entries_added, 77);
    });
    assert!(store.with(&[key], |tx| tx.remove(&key).unwrap()));
    assert_eq!(store.backend.len(0), 0);
}

fn deliver(stream: &mut dyn Stream, consumer: &[u8], at: StreamId, deliveries: u64) {
    let pending = Pending { id: at, consumer, delivered_ms: NOW + at.ms, deliveries };
    stream.set_pending(b"g", &pending).unwrap();
}

/// The pending entries: ID, consumer, deliveries.
fn pending(
    stream: &mut dyn Stream,
    consumer: Option<&[u8]>,
    from: u64,
    to: u64,
) -> Vec<(u64, String, u64)> {
    let mut seen = Vec::new();
    stream
        .pending(b"g", consumer, id(from, 0), id(to, u64::MAX), &mut |at| {
            assert_eq!(at.delivered_ms, NOW + at.id.ms);
            let name = String::from_utf8_lossy(at.consumer).into_owned();
            seen.push((at.id.ms, name, at.deliveries));
            true
        })
        .unwrap();
    seen
}

pub fn groups_and_consumers(store: &Store) {
    on_stream(store, |stream| {
        assert!(stream.set_group(b"g", id(1, 0), None).unwrap());
        assert!(stream.set_group(b"another", id(0, 0), Some(0)).unwrap());
        assert!(!stream.set_group(b"g", id(5, 0), Some(3)).unwrap());
        assert_eq!(stream.info().unwrap().groups, 2);
        let mut names = Vec::new();
        stream.groups(&mut |name, group| names.push((name.to_vec(), group.last_id))).unwrap();
        assert_eq!(names, [(b"another".to_vec(), id(0, 0)), (b"g".to_vec(), id(5, 0))]);
        assert!(stream.group(b"nobody").unwrap().is_none());
        assert!(stream.set_consumer(b"g", b"zoe", NOW, None).unwrap());
        assert!(stream.set_consumer(b"g", b"adam", NOW, None).unwrap());
        assert!(!stream.set_consumer(b"g", b"zoe", NOW + 5, Some(NOW + 3)).unwrap());
        assert!(!stream.set_consumer(b"nobody", b"zoe", NOW, None).unwrap());
        let group = stream.group(b"g").unwrap().unwrap();
        assert_eq!((group.consumers, group.pending, group.entries_read), (2, 0, Some(3)));
        let mut seen = Vec::new();
        stream.consumers(b"g", &mut |name, one| seen.push((name.to_vec(), *one))).unwrap();
        let seen: Vec<_> = seen.iter().map(|(n, c)| (&n[..], c.seen_ms, c.active_ms)).collect();
        assert_eq!(seen, [(&b"adam"[..], NOW, None), (b"zoe", NOW + 5, Some(NOW + 3))]);
        assert!(stream.consumer(b"g", b"eve").unwrap().is_none());
        assert_eq!(stream.remove_consumer(b"g", b"eve").unwrap(), None);
        assert_eq!(stream.remove_consumer(b"g", b"adam").unwrap(), Some(0));
        assert_eq!(stream.group(b"g").unwrap().unwrap().consumers, 1);
        assert!(stream.remove_group(b"another").unwrap());
        assert!(!stream.remove_group(b"another").unwrap());
        assert_eq!(stream.info().unwrap().groups, 1);
    });
}

pub fn pending_entries(store: &Store) {
    on_stream(store, |stream| {
        stream.set_group(b"g", id(0, 0), None).unwrap();
        for name in [&b"a"[..], b"b"] {
            stream.set_consumer(b"g", name, NOW, None).unwrap();
        }
        (1..7).for_each(|n| deliver(stream, if n % 2 == 0 { b"a" } else { b"b" }, id(n, 0), 1));
        deliver(stream, b"nobody", id(9, 0), 1);
        let of = |n, name: &str, count| (n, name.to_owned(), count);
        assert_eq!(
            pending(stream, None, 2, 5),
            [of(2, "a", 1), of(3, "b", 1), of(4, "a", 1), of(5, "b", 1)]
        );
        deliver(stream, b"b", id(4, 0), 2);
        deliver(stream, b"b", id(3, 0), 7);
        assert_eq!(pending(stream, Some(b"a"), 0, 9), [of(2, "a", 1), of(6, "a", 1)]);
        assert_eq!(pending(stream, Some(b"b"), 3, 4), [of(3, "b", 7), of(4, "b", 2)]);
        assert!(pending(stream, Some(b"nobody"), 0, 9).is_empty());
        assert_eq!(stream.pending_ends(b"g").unwrap(), Some((id(1, 0), id(6, 0))));
        assert_eq!(stream.pending_ends(b"nobody").unwrap(), None);
        let counts = |stream: &mut dyn Stream| {
            let of = |stream: &mut dyn Stream, name: &[u8]| {
                stream.consumer(b"g", name).unwrap().map(|c| c.pending)
            };
            (stream.group(b"g").unwrap().unwrap().pending, of(stream, b"a"), of(stream, b"b"))
        };
        assert_eq!(counts(stream), (6, Some(2), Some(4)));
        assert!(stream.remove_pending(b"g", id(2, 0)).unwrap());
        assert!(!stream.remove_pending(b"g", id(2, 0)).unwrap());
        assert!(!stream.remove_pending(b"nobody", id(3, 0)).unwrap());
        assert_eq!(counts(stream), (5, Some(1), Some(4)));
        assert_eq!(stream.remove_consumer(b"g", b"b").unwrap(), Some(4));
        assert_eq!(counts(stream), (1, Some(1), None));
        assert_eq!(pending(stream, None, 0, 9), [of(6, "a", 1)]);
        stream.set_consumer(b"g", b"c", NOW, None).unwrap();
        deliver(stream, b"c", id(6, 0), 3);
        assert_eq!(pending(stream, None, 0, 9), [of(6, "c", 3)]);
        assert!(stream.remove_group(b"g").unwrap());
        stream.set_group(b"g", id(0, 0), None).unwrap();
        assert_eq!(stream.group(b"g").unwrap().unwrap().pending, 0);
        assert!(pending(stream, None, 0, 9).is_empty());
    });
}

/// Everything of the stream `name`, by way of its dump.
fn object(store: &Store, name: &str) -> rdb::Object {
    let key = store.key(name);
    let mut value = Vec::new();
    assert!(store.with(&[key], |tx| tx.dump(&key, &mut value).unwrap()));
    rdb::seal_payload(&mut value);
    rdb::decode_payload(&value).unwrap()
}

pub fn dumped_streams_come_back(store: &Store) {
    on_stream(store, |stream| {
        fill(stream, 1..400);
        stream.delete(id(100, 1)).unwrap();
        stream.set_group(b"g", id(300, 0), Some(299)).unwrap();
        stream.set_group(b"unread", id(0, 0), None).unwrap();
        stream.set_consumer(b"g", b"b", NOW, Some(NOW)).unwrap();
        stream.set_consumer(b"g", b"a", NOW, Some(NOW)).unwrap();
        (1..300)
            .for_each(|n| deliver(stream, if n % 3 == 0 { b"a" } else { b"b" }, id(n, n % 3), n));
    });
    let (from, to) = (store.key("stream"), store.key("copy"));
    let original = object(store, "stream");
    store.with(&[from, to], |tx| tx.restore(&to, original.clone(), None).unwrap());
    assert!(object(store, "copy") == original);
    let rdb::Object::Stream(stream) = original else { panic!("not a stream") };
    assert_eq!((stream.entries.len(), stream.meta.groups.len()), (398, 2));
    assert_eq!(stream.meta.groups[0].pending.len(), 299);
    assert_eq!(stream.meta.max_deleted_id, id(100, 1));
}

pub fn removed_streams_are_cleaned_up(store: &Store) {
    for round in 0..3 {
        on_stream(store, |stream| {
            fill(stream, 1..5000);
            stream.append(id(5000, 0), &[(b"large", &[b'x'; 100_000])]).unwrap();
            stream.set_group(b"g", id(0, 0), None).unwrap();
            stream.set_consumer(b"g", b"a", NOW, None).unwrap();
            (1..2000).for_each(|n| deliver(stream, b"a", id(n, n % 3), 1));
        });
        let key = store.key("stream");
        match round {
            0 => assert!(store.with(&[key], |tx| tx.remove(&key).unwrap())),
            1 => drop(store.with_all(|tx| tx.clear(0).unwrap())),
            _ => on_stream(store, |stream| {
                stream.remove_group(b"g").unwrap();
                let trim = Trim { to: TrimTo::MaxLen(0), approximate: false, limit: 0 };
                assert_eq!(stream.trim(&trim).unwrap(), 5000);
            }),
        }
        for shard in 0..store.backend.shard_count() {
            let mut slices = 0;
            while store.backend.maintain(shard) {
                slices += 1;
                assert!(slices < 10_000, "cleaning comes to an end");
            }
        }
        on_stream(store, |stream| assert!(ids(stream).is_empty()));
        store.with(&[key], |tx| tx.remove(&key).unwrap());
    }
}

pub fn like_a_sorted_map(store: &Store) {
    let mut random = Random::new(23);
    let mut model = BTreeMap::<StreamId, (Vec<u8>, Vec<u8>)>::new();
    let mut last = id(1, 0);
    for step in 0..3000 {
        let value = if random.below(50) == 0 { vec![b'v'; 6000] } else { random.bytes(30) };
        let name = if random.below(5) == 0 { random.bytes(4) } else { b"name".to_vec() };
        let keys: Vec<_> = model.keys().copied().collect();
        let some = keys.get(random.below(keys.len().max(1) as u64) as usize).copied();
        let choice = random.below(12);
        on_stream(store, |stream| match choice {
            0..=6 => {
                last = match random.below(3) {
                    0 => id(last.ms + 1 + random.below(1000), random.below(9)),
                    _ => last.next().unwrap(),
                };
                stream.append(last, &[(&name, &value)]).unwrap();
                model.insert(last, (name, value));
            }
            7..=9 => {
                let at = some.unwrap_or(last);
                assert_eq!(stream.delete(at).unwrap(), model.remove(&at).is_some());
            }
            10 => {
                let (from, to) = (some.unwrap_or(last), id(last.ms, u64::MAX));
                let got: Vec<_> = entries(stream, from, to, step % 2 == 0);
                let mut expected: Vec<_> =
                    model.range(from..=to).map(|(id, pair)| (*id, vec![pair.clone()])).collect();
                if step % 2 == 0 {
                    expected.reverse();
                }
                assert!(got == expected, "range at step {step}");
            }
            _ => {
                let keep = model.len() as u64 - model.len() as u64 / 10;
                let trim = Trim { to: TrimTo::MaxLen(keep), approximate: false, limit: 0 };
                let gone = stream.trim(&trim).unwrap();
                (0..gone).for_each(|_| drop(model.pop_first()));
                assert_eq!(model.len() as u64, keep);
            }
        });
        on_stream(store, |stream| {
            let info = stream.info().unwrap();
            let ends = (model.keys().next().copied(), model.keys().next_back().copied());
            let ends = (ends.0.unwrap_or_default(), ends.1.unwrap_or_default());
            assert_eq!((info.len, (info.first_id, info.top_id)), (model.len() as u64, ends));
        });
    }
}
