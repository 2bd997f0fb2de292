//! [`Timer`]: how long commands take.

use crate::clients::Client;
use crate::command::{CommandEntry, CommandId};
use crate::engine::Engine;
use crate::notify::blocking::Waiter;
use resp::Request;
use runtime::Now;
use std::cell::Cell;
use std::sync::atomic::Ordering;

/// The number of no command.
pub(super) const UNKNOWN: CommandId = CommandId::MAX;

thread_local! {
    /// The stopwatch's time at the end of the last group, and the time that was passed in then. The
    /// next group of the same turn begins at that moment, so it need not read the stopwatch.
    static ENDED: Cell<Option<(Now, u64)>> = const { Cell::new(None) };
}

/// Forgets when the last group ended: the time since then belongs to no command.
pub(super) fn begin_anew() {
    ENDED.set(None);
}

/// Measures commands without reading the clock for each. Consecutive calls of one
/// [`CommandEntry::quick`] command, which takes a microsecond or less, share one measurement (a
/// run); any other command gets its own. A run that was slow nevertheless is logged in the slow log
/// as a run. For a while after that every command is measured alone
/// ([`Tuning::times_each`](crate::tuning::Tuning::times_each)), so that the next time it is known
/// which request was slow. The same holds where runs would be too coarse.
pub(super) struct Timer<'a> {
    engine: &'a Engine,
    client: &'a Client,
    now: Now,
    begun: u64,
    command: CommandId,
    calls: u64,
    /// The latest request of the run.
    last: Option<Request<'a>>,
    /// Whether each run has only one command.
    each: bool,
    /// Whether this run has only one command.
    alone: bool,
}

impl<'a> Timer<'a> {
    /// Begins to measure a group of requests.
    pub fn start(engine: &'a Engine, client: &'a Client, now: Now) -> Self {
        let begun = match ENDED.get() {
            Some((then, ended)) if then == now => ended,
            _ => (engine.environment.stopwatch)(),
        };
        let (command, each, alone) = (UNKNOWN, false, false);
        Timer { engine, client, now, begun, command, calls: 0, last: None, each, alone }
    }

    /// Records what is left at the end of a group.
    pub fn end(mut self) {
        self.book(None);
        ENDED.set(Some((self.now, self.begun)));
    }

    /// A request begins.
    #[inline]
    pub fn before(&mut self, entry: &CommandEntry, request: Request<'a>) {
        if entry.id != self.command {
            self.begin(entry);
        }
        self.calls += 1;
        self.last = Some(request);
    }

    /// The request that just began was not executed, and will come again.
    pub fn retract(&mut self) {
        self.calls -= 1;
        self.last = None;
    }

    /// Begins another run.
    #[inline]
    fn begin(&mut self, entry: &CommandEntry) {
        self.book(None);
        self.command = entry.id;
        self.each = self.engine.tuning.times_each();
        self.alone = self.each || !entry.quick;
        self.client.last_command.store(u32::from(entry.id), Ordering::Relaxed);
        if self.each {
            self.go_on();
        }
    }

    /// The request is over, or waits: then `waiter` is set.
    #[inline]
    pub fn after(&mut self, waiter: Option<&Waiter>) {
        if self.alone {
            self.book(waiter);
        }
    }

    /// Ends the measurement of the running command; the time from now on belongs to no command.
    pub fn pause(&mut self) {
        self.book(None);
    }

    /// Continues measuring: the time from now on belongs to a command.
    pub fn go_on(&mut self) {
        self.begun = (self.engine.environment.stopwatch)();
    }

    /// Records the run so far. `waiter` is set if it is one command that has not finished.
    #[inline(never)]
    fn book(&mut self, waiter: Option<&Waiter>) {
        if self.calls == 0 {
            return;
        }
        let now = (self.engine.environment.stopwatch)();
        let nanos = now.saturating_sub(self.begun);
        match waiter {
            Some(waiter) => waiter.spend(nanos),
            None => self.engine.observe.stats.ran(self.command, self.calls, nanos),
        }
        if nanos >= self.engine.tuning.notable_nanos() {
            self.note(waiter, nanos);
        }
        if self.alone {
            self.engine.note_growth(0);
        }
        self.begun = now;
        self.calls = 0;
        if self.each {
            // The next request begins a new run, whatever it is.
            self.command = UNKNOWN;
        }
    }

    /// Passes a slow run on to the slow log and the latency monitor.
    #[cold]
    fn note(&self, waiter: Option<&Waiter>, nanos: u64) {
        let (engine, client, now) = (self.engine, self.client, self.now);
        let entry = engine.commands.entry(self.command);
        // For the latency monitor, a run of quick commands is one event: no other client was served
        // meanwhile.
        engine.observe.latency.note_command(entry, nanos, now);
        let (Some(last), None) = (self.last, waiter) else { return };
        match self.calls {
            1 => {
                engine.observe.note_slow(&engine.commands, (entry, last), nanos, Some(client), now)
            }
            calls if engine.observe.slowlog.is_slow(nanos / 1000) => {
                // For a while from now on commands are measured alone.
                engine.look_closely(now);
                engine.observe.note_slow_run(entry, last, calls, nanos, client, now);
            }
            _ => {}
        }
    }
}
