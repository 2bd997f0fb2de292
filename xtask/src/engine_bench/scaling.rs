//! Threads 1 to N over one engine: how many operations a second, beside one thread, and how often
//! threads wait for each other.
//!
//! Rounds are interleaved: in each, every number of threads runs once, so that a ratio compares
//! neighbours in time. Threads are pinned to a core each, starting at another core every round.

use super::EngineArgs;
use super::ceiling::{Ceiling, line_ns};
use super::model::Meetings;
use super::rig::{Rig, Round, open};
use super::scaling_results::{Measured, Sample, Scaling};
use crate::load::request::Generator;
use crate::load::workload::{Defaults, Workload};
use crate::places::project_root;
use anyhow::{Context, Result, anyhow, ensure};
use capture::lab::cpu;
use runtime::Clock;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, OnceLock};
use std::time::{Duration, Instant};

/// The number of times that a cache line goes to another core and back.
const ROUND_TRIPS: u64 = 100_000;

/// The time for which each loop runs that shows what the machine gives.
const CEILING_WINDOW: Duration = Duration::from_millis(20);

/// Measures everything the command line asks for, prints it, and writes it where it says.
pub fn run(args: &EngineArgs) -> Result<()> {
    let cores = cpu::allowed();
    let threads = threads(&args.threads, cores.len())?;
    ensure!(args.rounds > 0 && args.seconds > 0.0, "rounds and seconds must be positive");
    let line_ns = line_ns(&cores, ROUND_TRIPS);
    let mut scaling = Scaling::new(args, cores.len(), line_ns);
    let ceiling = Ceiling::new(args.key_count);
    for storage in &args.storages {
        for name in &args.workloads {
            let dir = data_dir()?;
            let bed = Bed::new(storage, name, &threads, dir.clone(), args)?;
            for keys in &args.keys {
                scaling.measured.extend(bed.measure(keys, &threads, &cores, &ceiling, args)?);
            }
            drop(bed);
            fs::remove_dir_all(&dir).with_context(|| dir.display().to_string())?;
        }
    }
    println!("{}", scaling.table().terminal());
    println!("{}", scaling.notes());
    let outlook = scaling.outlook();
    if !outlook.rows.is_empty() {
        println!("{}", outlook.terminal());
    }
    if let Some(path) = &args.json {
        scaling.save(path)?;
    }
    Ok(())
}

/// The numbers of threads to measure: those asked for, in order, or one to as many as there are cores.
fn threads(asked: &[usize], cores: usize) -> Result<Vec<usize>> {
    ensure!(asked.iter().all(|threads| (1..=1024).contains(threads)), "threads go from 1 to 1024");
    let mut threads = if asked.is_empty() { (1..=cores.max(1)).collect() } else { asked.to_vec() };
    threads.sort_unstable();
    threads.dedup();
    Ok(threads)
}

/// An empty folder on the project's disk.
fn data_dir() -> Result<PathBuf> {
    let folder = project_root()?.join("target/xtask-bench");
    fs::create_dir_all(&folder)?;
    Ok(tempfile::Builder::new().prefix("engine-").tempdir_in(folder)?.keep())
}

/// An engine with a workload's data in it.
struct Bed {
    rig: Rig,
    storage: String,
    workload: Workload,
    defaults: Defaults,
    clock: Clock,
}

impl Bed {
    fn new(
        storage: &str,
        workload: &str,
        threads: &[usize],
        dir: PathBuf,
        args: &EngineArgs,
    ) -> Result<Bed> {
        let clock = Clock::new();
        // As many shards as the server makes for that many cores.
        let per_core = if storage == "memory" { storage_memory::SHARDS_PER_CORE } else { 16 };
        let most = threads.last().copied().unwrap_or(1);
        let shards = (most * per_core).next_power_of_two() as u32;
        let rig = Rig::new(open(storage, &dir, shards)?, stopwatch, clock.now())?;
        let workload = Workload::find(workload)?;
        let defaults = Defaults { keys: args.key_count, value_size: 64 };
        rig.load(&workload.preload(defaults)?, workload.key_count(defaults), clock.now())?;
        Ok(Bed { rig, storage: storage.to_owned(), workload, defaults, clock })
    }

    /// All rounds with keys drawn as `keys` says; one entry per number of threads.
    fn measure(
        &self,
        keys: &str,
        threads: &[usize],
        cores: &[usize],
        ceiling: &Ceiling,
        args: &EngineArgs,
    ) -> Result<Vec<Measured>> {
        let mut workload = self.workload.clone();
        // The one hot key takes everything: the worst case of a lock.
        (workload.keys, workload.hot_share) = (keys.to_owned(), 1.0);
        let requests = workload.generator(self.defaults)?;
        let shards = self.rig.engine().backend.shard_count();
        let meetings = Meetings::of(keys, self.defaults.keys, workload.zipf_theta);
        let mut measured: Vec<Measured> = threads
            .iter()
            .map(|&threads| Measured {
                storage: self.storage.clone(),
                workload: workload.name.clone(),
                keys: keys.to_owned(),
                threads,
                shards,
                meetings,
                samples: Vec::new(),
            })
            .collect();
        for round in 0..args.rounds {
            for one in &mut measured {
                let mut sample = self.sample(&requests, one.threads, round, cores, args)?;
                sample.machine = ceiling.speed(one.threads, cores, CEILING_WINDOW);
                one.samples.push(sample);
            }
        }
        Ok(measured)
    }

    /// Measures one window with this many threads.
    fn sample(
        &self,
        requests: &Generator,
        threads: usize,
        round: u32,
        cores: &[usize],
        args: &EngineArgs,
    ) -> Result<Sample> {
        let (ready, over) = (Barrier::new(threads + 1), Over::default());
        let core = |index: usize| cores.get((index + round as usize) % cores.len().max(1)).copied();
        let shares: Result<Vec<Share>> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..threads)
                .map(|index| {
                    let share = requests.share(index as u64, threads as u64, u64::from(round));
                    let (ready, over, core) = (&ready, &over, core(index));
                    scope.spawn(move || self.thread(share, core, args, ready, over))
                })
                .collect();
            ready.wait();
            std::thread::sleep(Duration::from_secs_f64(args.seconds));
            over.0.store(true, Ordering::Relaxed);
            let joined = handles.into_iter().map(|handle| handle.join());
            joined.map(|share| share.map_err(|_| anyhow!("a thread panicked"))?).collect()
        });
        Ok(Sample::of(round, shares?))
    }

    /// One thread of a window.
    fn thread(
        &self,
        mut requests: Generator,
        core: Option<usize>,
        args: &EngineArgs,
        ready: &Barrier,
        over: &Over,
    ) -> Result<Share> {
        let prepared = cpu::pin(core.as_slice()).and_then(|()| {
            let mut clients = self.rig.connect(args.connections, self.clock.now())?;
            let mut turn = Round::default();
            // Buffers, statistics and the thread's allocator cache come into being.
            for _ in 0..100 {
                turn.refill(&mut requests, args.connections, args.pipeline);
                clients.turn(&turn, self.clock.now())?;
            }
            Ok((clients, turn))
        });
        // Wait even when that failed: the others count on it.
        ready.wait();
        let (mut clients, mut turn) = prepared?;
        let (begun, before) = (Instant::now(), Scheduled::now());
        let mut turns = 0;
        while !over.0.load(Ordering::Relaxed) {
            turn.refill(&mut requests, args.connections, args.pipeline);
            clients.turn(&turn, self.clock.now())?;
            turns += 1;
        }
        let operations = turns * (args.connections * args.pipeline) as u64;
        let seconds = begun.elapsed().as_secs_f64();
        Ok(Share { operations, seconds, scheduled: Scheduled::now().since(before) })
    }
}

/// The end of a window, on a cache line of its own: every thread looks at it in every turn.
#[derive(Default)]
#[repr(align(128))]
struct Over(AtomicBool);

/// One thread's work in a window.
pub struct Share {
    /// Requests answered.
    pub operations: u64,
    /// Length of the window.
    pub seconds: f64,
    /// The scheduler's counts for the thread.
    pub scheduled: Scheduled,
}

/// Counts of Linux's scheduler for the calling thread; zero elsewhere.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scheduled {
    /// Ready to run, but another had the core, ns.
    pub queued_ns: u64,
    /// Times it gave up its core to wait: for a lock, mostly.
    pub waits: u64,
}

impl Scheduled {
    fn now() -> Scheduled {
        let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/{file}"));
        let queued = read("schedstat").unwrap_or_default();
        let status = read("status").unwrap_or_default();
        let name = "voluntary_ctxt_switches:";
        let waits = status.lines().find_map(|line| line.strip_prefix(name));
        Scheduled {
            queued_ns: queued.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0),
            waits: waits.and_then(|n| n.trim().parse().ok()).unwrap_or(0),
        }
    }

    fn since(self, earlier: Scheduled) -> Scheduled {
        Scheduled {
            queued_ns: self.queued_ns - earlier.queued_ns,
            waits: self.waits - earlier.waits,
        }
    }
}

/// The server's stopwatch.
fn stopwatch() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use super::threads;

    #[test]
    fn the_numbers_of_threads_are_those_asked_for_or_up_to_the_cores() {
        assert_eq!(threads(&[], 3).unwrap(), [1, 2, 3]);
        assert_eq!(threads(&[8, 1, 8, 2], 3).unwrap(), [1, 2, 8]);
        assert!(threads(&[0], 3).is_err());
    }
}
