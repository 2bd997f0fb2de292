//! Steps 4 to 8: parses a buffer of requests, prefetches their keys and runs them.

use super::state::{ReplyMode, Special};
use super::timer::{self, Timer, UNKNOWN};
use super::{Machine, Parked};
use crate::clients::ClientFlags;
use crate::command::{CommandEntry, CommandId, Flag};
use crate::engine::Engine;
use crate::execute::{Again, Call, Changes, Invocation, Rest};
use crate::failure::EXEC_ABORT;
use crate::gate::Gate;
use crate::notify::tracking::Issuer;
use crate::observe::stages;
use resp::{Batch, Reply, Request};
use runtime::spans::{self, About};
use runtime::{Flow, Now, trace};
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
pub(super) struct Planned {
    command: CommandId,
    hash: Option<u64>,
}

impl Machine {
    /// Records the key of the first request in `bytes`, which will be received later in this turn.
    ///
    /// The memory access of a single request cannot overlap with those of its own pipeline, but it
    /// can overlap with those of other clients.
    pub(super) fn anticipate(&mut self, engine: &Engine, bytes: &[u8]) {
        // The time that the runtime took to get these bytes does not belong to a command.
        timer::begin_anew();
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
        if trace::is_on() {
            return self.execute_timed(engine, buffer, now);
        }
        self.execute_as::<false>(engine, buffer, now)
    }

    /// Times are wanted: of all turns, or of those that are samples.
    #[cold]
    fn execute_timed(&mut self, engine: &Engine, buffer: &[u8], now: Now) -> usize {
        let is_sample = self.claim_turn(engine, buffer);
        if !is_sample && !engine.is_traced() {
            return self.execute_as::<false>(engine, buffer, now);
        }
        self.state.set_special(Special::SAMPLED, is_sample);
        let done = self.execute_traced(engine, buffer, now);
        self.state.set_special(Special::SAMPLED, false);
        done
    }

    /// Claims the turn as a sample, if it is one.
    fn claim_turn(&mut self, engine: &Engine, buffer: &[u8]) -> bool {
        let (client, db) = (self.state.client(), self.state.db);
        spans::claim(self.state.parent(), || {
            let command = first_command(engine, buffer, &self.limits(engine))?;
            let (client, peer) = (client.id, client.peer.to_string());
            Some(About { command, db, client, peer, ..About::default() })
        })
    }

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
            let progress = stages::spend::<TRACED, _>(
                engine,
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
        stages::spend::<TRACED, _>(
            engine,
            |spent| &mut spent.plan,
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

    /// [`Machine::run_admitted`] for the slow path, which must not be copied into the fast one.
    #[inline(never)]
    pub(super) fn run_watched<'r, const TRACED: bool>(
        &mut self,
        engine: &Engine,
        entry: &CommandEntry,
        planned: Planned,
        request: Request<'r>,
        now: Now,
        timer: &mut Timer<'r>,
    ) {
        self.run_admitted::<TRACED>(engine, entry, planned, request, now, timer);
    }

    /// Runs a request that may run.
    #[inline(always)]
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
        if entry.id == engine.known.exec {
            self.exec(engine, &call, now, &mut changes);
        } else {
            let (session, out, changes) = (&mut self.state, &mut self.out, &mut changes);
            engine.run::<TRACED>(Invocation { call: &call, session, out, now, changes });
        }
        if changes.is_to_be_concluded() {
            return self.conclude(engine, changes, now, timer);
        }
        timer.after(None);
    }

    /// Does the work that is left of a call once its locks are released.
    #[inline(never)]
    fn conclude(&mut self, engine: &Engine, mut changes: Changes, now: Now, timer: &mut Timer<'_>) {
        if changes.is_held() {
            timer.retract();
        }
        timer.after(changes.waiter());
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
        self.state.forget_watches(&engine.notify.keyspace);
    }
}

/// The name of the first command in a buffer, if there is one.
fn first_command(engine: &Engine, buffer: &[u8], limits: &resp::Limits) -> Option<String> {
    let mut batch = Batch::default();
    let _ = resp::Parser::new().parse(buffer, 1, limits, &mut batch);
    let entry = engine.commands.resolve(batch.iter(buffer).next()?)?;
    Some(entry.full_name.clone())
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
