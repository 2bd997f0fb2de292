//! What the log costs: nanoseconds to append an effect, from one thread and from several, and
//! commands per second when it is loaded.
//!
//! `cargo run --release -p storage --example aof_bench [commands]`

use std::hint::black_box;
use std::path::Path;
use std::thread;
use std::time::Instant;
use storage::aof::{Aof, Command, Options, Replay};
use storage::{Durability, Journal, Lsn, rdb};

/// Counts what it is given.
#[derive(Default)]
struct Count {
    commands: u64,
    bytes: u64,
}

impl Replay for Count {
    fn entry(&mut self, _: rdb::Entry) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn commands(&mut self, _: Lsn, commands: &[Command<'_>]) -> Result<(), String> {
        self.commands += commands.len() as u64;
        self.bytes +=
            commands.iter().flat_map(|c| c.request.iter()).map(|a| a.len() as u64).sum::<u64>();
        Ok(())
    }
}

fn append(dir: &Path, commands: u64, threads: u64) {
    let options = Options { durability: Durability::Never, ..Options::new(dir) };
    let (aof, _) = Aof::open(options, &mut Count::default()).expect("an empty directory");
    let value = [b'v'; 64];
    let begin = Instant::now();
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for i in 0..commands / threads {
                    let key = (i & 0xf_ffff) + 1_000_000_000_000_000;
                    let mut digits = itoa::Buffer::new();
                    let key = digits.format(key).as_bytes();
                    let lsn = black_box(aof.append(0, &[b"SET", key, &value]));
                    // One write for every pipeline of 64.
                    if i % 64 == 63 {
                        aof.write_up_to(lsn);
                    }
                }
            });
        }
    });
    let ns = begin.elapsed().as_nanos() as f64 / commands as f64;
    println!("append, {threads} thread(s), a write(2) per 64: {ns:.1} ns per effect");
    let begin = Instant::now();
    for _ in 0..100_000u64 {
        black_box(aof.append(0, &[b"SET", b"1000000000000000", &value]));
    }
    let ns = begin.elapsed().as_nanos() as f64 / 1e5;
    println!("append only: {ns:.1} ns per effect");
}

fn main() {
    let commands = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4_000_000u64);
    for threads in [1, 2] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        append(dir.path(), commands, threads);
        let (mut count, begin) = (Count::default(), Instant::now());
        let (_aof, loaded) = Aof::open(Options::new(dir.path()), &mut count).expect("a good log");
        let seconds = begin.elapsed().as_secs_f64();
        println!(
            "load: {} commands, {:.0} MB in {seconds:.2} s: {:.1} M/s",
            count.commands,
            loaded.bytes as f64 / 1e6,
            count.commands as f64 / 1e6 / seconds
        );
    }
}
