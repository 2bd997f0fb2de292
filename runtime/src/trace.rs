//! Where the time of a request goes: how long each turn of a connection spends in each stage.
//!
//! When off, this costs one predictable branch per turn and none per command: the traced code is
//! compiled beside the plain one ([`Driver`](crate::Driver), the engine's sessions), and [`is_on`]
//! chooses. When on, each thread counts into a set of buckets that it shares with few others,
//! nothing is allocated after a set's first use, and [`report`] adds the sets up.
//!
//! There is one trace per process, because any thread may record a time. A *turn* is the work for
//! one event of one connection: a read, the commands it brought, and a write. All commands of a
//! turn share its times; [`Report::commands`] is their number.

use crate::histogram::{Histogram, Recorder};
use crate::spans;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::time::Instant;

/// The stages of a turn whose time is measured, in the order in which they happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// From readiness until a thread handles it: behind other connections of a reactor's loop, in a
    /// pool's queue, or (once per client) in the queue of accepted clients. How long a tokio task
    /// waits is known only to tokio.
    Queue,
    /// The `read` system call. With io_uring there is none, and no time.
    Read,
    /// Parsing.
    Parse,
    /// Looking commands up, hashing keys and prefetching their memory.
    Plan,
    /// Waiting for locked shards. A command that finds its shards free adds nothing.
    LockWait,
    /// Running the commands, up to the last reply in the output buffer.
    Execute,
    /// Appending to the log, and writing it to the operating system.
    Journal,
    /// Withholding replies until the log is synced (`appendfsync always`).
    FsyncWait,
    /// The `write` system call, or an equal part of the one that sends for several connections.
    Write,
}

/// The number of stages.
pub(crate) const STAGES: usize = 9;

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; STAGES] = [
        Stage::Queue,
        Stage::Read,
        Stage::Parse,
        Stage::Plan,
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
            Stage::Plan => "plan",
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

/// The highest number of sets; with more threads, some share one.
const SETS_MAX: usize = 64;

/// In [`STATE`]: times are recorded for their sums.
pub(crate) const ON: u32 = 1 << 31;

/// Why turns are timed: zero if they are not. [`spans`] has the other bits.
pub(crate) static STATE: AtomicU32 = AtomicU32::new(0);

static SETS: [OnceLock<Box<Set>>; SETS_MAX] = [const { OnceLock::new() }; SETS_MAX];
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SET: &'static Set = {
        let number = THREADS.fetch_add(1, Relaxed) % SETS_MAX;
        SETS[number].get_or_init(Box::default)
    };
}

/// Whether turns are timed: for their sums, or because one may be a sample.
#[inline(always)]
pub fn is_on() -> bool {
    STATE.load(Relaxed) != 0
}

/// Starts or stops recording times for their sums. What was recorded stays.
pub fn switch(on: bool) {
    match on {
        true => STATE.fetch_or(ON, Relaxed),
        false => STATE.fetch_and(!ON, Relaxed),
    };
}

/// Records the time of one turn in a stage, in nanoseconds.
#[inline(never)]
pub fn record(stage: Stage, nanos: u64) {
    spans::note(stage, nanos);
    if !spans::sums() {
        return;
    }
    SET.with(|set| {
        set.times[stage as usize].record(nanos, 1);
        set.nanos[stage as usize].fetch_add(nanos, Relaxed);
    });
}

/// Records the time since `begun` as that of one turn in a stage.
pub fn record_since(stage: Stage, begun: Instant) {
    record(stage, begun.elapsed().as_nanos() as u64);
}

/// Runs `work`, and records its time as that of a turn in `stage` if `TRACED`.
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

/// Adds to the number of executed commands.
pub fn executed(commands: u64) {
    spans::note_commands(commands);
    if !spans::sums() {
        return;
    }
    SET.with(|set| set.commands.fetch_add(commands, Relaxed));
}

/// Resets everything that was recorded.
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

/// Adds up what all threads have recorded. What they record meanwhile may be included in part.
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
        switch(true);
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
