//! Steps 4 to 8: parses a buffer of requests, prefetches their keys and runs them.

use super::admit::{Admission, admit};
use super::state::{ReplyMode, Special};
use super::{Machine, Parked};
use crate::clients::cross_protocol;
use crate::clients::{Client, ClientFlags, NO_COMMAND};
use crate::command::{CommandEntry, CommandId, Flag};
use crate::engine::Engine;
use crate::execute::{Again, Call, Changes, Invocation, Rest};
use crate::failure::{self, EXEC_ABORT, Failure};
use crate::gate::Gate;
use crate::notify::blocking::Waiter;
use crate::notify::monitor::engine::is_shown_first;
use crate::notify::tracking::Issuer;
use resp::{Batch, Reply, Request};
use runtime::{Flow, Now};
use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering;
use storage::Db;

/// The number of requests that are parsed, hashed and prefetched together: enough to fetch memory
/// in parallel, few enough to stay in the first-level cache.
const GROUP: usize = 32;

/// The number of keys that are anticipated at once: as many as the first-level cache holds.
const UPCOMING_MAX: usize = 64;

/// The number of bytes of requests after which other connections get their turn. A runtime never
/// reads more at once; this bounds input that was kept while the session was parked.
const REQUESTS_PER_TURN: usize = 128 << 10;

thread_local! {
    /// The thread's buffers, so that sessions need none of their own.
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };

    /// The stopwatch's time at the end of the last group, and the time that was passed in then. The
    /// next group of the same turn begins at that moment, so it need not read the stopwatch.
    static ENDED: Cell<Option<(Now, u64)>> = const { Cell::new(None) };
}

/// The buffers of the group of requests that runs, which are kept for the next group.
#[derive(Default)]
struct Scratch {
    batch: Batch,
    plan: Vec<Planned>,
    hashes: Vec<u64>,
}

/// The keys that other sessions of this thread are about to use, with their database.
#[derive(Default)]
struct Upcoming {
    db: Db,
    hashes: Vec<u64>,
}

thread_local! {
    /// Filled by [`Machine::anticipate`] for all sessions of a turn. The first of them that
    /// executes prefetches the memory of all.
    static UPCOMING: RefCell<Upcoming> = RefCell::default();
}

/// A request of a group, looked up.
#[derive(Clone, Copy)]
struct Planned {
    command: CommandId,
    hash: Option<u64>,
}

const UNKNOWN: CommandId = CommandId::MAX;

impl Machine {
    /// Records the key of the first request in `bytes`, which will be received later in this turn.
    ///
    /// The memory access of a single request cannot overlap with those of its own pipeline, but it
    /// can overlap with those of other clients.
    pub(super) fn anticipate(&mut self, engine: &Engine, bytes: &[u8]) {
        // The time that the runtime took to get these bytes does not belong to a command.
        ENDED.set(None);
        if !self.pending.is_empty() || self.is_parked() {
            return;
        }
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let batch = &mut scratch.batch;
        batch.clear();
        let _ = resp::Parser::new().parse(bytes, 1, &self.limits(engine), batch);
        if let Some(hash) = batch.iter(bytes).next().and_then(|request| {
            let entry = engine.commands.resolve(request)?;
            Some(engine.backend.hash(request.get(entry.first_key?)?))
        }) {
            UPCOMING.with_borrow_mut(|upcoming| {
                // Sessions in different databases are rare; their keys are not prefetched.
                if upcoming.hashes.is_empty() {
                    upcoming.db = self.state.db;
                }
                if upcoming.db == self.state.db && upcoming.hashes.len() < UPCOMING_MAX {
                    upcoming.hashes.push(hash);
                }
            });
        }
        SCRATCH.set(Some(scratch));
    }

    /// Executes the complete requests at the front of `buffer` until the session is parked. Returns
    /// the number of bytes executed.
    #[inline]
    pub(super) fn execute(&mut self, engine: &Engine, buffer: &[u8], now: Now) -> usize {
        if engine.is_traced() {
            return self.execute_traced(engine, buffer, now);
        }
        self.execute_as::<false>(engine, buffer, now)
    }

    #[cold]
    fn execute_traced(&mut self, engine: &Engine, buffer: &[u8], now: Now) -> usize {
        let mut trace = std::mem::take(&mut self.trace);
        let commands = |machine: &Self| machine.state.client().commands.load(Ordering::Relaxed);
        let before = commands(self);
        let done = trace.execute(engine, || {
            let done = self.execute_as::<true>(engine, buffer, now);
            (commands(self) - before, done)
        });
        self.trace = trace;
        done
    }

    fn execute_as<const TRACED: bool>(
        &mut self,
        engine: &Engine,
        buffer: &[u8],
        now: Now,
    ) -> usize {
        send_for_upcoming(engine);
        self.state.client().input_bytes.store(buffer.len(), Ordering::Relaxed);
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let stop_at = self.out.len() + engine.tuning.output_per_turn(self.output_class());
        let mut done = 0;
        while done < buffer.len() && !self.is_parked() && self.state.flow == Flow::Open {
            let rest = &buffer[done..];
            scratch.batch.clear();
            let limits = self.limits(engine);
            let group = if limits.unauthenticated { 1 } else { GROUP };
            let progress = engine.spend::<TRACED, _>(
                |spent| &mut spent.parse,
                || self.parser.parse(rest, group, &limits, &mut scratch.batch),
            );
            let stopped = self.run_group::<TRACED>(engine, &mut scratch, rest, stop_at, now);
            engine.note_growth(stopped.unwrap_or(progress.consumed));
            if let Some(end) = stopped {
                // The rest is parsed again when the session goes on.
                self.parser = resp::Parser::new();
                done += end;
                break;
            }
            done += progress.consumed;
            if let Some(error) = progress.error {
                let reply = self.begin_reply();
                Reply::new(&mut self.out, self.state.proto).protocol_error(error);
                self.silence(engine, reply, now);
                self.state.flow = Flow::CloseAfterFlush;
            }
            if !progress.more {
                break;
            }
            if done >= REQUESTS_PER_TURN {
                self.parked = Parked::Yielding;
            }
        }
        SCRATCH.set(Some(scratch));
        done
    }

    /// Runs one group. If the session stopped, returns the end of the last request that ran.
    fn run_group<const TRACED: bool>(
        &mut self,
        engine: &Engine,
        scratch: &mut Scratch,
        buffer: &[u8],
        stop_at: usize,
        now: Now,
    ) -> Option<usize> {
        let Scratch { batch, plan, hashes } = scratch;
        if batch.is_empty() {
            return None;
        }
        let client = self.state.client();
        client.commands.fetch_add(batch.len() as u64, Ordering::Relaxed);
        client.last_seen_ms.store(now.wall_ms, Ordering::Relaxed);
        engine.spend::<TRACED, _>(
            |spent| &mut spent.parse,
            || self.plan(engine, batch, buffer, plan, hashes),
        );
        let client = self.state.client().clone();
        let mut timer = Timer::start(engine, &client, now);
        let mut stopped = None;
        let mut start = 0;
        for (&planned, span) in plan.iter().zip(batch.spans()) {
            let request = batch.view(span, buffer);
            self.run_one(engine, planned, request, now, &mut timer);
            if self.must_stop(stop_at) {
                stopped = Some(self.stopped_at(start, span.end(), buffer.len()));
                break;
            }
            start = span.end();
        }
        timer.end();
        self.state.flush_counts(&engine.observe.stats);
        stopped
    }

    /// Looks up the commands of the group, hashes their keys, and prefetches the keys' memory.
    #[inline(always)]
    fn plan(
        &self,
        engine: &Engine,
        batch: &Batch,
        buffer: &[u8],
        plan: &mut Vec<Planned>,
        hashes: &mut Vec<u64>,
    ) {
        plan.clear();
        hashes.clear();
        let mut last = None;
        for request in batch.iter(buffer) {
            let mut planned = Planned { command: UNKNOWN, hash: None };
            if let Some(entry) = engine.commands.resolve_like(request, &mut last) {
                planned.command = entry.id;
                if let Some(key) = entry.first_key.and_then(|at| request.get(at)) {
                    let hash = engine.backend.hash(key);
                    planned.hash = Some(hash);
                    hashes.push(hash);
                }
            }
            plan.push(planned);
        }
        if hashes.len() > 1 {
            engine.backend.prefetch(self.state.db, hashes);
        }
    }

    /// Whether the rest of the pipeline must wait or be dropped. It must wait when the output
    /// reaches `stop_at` bytes.
    fn must_stop(&mut self, stop_at: usize) -> bool {
        if self.state.flow != Flow::Open {
            return true;
        }
        if self.out.len() >= stop_at && !self.is_parked() {
            self.parked = Parked::Yielding;
        }
        self.is_parked()
    }

    /// Inlined, because there are two callers, one of which records times.
    #[inline(always)]
    fn run_one<'r>(
        &mut self,
        engine: &Engine,
        planned: Planned,
        request: Request<'r>,
        now: Now,
        timer: &mut Timer<'r>,
    ) {
        if planned.command == UNKNOWN {
            return self.refuse_unknown(engine, request, now);
        }
        let entry = engine.commands.entry(planned.command);
        if !entry.accepts(request.len()) {
            return self.refuse(engine, entry, request, now);
        }
        if self.state.special.bits() | engine.gate().bits() != 0 {
            return self.run_special(engine, entry, planned, request, now, timer);
        }
        self.run_admitted::<false>(engine, entry, planned, request, now, timer);
    }

    /// Refuses a request with wrong arguments for its command.
    #[cold]
    fn refuse(&mut self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        // A subcommand that does not exist has no statistics that could count the refusal.
        let counted = entry.subcommands.is_empty() || request.len() == 1;
        let failure = entry.refusal(request);
        self.reject(engine, counted.then_some(entry), failure, now);
    }

    /// Refuses a request for an unknown command. An HTTP request, which a web page may have made a
    /// browser send, ends the connection, and the input behind it is ignored.
    #[cold]
    fn refuse_unknown(&mut self, engine: &Engine, request: Request<'_>, now: Now) {
        if cross_protocol::is_http(request) {
            engine.clients.cross_protocol.warn(&self.state.client().peer, now);
            self.state.flow = Flow::Abort;
            return;
        }
        self.reject(engine, None, failure::unknown_command(request), now);
    }

    /// Refuses a request before it runs. Inside `MULTI` the transaction will fail.
    #[cold]
    fn reject(
        &mut self,
        engine: &Engine,
        entry: Option<&CommandEntry>,
        mut failure: Failure,
        now: Now,
    ) {
        engine.observe.stats.rejected(entry.map(|e| e.id), failure.code());
        let reply = self.begin_reply();
        self.note_command(entry);
        if let Some(multi) = &mut self.state.multi {
            multi.failed = true;
        }
        if entry.is_some_and(|entry| entry.id == engine.exec) {
            let text = "EXECABORT Transaction discarded because of:";
            let reason = failure.as_str();
            let reason = reason.strip_prefix("ERR ").unwrap_or(reason);
            failure = Failure::text(format!("{text} {reason}"));
            self.state.end_multi();
            engine.forget_watches(&mut self.state);
        }
        self.end_caching(engine, entry);
        Reply::new(&mut self.out, self.state.proto).error(failure.as_str());
        self.silence(engine, reply, now);
    }

    /// Records the client's last command, if that does not run at once.
    fn note_command(&self, entry: Option<&CommandEntry>) {
        let command = entry.map_or(NO_COMMAND, |entry| u32::from(entry.id));
        self.state.client().last_command.store(command, Ordering::Relaxed);
    }

    /// Handles requests that need a closer look.
    #[inline(never)]
    fn run_special<'r>(
        &mut self,
        engine: &Engine,
        entry: &CommandEntry,
        planned: Planned,
        request: Request<'r>,
        now: Now,
        timer: &mut Timer<'r>,
    ) {
        let captured = self.state.take_special(Special::CAPTURED);
        let admission = admit(engine, &mut self.state, entry, request, now);
        // Events that precede this request are handled before its reply.
        self.take_events(engine, now);
        match admission {
            Err(failure) => self.reject(engine, Some(entry), failure, now),
            Ok(Admission::Queue) => {
                self.capture(engine, entry, request, now);
                self.queue(engine, entry, request, now);
            }
            Ok(Admission::Pause(until_ms)) => self.pause(entry, until_ms, now),
            Ok(Admission::Hold) => self.hold(captured),
            Ok(Admission::Run) => {
                let reply = self.begin_reply();
                if !captured {
                    self.capture(engine, entry, request, now);
                }
                let first = is_shown_first(entry);
                if first {
                    self.show(engine, entry, request, now);
                }
                if engine.is_traced() {
                    self.run_admitted::<true>(engine, entry, planned, request, now, timer);
                } else {
                    self.run_admitted::<false>(engine, entry, planned, request, now, timer);
                }
                if matches!(self.parked, Parked::Held) {
                    // The request comes again later, and passes all of this again.
                    return self.state.set_special(Special::CAPTURED, true);
                }
                if !first {
                    self.show(engine, entry, request, now);
                }
                self.silence(engine, reply, now);
                self.end_caching(engine, Some(entry));
            }
        }
    }

    /// Ends the effect of `CLIENT CACHING`, which lasts for one request or one transaction.
    fn end_caching(&mut self, engine: &Engine, entry: Option<&CommandEntry>) {
        let is_client = entry.is_some_and(|entry| entry.is_within(engine, "client"));
        if self.state.is_caching() && !self.state.in_multi() && !is_client {
            self.state.set_caching(false);
        }
    }

    /// Shows a request to monitoring clients.
    fn show(&self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        if engine.gate().contains(Gate::MONITORED) {
            let source = self.state.client().peer.to_string();
            engine.feed_monitors(entry, request, self.state.db, &source, now);
        }
    }

    /// Records a request for clients that capture traffic.
    fn capture(&self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        engine.capture_request(entry, request, self.state.client(), self.state.db, now);
    }

    /// Returns the state before a request that [`Machine::silence`] needs: the reply mode, and the
    /// offset in the output where the request's reply begins. Also clears the flag that `SKIP` was
    /// requested.
    fn begin_reply(&mut self) -> (ReplyMode, usize) {
        self.state.skip_armed = false;
        (self.state.reply_mode, self.out.len())
    }

    /// `CLIENT REPLY`: removes the reply to a request, unless the request turned replies on. Pushed
    /// messages wait in the inbox meanwhile, and are sent nevertheless.
    fn silence(&mut self, engine: &Engine, (mode, mark): (ReplyMode, usize), now: Now) {
        if mode == ReplyMode::On {
            return;
        }
        if self.state.reply_mode != ReplyMode::On {
            self.out.truncate(mark);
            self.forget_marks();
        }
        // The reply to a command that waits is the one to skip, when it comes.
        if !self.is_parked() {
            self.state.end_skip();
        }
        self.take_events(engine, now);
    }

    fn queue(&mut self, engine: &Engine, entry: &CommandEntry, request: Request<'_>, now: Now) {
        let reply = self.begin_reply();
        let doomed = self.state.client().transaction_failed();
        self.note_command(Some(entry));
        if let Some(multi) = self.state.multi.as_mut().filter(|multi| !multi.failed && !doomed) {
            multi.push(entry.id, engine.scripting.request_flags(entry, request), request);
            let bytes = multi.bytes;
            if engine.clients.eviction.is_limited() {
                engine.note_client_growth(request.iter().map(<[u8]>::len).sum());
            }
            self.state.show_multi(self.state.multi.as_deref());
            self.check_query_limit(engine, bytes);
        }
        Reply::new(&mut self.out, self.state.proto).simple("QUEUED");
        self.silence(engine, reply, now);
    }

    /// Holds a request back until the pause is over; then it is parsed again.
    fn pause(&mut self, entry: &CommandEntry, until_ms: u64, now: Now) {
        if self.draining {
            // No client is there any more to wait for the end of the pause.
            self.state.flow = Flow::CloseAfterFlush;
            return;
        }
        self.note_command(Some(entry));
        // The current millisecond has begun already, so one more makes the pause long enough.
        let wait_us = (until_ms.saturating_sub(now.wall_ms) + 1).saturating_mul(1000);
        self.state.client().set_flag(ClientFlags::PAUSED, true);
        self.parked = Parked::Paused { until_us: now.mono_us.saturating_add(wait_us) };
    }

    /// Holds a request back until the session is woken: it is parsed again then.
    fn hold(&mut self, captured: bool) {
        self.state.set_special(Special::CAPTURED, captured);
        self.parked = Parked::Asking;
    }

    fn run_admitted<'r, const TRACED: bool>(
        &mut self,
        engine: &Engine,
        entry: &CommandEntry,
        planned: Planned,
        request: Request<'r>,
        now: Now,
        timer: &mut Timer<'r>,
    ) {
        timer.before(entry, request);
        if !entry.has(Flag::Fast) {
            // A slow command may read the counters (INFO, CONFIG RESETSTAT).
            self.state.flush_counts(&engine.observe.stats);
        }
        let call = Call { entry, request, hash: planned.hash };
        let mut changes = Changes::at(self.out.len());
        if entry.id == engine.exec {
            self.exec(engine, &call, now, &mut changes);
        } else {
            let (session, out, changes) = (&mut self.state, &mut self.out, &mut changes);
            engine.run::<TRACED>(Invocation { call: &call, session, out, now, changes });
        }
        if changes.is_held() {
            timer.retract();
        }
        timer.after(&changes);
        if changes.is_to_be_concluded() {
            self.conclude(engine, changes, now, timer);
        }
    }

    /// Does the work that is left of a call once its locks are released.
    #[inline(never)]
    fn conclude(&mut self, engine: &Engine, mut changes: Changes, now: Now, timer: &mut Timer<'_>) {
        if let Some(position) = changes.position {
            self.depend(engine, position, changes.start);
            if engine.is_fed() {
                engine.replication.wake();
            }
        }
        let Some(mut rest) = changes.take_rest() else { return };
        if rest.again == Some(Again::Held) {
            self.state.client().set_flag(ClientFlags::PAUSED, true);
            self.parked = Parked::Held;
        }
        if let Some((waiter, timeout_us)) = rest.waiter.take() {
            let deadline_us = timeout_us.map(|t| now.mono_us.saturating_add(t));
            self.parked = Parked::Blocked { waiter, deadline_us };
        }
        if let Some(errand) = rest.errand.take() {
            engine.begin_errand(errand, now);
        }
        self.tell(engine, &mut rest);
        if !rest.ready.is_empty() {
            timer.pause();
            let served = engine.serve(rest.ready, now);
            served.into_iter().for_each(|position| self.note_written(engine, position));
            timer.go_on();
        }
    }

    /// Notifies the clients whom a request concerns. Messages to the client itself follow its
    /// reply.
    fn tell(&mut self, engine: &Engine, rest: &mut Rest) {
        let subscribed = self.state.is_subscribed();
        let client = self.state.client();
        // If replies are off, messages written now would be removed together with this reply.
        let own = (self.state.reply_mode == ReplyMode::On).then_some(Issuer {
            client,
            out: &mut self.out,
            subscribed,
        });
        rest.tell(engine, client, own);
    }

    /// `EXEC`.
    #[inline(never)]
    fn exec(&mut self, engine: &Engine, call: &Call<'_>, now: Now, changes: &mut Changes) {
        let Some(multi) = self.state.take_multi() else {
            return Reply::new(&mut self.out, self.state.proto).error("ERR EXEC without MULTI");
        };
        if multi.failed {
            Reply::new(&mut self.out, self.state.proto).error(EXEC_ABORT.as_str());
        } else {
            self.state.set_special(Special::SHORT, engine.gate().contains(Gate::OVER_MEMORY));
            let (session, out) = (&mut self.state, &mut self.out);
            let invocation = Invocation { call, session, out, now, changes: &mut *changes };
            engine.run_all(&multi.queue, invocation);
            self.state.set_special(Special::SHORT, false);
            // Queueing took memory, and executing may take more.
            engine.note_growth(multi.bytes);
        }
        if changes.is_held() {
            return self.state.resume_multi(multi);
        }
        self.state.show_multi(None);
        engine.forget_watches(&mut self.state);
    }
}

/// Prefetches the memory of all keys that were anticipated on this thread.
#[inline]
fn send_for_upcoming(engine: &Engine) {
    UPCOMING.with_borrow_mut(|upcoming| {
        if upcoming.hashes.len() > 1 {
            engine.backend.prefetch(upcoming.db, &upcoming.hashes);
        }
        upcoming.hashes.clear();
    });
}

/// Measures commands without reading the clock for each. Consecutive calls of one
/// [`CommandEntry::quick`] command, which takes a microsecond or less, share one measurement (a
/// run); any other command gets its own. A run that was slow nevertheless is logged in the slow log
/// as a run. For a while after that every command is measured alone
/// ([`Tuning::times_each`](crate::tuning::Tuning::times_each)), so that the next time it is known
/// which request was slow. The same holds where runs would be too coarse.
struct Timer<'a> {
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
    fn start(engine: &'a Engine, client: &'a Client, now: Now) -> Self {
        let begun = match ENDED.get() {
            Some((then, ended)) if then == now => ended,
            _ => (engine.environment.stopwatch)(),
        };
        let (command, each, alone) = (UNKNOWN, false, false);
        Timer { engine, client, now, begun, command, calls: 0, last: None, each, alone }
    }

    /// Records what is left at the end of a group.
    fn end(mut self) {
        self.book(None);
        ENDED.set(Some((self.now, self.begun)));
    }

    #[inline]
    fn before(&mut self, entry: &CommandEntry, request: Request<'a>) {
        if entry.id != self.command {
            self.begin(entry);
        }
        self.calls += 1;
        self.last = Some(request);
    }

    /// The request that just began was not executed, and will come again.
    fn retract(&mut self) {
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

    #[inline]
    fn after(&mut self, changes: &Changes) {
        if self.alone {
            self.book(changes.waiter());
        }
    }

    /// Ends the measurement of the running command; the time from now on belongs to no command.
    fn pause(&mut self) {
        self.book(None);
    }

    /// Continues measuring: the time from now on belongs to a command.
    fn go_on(&mut self) {
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
        engine.note_moment(entry, nanos, now);
        let (Some(last), None) = (self.last, waiter) else { return };
        match self.calls {
            1 => engine.note_slow(entry, last, nanos, Some(client), now),
            calls if engine.observe.slowlog.is_slow(nanos / 1000) => {
                engine.note_slow_run(entry, last, calls, nanos, client, now);
            }
            _ => {}
        }
    }
}
