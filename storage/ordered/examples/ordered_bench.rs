//! Measures the cost of one operation on each ordered engine, in process, one thread, one transaction each:
//! `cargo run --release -p storage-ordered --features sled,fjall --example ordered_bench -- [ELEMENTS] [CACHE]`
//! (VARVE_BENCH_ENGINE=sled runs that engine only).
//!
//! Every operation runs in a collection of ten elements and, taking turns with it, in one of
//! ELEMENTS (default 1,000,000), with CACHE MiB (default 64) of engine cache. Shown: the median
//! call in each, which a busy machine does not change much, their ratio, and the slowest calls.
//! Then what dropping the large one costs.

use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::types::{End, ZRange};
use storage::{Backend, Key, Locks, Open, StreamId, Tx};
use storage_ordered::{Config, Engine, OrderedBackend};

/// Calls per turn, and turns.
const CALLS: u64 = 500;
const TURNS: u64 = 20;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let elements = arguments.next().transpose()?.unwrap_or(1_000_000);
    let cache_bytes = arguments.next().transpose()?.unwrap_or(64) << 20;
    let engines = [
        #[cfg(feature = "sled")]
        Engine::Sled,
        #[cfg(feature = "fjall")]
        Engine::Fjall,
    ];
    let only = std::env::var("VARVE_BENCH_ENGINE").unwrap_or_default();
    for engine in engines {
        if !format!("{engine:?}").to_lowercase().contains(&only) {
            continue;
        }
        let dir = tempfile::tempdir()?;
        let config = Config { cache_bytes, ..Config::new(dir.path(), engine) };
        let backend = Arc::new(OrderedBackend::open(&config)?);
        run(&mut Bench { backend, random: 1 }, elements)?;
    }
    Ok(())
}

struct Bench {
    backend: Arc<OrderedBackend>,
    random: u64,
}

/// An operation on the collection of a name, with a random number.
type Operation<'a> = &'a mut dyn FnMut(&mut dyn Tx, &Key<'_>, u64);

impl Bench {
    /// Runs `body` as a transaction over one key.
    fn on(&self, name: &str, body: &mut dyn FnMut(&mut dyn Tx, &Key<'_>)) {
        let hash = self.backend.hash(name.as_bytes());
        let key = Key { db: 0, hash, bytes: name.as_bytes() };
        let locks = Locks::One(self.backend.shard_of(hash));
        self.backend.transact(locks, 1, &mut |tx| body(tx, &key)).expect("the store works");
    }

    fn number(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
        self.random >> 20
    }

    /// Times the calls of a turn.
    fn turn(&mut self, name: &str, size: u64, times: &mut Vec<Duration>, operation: Operation<'_>) {
        for _ in 0..CALLS {
            let number = self.number() % size;
            let one = Instant::now();
            self.on(name, &mut |tx, key| operation(tx, key, number));
            times.push(one.elapsed());
        }
    }

    /// Measures in turns; the median calls, and the slowest.
    fn measure(&mut self, what: &str, name: &str, elements: u64, operation: Operation<'_>) {
        let mut times = [Vec::new(), Vec::new()];
        let names = [(format!("{name}:small"), 10), (format!("{name}:large"), elements)];
        // The first turn warms up.
        for turn in 0..TURNS {
            for ((name, size), times) in names.iter().zip(&mut times) {
                times.truncate(if turn == 1 { 0 } else { usize::MAX });
                self.turn(name, *size, times, operation);
            }
        }
        let [small, large] = times.map(|mut times| {
            times.sort_unstable();
            (times[times.len() / 2], times[times.len() - 1])
        });
        let ratio = large.0.as_secs_f64() / small.0.as_secs_f64();
        let engine = self.backend.name();
        let (median, slowest) = ((small.0, large.0), (small.1, large.1));
        println!("{engine:6} {what:24} {median:?}, ratio {ratio:.2}, slowest {slowest:?}");
    }

    /// Fills the collections of a name, so many elements to a transaction.
    fn fill(&mut self, name: &str, elements: u64, add: Operation<'_>) {
        let began = Instant::now();
        for (size, which) in [(10, "small"), (elements, "large")] {
            for from in (0..size).step_by(100) {
                self.on(&format!("{name}:{which}"), &mut |tx, key| {
                    (from..size.min(from + 100)).for_each(|n| add(tx, key, n));
                });
            }
        }
        let each = began.elapsed().as_nanos() as u64 / elements;
        println!("{:6} {name}: filled, {each} ns an element", self.backend.name());
    }
}

fn field(n: u64) -> Vec<u8> {
    format!("field:{n:010}").into_bytes()
}

fn hset(tx: &mut dyn Tx, key: &Key<'_>, n: u64, value: &[u8]) {
    let mut hash = tx.hash(key, Open::Create).expect("a hash").expect("created");
    hash.insert(&field(n), value).expect("inserted");
}

fn zadd(tx: &mut dyn Tx, key: &Key<'_>, n: u64, score: f64) {
    let mut zset = tx.sorted_set(key, Open::Create).expect("a set").expect("created");
    zset.insert(&field(n), score).expect("inserted");
}

fn sadd(tx: &mut dyn Tx, key: &Key<'_>, n: u64) {
    let mut set = tx.set(key, Open::Create).expect("a set").expect("created");
    set.insert(&field(n)).expect("inserted");
}

fn push(tx: &mut dyn Tx, key: &Key<'_>, n: u64) {
    let mut list = tx.list(key, Open::Create).expect("a list").expect("created");
    list.push(End::Head, &field(n)).expect("pushed");
}

fn xadd(tx: &mut dyn Tx, key: &Key<'_>, ms: u64) {
    let mut stream = tx.stream(key, Open::Create).expect("a stream").expect("created");
    stream.append(StreamId { ms, seq: 0 }, &[(b"field", b"value")]).expect("appended");
}

fn run(bench: &mut Bench, n: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut next = 1u64 << 32;
    let mut new = move || {
        next += 1;
        next
    };
    bench.fill("hash", n, &mut |tx, key, at| hset(tx, key, at, b"a value"));
    bench.measure("HSET", "hash", n, &mut |tx, key, at| hset(tx, key, at, &new().to_le_bytes()));
    bench.measure("HGET", "hash", n, &mut |tx, key, at| {
        let mut hash = tx.hash(key, Open::Existing).expect("a hash").expect("there");
        hash.get(&field(at)).expect("read");
    });
    drop_large(bench, "hash");
    bench.fill("set", n, &mut |tx, key, at| sadd(tx, key, at));
    bench.measure("SADD and SREM", "set", n, &mut |tx, key, at| {
        let member = at + (1 << 33);
        sadd(tx, key, member);
        let mut set = tx.set(key, Open::Existing).expect("a set").expect("there");
        set.remove(&field(at)).expect("removed");
        set.insert(&field(at)).expect("inserted");
        set.remove(&field(member)).expect("removed");
    });
    drop_large(bench, "set");
    bench.fill("list", n, &mut |tx, key, at| push(tx, key, at));
    bench.measure("LPUSH", "list", n, &mut |tx, key, at| push(tx, key, at));
    bench.measure("LINDEX", "list", n, &mut |tx, key, at| {
        let mut list = tx.list(key, Open::Existing).expect("a list").expect("there");
        list.get(at).expect("read");
    });
    drop_large(bench, "list");
    bench.fill("stream", n, &mut |tx, key, at| xadd(tx, key, at + 1));
    bench.measure("XADD", "stream", n, &mut |tx, key, _| xadd(tx, key, new()));
    drop_large(bench, "stream");
    bench.fill("zset", n, &mut |tx, key, at| zadd(tx, key, at, (at * 7919 % 1_000_003) as f64));
    bench.measure("ZADD, another score", "zset", n, &mut |tx, key, at| {
        zadd(tx, key, at, (new() * 31 % 999_983) as f64);
    });
    bench.measure("ZINCRBY 1", "zset", n, &mut |tx, key, at| {
        let mut zset = tx.sorted_set(key, Open::Create).expect("a set").expect("created");
        let score = zset.score(&field(at)).expect("read").unwrap_or_default();
        zset.insert(&field(at), score + 1.0).expect("inserted");
    });
    bench.measure("ZRANK", "zset", n, &mut |tx, key, at| {
        let mut zset = tx.sorted_set(key, Open::Existing).expect("a set").expect("there");
        zset.rank(&field(at), false).expect("ranked");
    });
    bench.measure("ZRANGE of ten by index", "zset", n, &mut |tx, key, at| {
        let mut zset = tx.sorted_set(key, Open::Existing).expect("a set").expect("there");
        let range = ZRange::Rank { start: at, end: at + 10 };
        zset.range(&range, false, 0, u64::MAX, &mut |_, _| true).expect("ranged");
    });
    bench.measure("ZADD, a new member", "zset", n, &mut |tx, key, at| {
        zadd(tx, key, new(), (at * 31 % 999_983) as f64);
    });
    bench.measure("ZPOPMIN, ZADD", "zset", n, &mut |tx, key, _| {
        let mut zset = tx.sorted_set(key, Open::Existing).expect("a set").expect("there");
        zset.pop(false).expect("popped");
        drop(zset);
        zadd(tx, key, new(), 1e6);
    });
    drop_large(bench, "zset");
    println!("{:6} {} bytes on disk", bench.backend.name(), bench.backend.stats().disk_bytes);
    Ok(())
}

/// Drops a large collection, then cleans up.
fn drop_large(bench: &Bench, name: &str) {
    let began = Instant::now();
    bench.on(&format!("{name}:large"), &mut |tx, key| assert!(tx.remove(key).expect("removed")));
    println!("{:6} DEL of the large {name}: {:?}", bench.backend.name(), began.elapsed());
    let (began, mut slices, mut slowest) = (Instant::now(), 0u64, Duration::ZERO);
    loop {
        let one = Instant::now();
        let more = bench.backend.maintain(0);
        slowest = slowest.max(one.elapsed());
        slices += 1;
        if !more {
            break;
        }
    }
    let (name, took) = (bench.backend.name(), began.elapsed());
    println!("{name:6} cleaned up in {slices} slices, {took:?}, the slowest {slowest:?}");
}
