//! What one operation costs on each ordered engine, in process, one thread, one transaction each:
//! `cargo run --release -p storage --features sled,fjall --example ordered_bench -- [KEYS] [FIELDS]`
//! (VARVE_BENCH_ENGINE=sled runs that engine only).
//!
//! KEYS (default 200,000) 16-byte keys with 64-byte values for GET and SET; FIELDS (default 100,000)
//! elements in the large collections. Shown per operation: wall time, and CPU time of the whole
//! process, engine threads included (from /proc; zero elsewhere).

use std::sync::Arc;
use std::time::{Duration, Instant};
use storage::ordered::{Config, Engine, OrderedBackend};
use storage::{Backend, Expiry, Key, Locks, Open, Tx};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let keys = arguments.next().transpose()?.unwrap_or(200_000);
    let fields = arguments.next().transpose()?.unwrap_or(100_000);
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
        let backend = Arc::new(OrderedBackend::open(&Config::new(dir.path(), engine))?);
        run(&Bench { backend, random: 1 }, keys, fields)?;
    }
    Ok(())
}

/// Nanoseconds of CPU all threads of this process have had.
fn cpu_ns() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    let of = |path| std::fs::read_to_string(path).ok()?.split(' ').next()?.parse::<u64>().ok();
    tasks.flatten().filter_map(|task| of(task.path().join("schedstat"))).sum()
}

struct Bench {
    backend: Arc<OrderedBackend>,
    random: u64,
}

impl Bench {
    /// Runs `body` as a transaction over one key.
    fn on(&self, name: &[u8], mut body: impl FnMut(&mut dyn Tx, &Key<'_>)) {
        let hash = self.backend.hash(name);
        let key = Key { db: 0, hash, bytes: name };
        let locks = Locks::One(self.backend.shard_of(hash));
        self.backend.transact(locks, 1, &mut |tx| body(tx, &key)).expect("the store works");
    }

    /// Times `count` calls; prints the mean and the slowest.
    fn time(&self, what: &str, count: u64, mut call: impl FnMut(u64)) {
        let (begin, mut slowest, mut number) = (Instant::now(), Duration::ZERO, self.random);
        let cpu_before = cpu_ns();
        for _ in 0..count {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(99);
            let one = Instant::now();
            call(number >> 20);
            slowest = slowest.max(one.elapsed());
        }
        let mean = begin.elapsed().as_nanos() as u64 / count.max(1);
        let cpu = cpu_ns().saturating_sub(cpu_before) / count.max(1);
        let name = self.backend.name();
        println!("{name:6} {what:26} {mean:>8} ns  cpu {cpu:>8} ns  slowest {slowest:?}");
    }

    fn set_field(&self, name: &[u8], field: u64, value: &[u8]) {
        self.on(name, |tx, key| {
            let mut hash = tx.hash(key, Open::Create).expect("a hash").expect("created");
            hash.insert(format!("field:{field:010}").as_bytes(), value).expect("inserted");
        });
    }

    fn add_member(&self, name: &[u8], member: u64, score: f64) {
        self.on(name, |tx, key| {
            let mut set = tx.sorted_set(key, Open::Create).expect("a set").expect("created");
            set.insert(format!("member:{member:09}").as_bytes(), score).expect("inserted");
        });
    }
}

fn run(bench: &Bench, keys: u64, fields: u64) -> Result<(), Box<dyn std::error::Error>> {
    let value = [b'v'; 64];
    let name = |n: u64| format!("key:{n:012}");
    let mut next = 0..keys;
    bench.time("SET new", keys, |_| {
        let n = next.next().unwrap_or_default();
        bench.on(name(n).as_bytes(), |tx, key| {
            tx.set_string(key, &value, Expiry::Clear).expect("set");
        });
    });
    bench.time("SET overwrite", keys, |n| {
        let value = [n as u8; 64];
        bench.on(name(n % keys).as_bytes(), |tx, key| {
            tx.set_string(key, &value, Expiry::Clear).expect("set");
        });
    });
    bench.time("GET", keys, |n| {
        bench.on(name(n % keys).as_bytes(), |tx, key| {
            assert!(tx.string(key).expect("read").is_some());
        });
    });
    let mut next = 0..fields;
    let fill = fields;
    bench.time("HSET new field", fill, |_| {
        bench.set_field(b"large", next.next().unwrap_or_default(), b"a value");
    });
    bench.time("HSET in 10 fields", 20_000, |n| {
        bench.set_field(b"small", n % 10, &n.to_le_bytes());
    });
    bench.time("HSET in the large hash", 20_000, |n| {
        bench.set_field(b"large", n % fields, &n.to_le_bytes());
    });
    let mut next = 0..fields;
    bench.time("ZADD new member", fields, |n| {
        bench.add_member(b"zset", next.next().unwrap_or_default(), (n % 1000) as f64);
    });
    bench.time("ZADD new score, large set", 20_000, |n| {
        bench.add_member(b"zset", n % fields, (n % 7919) as f64);
    });
    bench.time("DEL of the large hash", 1, |_| {
        bench.on(b"large", |tx, key| assert!(tx.remove(key).expect("removed")));
    });
    let mut slices = 0;
    let cleaning = Instant::now();
    while bench.backend.maintain(0) {
        slices += 1;
    }
    println!("{:6} cleaned up in {slices} slices, {:?}", bench.backend.name(), cleaning.elapsed());
    bench.time("flush", 1, |_| bench.backend.flush().expect("flushed"));
    println!("{:6} {} bytes on disk", bench.backend.name(), bench.backend.stats().disk_bytes);
    Ok(())
}
