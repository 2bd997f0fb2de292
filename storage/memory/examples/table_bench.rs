//! Measures the cost of the memory backend's table, through the trait objects a server uses.
//!
//! `cargo run --release -p storage-memory --example table_bench [keys] [growth keys]`
//!
//! Prints nanoseconds per GET, overwriting SET and insertion of random keys, with and without
//! batched prefetch, the slowest single insertion while growing, and bytes per key. Times are the
//! thread's processor time, so that a busy machine disturbs them less. Every measurement has a
//! process of its own, so that resident memory is that measurement's.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use storage::types::End;
use storage::{Backend, Key, Locks, NewExpiry, Open, Tx};
use storage_memory::{Config, MemoryBackend};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Requests prefetched together, as a server does with a pipeline.
const BATCH: usize = 32;
const KEY_BYTES: usize = 16;
const NOW_MS: u64 = 1_700_000_000_000;

type Name = [u8; KEY_BYTES];

fn name(n: u64) -> Name {
    let mut name = *b"key:000000000000";
    let mut digits = n;
    for byte in name[4..].iter_mut().rev() {
        *byte = b'0' + (digits % 10) as u8;
        digits /= 10;
    }
    name
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split_whitespace().nth(1).and_then(|field| field.parse().ok());
    pages.unwrap_or(0u64) * 4096
}

/// Processor time of this thread so far.
fn thread_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live `timespec`, which is all the call writes to.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

struct Bench {
    backend: Arc<dyn Backend>,
    keys: u64,
}

impl Bench {
    fn run(&self, hash: u64, body: &mut dyn FnMut(&mut dyn Tx)) {
        let shard = self.backend.shard_of(hash);
        self.backend.transact(Locks::One(shard), NOW_MS, body).expect("memory does not fail");
    }

    fn set(&self, name: &Name, hash: u64, value: &[u8], expiry: NewExpiry) {
        let key = Key { db: 0, hash, bytes: name };
        self.run(hash, &mut |tx| tx.set_string(&key, value, expiry).expect("set"));
    }

    fn get(&self, name: &Name, hash: u64) {
        let key = Key { db: 0, hash, bytes: name };
        self.run(hash, &mut |tx| {
            let value = tx.string(&key).expect("get").expect("it is there");
            // Read it, as a reply would.
            black_box(value.as_bytes().iter().step_by(8).fold(0, |sum, byte| sum ^ byte));
        });
    }

    /// Nanoseconds per operation on random keys, in batches.
    fn batches(&self, prefetch: bool, mut operation: impl FnMut(&Self, &Name, u64)) -> f64 {
        let mut state = 0x1234_5678_9abc_def1;
        let (mut names, mut hashes) = ([[0; KEY_BYTES]; BATCH], [0; BATCH]);
        let rounds = 3_000_000 / BATCH;
        let start = thread_time();
        for _ in 0..rounds {
            for (slot, hash) in names.iter_mut().zip(&mut hashes) {
                *slot = name(random(&mut state) % self.keys);
                *hash = self.backend.hash(slot);
            }
            if prefetch {
                self.backend.prefetch(0, &hashes);
            }
            for (name, &hash) in names.iter().zip(&hashes) {
                operation(self, name, hash);
            }
        }
        (thread_time() - start).as_nanos() as f64 / (rounds * BATCH) as f64
    }

    /// Inserts keys in ascending order of number, which is random order of hash: nanoseconds per
    /// key.
    fn fill(&self, expiry: NewExpiry) -> f64 {
        let start = thread_time();
        for n in 0..self.keys {
            let name = name(n);
            self.set(&name, self.backend.hash(&name), &[b'v'; 64], expiry);
        }
        (thread_time() - start).as_nanos() as f64 / self.keys as f64
    }

    /// Inserts as `fill` does, and lowers `least` to what each insertion took, if it took less.
    fn time_insertions(&self, least: &mut [Duration]) {
        for (n, least) in least.iter_mut().enumerate() {
            let name = name(n as u64);
            let before = thread_time();
            self.set(&name, self.backend.hash(&name), &[b'v'; 64], NewExpiry::Clear);
            *least = (*least).min(thread_time() - before);
        }
    }
}

fn bench(shards: u32, keys: u64) -> Bench {
    let config = Config { shards, hash_seed: 0x5eed_5eed, ..Config::default() };
    Bench { backend: Arc::new(MemoryBackend::new(config)), keys }
}

/// Memory and speed with so many keys.
fn measure(shards: u32, keys: u64, with_expiry: bool) {
    let before = resident();
    let bench = bench(shards, keys);
    let expiry = if with_expiry { NewExpiry::At(NOW_MS + 1_000_000) } else { NewExpiry::Clear };
    let mean = bench.fill(expiry);
    let per_key = (resident() - before) as f64 / keys as f64;
    let counted = bench.backend.stats().memory_bytes as f64 / keys as f64;
    println!(
        "{shards} shards, {keys} keys, expiry {with_expiry}: insert {mean:.0} ns; \
         bytes per key: resident {per_key:.1}, counted {counted:.1}"
    );
    if !with_expiry {
        operations(&bench);
    }
}

fn operations(bench: &Bench) {
    let hashing = bench.batches(false, |_, name, hash| {
        black_box((name, hash));
    });
    println!("  making and hashing a name: {hashing:.1} ns, taken off below");
    for prefetch in [false, true] {
        let get = bench.batches(prefetch, Bench::get) - hashing;
        let set = bench.batches(prefetch, |bench, name, hash| {
            bench.set(name, hash, &[b'w'; 64], NewExpiry::Clear);
        }) - hashing;
        println!("  prefetch {prefetch}: GET {get:.1} ns, overwriting SET {set:.1} ns");
    }
}

/// The slowest single insertion. The same insertions are made three times, and each counts with
/// the least it took: what the machine did meanwhile drops out, what the table does stays.
fn slowest(shards: u32, keys: u64) {
    let mut least = vec![Duration::MAX; keys as usize];
    for _ in 0..3 {
        bench(shards, keys).time_insertions(&mut least);
    }
    least.sort_unstable();
    let at = |share: f64| least[((keys - 1) as f64 * share) as usize];
    println!(
        "{shards} shards, growing to {keys} keys: insertion median {:?}, 99% {:?}, 99.99% {:?}, \
         slowest {:?}",
        at(0.5),
        at(0.99),
        at(0.9999),
        at(1.0)
    );
}

/// Bytes per element of collections: one large one of each type, or many small hashes.
fn collections(what: &str, elements: u64) {
    let before = resident();
    let bench = bench(16, 1);
    let fill = |key: &Key<'_>, range: std::ops::Range<u64>| {
        bench.run(key.hash, &mut |tx| match what {
            "zset" => {
                let mut zset = tx.sorted_set(key, Open::Create).expect("open").expect("made");
                let mut state = 7;
                for n in range.clone() {
                    zset.insert(&name(n), (random(&mut state) % 1_000_000) as f64).expect("add");
                }
            }
            "set" => {
                let mut set = tx.set(key, Open::Create).expect("open").expect("made");
                range.clone().for_each(|n| assert!(set.insert(&name(n)).expect("add")));
            }
            "list" => {
                let mut list = tx.list(key, Open::Create).expect("open").expect("made");
                range.clone().for_each(|n| list.push(End::Tail, &name(n)).expect("push"));
            }
            _ => {
                let mut hash = tx.hash(key, Open::Create).expect("open").expect("made");
                for n in range.clone() {
                    let field = format!("field{}", n % 10);
                    let field = if what == "hash" { &name(n)[..] } else { field.as_bytes() };
                    hash.insert(field, &name(n)[8..]).expect("add");
                }
            }
        });
    };
    let keys = if what == "hashes" { elements } else { 1 };
    let start = thread_time();
    for n in 0..keys {
        let name = name(n);
        let key = Key { db: 0, hash: bench.backend.hash(&name), bytes: &name };
        fill(&key, if what == "hashes" { n * 10..n * 10 + 10 } else { 0..elements });
    }
    let time = (thread_time() - start).as_nanos() as f64 / elements as f64;
    let per_element = (resident() - before) as f64 / elements as f64;
    let counted = bench.backend.stats().memory_bytes as f64 / elements as f64;
    println!(
        "{elements} {what}: {time:.0} ns, resident {per_element:.1} bytes, counted {counted:.1}"
    );
}

/// Runs one measurement in a process of its own.
fn apart(what: &str, shards: u32, keys: u64) {
    let arguments = [what.to_string(), shards.to_string(), keys.to_string()];
    let child = std::env::current_exe()
        .and_then(|exe| std::process::Command::new(exe).args(arguments).status());
    assert!(child.is_ok_and(|status| status.success()), "{what} failed");
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| arguments.get(at).and_then(|text| text.parse::<u64>().ok());
    let (shards, keys) = (number(1).unwrap_or(1) as u32, number(2).unwrap_or(1));
    match arguments.first().map(String::as_str) {
        Some("plain") => measure(shards, keys, false),
        Some("expiring") => measure(shards, keys, true),
        Some("growth") => slowest(shards, keys),
        Some(what @ ("zset" | "set" | "list" | "hash" | "hashes")) => collections(what, keys),
        _ => {
            let (keys, growth) = (number(0).unwrap_or(1_000_000), number(1).unwrap_or(10_000_000));
            for shards in [1, 16, 256] {
                apart("plain", shards, keys);
                apart("expiring", shards, keys);
            }
            for what in ["zset", "set", "list", "hash", "hashes"] {
                apart(what, 16, keys);
            }
            apart("growth", 1, growth);
            apart("growth", 16, growth);
        }
    }
}
