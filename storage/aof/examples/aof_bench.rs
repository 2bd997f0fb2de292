//! Measures the cost of the log: nanoseconds to append an effect, from one thread and from several, and
//! commands per second when it is loaded.
//!
//! `cargo run --release -p storage-aof --example aof_bench [commands]`

use std::hint::black_box;
use std::path::Path;
use std::thread;
use storage::{Durability, Journal, Position, rdb};
use storage_aof::{Aof, Command, Options, Refused, Replay};

/// Counts what it is given.
#[derive(Default)]
struct Count {
    commands: u64,
    bytes: u64,
}

impl Replay for Count {
    fn entry(&mut self, _: rdb::KeyValue) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn commands(&mut self, _: Position, _: u64, commands: &[Command<'_>]) -> Result<(), Refused> {
        self.commands += commands.len() as u64;
        self.bytes +=
            commands.iter().flat_map(|c| c.request.iter()).map(|a| a.len() as u64).sum::<u64>();
        Ok(())
    }
}

/// CPU time of this thread, nanoseconds: what others do on the machine does not count.
fn cpu_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is valid for writing, and the clock exists on every system libc knows it for.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// One thread's share: pipelines of 64, one write(2) each. CPU nanoseconds of appending, of writing.
fn pipelines(aof: &Aof, commands: u64) -> (u64, u64) {
    let (value, mut appending, mut writing) = ([b'v'; 64], 0, 0);
    for pipeline in 0..commands / 64 {
        let begin = cpu_ns();
        let mut position = Position::log(0);
        for i in 0..64 {
            let mut digits = itoa::Buffer::new();
            let key = digits.format(1_000_000_000_000_000 + pipeline % 16_384 * 64 + i).as_bytes();
            position =
                black_box(aof.append(0, 0, &[b"SET", key, &value]).expect("it takes everything"));
        }
        let appended = cpu_ns();
        aof.write_up_to(position);
        appending += appended - begin;
        writing += cpu_ns() - appended;
    }
    (appending, writing)
}

fn append(dir: &Path, commands: u64, threads: u64) {
    let options = Options { durability: Durability::Never, ..Options::new(dir) };
    let (aof, _) = Aof::open(options, &mut Count::default()).expect("an empty directory");
    let (appending, writing) = thread::scope(|scope| {
        let work = || pipelines(&aof, commands / threads);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let each = threads.into_iter().map(|thread| thread.join().expect("no panic"));
        each.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
    });
    let per = |ns: u64| ns as f64 / commands as f64;
    println!(
        "{threads} thread(s), pipelines of 64: append {:.1} ns, write(2) {:.1} ns CPU per effect",
        per(appending),
        per(writing)
    );
}

fn main() {
    let commands = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4_000_000u64);
    for threads in [1, 2] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        append(dir.path(), commands, threads);
        let (mut count, begin) = (Count::default(), cpu_ns());
        let (_aof, loaded) = Aof::open(Options::new(dir.path()), &mut count).expect("a good log");
        let seconds = (cpu_ns() - begin) as f64 / 1e9;
        println!(
            "load: {} commands, {:.0} MB in {seconds:.2} s CPU: {:.1} M/s",
            count.commands,
            loaded.bytes as f64 / 1e6,
            count.commands as f64 / 1e6 / seconds
        );
    }
}
