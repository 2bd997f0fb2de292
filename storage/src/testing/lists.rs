//! Lists.

use super::{Random, Store};
use crate::tx::Open;
use crate::types::{End, List};
use std::collections::VecDeque;

/// Runs `body` on the list `list`, which is made when absent.
fn on_list<R>(store: &Store, body: impl FnOnce(&mut dyn List) -> R) -> R {
    let key = store.key("list");
    store.with(&[key], |tx| body(&mut *tx.list(&key, Open::Create).unwrap().unwrap()))
}

fn fill(store: &Store, elements: impl IntoIterator<Item = impl AsRef<[u8]>>) {
    on_list(store, |list| {
        elements.into_iter().for_each(|e| list.push(End::Tail, e.as_ref()).unwrap());
    });
}

fn all(store: &Store) -> Vec<String> {
    on_list(store, |list| {
        let (mut seen, len) = (Vec::new(), list.len().unwrap());
        list.range(0, len, End::Head, &mut |element| {
            seen.push(String::from_utf8_lossy(element).into_owned());
            true
        })
        .unwrap();
        seen
    })
}

pub fn pushing_and_popping(store: &Store) {
    on_list(store, |list| {
        for element in ["b", "a"] {
            list.push(End::Head, element.as_bytes()).unwrap();
        }
        list.push(End::Tail, b"c").unwrap();
        list.push(End::Tail, b"").unwrap();
        assert_eq!(list.len().unwrap(), 4);
        assert_eq!(list.pop(End::Tail).unwrap(), Some(vec![]));
        assert_eq!(list.pop(End::Head).unwrap(), Some(b"a".to_vec()));
        assert_eq!(list.pop(End::Tail).unwrap(), Some(b"c".to_vec()));
        assert_eq!(list.pop(End::Tail).unwrap(), Some(b"b".to_vec()));
        assert_eq!(list.pop(End::Head).unwrap(), None);
    });
}

pub fn indexing(store: &Store) {
    fill(store, (0..5000).map(|n| n.to_string()));
    on_list(store, |list| {
        for index in [0, 1, 63, 2499, 2500, 4998, 4999] {
            assert_eq!(list.get(index).unwrap(), Some(index.to_string().as_bytes()));
        }
        assert_eq!(list.get(5000).unwrap(), None);
        assert!(list.set(4000, b"changed").unwrap());
        assert!(!list.set(5000, b"beyond").unwrap());
        assert_eq!(list.get(4000).unwrap(), Some(&b"changed"[..]));
        assert_eq!(list.get(4001).unwrap(), Some(&b"4001"[..]));
        assert!(list.set(10, &[b'x'; 20_000]).unwrap());
        assert_eq!(list.get(10).unwrap().map(<[u8]>::len), Some(20_000));
        assert_eq!(list.get(11).unwrap(), Some(&b"11"[..]));
        assert_eq!(list.len().unwrap(), 5000);
    });
}

pub fn inserting_and_removing(store: &Store) {
    fill(store, ["a", "x", "b", "x", "c", "x"]);
    on_list(store, |list| {
        list.insert(0, b"first").unwrap();
        list.insert(7, b"last").unwrap();
        list.insert(4, b"mid").unwrap();
    });
    assert_eq!(all(store), ["first", "a", "x", "b", "mid", "x", "c", "x", "last"]);
    on_list(store, |list| assert_eq!(list.remove(b"x", 1, End::Tail).unwrap(), 1));
    assert_eq!(all(store), ["first", "a", "x", "b", "mid", "x", "c", "last"]);
    on_list(store, |list| {
        assert_eq!(list.remove(b"x", 1, End::Head).unwrap(), 1);
        assert_eq!(list.remove(b"nothing", 0, End::Head).unwrap(), 0);
        assert_eq!(list.remove(b"x", 0, End::Head).unwrap(), 1);
    });
    assert_eq!(all(store), ["first", "a", "b", "mid", "c", "last"]);
}

pub fn trimming(store: &Store) {
    fill(store, (0..3000).map(|n| n.to_string()));
    on_list(store, |list| {
        list.trim(10, 2990).unwrap();
        assert_eq!(list.len().unwrap(), 2980);
        assert_eq!(list.get(0).unwrap(), Some(&b"10"[..]));
        assert_eq!(list.get(2979).unwrap(), Some(&b"2989"[..]));
        list.trim(1000, 1003).unwrap();
    });
    assert_eq!(all(store), ["1010", "1011", "1012"]);
    on_list(store, |list| list.trim(3, 3).unwrap());
    assert_eq!(store.backend.len(0), 0);
}

/// Little is kept of a list, long elements among it; what goes is cleaned up, what is kept is not.
pub fn trimming_to_little(store: &Store) {
    let long = "L".repeat(100_000);
    for kept in [0..0, 1000..1002, 500..504] {
        let element = |n: u64| if n == 501 { long.clone() } else { n.to_string() };
        fill(store, (0..2000).map(element));
        on_list(store, |list| list.trim(kept.start, kept.end).unwrap());
        for shard in 0..store.backend.shard_count() {
            while store.backend.maintain(shard) {}
        }
        assert_eq!(all(store), kept.map(element).collect::<Vec<_>>());
        let key = store.key("list");
        store.with(&[key], |tx| tx.remove(&key).unwrap());
    }
}

pub fn ranging(store: &Store) {
    fill(store, (0..3000).map(|n| n.to_string()));
    on_list(store, |list| {
        for (start, end) in [(0, 3000), (100, 101), (5, 2000), (2999, 3000), (7, 7)] {
            for from in [End::Head, End::Tail] {
                let mut seen = Vec::new();
                list.range(start, end, from, &mut |element| {
                    seen.push(String::from_utf8_lossy(element).parse::<u64>().unwrap());
                    true
                })
                .unwrap();
                if from == End::Tail {
                    seen.reverse();
                }
                assert_eq!(seen, (start..end).collect::<Vec<_>>());
            }
        }
        let mut visits = 0;
        list.range(0, 3000, End::Head, &mut |_| {
            visits += 1;
            visits < 5
        })
        .unwrap();
        assert_eq!(visits, 5, "a visit that says false is the last");
    });
}

pub fn like_a_deque(store: &Store) {
    let (mut random, mut model) = (Random::new(11), VecDeque::<Vec<u8>>::new());
    for step in 0..4000 {
        let element = if random.below(40) == 0 { vec![b'L'; 9000] } else { random.bytes(30) };
        let end = if random.below(2) == 0 { End::Head } else { End::Tail };
        let index = random.below(model.len() as u64 + 1);
        let choice = random.below(if step < 2500 { 7 } else { 10 });
        on_list(store, |list| match choice {
            0..=3 => {
                list.push(end, &element).unwrap();
                if end == End::Head { model.push_front(element) } else { model.push_back(element) }
            }
            4 => {
                list.insert(index, &element).unwrap();
                model.insert(index as usize, element);
            }
            5 => {
                let there = list.set(index, &element).unwrap();
                assert_eq!(there, index < model.len() as u64);
                if there {
                    model[index as usize] = element;
                }
            }
            6 => assert_eq!(list.get(index).unwrap(), model.get(index as usize).map(|e| &e[..])),
            7 if random.below(20) == 0 => {
                let cut = index / 8;
                list.trim(cut, model.len() as u64 - cut).unwrap();
                model.drain(..cut as usize);
                model.truncate(model.len() - cut as usize);
            }
            _ => {
                let expected = if end == End::Head { model.pop_front() } else { model.pop_back() };
                assert_eq!(list.pop(end).unwrap(), expected);
            }
        });
    }
    on_list(store, |list| {
        let (mut seen, len) = (Vec::new(), list.len().unwrap());
        list.range(0, len, End::Head, &mut |element| {
            seen.push(element.to_vec());
            true
        })
        .unwrap();
        assert!(model == seen, "after all steps");
    });
}

pub fn empty_lists_go(store: &Store) {
    on_list(store, |list| assert_eq!(list.len().unwrap(), 0));
    assert_eq!(store.backend.len(0), 0, "opened and left empty");
    fill(store, ["a"]);
    let (key, other) = (store.key("list"), store.key("other"));
    store.with(&[key, other], |tx| {
        tx.list(&key, Open::Existing).unwrap().unwrap().pop(End::Head).unwrap();
        assert_eq!(tx.kind(&other).unwrap(), None);
        assert_eq!(tx.kind(&key).unwrap(), None, "emptied");
    });
    assert_eq!(store.backend.len(0), 0);
}
