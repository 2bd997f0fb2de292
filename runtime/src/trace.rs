//! Where a request's time goes: how long each turn of a connection spends in each stage.
//!
//! Off, it costs one predictable branch per turn and none per command: the traced paths are
//! compiled beside the plain ones ([`Driver`](crate::Driver), the engine's sessions), and
//! [`is_on`] chooses between them. On, each thread counts into buckets of a set that few others
//! share, nothing is allocated after a set's first use, and [`report`] adds the sets up.
//!
//! There is one trace per process, because it is about threads: whoever is asked for a time on any
//! of them records it here. A *turn* is one event's worth of work for one connection: a read, the
//! commands it brought, a write. All of a turn's commands share its times; [`Report::commands`]
//! says how many that were.

use crate::histogram::{Histogram, Recorder};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::time::Instant;

/// The stages of a turn whose time is measured, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From readiness until somebody takes care of it: behind the other connections of a reactor's
    /// loop, in a pool's queue, or (once per client) in the queue of accepted clients. How long a
    /// task of tokio's waits is known to tokio only.
    Queue,
    /// The `read` system call.
    Read,
    /// Parsing, looking commands up, hashing keys and sending for their memory.
    Parse,
    /// Waiting for shards that somebody else had locked: commands that found theirs free add nothing.
    LockWait,
    /// Running the commands, up to the last reply in the output buffer.
    Execute,
    /// Appending to the log, and handing it to the kernel.
    Journal,
    /// Replies held back until the log is synced (`appendfsync always`).
    FsyncWait,
    /// The `write` system call.
    Write,
}

/// Stages.
const STAGES: usize = 8;

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; STAGES] = [
        Stage::Queue,
        Stage::Read,
        Stage::Parse,
        Stage::LockWait,
        Stage::Execute,
        Stage::Journal,
        Stage::FsyncWait,
        Stage::Write,
    ];

    /// The name reports use.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Read => "read",
            Stage::Parse => "parse",
            Stage::LockWait => "lock_wait",
            Stage::Execute => "execute",
            Stage::Journal => "journal",
            Stage::FsyncWait => "fsync_wait",
            Stage::Write => "write",
        }
    }
}

/// A set of counters that threads record stage times and commands into.
#[derive(Default)]
struct Set {
    times: [Recorder; STAGES],
    nanos: [AtomicU64; STAGES],
    commands: AtomicU64,
}

/// Sets there are at most; with more threads, some share one.
const SETS_MAX: usize = 64;

static ON: AtomicBool = AtomicBool::new(false);
static SETS: [OnceLock<Box<Set>>; SETS_MAX] = [const { OnceLock::new() }; SETS_MAX];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SET: &'static Set = {
        let number = THREADS.fetch_add(1, Relaxed) % SETS_MAX;
        SETS[number].get_or_init(Box::default)
    };
}

/// Whether times are taken.
#[inline(always)]
pub fn is_on() -> bool {
    ON.load(Relaxed)
}

/// Starts or stops taking times. What was counted stays.
pub fn switch(on: bool) {
    ON.store(on, Relaxed);
}

/// Counts one turn's time in a stage.
#[inline(never)]
pub fn record(stage: Stage, nanos: u64) {
    SET.with(|set| {
        set.times[stage as usize].record(nanos, 1);
        set.nanos[stage as usize].fetch_add(nanos, Relaxed);
    });
}

/// Counts the time since `begun` as a turn's time in a stage.
pub fn record_since(stage: Stage, begun: Instant) {
    record(stage, begun.elapsed().as_nanos() as u64);
}

/// Does `work`, as the stage of a turn if `TRACED`.
#[inline(always)]
pub fn time<const TRACED: bool, T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    if !TRACED {
        return work();
    }
    let begun = Instant::now();
    let done = work();
    record_since(stage, begun);
    done
}

/// Counts commands that a turn executed.
pub fn executed(commands: u64) {
    SET.with(|set| set.commands.fetch_add(commands, Relaxed));
}

/// Forgets everything counted.
pub fn reset() {
    for set in SETS.iter().filter_map(OnceLock::get) {
        set.times.iter().for_each(Recorder::clear);
        set.nanos.iter().for_each(|nanos| nanos.store(0, Relaxed));
        set.commands.store(0, Relaxed);
    }
}

/// The times recorded for one stage.
#[derive(Clone, Debug, Default)]
pub struct StageTimes {
    /// One value per turn that had this stage.
    pub times: Histogram,
    /// Their sum, nanoseconds.
    pub nanos: u64,
}

/// The stage times and commands counted since the last [`reset`].
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order of [`Stage::ALL`].
    pub stages: [StageTimes; STAGES],
    /// Commands executed.
    pub commands: u64,
}

impl Report {
    /// The times of one stage.
    pub fn stage(&self, stage: Stage) -> &StageTimes {
        &self.stages[stage as usize]
    }
}

/// Adds up what all threads counted. Threads that go on counting meanwhile may be seen half way.
pub fn report() -> Report {
    let mut report = Report::default();
    for set in SETS.iter().filter_map(OnceLock::get) {
        for (at, sum) in report.stages.iter_mut().enumerate() {
            sum.times.add(&set.times[at]);
            sum.nanos += set.nanos[at].load(Relaxed);
        }
        report.commands += set.commands.load(Relaxed);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trace is the process's, so one test does it all.
    #[test]
    fn what_threads_count_is_added_up() {
        reset();
        let count = || {
            for nanos in 1..=1000 {
                record(Stage::FsyncWait, nanos * 1000);
            }
            executed(5);
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(count);
            }
        });
        let report = report();
        let waits = report.stage(Stage::FsyncWait);
        assert_eq!(waits.times.count(), 4000);
        assert_eq!(waits.nanos, 4 * 500_500 * 1000);
        let p99 = waits.times.percentile(99.0);
        assert!((990_000..=990_000 * 9 / 8).contains(&p99), "{p99}");
        assert_eq!(report.commands, 20);
        reset();
        assert!(super::report().stage(Stage::FsyncWait).times.is_empty());

        let reads = || super::report().stage(Stage::Read).times.count();
        assert_eq!(time::<false, _>(Stage::Read, || 7), 7);
        assert_eq!(reads(), 0, "only the traced path is timed");
        assert_eq!(time::<true, _>(Stage::Read, || 7), 7);
        assert_eq!(reads(), 1);
    }
}
