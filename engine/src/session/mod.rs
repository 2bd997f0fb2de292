//! [`Session`]: one client as a sans-IO state machine.
//!
//! A runtime passes bytes and times in and takes bytes out; see [`runtime::Connection`]. Requests
//! are executed directly from the runtime's buffer. Only the rest is copied: an incomplete request,
//! or the pipeline behind a request at which the session is parked.

mod admit;
mod asked;
mod run;
mod service;
mod special;
pub(crate) mod state;
mod status;
mod timer;
mod withheld;

pub use service::EngineService;
pub use state::{Multi, ReplyMode, SessionState};

use state::Special;

use crate::clients::overload::Passage;
use crate::clients::{ClientFlags, Event};
use crate::config::Id;
use crate::engine::Engine;
use crate::notify::blocking::Waiter;
use crate::notify::keyspace::Keyspace;
use crate::notify::pubsub::{self, Space};
use crate::notify::tracking::Notice;
use crate::observe::stages;
use crate::tuning::OutputClass;
use bytes::{Buf, BytesMut};
use resp::{Limits, Output, Parser, Reply};
use runtime::{Connection, Flow, Now, Peer, Status};
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use storage::Position;

/// The unwritten output, in bytes, up to which invalidation messages that were left out are made up
/// for.
const IN_TOUCH_MAX: usize = 1 << 20;

/// The unwritten output, in bytes, that no limit counts: that of one ordinary reply or pipeline.
const OUTPUT_FREE: usize = 16 << 10;

/// The reason why a session executes no further requests for now.
enum Parked {
    /// There is none.
    No,
    /// A blocking command is waiting.
    Blocked {
        waiter: Arc<Waiter>,
        /// The time-out, in monotonic microseconds.
        deadline_us: Option<u64>,
    },
    /// A key is held. The request is tried again when that has ended.
    Held,
    /// A cluster finds out how far it has to be for the request, which is tried again when the session is woken.
    Asking,
    /// `CLIENT PAUSE` is in force. Check again at this monotonic time in microseconds.
    Paused { until_us: u64 },
    /// It has used up its share of the turn, and goes on after other connections.
    Yielding,
    /// As much output waits as is permitted, so the peer has to read first. Its input is kept
    /// meanwhile.
    OutputFull,
}

/// A reply that depends on effects which are not decided yet.
struct Mark {
    /// The position in the log that the reply depends on.
    position: Position,
    /// The cluster's slot of the request's keys.
    slot: u16,
    /// The range of the reply in the output.
    reply: Range<usize>,
}

/// The replies that are withheld from the runtime.
#[derive(Default)]
struct Withheld {
    /// Replies whose fate is not decided, in order.
    marks: VecDeque<Mark>,
    /// Replies that must not be sent, in order, each with the error to send instead.
    lost: Vec<(Range<usize>, Box<str>)>,
    /// The empty output that the runtime sees meanwhile.
    nothing: Output,
}

/// One client.
pub struct Session {
    engine: Arc<Engine>,
    machine: Machine,
}

/// The state of a session without the engine. The engine is passed in, so that running a command
/// never touches the engine's reference count.
struct Machine {
    state: SessionState,
    parser: Parser,
    /// Bytes that were received and not executed yet.
    pending: BytesMut,
    out: Output,
    parked: Parked,
    /// The last position that was appended and not yet written by
    /// [`Journal::write_up_to`](storage::Journal::write_up_to); number 0 if there is none.
    written: Position,
    /// The replies that are withheld, if any.
    withheld: Option<Box<Withheld>>,
    /// The time when the output first exceeded the soft limit, in [`seconds`], because Redis counts
    /// whole seconds, too.
    over_soft_limit_since: Option<NonZeroU32>,
    /// The time of the last input, in monotonic microseconds.
    active_us: u64,
    draining: bool,
    /// The times of stages, while they are recorded.
    trace: stages::Pending,
    /// Whether it was removed from the engine's registries. Nothing may happen after that.
    gone: bool,
}

impl Session {
    /// A session for a new connection, registered with the engine.
    pub fn new(engine: Arc<Engine>, peer: Peer, waker: Waker, now: Now) -> Self {
        let client = engine.clients.add(peer, waker, now.wall_ms);
        engine.notify.captures.open(&client, engine.gates(), now);
        let mut state = SessionState::new(client);
        // The session is registered, so it is told of later changes of the default user.
        state.sign_out(&engine.acl);
        if !state.is_authenticated() {
            state.set_pending(Some(engine.clients.unauthenticated.add(now.mono_us)));
        }
        Session { engine, machine: Machine::new(state, now) }
    }

    /// The state that handlers see, for tests.
    pub fn state(&self) -> &SessionState {
        &self.machine.state
    }
}

/// The monotonic time in seconds, but at least one.
fn seconds(now: Now) -> NonZeroU32 {
    let seconds = u32::try_from(now.mono_us / 1_000_000).unwrap_or(u32::MAX);
    NonZeroU32::new(seconds).unwrap_or(NonZeroU32::MIN)
}

impl Machine {
    fn new(state: SessionState, now: Now) -> Self {
        Machine {
            state,
            parser: Parser::new(),
            pending: BytesMut::new(),
            out: Output::new(),
            parked: Parked::No,
            written: Position::default(),
            withheld: None,
            over_soft_limit_since: None,
            active_us: now.mono_us,
            draining: false,
            trace: stages::Pending::default(),
            gone: false,
        }
    }

    fn limits(&self, engine: &Engine) -> Limits {
        Limits {
            bulk_len_max: engine.config.memory(Id::ProtoMaxBulkLen) as usize,
            unauthenticated: !self.state.is_authenticated(),
            ..Limits::default()
        }
    }

    fn is_parked(&self) -> bool {
        !matches!(self.parked, Parked::No)
    }

    /// Whether the request that it stopped at was not executed, and is parsed again.
    fn comes_again(&self) -> bool {
        matches!(self.parked, Parked::Paused { .. } | Parked::Held | Parked::Asking)
    }

    /// Where the rest of a buffer of `length` bytes begins, if the session stopped at the request
    /// from `start` to `end`.
    #[cold]
    fn stopped_at(&mut self, start: usize, end: usize, length: usize) -> usize {
        if matches!(self.parked, Parked::Asking) {
            self.state.rare_mut().asked.note_waiting(length - start);
        }
        if self.comes_again() { start } else { end }
    }

    /// Whether it waits for something other than input; such a wait ends when the peer leaves.
    fn is_waiting(&self) -> bool {
        let may_execute = matches!(self.parked, Parked::No | Parked::Yielding | Parked::OutputFull);
        !may_execute
    }

    /// Whether requests may be executed now. While replies are withheld none are: their replies
    /// would delay the moment when the first one may be sent.
    fn may_execute(&self) -> bool {
        !self.is_parked() && self.withheld.is_none() && self.state.flow == Flow::Open
    }

    /// Executes as much of `pending` as possible.
    fn execute_pending(&mut self, engine: &Engine, now: Now) {
        if self.pending.is_empty() || !self.may_execute() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        self.state.begin_answered(&pending);
        let consumed = self.execute(engine, &pending, now);
        self.state.end_answered(matches!(self.parked, Parked::Asking));
        if consumed < pending.len() {
            pending.advance(consumed);
            self.pending = pending;
        }
    }

    /// Keeps bytes that could not be executed yet. Ends the connection if there are too many.
    fn keep(&mut self, engine: &Engine, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if engine.clients.eviction.is_limited() {
            engine.clients.note_growth(bytes.len(), &engine.config, &engine.observe.stats);
        }
        if self.check_query_limit(engine, self.pending.len() + bytes.len()) {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// Ends the connection, and returns false, if this number of unexecuted bytes is too high.
    fn check_query_limit(&mut self, engine: &Engine, bytes: usize) -> bool {
        let limit = engine.config.memory(Id::ClientQueryBufferLimit);
        if bytes as u64 <= limit {
            return true;
        }
        tracing::warn!(client = self.state.client().id, limit, "query buffer limit reached");
        engine.observe.stats.query_limit_disconnections.fetch_add(1, Ordering::Relaxed);
        self.state.flow = Flow::Abort;
        self.pending = BytesMut::new();
        false
    }

    /// Handles the events in the client's inbox.
    #[inline]
    fn take_events(&mut self, engine: &Engine, now: Now) {
        if self.state.client().has_events() {
            self.take_them(engine, now);
        }
    }

    #[inline(never)]
    fn take_them(&mut self, engine: &Engine, now: Now) {
        for event in self.state.client().clone().take_events() {
            match event {
                Event::Message(message) => {
                    message.write(&mut Reply::new(&mut self.out, self.state.proto));
                }
                // For a monitoring client, what it is shown counts as replies.
                Event::Raw(bytes) if self.state.reply_mode == ReplyMode::On => {
                    self.out.share(bytes);
                }
                Event::Raw(_) => {}
                Event::Push(bytes) => self.out.share(bytes),
                Event::Cache(notice) => {
                    let subscribed = self.state.is_subscribed();
                    notice.write(&mut Reply::new(&mut self.out, self.state.proto), subscribed);
                }
                Event::Captured => {
                    let unwritten = self.out.len();
                    self.out.share(engine.notify.captures.take(
                        self.state.client(),
                        unwritten,
                        now,
                    ));
                }
                Event::Served { reply, position } => self.served(engine, reply, position),
                Event::Unblocked { error } => self.unblocked(engine, error, now),
                Event::Poke => self.end_pause(),
                Event::Probe(probe) => self.state.begin_passage(Passage::new(probe, now)),
                Event::Ousted => self.leave_shards(engine),
                Event::Rerouted => self.reroute(engine, now),
                Event::UserChanged => self.state.refresh_user(&engine.acl),
            }
        }
    }

    /// Ends all subscriptions to shard channels, and tells the client.
    fn leave_shards(&mut self, engine: &Engine) {
        let names: Vec<_> = self.state.subscriptions(Space::Shard).cloned().collect();
        for name in names {
            self.state.remove_subscription(Space::Shard, &name);
            engine.notify.pubsub.unsubscribe(Space::Shard, &name, self.state.client());
            let count = self.state.subscription_count(Space::Shard) as i64;
            let mut reply = Reply::new(&mut self.out, self.state.proto);
            pubsub::confirm(&mut reply, "sunsubscribe", Some(&name), count);
        }
    }

    /// Makes up for invalidation messages that were left out.
    fn get_in_touch(&mut self) {
        let client = self.state.client();
        if client.has_flag(ClientFlags::OUT_OF_TOUCH) && self.out.len() < IN_TOUCH_MAX {
            client.set_flag(ClientFlags::OUT_OF_TOUCH, false);
            let subscribed = self.state.is_subscribed();
            let reply = &mut Reply::new(&mut self.out, self.state.proto);
            Notice::Stale(None).write(reply, subscribed);
        }
    }

    /// Ends a pause or the wait for a held key: the request is tried again.
    fn end_pause(&mut self) {
        if matches!(self.parked, Parked::Paused { .. } | Parked::Held) {
            self.state.client().set_flag(ClientFlags::PAUSED, false);
            self.parked = Parked::No;
        }
    }

    fn served(&mut self, engine: &Engine, reply: Output, position: Option<Position>) {
        self.parked = Parked::No;
        let start = self.out.len();
        if self.state.reply_mode == ReplyMode::On {
            self.out.append(reply);
        }
        position.into_iter().for_each(|position| self.depend(engine, position, start));
        self.state.end_skip();
    }

    /// Ends a wait whose time is over.
    fn time_out(&mut self, engine: &Engine, now: Now) {
        let Parked::Blocked { waiter, .. } = &self.parked else { return };
        if !waiter.end() {
            return; // Being served, or unblocked, at this very moment: the reply is on its way.
        }
        engine.notify.unpark(waiter);
        self.unblocked(engine, None, now);
    }

    /// Ends the wait for keys that this server no longer serves.
    fn reroute(&mut self, engine: &Engine, now: Now) {
        let Parked::Blocked { waiter, .. } = &self.parked else { return };
        let Some(key) = waiter.keys.first() else { return };
        let writes = engine.commands.entry(waiter.command).appends();
        let error = engine.sent_away(&self.state, engine.slot_of(key), writes);
        let Some(error) = error else { return };
        if waiter.end() {
            engine.notify.unpark(waiter);
            self.unblocked(engine, Some(error.as_str()), now);
        }
    }

    /// Replies to a blocking command whose wait was ended, as if its time were over, or with an
    /// error.
    fn unblocked(&mut self, engine: &Engine, error: Option<&str>, now: Now) {
        let Parked::Blocked { waiter, .. } = &self.parked else { return };
        engine.observe.note_waited(&engine.commands, waiter, now);
        if let Some(code) = error.and_then(|error| error.split(' ').next()) {
            engine.observe.stats.failed(waiter.command, code);
        }
        if self.state.reply_mode == ReplyMode::On {
            let mut reply = Reply::new(&mut self.out, self.state.proto);
            match error {
                Some(error) => reply.error(error),
                None => waiter.time_out(|| engine.progress(), &mut reply),
            }
        }
        self.parked = Parked::No;
        self.state.end_skip();
    }

    /// Continues after other connections had their turns, or once there is room for more output.
    fn take_turn(&mut self, engine: &Engine) {
        let full = || self.out.len() >= engine.tuning.output_ceiling(self.output_class());
        let goes_on = match self.parked {
            Parked::Yielding | Parked::OutputFull => !full(),
            Parked::Asking => true,
            _ => false,
        };
        if goes_on {
            self.parked = Parked::No;
        }
    }

    /// Ends waits whose deadline has passed.
    fn check_deadlines(&mut self, engine: &Engine, now: Now) {
        match &self.parked {
            Parked::Blocked { deadline_us: Some(at), .. } if *at <= now.mono_us => {
                self.time_out(engine, now);
            }
            Parked::Paused { until_us } if *until_us <= now.mono_us => self.end_pause(),
            _ => {}
        }
        let limits = [self.idle_deadline_us(engine), self.login_deadline_us(engine)];
        if limits.into_iter().flatten().any(|at| at <= now.mono_us) {
            self.state.flow = Flow::CloseAfterFlush;
        }
    }

    /// The time at which `unauthenticated-timeout` closes the connection, whatever it sends.
    fn login_deadline_us(&self, engine: &Engine) -> Option<u64> {
        let pending = self.state.rare()?.unauthenticated.as_ref()?;
        let timeout_s = engine.config.integer(Id::UnauthenticatedTimeout) as u64;
        (timeout_s > 0).then(|| pending.since_us + timeout_s * 1_000_000)
    }

    /// The time at which `timeout` closes the connection. As in Redis, subscribers and blocked
    /// clients are exempt.
    fn idle_deadline_us(&self, engine: &Engine) -> Option<u64> {
        let timeout_s = engine.config.integer(Id::Timeout) as u64;
        let spared = timeout_s == 0
            || self.is_waiting()
            || self.state.is_subscribed()
            || self.state.special.contains(Special::FOLLOWER);
        (!spared).then(|| self.active_us + timeout_s * 1_000_000)
    }

    fn output_class(&self) -> OutputClass {
        match self.state.is_subscribed() {
            _ if self.state.client().has_flag(ClientFlags::MONITOR | ClientFlags::REPLICA) => {
                OutputClass::Replica
            }
            true => OutputClass::PubSub,
            false => OutputClass::Normal,
        }
    }
}

impl Machine {
    fn receive(&mut self, engine: &Engine, bytes: &[u8], now: Now) -> Status {
        self.active_us = now.mono_us;
        let waiting = self.out.len();
        self.take_events(engine, now);
        if self.pending.is_empty() && self.may_execute() {
            let consumed = self.execute(engine, bytes, now);
            self.keep(engine, &bytes[consumed..]);
        } else {
            self.keep(engine, bytes);
            self.execute_pending(engine, now);
        }
        engine
            .observe
            .stats
            .moved(bytes.len() as u64, self.out.len().saturating_sub(waiting) as u64);
        self.status(engine, now)
    }

    fn resume(&mut self, engine: &Engine, now: Now) -> Status {
        let waiting = self.out.len();
        self.state.end_passage(now);
        self.take_events(engine, now);
        self.get_in_touch();
        self.check_deadlines(engine, now);
        self.take_turn(engine);
        self.execute_pending(engine, now);
        engine.observe.stats.moved(0, self.out.len().saturating_sub(waiting) as u64);
        self.status(engine, now)
    }

    fn before_write(&mut self, engine: &Engine) {
        let position = self.written;
        if position.seq != 0
            && let Some(journal) = &engine.tee.journal
        {
            self.written.seq = 0;
            if runtime::trace::is_on() {
                return self.trace.write_log(engine, &**journal, position);
            }
            journal.write_up_to(position);
        }
    }

    fn output(&mut self) -> &mut Output {
        match &mut self.withheld {
            Some(withheld) => &mut withheld.nothing,
            None => &mut self.out,
        }
    }

    fn written(&mut self, engine: &Engine) {
        let waiting = self.out.len();
        let client = self.state.client();
        client.output_bytes.store(waiting, Ordering::Relaxed);
        let waiting = waiting + client.outside_bytes.load(Ordering::Relaxed);
        if self.over_soft_limit_since.is_some() {
            let limit = engine.tuning.output_limit(self.output_class());
            if (waiting as u64) < limit.soft_bytes {
                self.over_soft_limit_since = None;
            }
        }
    }

    fn drain(&mut self, engine: &Engine, now: Now) -> Status {
        self.draining = true;
        self.state.set_special(Special::LEAVING, true);
        // At shutdown Redis ends blocked clients without a reply. What is being done for one at this moment (it is served,
        // its keys migrate) is still answered. A session whose output is full goes on, because it must reply to the
        // requests that it has taken.
        if self.is_waiting() {
            self.pending = BytesMut::new();
            if self.leave_queue(engine) {
                self.end_pause();
                self.parked = Parked::No;
            }
        }
        self.status(engine, now)
    }
}

impl Machine {
    /// Removes the session's blocking command from its queues. Returns false if its reply is on its way.
    fn leave_queue(&mut self, engine: &Engine) -> bool {
        let Parked::Blocked { waiter, .. } = &self.parked else { return true };
        let waited = waiter.end();
        if waited {
            engine.notify.unpark(waiter);
        }
        waited
    }

    /// Removes the session from all registries of the engine.
    fn leave(&mut self, engine: &Engine, now: Now) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        self.leave_queue(engine);
        self.state.forget_watches(&engine.notify.keyspace);
        engine.notify.monitors.end(self.state.client(), engine.gates());
        engine.notify.captures.end(self.state.client(), engine.gates());
        engine.notify.tracking.end(&engine.notify.keyspace, &mut self.state);
        engine.end_follower(&self.state);
        for space in [Space::Channel, Space::Pattern, Space::Shard] {
            for name in self.state.subscriptions(space) {
                engine.notify.pubsub.unsubscribe(space, name, self.state.client());
            }
        }
        engine.notify.captures.close(self.state.client(), engine.gates(), now);
        engine.clients.remove(self.state.client().id);
    }
}

impl Connection for Session {
    fn anticipate(&mut self, bytes: &[u8]) {
        self.machine.anticipate(&self.engine, bytes);
    }

    fn receive(&mut self, bytes: &[u8], now: Now) -> Status {
        self.machine.receive(&self.engine, bytes, now)
    }

    fn resume(&mut self, now: Now) -> Status {
        self.machine.resume(&self.engine, now)
    }

    fn before_write(&mut self, _: Now) {
        self.machine.before_write(&self.engine);
    }

    fn output(&mut self) -> &mut Output {
        self.machine.output()
    }

    fn written(&mut self) -> bool {
        self.machine.written(&self.engine);
        false
    }

    fn held_outside(&mut self, bytes: usize) {
        self.machine.state.client().outside_bytes.store(bytes, Ordering::Relaxed);
    }

    fn deadline_us(&self) -> Option<u64> {
        self.machine.deadline_us(&self.engine)
    }

    fn drain(&mut self, now: Now) -> Status {
        self.machine.drain(&self.engine, now)
    }

    fn closed(&mut self, now: Now) {
        self.machine.leave(&self.engine, now);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // No time was passed here; that of the last input will do.
        let now = Now { wall_ms: 0, mono_us: self.machine.active_us };
        self.machine.leave(&self.engine, now);
    }
}

impl SessionState {
    /// Stops watching all keys (`UNWATCH`, `EXEC`, `DISCARD`, the end of the session).
    pub fn forget_watches(&mut self, keyspace: &Keyspace) {
        for watched in std::mem::take(&mut self.watched) {
            keyspace.unwatch(&watched, self.client());
        }
        self.client().watched.store(0, Ordering::Relaxed);
        self.client().reset_transaction();
    }
}
