//! [`Session`]: one client as a sans-IO state machine.
//!
//! A runtime hands it bytes and times and takes bytes away; see [`runtime::Connection`]. Requests
//! run straight from the runtime's buffer: only what is left of a half request, or of a pipeline
//! whose session is parked, is copied.

mod admit;
mod run;
mod state;

pub use state::{Multi, ReplyMode, SessionState, Watched};
pub(crate) use state::{Queued, special};

use crate::blocking::Waiter;
use crate::clients::{Event, capped, flag};
use crate::config::Id;
use crate::engine::Engine;
use crate::pubsub::Space;
use crate::stages;
use crate::tracking::Notice;
use crate::tuning::OutputClass;
use resp::{Limits, Output, Parser, Reply};
use runtime::{Connection, Flow, Now, Peer, Status};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;
use storage::Lsn;
use storage::journal::Durability;

/// Output above which a session executes no further requests until the peer has read.
const OUTPUT_HIGH_WATER: usize = 1024 * 1024;

/// Why a session takes no further requests for now.
enum Parked {
    /// It does take them.
    No,
    /// A blocking command waits.
    Blocked {
        waiter: Arc<Waiter>,
        /// Monotonic microseconds.
        deadline_us: Option<u64>,
    },
    /// A key is held: the request is tried again when it is no longer.
    Held,
    /// `CLIENT PAUSE`: look again at this monotonic time (microseconds).
    Paused { until_us: u64 },
    /// The peer must read first.
    OutputFull,
}

/// Why the runtime is not shown any replies for now.
struct Withheld {
    /// The position that must be durable first.
    until: Lsn,
    /// What the runtime sees meanwhile.
    nothing: Output,
}

/// One client.
pub struct Session {
    engine: Arc<Engine>,
    machine: Machine,
}

/// The session's own part; the engine is handed to it, so that running a command never has to
/// touch the engine's reference count.
struct Machine {
    state: SessionState,
    parser: Parser,
    /// Bytes received and not yet executed.
    pending: Vec<u8>,
    out: Output,
    parked: Parked,
    /// The journal position that replies in `out` depend on.
    written: Option<Lsn>,
    /// Replies are withheld.
    withheld: Option<Box<Withheld>>,
    /// When the output first exceeded the soft limit, monotonic microseconds (never quite zero).
    over_soft_limit_since: Option<NonZeroU64>,
    /// Monotonic microseconds of the last bytes.
    active_us: u64,
    draining: bool,
    /// While times of stages are taken.
    trace: stages::Pending,
    /// Taken out of the engine's registries; nothing may happen after.
    gone: bool,
}

impl Session {
    /// A session for a new connection, registered with the engine.
    pub fn new(engine: Arc<Engine>, peer: Peer, waker: Waker, now: Now) -> Self {
        let client = engine.clients.add(peer, waker, now.wall_ms);
        engine.capture_open(&client, now);
        let mut state = SessionState::new(client);
        // It is registered: a change of the default user from now on is told to it.
        state.sign_out(&engine.acl);
        Session { engine, machine: Machine::new(state, now) }
    }

    /// What handlers see of this client, for tests.
    pub fn state(&self) -> &SessionState {
        &self.machine.state
    }
}

impl Machine {
    fn new(state: SessionState, now: Now) -> Self {
        Machine {
            state,
            parser: Parser::new(),
            pending: Vec::new(),
            out: Output::new(),
            parked: Parked::No,
            written: None,
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

    /// Executes what can be executed of `pending`.
    fn execute_pending(&mut self, engine: &Engine, now: Now) {
        if self.pending.is_empty() || self.is_parked() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        let consumed = self.execute(engine, &pending, now);
        if consumed < pending.len() {
            pending.drain(..consumed);
            self.pending = pending;
        }
    }

    /// Appends bytes that could not be executed yet; ends the connection when they are too many.
    fn keep(&mut self, engine: &Engine, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        if self.check_query_limit(engine, self.pending.len() + bytes.len()) {
            self.pending.extend_from_slice(bytes);
        }
    }

    /// Ends the connection when so many bytes are too many to wait for being executed.
    fn check_query_limit(&mut self, engine: &Engine, bytes: usize) -> bool {
        let limit = engine.config.memory(Id::ClientQueryBufferLimit);
        if bytes as u64 <= limit {
            return true;
        }
        tracing::warn!(client = self.state.client().id, limit, "query buffer limit reached");
        engine.stats.query_limit_disconnections.fetch_add(1, Ordering::Relaxed);
        self.state.flow = Flow::Abort;
        self.pending = Vec::new();
        false
    }

    /// Has others see what waits to be executed.
    fn show_input(&self) {
        let client = self.state.client();
        let (taken, arguments) = match (&self.parked, self.pending.is_empty()) {
            (Parked::Blocked { waiter, .. }, _) => (0, waiter.request.argument_bytes()),
            (_, true) => (0, 0),
            // Half a request: its first arguments are no longer input.
            (Parked::No, false) => self.parser.half_read(),
            _ => (0, 0),
        };
        let input = self.pending.len().saturating_sub(taken);
        client.input_bytes.store(input, Ordering::Relaxed);
        client.argument_bytes.store(capped(arguments), Ordering::Relaxed);
    }

    /// Handles what arrived in the inbox.
    fn take_events(&mut self, engine: &Engine, now: Now) {
        if !self.state.client().has_events() {
            return;
        }
        for event in self.state.client().clone().take_events() {
            match event {
                Event::Message(message) => {
                    message.write(&mut Reply::new(&mut self.out, self.state.proto));
                }
                // What a monitor sees counts as replies.
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
                    self.out.share(engine.take_captured(self.state.client(), unwritten, now));
                }
                Event::Served { reply, lsn } => self.served(reply, lsn),
                Event::Unblock { error } => self.unblock(engine, error, now),
                Event::Poke => self.unpause(engine, now),
                Event::UserChanged => self.state.refresh_user(&engine.acl),
            }
        }
    }

    /// Makes up for notices about the client's cache that were left out.
    fn get_in_touch(&mut self) {
        let client = self.state.client();
        if client.has_flag(flag::OUT_OF_TOUCH) && self.out.len() < OUTPUT_HIGH_WATER {
            client.set_flag(flag::OUT_OF_TOUCH, false);
            let subscribed = self.state.is_subscribed();
            let reply = &mut Reply::new(&mut self.out, self.state.proto);
            Notice::Stale(None).write(reply, subscribed);
        }
    }

    fn unpause(&mut self, engine: &Engine, now: Now) {
        let over = match self.parked {
            Parked::Held => true,
            Parked::Paused { .. } => engine.pause.current(now.wall_ms).is_none(),
            _ => false,
        };
        if over {
            self.end_pause();
        }
    }

    /// Lets a request go on that was held back.
    fn end_pause(&mut self) {
        if matches!(self.parked, Parked::Paused { .. } | Parked::Held) {
            self.state.client().set_flag(flag::PAUSED, false);
            self.parked = Parked::No;
        }
    }

    fn served(&mut self, reply: Output, lsn: Option<Lsn>) {
        self.parked = Parked::No;
        self.written = self.written.max(lsn);
        if self.state.reply_mode == ReplyMode::On {
            self.out.append(reply);
        }
        self.state.end_skip();
    }

    /// Ends a wait with its time-out reply, or with an error.
    fn unblock(&mut self, engine: &Engine, error: bool, now: Now) {
        let Parked::Blocked { waiter, .. } = &self.parked else { return };
        if !waiter.end() {
            return; // Being served at this very moment: the reply is on its way.
        }
        engine.unpark(waiter);
        engine.note_waited(waiter, now);
        if error {
            engine.stats.failed(waiter.command, "UNBLOCKED");
        }
        if self.state.reply_mode == ReplyMode::On {
            let mut reply = Reply::new(&mut self.out, self.state.proto);
            match error {
                true => reply.error("UNBLOCKED client unblocked via CLIENT UNBLOCK"),
                false => (waiter.on_timeout)(&mut reply),
            }
        }
        self.parked = Parked::No;
        self.state.end_skip();
    }

    /// Ends what has a deadline that has passed.
    fn check_deadlines(&mut self, engine: &Engine, now: Now) {
        match &self.parked {
            Parked::Blocked { deadline_us: Some(at), .. } if *at <= now.mono_us => {
                self.unblock(engine, false, now);
            }
            Parked::Paused { until_us } if *until_us <= now.mono_us => self.end_pause(),
            _ => {}
        }
        if self.idle_deadline_us(engine).is_some_and(|at| at <= now.mono_us) {
            self.state.flow = Flow::CloseAfterFlush;
        }
    }

    /// When `timeout` closes the connection. Subscribers and blocked clients are spared, as in
    /// Redis.
    fn idle_deadline_us(&self, engine: &Engine) -> Option<u64> {
        let timeout_s = engine.config.integer(Id::Timeout) as u64;
        let spared = timeout_s == 0 || self.is_parked() || self.state.is_subscribed();
        (!spared).then(|| self.active_us + timeout_s * 1_000_000)
    }

    /// Closes a session whose peer reads too slowly (`client-output-buffer-limit`).
    fn check_output_limit(&mut self, engine: &Engine, now: Now) {
        let waiting = self.out.len() as u64;
        self.state.client().output_bytes.store(waiting as usize, Ordering::Relaxed);
        if waiting == 0 {
            self.over_soft_limit_since = None;
            return;
        }
        self.state.client().reply_bytes.store(capped(waiting as usize), Ordering::Relaxed);
        let subscribed = self.state.is_subscribed();
        let class = if subscribed { OutputClass::PubSub } else { OutputClass::Normal };
        let limit = engine.tuning.output_limit(class);
        let over_hard = limit.hard_bytes > 0 && waiting > limit.hard_bytes;
        if over_hard || self.over_soft_too_long(waiting, limit, now) {
            let stats = &engine.stats;
            stats.output_limit_disconnections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = self.state.client().id, waiting, "output limit reached");
            self.state.flow = Flow::Abort;
        }
    }

    fn over_soft_too_long(
        &mut self,
        waiting: u64,
        limit: crate::config::OutputBufferLimit,
        now: Now,
    ) -> bool {
        if limit.soft_bytes == 0 || waiting <= limit.soft_bytes {
            self.over_soft_limit_since = None;
            return false;
        }
        let now_us = NonZeroU64::MIN.saturating_add(now.mono_us.saturating_sub(1));
        let since = *self.over_soft_limit_since.get_or_insert(now_us);
        now_us.get() - since.get() > limit.soft_seconds * 1_000_000
    }

    /// Withholds replies until what they promise is durable, or lets them go.
    fn check_durability(&mut self, engine: &Engine) {
        let Some(journal) = &engine.journal else { return };
        if let Some(lsn) = self.written
            && journal.durability() == Durability::Always
        {
            let nothing = Output::new();
            let withheld =
                self.withheld.get_or_insert_with(|| Box::new(Withheld { until: lsn, nothing }));
            withheld.until = withheld.until.max(lsn);
            self.written = None;
            if engine.is_traced() {
                self.trace.withhold(engine);
            }
        }
        let Some(lsn) = self.withheld.as_ref().map(|withheld| withheld.until) else { return };
        match journal.poll_durable(lsn, self.state.client().waker()) {
            Ok(true) => {
                self.withheld = None;
                self.trace.release(engine);
            }
            Ok(false) => {}
            Err(error) => {
                // The reply would be a lie, and cannot be taken back once sent.
                tracing::error!(%error, "journal failed: closing a client that waits for it");
                self.withheld = None;
                self.state.flow = Flow::Abort;
            }
        }
    }

    /// What every call ends with.
    fn status(&mut self, engine: &Engine, now: Now) -> Status {
        if self.state.client().is_killed() {
            self.state.flow = Flow::Abort;
        }
        self.check_durability(engine);
        self.check_output_limit(engine, now);
        if self.draining && !self.is_parked() && self.state.flow == Flow::Open {
            self.state.flow = Flow::CloseAfterFlush;
        }
        // Whatever is withheld must be let go before the connection may close.
        let flow = match self.state.flow {
            Flow::CloseAfterFlush if self.withheld.is_some() => Flow::Open,
            flow => flow,
        };
        self.show_input();
        let wants_input = !self.is_parked()
            && self.withheld.is_none()
            && self.state.flow == Flow::Open
            && self.out.len() < OUTPUT_HIGH_WATER;
        Status { flow, wants_input }
    }
}

impl Machine {
    fn receive(&mut self, engine: &Engine, bytes: &[u8], now: Now) -> Status {
        self.active_us = now.mono_us;
        let waiting = self.out.len();
        self.take_events(engine, now);
        if self.is_parked() || self.state.flow != Flow::Open {
            self.keep(engine, bytes);
        } else if self.pending.is_empty() {
            let consumed = self.execute(engine, bytes, now);
            self.keep(engine, &bytes[consumed..]);
        } else {
            self.keep(engine, bytes);
            self.execute_pending(engine, now);
        }
        engine.stats.moved(bytes.len() as u64, self.out.len().saturating_sub(waiting) as u64);
        self.status(engine, now)
    }

    fn resume(&mut self, engine: &Engine, now: Now) -> Status {
        let waiting = self.out.len();
        self.take_events(engine, now);
        self.get_in_touch();
        self.check_deadlines(engine, now);
        if matches!(self.parked, Parked::OutputFull) && self.out.len() < OUTPUT_HIGH_WATER {
            self.parked = Parked::No;
        }
        if self.state.flow == Flow::Open {
            self.execute_pending(engine, now);
        }
        engine.stats.moved(0, self.out.len().saturating_sub(waiting) as u64);
        self.status(engine, now)
    }

    fn before_write(&mut self, engine: &Engine, now: Now) {
        if let (Some(lsn), Some(journal)) = (self.written.take(), &engine.journal) {
            if engine.is_traced() {
                return self.trace.write_log(engine, &**journal, lsn);
            }
            engine.noting("aof-write", now, || journal.write_up_to(lsn));
        }
    }

    fn output(&mut self) -> &mut Output {
        match &mut self.withheld {
            Some(withheld) => &mut withheld.nothing,
            None => &mut self.out,
        }
    }

    fn written(&mut self) {
        self.state.client().output_bytes.store(self.out.len(), Ordering::Relaxed);
    }

    fn deadline_us(&self, engine: &Engine) -> Option<u64> {
        let parked = match &self.parked {
            Parked::Blocked { deadline_us, .. } => *deadline_us,
            Parked::Paused { until_us } => Some(*until_us),
            Parked::No | Parked::Held | Parked::OutputFull => None,
        };
        [parked, self.idle_deadline_us(engine)].into_iter().flatten().min()
    }

    fn drain(&mut self, engine: &Engine, now: Now) -> Status {
        self.draining = true;
        // Redis ends blocked clients at shutdown without a reply. A session whose output is full
        // goes on: it owes the answers to what it has taken.
        if matches!(self.parked, Parked::Blocked { .. } | Parked::Paused { .. } | Parked::Held) {
            self.leave_queue(engine);
            self.end_pause();
            self.parked = Parked::No;
            self.pending = Vec::new();
        }
        self.status(engine, now)
    }
}

impl Machine {
    /// Takes the session's parked command out of its queues.
    fn leave_queue(&mut self, engine: &Engine) {
        if let Parked::Blocked { waiter, .. } = &self.parked
            && waiter.end()
        {
            engine.unpark(waiter);
        }
    }

    /// Takes the session out of everything that knows it.
    fn leave(&mut self, engine: &Engine, now: Now) {
        if std::mem::replace(&mut self.gone, true) {
            return;
        }
        self.leave_queue(engine);
        engine.forget_watches(&mut self.state);
        engine.end_monitor(self.state.client());
        engine.end_capture(self.state.client());
        engine.end_tracking(&mut self.state);
        for space in [Space::Channel, Space::Pattern, Space::Shard] {
            for name in self.state.subscriptions(space) {
                engine.pubsub.unsubscribe(space, name, self.state.client());
            }
        }
        if !self.state.is_replay() {
            engine.capture_close(self.state.client(), now);
            engine.clients.remove(self.state.client().id);
        }
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

    fn before_write(&mut self, now: Now) {
        self.machine.before_write(&self.engine, now);
    }

    fn output(&mut self) -> &mut Output {
        self.machine.output()
    }

    fn written(&mut self) {
        self.machine.written();
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
        // Nobody tells the time here: that of the last bytes will do.
        let now = Now { wall_ms: 0, mono_us: self.machine.active_us };
        self.machine.leave(&self.engine, now);
    }
}

impl Engine {
    /// Stops watching all keys a session watches (`UNWATCH`, `EXEC`, `DISCARD`, the end).
    pub fn forget_watches(&self, session: &mut SessionState) {
        for watched in std::mem::take(&mut session.watched) {
            self.keyspace.unwatch(&watched, session.client());
        }
        session.client().watched.store(0, Ordering::Relaxed);
        session.client().reset_transaction();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_fits_the_allocators_320_bytes() {
        assert!(size_of::<Session>() <= 320, "{}", size_of::<Session>());
    }
}
