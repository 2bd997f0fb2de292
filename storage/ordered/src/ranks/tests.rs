//! Trees of many levels (they are narrow in unit tests), compared with what they count.

use super::node::{Bounds, decode_counts, encode_counts};
use super::*;
use crate::testing::counting_kv::CountingKv;
use crate::{OrderedBackend, codec};
use std::collections::BTreeSet;
use storage::testing::Random;
use storage::types::{SortedSet, ZRange};
use storage::{Backend, Key, Locks, Open, Tx};

const NAME: &[u8] = b"zset";

struct Fixture {
    kv: CountingKv,
    backend: OrderedBackend,
}

impl Fixture {
    fn new() -> Self {
        let kv = CountingKv::default();
        let backend = OrderedBackend::over(Box::new(kv.clone()), 1, 1).expect("a store opens");
        Fixture { kv, backend }
    }

    fn on(&self, body: impl FnOnce(&mut dyn SortedSet)) {
        let key = Key { db: 0, hash: self.backend.hash(NAME), bytes: NAME };
        let mut body = Some(body);
        let mut once = |tx: &mut dyn Tx| {
            let mut zset = tx.sorted_set(&key, Open::Create).expect("opens").expect("created");
            body.take().expect("once")(&mut *zset);
        };
        self.backend.transact(Locks::All, 1, &mut once).expect("commits");
    }

    /// The set's tree, if the set is there.
    fn tree(&self) -> Option<Tree> {
        let mut tree = None;
        let mut read = |_: &[u8], record: &[u8]| {
            let (head, ..) = codec::decode_meta(record).expect("a record");
            if let codec::Body::Map(map) = head.body {
                tree = Some(Tree { version: map.version, ranks: map.ranks });
            }
            true
        };
        self.kv.scan(keys::META, &[], &[], false, &mut read).expect("scans");
        tree
    }

    /// A node as it is committed.
    fn node(&self, id: crate::kept::Id) -> Node {
        let kept = self.backend.nodes.get(id);
        kept.unwrap_or_else(|| Node::read(&self.kv, id).expect("a node"))
    }

    /// The store after an orderly end, or after a crash.
    fn opened_again(self, orderly: bool) -> Self {
        let Fixture { kv, backend } = self;
        if orderly {
            drop(backend);
        } else {
            // Its end would write what is in memory.
            std::mem::forget(backend);
        }
        let backend = OrderedBackend::over(Box::new(kv.clone()), 1, 1).expect("a store opens");
        Fixture { kv, backend }
    }

    /// Every count against the records, every bound against its neighbours; the levels.
    fn check(&self) -> u8 {
        let Some(tree) = self.tree() else { return 0 };
        let mut places = Vec::new();
        let (lo, hi) = keys::all_by_score(tree.version);
        self.kv
            .scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
                places.push(keys::place(key).expect("a place").to_vec());
                true
            })
            .expect("scans");
        if tree.ranks.levels == 0 {
            assert!(places.len() as u64 <= TREE_FROM);
            return 0;
        }
        let mut nodes = 0;
        let left = self.check_node(&tree, ROOT, tree.ranks.levels, &places, &mut nodes);
        assert!(left.is_empty(), "every member is counted");
        let (lo, hi) = keys::rank_nodes(tree.version);
        let mut records = 0;
        self.kv
            .scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, _| {
                records += 1;
                true
            })
            .expect("scans");
        assert_eq!(records, nodes * 2, "no node is left behind");
        tree.ranks.levels
    }

    /// Checks a node against the members from its first one on; those behind its last one.
    fn check_node<'p>(
        &self,
        tree: &Tree,
        node: u32,
        level: u8,
        mut places: &'p [Vec<u8>],
        nodes: &mut usize,
    ) -> &'p [Vec<u8>] {
        *nodes += 1;
        let Node { bounds, counts } = self.node((tree.version, node));
        for (index, &count) in counts.iter().enumerate() {
            assert!(count > 0, "nothing empty is kept");
            assert!(index == 0 || bounds.bound(index - 1) < bounds.bound(index));
            let (inside, behind) = places.split_at(count as usize);
            if index > 0 || level == 1 {
                assert!(bounds.bound(index) <= &inside[0][..]);
            }
            if index + 1 < counts.len() {
                assert!(&inside[inside.len() - 1][..] < bounds.bound(index + 1));
            }
            if level > 1 {
                let left = self.check_node(tree, bounds.child(index), level - 1, places, nodes);
                assert_eq!(left.len(), behind.len());
            }
            places = behind;
        }
        places
    }
}

/// Members and scores of a kind; what comes out in order.
fn runs(name: impl Fn(u64) -> Vec<u8>, score: impl Fn(u64) -> f64, levels_at_least: u8) {
    let fixture = Fixture::new();
    let (mut random, mut most) = (Random::new(3), 0);
    let mut model = std::collections::BTreeMap::new();
    for step in 0..2600u64 {
        let grows = (step / 650) % 2 == 0;
        let member = name(random.below(700));
        if random.below(10) < if grows { 9 } else { 1 } {
            let score = score(random.number());
            fixture.on(|zset| {
                zset.insert(&member, score).expect("inserts");
            });
            model.insert(member, score);
        } else {
            fixture.on(|zset| {
                assert_eq!(zset.remove(&member).expect("removes"), model.remove(&member));
                let lowest = zset.pop(false).expect("pops").map(|(member, _)| member);
                lowest.and_then(|member| model.remove(&member));
            });
        }
        if step % 50 == 0 {
            most = most.max(fixture.check());
            compare(&fixture, &model, &mut random);
        }
    }
    assert!(most >= levels_at_least, "{most} levels");
    fixture.on(|zset| while zset.pop(true).expect("pops").is_some() {});
    assert_eq!(fixture.kv.records(keys::ELEMENTS), 0, "nothing is left");
}

type Model = std::collections::BTreeMap<Vec<u8>, f64>;

/// Ranks and ranges by rank, in both directions.
fn compare(fixture: &Fixture, model: &Model, random: &mut Random) {
    let mut order: Vec<_> = model.iter().map(|(member, score)| (*score, member.clone())).collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then_with(|| a.1.cmp(&b.1)));
    let len = order.len() as u64;
    fixture.on(|zset| {
        for _ in 0..10.min(len) {
            let rank = random.below(len);
            let (score, member) = &order[rank as usize];
            assert_eq!(zset.rank(member, false).expect("a rank"), Some((rank, *score)));
            assert_eq!(zset.rank(member, true).expect("a rank"), Some((len - 1 - rank, *score)));
            for reverse in [false, true] {
                let range = ZRange::Rank { start: rank, end: rank + 3 };
                let mut got = Vec::new();
                zset.range(&range, reverse, 0, u64::MAX, &mut |member, score| {
                    got.push((score, member.to_vec()));
                    true
                })
                .expect("a range");
                let from = if reverse { len - 1 - rank } else { rank } as usize;
                let step = |n: usize| if reverse { from.checked_sub(n) } else { Some(from + n) };
                let expected = (0..3).filter_map(|n| order.get(step(n)?).cloned());
                assert_eq!(got, expected.collect::<Vec<_>>());
            }
        }
    });
}

#[test]
fn scores_of_all_sizes() {
    runs(|n| format!("member:{n}").into_bytes(), |n| n as f64 / 1e9, 3);
}

#[test]
fn one_score() {
    runs(|n| format!("member:{n}").into_bytes(), |_| 0.0, 3);
}

#[test]
fn few_scores_ascending() {
    runs(|n| format!("{n}").into_bytes(), |n| (n % 5) as f64 - 2.0, 3);
}

/// Where no bound is short enough a bucket stays as it is; the others are divided.
#[test]
fn members_that_differ_far_behind() {
    let name = |n: u64| match n % 2 {
        0 => [&[b'x'; 300][..], &n.to_be_bytes()].concat(),
        _ => n.to_be_bytes().to_vec(),
    };
    runs(name, |_| 1.0, 2);
    runs(|n| [&[b'x'; 300][..], &n.to_be_bytes()].concat(), |_| 1.0, 1);
}

/// A window that moves on: what it leaves behind goes, what it is read from moves along.
#[test]
fn a_window_that_moves() {
    let fixture = Fixture::new();
    for n in 0..3000u32 {
        fixture.on(|zset| {
            zset.insert(&n.to_be_bytes(), f64::from(n)).expect("inserts");
            if n >= 100 {
                zset.pop(false).expect("pops").expect("there is one");
            }
        });
        if n % 100 == 0 {
            fixture.check();
        }
    }
    let tree = fixture.tree().expect("a tree");
    let first = keys::by_score(tree.version, keys::score_order(2890.0), &[]);
    let first = keys::place(&first).expect("a place");
    let (mut number, mut begin) = (ROOT, Vec::new());
    for _ in 0..tree.ranks.levels {
        let Node { bounds, .. } = fixture.node((tree.version, number));
        (number, begin) = (bounds.child(0), bounds.bound(0).to_vec());
    }
    assert!(begin.as_slice() > first, "reading begins there");
    let nodes: BTreeSet<u32> = (0..tree.ranks.next_node).collect();
    assert!(nodes.len() > 10, "many nodes have come and gone");
}

#[test]
fn counts_round_trip() {
    for most in [0, 1, 255, 256, 65_535, 1 << 24, u64::MAX] {
        let counts = [0, most, 3];
        assert_eq!(decode_counts(&encode_counts(&counts)), Some(counts.to_vec()));
    }
    assert_eq!(encode_counts(&[1, 200]), [1, 1, 200]);
    assert_eq!(decode_counts(&[]), None);
    assert_eq!(decode_counts(&[9, 1, 2]), Some(vec![]));
}

#[test]
fn damaged_nodes_are_errors_not_panics() {
    for record in [&[][..], &[0, 0], &[0, 9], &[0, 2, 255, 255, 0, 0, 0, 0], &[255; 40]] {
        let bounds = Bounds::from(record.to_vec());
        for index in 0..3 {
            let _ = (bounds.bound(index), bounds.child(index));
        }
        let _ = bounds.find(b"place");
    }
    let fixture = Fixture::new();
    fixture.on(|zset| {
        for n in 0..50u8 {
            zset.insert(&[n], 1.0).expect("inserts");
        }
    });
    let tree = fixture.tree().expect("a tree");
    for key in [keys::rank_bounds(tree.version, ROOT), keys::rank_counts(tree.version, ROOT)] {
        let mut batch = crate::kv::Batch::default();
        batch.put(keys::ELEMENTS, key, vec![0, 200, 1]);
        fixture.backend.engine().write(batch).expect("writes");
        fixture.backend.nodes.take((tree.version, ROOT));
        fixture.on(|zset| {
            assert!(zset.rank(&[30], false).is_err());
            assert!(zset.remove(&[30]).is_err());
        });
    }
}

/// Counts that were in memory only are written at an orderly end, and counted again after a crash.
#[test]
fn counts_outlast_the_process() {
    let (mut fixture, mut random) = (Fixture::new(), Random::new(11));
    for round in 0..8u64 {
        for _ in 0..300 {
            let (member, score) = (random.below(900), random.below(1000) as f64);
            fixture.on(|zset| {
                zset.insert(&member.to_be_bytes(), score).expect("inserts");
            });
        }
        let before = fixture.backend.session;
        assert!(!fixture.backend.nodes.pinned().is_empty(), "most counts are in memory only");
        let orderly = round % 3 == 0;
        fixture = fixture.opened_again(orderly);
        assert_eq!(fixture.backend.session, before + u32::from(!orderly));
        assert!(fixture.backend.nodes.pinned().is_empty());
        assert!(fixture.check() >= 2);
    }
}

/// Memory of counts that are not written goes with the set, whichever way it goes.
#[test]
fn a_set_that_is_dropped_leaves_no_counts() {
    let key = |backend: &OrderedBackend| Key { db: 0, hash: backend.hash(NAME), bytes: NAME };
    let removes: [fn(&mut dyn Tx, &Key<'_>); 3] = [
        |tx, key| assert!(tx.remove(key).expect("removes")),
        |tx, key| assert_eq!(tx.clear(key.db).expect("clears"), 1),
        |tx, key| {
            let mut zset = tx.sorted_set(key, Open::Existing).expect("opens").expect("there");
            zset.remove_range(&ZRange::Rank { start: 0, end: 99 }).expect("removes");
        },
    ];
    for remove in removes {
        let fixture = Fixture::new();
        for n in 0..90u8 {
            fixture.on(|zset| {
                zset.insert(&[n], f64::from(n % 7)).expect("inserts");
            });
        }
        assert!(!fixture.backend.nodes.pinned().is_empty());
        let key = key(&fixture.backend);
        let mut once = |tx: &mut dyn Tx| remove(tx, &key);
        fixture.backend.transact(Locks::All, 1, &mut once).expect("commits");
        assert!(fixture.backend.nodes.pinned().is_empty());
        while fixture.backend.maintain(0) {}
        let fixture = fixture.opened_again(true);
        assert_eq!(fixture.kv.records(keys::ELEMENTS), 0, "nothing is left");
    }
}
