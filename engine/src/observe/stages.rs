//! The engine's part of [`runtime::trace`]: the times that a turn spends on parsing, on waiting for
//! locks and on the log, separated from its execution time as a whole.
//!
//! While no turns are timed ([`trace::is_on`]), none of this
//! runs. Times come from the environment's stopwatch.

use crate::engine::Engine;
use runtime::spans;
use runtime::trace::{self, Stage};
use std::cell::Cell;
use storage::{Journal, Locks, Position};

/// The time spent so far in the current turn of this thread, nanoseconds per stage.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    pub parse: u64,
    pub plan: u64,
    pub lock_wait: u64,
    pub journal: u64,
}

thread_local! {
    static SPENT: Cell<Spent> = const { Cell::new(Spent { parse: 0, plan: 0, lock_wait: 0, journal: 0 }) };
}

thread_local! {
    /// The time at which the thread's transaction began to wait for its locks, if it had to.
    static WAITING: Cell<Option<u64>> = const { Cell::new(None) };
}

/// A part of [`Spent`].
pub(crate) type Part = fn(&mut Spent) -> &mut u64;

fn add(part: Part, nanos: u64) {
    let mut spent = SPENT.get();
    *part(&mut spent) += nanos;
    SPENT.set(spent);
}

/// The stopwatch's time.
fn nanos(engine: &Engine) -> u64 {
    (engine.environment.stopwatch)()
}

/// Runs `work`; if `TRACED`, as a part of the current turn.
#[inline(always)]
pub(crate) fn spend<const TRACED: bool, T>(
    engine: &Engine,
    part: Part,
    work: impl FnOnce() -> T,
) -> T {
    if !TRACED {
        return work();
    }
    let begun = nanos(engine);
    let done = work();
    add(part, nanos(engine).saturating_sub(begun));
    done
}

/// A transaction is about to take its locks. Kept beside the turn's times rather than handed to
/// its body: a capture would cost those who do not trace.
#[inline(always)]
pub(crate) fn begin_waiting(engine: &Engine, traced: bool, locks: Locks<'_>) {
    if traced {
        WAITING.set(engine.backend.is_contended(locks).then(|| nanos(engine)));
    }
}

/// It has its locks.
#[inline(always)]
pub(crate) fn end_waiting(engine: &Engine, traced: bool) {
    if traced && let Some(since) = WAITING.take() {
        add(|spent| &mut spent.lock_wait, nanos(engine).saturating_sub(since));
    }
}

/// A session's timings of a turn other than the time of executing commands.
#[derive(Default)]
pub(crate) struct Pending {
    /// Spent on appending to the log, nanoseconds: counted together with writing it.
    journal: u64,
    /// The stopwatch when replies were first withheld.
    withheld_at: Option<u64>,
}

impl Pending {
    /// Runs the execution of a turn, which returns the number of commands and another value.
    pub fn execute<T>(&mut self, engine: &Engine, work: impl FnOnce() -> (u64, T)) -> T {
        SPENT.set(Spent::default());
        let begun = nanos(engine);
        let (commands, done) = work();
        let all = nanos(engine).saturating_sub(begun);
        let Spent { parse, plan, lock_wait, journal } = SPENT.take();
        trace::record(Stage::Parse, parse);
        trace::record(Stage::Plan, plan);
        if commands > 0 {
            trace::record(Stage::Execute, all.saturating_sub(parse + plan + lock_wait + journal));
            trace::executed(commands);
        }
        if lock_wait > 0 {
            trace::record(Stage::LockWait, lock_wait);
        }
        self.journal += journal;
        done
    }

    /// Runs the turn's part of writing the log.
    #[cold]
    #[inline(never)]
    pub fn write_log(&mut self, engine: &Engine, journal: &dyn Journal, up_to: Position) {
        let begun = nanos(engine);
        journal.write_up_to(up_to);
        self.journal += nanos(engine).saturating_sub(begun);
        self.book_journal();
    }

    fn book_journal(&mut self) {
        let journal = std::mem::take(&mut self.journal);
        if journal > 0 {
            trace::record(Stage::Journal, journal);
        }
    }

    /// Replies are withheld until the log is synced: its thread does the writing.
    pub fn withhold(&mut self, engine: &Engine) {
        self.book_journal();
        self.withheld_at.get_or_insert_with(|| nanos(engine));
        spans::withhold(true);
    }

    /// They are let go.
    pub fn release(&mut self, engine: &Engine) {
        if let Some(since) = self.withheld_at.take() {
            trace::record(Stage::FsyncWait, nanos(engine).saturating_sub(since));
            spans::withhold(false);
        }
    }
}
