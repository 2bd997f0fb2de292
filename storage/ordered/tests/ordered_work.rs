//! How many records each operation reads and writes on the ordered backends, in collections of ten
//! elements and of many: the same, or a few more where a rank is looked up.
//!
//! `cargo test --workspace --test ordered_work -- --nocapture` shows the table.

use storage::stream::{Pending, StreamId, Trim, TrimTo};
use storage::types::{End, Hash, LexBound, List, ScoreBound, Set, SortedSet, ZRange};
use storage::{Backend, Key, Locks, NewExpiry, Open, Stream, Tx};
use storage_ordered::OrderedBackend;
use storage_ordered::kv::Space;
use storage_ordered::testing::counting_kv::CountingKv;

/// Enough for two levels of counts in a sorted set.
const MANY: u64 = 40_000;
/// The number of times that an operation is measured; the worst one counts.
const TIMES: u64 = 12;

/// Records read and written at most: by what touches one element, in a collection of any size.
const ONE: (u64, u64) = (6, 6);
/// By what visits ten elements, or draws one at random.
const TEN: (u64, u64) = (36, 6);
/// By what changes a member of a sorted set: per level of its tree one more is written, now and then a bucket is read
/// to divide it.
const SCORED: (u64, u64) = (150, 14);
/// By what looks up a rank: part of a bucket at the end of each of two paths down the tree, which is in memory.
const RANKED: (u64, u64) = (300, 14);

struct Bench {
    kv: CountingKv,
    backend: OrderedBackend,
    size: u64,
    table: Vec<Line>,
}

/// An operation, and what it read and wrote at worst.
struct Line {
    what: &'static str,
    most: (u64, u64),
    counts: (u64, u64),
}

impl Line {
    fn is_too_much(&self) -> bool {
        self.counts.0 > self.most.0 || self.counts.1 > self.most.1
    }
}

impl Bench {
    fn new(size: u64) -> Self {
        let kv = CountingKv::default();
        let backend = OrderedBackend::over(Box::new(kv.clone()), 4, 2).expect("opens");
        Bench { kv, backend, size, table: Vec::new() }
    }

    fn at(&self, now_ms: u64, name: &str, body: &mut dyn FnMut(&mut dyn Tx, &Key<'_>)) {
        let hash = self.backend.hash(name.as_bytes());
        let key = Key { db: 0, hash, bytes: name.as_bytes() };
        let mut once = |tx: &mut dyn Tx| body(tx, &key);
        self.backend.transact(Locks::All, now_ms, &mut once).expect("commits");
    }

    /// Fills a collection, so many elements to a transaction.
    fn fill(&self, name: &str, add: &mut dyn FnMut(&mut dyn Tx, &Key<'_>, u64)) {
        for from in (0..self.size).step_by(500) {
            self.at(1, name, &mut |tx, key| {
                (from..self.size.min(from + 500)).for_each(|n| add(tx, key, n));
            });
        }
    }

    /// Measures an operation, each time with another number below the size.
    fn measure(
        &mut self,
        name: &str,
        what: &'static str,
        most: (u64, u64),
        operation: &mut dyn FnMut(&mut dyn Tx, &Key<'_>, u64),
    ) {
        let mut worst = (0, 0);
        for time in 0..TIMES {
            let number = (time * 7919 + 3) * 104_729 % self.size;
            self.kv.take_counts();
            self.at(1, name, &mut |tx, key| operation(tx, key, number));
            let (read, written) = self.kv.take_counts();
            worst = (worst.0.max(read), worst.1.max(written));
        }
        self.note(what, most, worst);
    }

    fn note(&mut self, what: &'static str, most: (u64, u64), counts: (u64, u64)) {
        self.table.push(Line { what, most, counts });
    }

    fn clean(&self) {
        while self.backend.maintain(0) {}
    }
}

fn text(n: u64) -> Vec<u8> {
    format!("element:{n:08}").into_bytes()
}

fn on_hash(tx: &mut dyn Tx, key: &Key<'_>, body: impl FnOnce(&mut dyn Hash)) {
    body(&mut *tx.hash(key, Open::Create).expect("opens").expect("created"));
}

fn on_set(tx: &mut dyn Tx, key: &Key<'_>, body: impl FnOnce(&mut dyn Set)) {
    body(&mut *tx.set(key, Open::Create).expect("opens").expect("created"));
}

fn on_list(tx: &mut dyn Tx, key: &Key<'_>, body: impl FnOnce(&mut dyn List)) {
    body(&mut *tx.list(key, Open::Create).expect("opens").expect("created"));
}

fn on_zset(tx: &mut dyn Tx, key: &Key<'_>, body: impl FnOnce(&mut dyn SortedSet)) {
    body(&mut *tx.sorted_set(key, Open::Create).expect("opens").expect("created"));
}

fn on_stream(tx: &mut dyn Tx, key: &Key<'_>, body: impl FnOnce(&mut dyn Stream)) {
    body(&mut *tx.stream(key, Open::Create).expect("opens").expect("created"));
}

/// Measures an operation on an opened collection.
macro_rules! measure {
    ($bench:expr, $on:ident $name:literal: $($what:literal $most:ident |$it:ident, $n:ident| $do:expr;)+) => {
        $($bench.measure($name, $what, $most, &mut |tx, key, $n| {
            $on(tx, key, |$it| { $do.expect("works"); });
        });)+
    };
}

fn hashes(bench: &mut Bench) {
    bench.fill("hash", &mut |tx, key, n| {
        on_hash(tx, key, |hash| {
            hash.insert(&text(n), b"value").expect("inserts");
        });
    });
    let mut new = 1 << 40;
    measure!(bench, on_hash "hash":
        "HSET, a new field" ONE |hash, _n| { new += 1; hash.insert(&text(new), b"value") };
        "HSET, a field that is there" ONE |hash, n| hash.insert(&text(n), b"other");
        "HINCRBY" ONE |hash, n| { hash.get(&text(n)).expect("reads"); hash.update(&text(n), b"1") };
        "HGET" ONE |hash, n| hash.get(&text(n));
        "HLEN" ONE |hash, _n| hash.len();
        "HEXPIRE" ONE |hash, n| hash.set_field_expiry(&text(n), Some(9_000_000 + n));
        "HPERSIST" ONE |hash, n| hash.set_field_expiry(&text(n), None);
        "HRANDFIELD" TEN |hash, n| hash.random(n);
        "HSCAN COUNT 10" TEN |hash, _n| hash.scan(0, 10, &mut |_, _| true).map(drop);
        "HDEL" ONE |hash, n| hash.remove(&text(n));
    );
}

fn sets(bench: &mut Bench) {
    bench.fill("set", &mut |tx, key, n| {
        on_set(tx, key, |set| {
            set.insert(&text(n)).expect("inserts");
        });
    });
    let mut new = 1 << 40;
    measure!(bench, on_set "set":
        "SADD" ONE |set, _n| { new += 1; set.insert(&text(new)) };
        "SISMEMBER" ONE |set, n| set.contains(&text(n));
        "SRANDMEMBER" TEN |set, n| set.random(n);
        "SPOP" TEN |set, n| {
            let member = set.random(n).expect("draws").expect("a member").to_vec();
            set.remove(&member)
        };
        "SREM" ONE |set, n| set.remove(&text(n));
    );
}

fn lists(bench: &mut Bench) {
    bench.fill("list", &mut |tx, key, n| {
        on_list(tx, key, |list| list.push(End::Tail, &text(n)).expect("pushes"));
    });
    let mut new = 1 << 40;
    measure!(bench, on_list "list":
        "LPUSH" ONE |list, n| list.push(End::Head, &text(n));
        "RPUSH" ONE |list, n| list.push(End::Tail, &text(n));
        "LPOP" ONE |list, _n| list.pop(End::Head);
        "RPOP" ONE |list, _n| list.pop(End::Tail);
        "LINDEX" ONE |list, n| list.get(n);
        "LSET" ONE |list, n| { new += 1; list.set(n, &text(new)) };
        "LRANGE of ten" TEN |list, n| list.range(n, n + 10, End::Head, &mut |_| true);
        "LINSERT near an end" ONE |list, n| list.insert(1, &text(n));
        "LREM 1 at the head" ONE |list, _n| {
            let first = list.get(0).expect("reads").expect("an element").to_vec();
            list.remove(&first, 1, End::Head)
        };
        "LREM -1 at the tail" ONE |list, _n| {
            list.push(End::Tail, b"before").expect("pushes");
            let last = list.len().expect("a length") - 1;
            let last = list.get(last).expect("reads").expect("an element").to_vec();
            list.remove(&last, 1, End::Tail)
        };
        "RPUSH and LTRIM to a length" ONE |list, n| {
            list.push(End::Tail, &text(n)).expect("pushes");
            let len = list.len().expect("a length");
            list.trim(1, len)
        };
    );
}

fn sorted_sets(bench: &mut Bench) {
    bench.fill("zset", &mut |tx, key, n| {
        let score = (n * 7919 % 100_003) as f64;
        on_zset(tx, key, |zset| {
            zset.insert(&text(n), score).expect("inserts");
        });
    });
    let mut new = 1 << 40;
    let middle = bench.size / 2;
    let score = |score| ScoreBound { score, exclusive: false };
    measure!(bench, on_zset "zset":
        "ZADD, a new member" SCORED |zset, n| { new += 1; zset.insert(&text(new), n as f64) };
        "ZADD, another score" SCORED |zset, n| zset.insert(&text(n), (n * 31 % 99_991) as f64);
        "ZINCRBY" SCORED |zset, n| {
            let score = zset.score(&text(n)).expect("reads").unwrap_or_default();
            zset.insert(&text(n), score + 0.5)
        };
        "ZSCORE" ONE |zset, n| zset.score(&text(n));
        "ZRANK" RANKED |zset, n| zset.rank(&text(n), false);
        "ZREVRANK" RANKED |zset, n| zset.rank(&text(n), true);
        "ZCOUNT" RANKED |zset, n| {
            zset.count(&ZRange::Score { min: score(n as f64 / 3.0), max: score(n as f64) })
        };
        "ZRANGE, ten in the middle" RANKED |zset, _n| {
            let range = ZRange::Rank { start: middle, end: middle + 10 };
            zset.range(&range, false, 0, u64::MAX, &mut |_, _| true)
        };
        "ZREVRANGE, ten in the middle" RANKED |zset, _n| {
            let range = ZRange::Rank { start: middle, end: middle + 10 };
            zset.range(&range, true, 0, u64::MAX, &mut |_, _| true)
        };
        "ZRANGEBYSCORE, LIMIT n 10" RANKED |zset, n| {
            let range = ZRange::Score { min: score(5.0), max: score(f64::INFINITY) };
            zset.range(&range, false, n, 10, &mut |_, _| true)
        };
        "ZREVRANGEBYSCORE, LIMIT n 10" RANKED |zset, n| {
            let range = ZRange::Score { min: score(5.0), max: score(f64::INFINITY) };
            zset.range(&range, true, n, 10, &mut |_, _| true)
        };
        "ZRANDMEMBER" TEN |zset, n| zset.random(n);
        "ZSCAN COUNT 10" TEN |zset, _n| zset.scan(0, 10, &mut |_, _| true).map(drop);
        "ZPOPMIN" SCORED |zset, _n| zset.pop(false);
        "ZADD below all" SCORED |zset, n| { new += 1; zset.insert(&text(new), -(n as f64)) };
        "ZREM" SCORED |zset, n| zset.remove(&text(n));
        "ZADD above all" SCORED |zset, n| { new += 1; zset.insert(&text(new), 1e9 + n as f64) };
        "ZPOPMAX" SCORED |zset, _n| zset.pop(true);
        "ZREMRANGEBYRANK of two" RANKED |zset, n| {
            zset.insert(&text(n), 3.0).expect("inserts");
            zset.remove_range(&ZRange::Rank { start: n, end: n + 2 })
        };
    );
    bench.fill("lex", &mut |tx, key, n| {
        on_zset(tx, key, |zset| {
            zset.insert(&text(n), 0.0).expect("inserts");
        });
    });
    measure!(bench, on_zset "lex":
        "ZLEXCOUNT" RANKED |zset, n| {
            let (from, to) = (text(n / 3), text(n));
            let (min, max) = (LexBound::Inclusive(&from), LexBound::Exclusive(&to));
            zset.count(&ZRange::Lex { min, max })
        };
        "ZRANGEBYLEX, LIMIT n 10" RANKED |zset, n| {
            let range = ZRange::Lex { min: LexBound::Min, max: LexBound::Max };
            zset.range(&range, false, n, 10, &mut |_, _| true)
        };
    );
}

fn id(ms: u64) -> StreamId {
    StreamId { ms, seq: 0 }
}

fn streams(bench: &mut Bench) {
    let pending = |n| Pending { id: id(n + 1), consumer: b"c", delivered_ms: 1, deliveries: 1 };
    bench.fill("stream", &mut |tx, key, n| {
        on_stream(tx, key, |stream| {
            stream.append(id(n + 1), &[(b"field", b"value")]).expect("appends");
            if n == 0 {
                stream.set_group(b"g", id(1), None).expect("makes");
                stream.set_consumer(b"g", b"c", 1, None).expect("makes");
            }
            stream.set_pending(b"g", &pending(n)).expect("delivers");
        });
    });
    let mut new = bench.size + 1;
    let half = Trim { to: TrimTo::MaxLen(bench.size / 2), approximate: true, limit: 1 };
    measure!(bench, on_stream "stream":
        "XADD" ONE |stream, _n| { new += 1; stream.append(id(new), &[(b"field", b"value")]) };
        "XADD MAXLEN" ONE |stream, _n| {
            new += 1;
            stream.append(id(new), &[(b"field", b"value")]).expect("appends");
            let len = stream.info().expect("reads").len;
            stream.trim(&Trim { to: TrimTo::MaxLen(len - 1), approximate: false, limit: 0 })
        };
        "XTRIM that removes nothing" ONE |stream, _n| stream.trim(&half);
        "XLEN" ONE |stream, _n| stream.info();
        "XRANGE COUNT 10" TEN |stream, n| {
            let mut left = 10;
            stream.range(id(n), id(u64::MAX), false, &mut |_, _| { left -= 1; left > 0 })
        };
        "XREVRANGE COUNT 10" TEN |stream, n| {
            let mut left = 10;
            stream.range(id(0), id(n), true, &mut |_, _| { left -= 1; left > 0 })
        };
        "XDEL" ONE |stream, n| stream.delete(id(n));
        "XDEL of the first" ONE |stream, _n| {
            let first = stream.info().expect("reads").first_id;
            stream.delete(first)
        };
        "XPENDING" TEN |stream, _n| stream.pending_ends(b"g");
        "XCLAIM" TEN |stream, n| stream.set_pending(b"g", &pending(n));
        "XACK" TEN |stream, n| stream.remove_pending(b"g", id(n + 1));
    );
}

/// Operations that drop a whole collection.
fn drops(bench: &mut Bench) {
    let one = |bench: &mut Bench, what, drop_it: &mut dyn FnMut(&mut dyn Tx, &Key<'_>)| {
        bench.fill("hash", &mut |tx, key, n| {
            on_hash(tx, key, |it| {
                it.insert(&text(n), b"value").expect("inserts");
            });
        });
        bench.kv.take_counts();
        bench.at(1, "hash", drop_it);
        let counts = bench.kv.take_counts();
        bench.note(what, ONE, counts);
    };
    one(bench, "DEL", &mut |tx, key| assert!(tx.remove(key).expect("removes")));
    one(bench, "SET over a collection", &mut |tx, key| {
        tx.set_string(key, b"value", NewExpiry::Clear).expect("sets");
    });
    bench.at(1, "hash", &mut |tx, key| assert!(tx.remove(key).expect("removes")));
    one(bench, "RENAME", &mut |tx, key| {
        let to = Key { bytes: b"other", ..*key };
        assert!(tx.rename(key, &to).expect("renames"));
    });
    one(bench, "RENAME over a collection", &mut |tx, key| {
        let to = Key { bytes: b"other", ..*key };
        assert!(tx.rename(&to, key).expect("renames"));
    });
    one(bench, "EXPIRE in the past, met later", &mut |tx, key| {
        tx.set_expiry(key, Some(1)).expect("sets");
        assert_eq!(tx.kind(key).expect("reads"), None);
    });
    one(bench, "FLUSHDB", &mut |tx, _| assert!(tx.clear(0).expect("clears") > 0));
    bench.at(1, "hash", &mut |tx, key| assert_eq!(tx.kind(key).expect("reads"), None));
}

/// Operations that empty a collection at one go; a stream stays, with its groups.
fn empty(bench: &mut Bench) {
    // A small one is emptied record by record.
    let most = if bench.size < 1000 { (120, 120) } else { (12, 12) };
    let mut one = |name, what, body: &mut dyn FnMut(&mut dyn Tx, &Key<'_>)| {
        bench.kv.take_counts();
        bench.at(1, name, body);
        let counts = bench.kv.take_counts();
        bench.note(what, most, counts);
    };
    let all = Trim { to: TrimTo::MaxLen(0), approximate: false, limit: 0 };
    one("list", "LTRIM to nothing", &mut |tx, key| {
        on_list(tx, key, |list| list.trim(1, 1).expect("trims"));
    });
    one("zset", "ZREMRANGEBYRANK 0 -1", &mut |tx, key| {
        let everything = ZRange::Rank { start: 0, end: u64::MAX };
        on_zset(tx, key, |zset| assert!(zset.remove_range(&everything).expect("removes") > 0));
    });
    one("stream", "XTRIM MAXLEN 0", &mut |tx, key| {
        on_stream(tx, key, |stream| assert!(stream.trim(&all).expect("trims") > 0));
    });
}

#[test]
fn work_does_not_grow_with_the_collection() {
    let mut table = Vec::new();
    for size in [10, MANY] {
        let mut bench = Bench::new(size);
        for family in [hashes, sets, lists, sorted_sets, streams] {
            family(&mut bench);
        }
        empty(&mut bench);
        bench.at(1, "stream", &mut |tx, key| {
            on_stream(tx, key, |stream| {
                let group = stream.group(b"g").expect("reads").expect("groups stay");
                assert_eq!(group.consumers, 1);
            });
            assert!(tx.remove(key).expect("removes"));
        });
        for name in ["hash", "set", "lex"] {
            bench.at(1, name, &mut |tx, key| assert!(tx.remove(key).expect("removes")));
        }
        bench.size = bench.size.min(5000);
        drops(&mut bench);
        bench.clean();
        // Metadata, elements, expiries, garbage: nothing is left behind.
        for space in 1..5 {
            assert_eq!(bench.kv.records(Space(space)), 0, "space {space}");
        }
        table.extend(bench.table);
    }
    let (small, large) = table.split_at(table.len() / 2);
    println!("{:32} {:>16} {:>16}   records read, written", "", "10", MANY);
    for (small, large) in small.iter().zip(large) {
        let (in_small, in_large) = (format!("{:?}", small.counts), format!("{:?}", large.counts));
        println!("{:32} {in_small:>16} {in_large:>16}", small.what);
    }
    let too_much = table.iter().filter(|line| line.is_too_much());
    let too_much: Vec<_> = too_much.map(|line| (line.what, line.counts, line.most)).collect();
    assert!(too_much.is_empty(), "more records read and written than promised: {too_much:?}");
}
