//! The end of each turn of a session: updates the figures that others see, checks limits, checks
//! whether withheld replies may be sent, and tells the runtime what to do next.

use super::state::Special;
use super::{Machine, OUTPUT_FREE, Parked, seconds};
use crate::clients::{Ending, capped};
use crate::config::{Id, OutputBufferLimit};
use crate::engine::Engine;
use crate::replication::Fed;
use runtime::{Flow, Input, Next, Now, Status};
use std::sync::atomic::Ordering;

impl Machine {
    /// Updates the figures of input that is waiting to be executed.
    fn show_input(&self) {
        let client = self.state.client();
        let (taken, arguments) = match (&self.parked, self.pending.is_empty()) {
            (Parked::Blocked { waiter, .. }, _) => (0, waiter.request.argument_bytes()),
            (_, true) => (0, 0),
            // An incomplete request: its first arguments no longer count as input.
            (Parked::No, false) => self.parser.half_read(),
            _ => (0, 0),
        };
        let input = self.pending.len().saturating_sub(taken);
        client.input_bytes.store(input, Ordering::Relaxed);
        client.argument_bytes.store(capped(arguments), Ordering::Relaxed);
    }

    /// Updates the figures of waiting output, and closes a session whose peer reads too slowly
    /// (`client-output-buffer-limit`).
    pub(super) fn check_buffers(&mut self, engine: &Engine, now: Now) {
        let client = self.state.client();
        let waiting = self.out.len();
        let before = client.output_bytes.load(Ordering::Relaxed);
        client.output_bytes.store(waiting, Ordering::Relaxed);
        if waiting > 0 {
            client.reply_bytes.store(capped(waiting), Ordering::Relaxed);
        }
        let grown = waiting.saturating_sub(before);
        let waiting = waiting + client.outside_bytes.load(Ordering::Relaxed);
        // Redis counts only what does not fit the buffer that every client has.
        if waiting <= OUTPUT_FREE {
            self.over_soft_limit_since = None;
            return;
        }
        if engine.clients.eviction.is_limited() {
            engine.clients.note_growth(grown, &engine.config, &engine.observe.stats);
        }
        self.out.close_large_tail();
        let limit = engine.tuning.output_limit(self.output_class());
        let over_hard = limit.hard_bytes > 0 && waiting as u64 >= limit.hard_bytes;
        if over_hard || self.over_soft_too_long(waiting as u64, limit, now) {
            self.state.client().end(Ending::Overflow);
        }
    }

    fn over_soft_too_long(&mut self, waiting: u64, limit: OutputBufferLimit, now: Now) -> bool {
        if limit.soft_bytes == 0 || waiting < limit.soft_bytes {
            self.over_soft_limit_since = None;
            return false;
        }
        let now_s = seconds(now);
        let since = *self.over_soft_limit_since.get_or_insert(now_s);
        u64::from(now_s.get() - since.get()) > limit.soft_seconds
    }

    /// The time at which it will have been over the soft limit for too long, if it is over it.
    fn soft_limit_deadline_us(&self, engine: &Engine) -> Option<u64> {
        let since = u64::from(self.over_soft_limit_since?.get());
        let longest = engine.tuning.output_limit(self.output_class()).soft_seconds;
        Some(since.saturating_add(longest).saturating_add(1).saturating_mul(1_000_000))
    }

    /// Ends the session if a command or a limit demands it.
    fn check_ending(&mut self, engine: &Engine) {
        let client = self.state.client();
        if !client.is_killed() || self.state.flow == Flow::Abort {
            return;
        }
        if client.has_overflowed() {
            engine.observe.stats.output_limit_disconnections.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(client = client.id, peer = %client.peer, unread = self.out.len(),
                "a client is closed: it has left more unread than its output limit");
        }
        self.state.flow = Flow::Abort;
    }

    /// Appends what waits for a replica to its session's output. Returns whether more is waiting
    /// than fits.
    #[cold]
    fn feed_follower(&mut self, engine: &Engine) -> bool {
        let fed = engine.feed_follower(&self.state, &mut self.out);
        match fed {
            Fed::Lost => self.state.flow = Flow::Abort,
            Fed::Over => self.state.flow = Flow::CloseAfterFlush,
            Fed::All | Fed::More => {}
        }
        fed == Fed::More
    }

    /// Ends a call: updates figures, checks limits, and returns the status for the runtime.
    #[inline]
    pub(super) fn status(&mut self, engine: &Engine, now: Now) -> Status {
        match self.is_at_rest() {
            true => self.rest(),
            false => self.look_around(engine, now),
        }
    }

    /// Whether there is nothing to check, as is nearly always the case: all input is executed, no
    /// reply is withheld, the unwritten output is below every limit, and nothing ends the session.
    #[inline]
    fn is_at_rest(&self) -> bool {
        let limited = self.out.len() > OUTPUT_FREE || self.over_soft_limit_since.is_some();
        let input = self.is_parked() || !self.pending.is_empty();
        let ends =
            self.state.flow != Flow::Open || self.draining || self.state.client().is_killed();
        // A replica's session has to send what is waiting for it.
        let follows = self.state.special.contains(Special::FOLLOWER);
        !(self.withheld.is_some() || limited || input || ends || follows)
    }

    /// The status of a session for which there is nothing to check.
    #[inline]
    fn rest(&self) -> Status {
        let (client, waiting) = (self.state.client(), self.out.len());
        client.output_bytes.store(waiting, Ordering::Relaxed);
        if waiting > 0 {
            client.reply_bytes.store(capped(waiting), Ordering::Relaxed);
        }
        client.input_bytes.store(0, Ordering::Relaxed);
        client.argument_bytes.store(0, Ordering::Relaxed);
        Status { flow: Flow::Open, input: Input::Wanted, next: Next::Nothing }
    }

    #[inline(never)]
    fn look_around(&mut self, engine: &Engine, now: Now) -> Status {
        let released = self.check_withheld(engine);
        let more = self.state.special.contains(Special::FOLLOWER) && self.feed_follower(engine);
        self.check_buffers(engine, now);
        self.check_ending(engine);
        if !self.is_parked() {
            if released && !self.pending.is_empty() {
                self.parked = Parked::Yielding;
            } else if self.draining && self.state.flow == Flow::Open && self.withheld.is_none() {
                self.state.flow = Flow::CloseAfterFlush;
            }
        }
        // All withheld replies must be released before the connection may close.
        let flow = match self.state.flow {
            Flow::CloseAfterFlush if self.withheld.is_some() => Flow::Open,
            flow => flow,
        };
        self.show_input();
        let (input, next) = self.wishes(engine);
        // If not everything fitted, a replica is sent more once it has read.
        let next = if more && next == Next::Nothing { Next::OnceWritten } else { next };
        Status { flow, input, next }
    }

    /// Whether input is wanted, and what the session does next without an event.
    fn wishes(&mut self, engine: &Engine) -> (Input, Next) {
        if self.state.flow != Flow::Open {
            return (Input::Held, Next::Nothing);
        }
        if self.is_waiting() {
            return (Input::Kept, Next::Nothing);
        }
        if self.withheld.is_some() {
            return (Input::Held, Next::Nothing);
        }
        if !self.is_parked() {
            return (Input::Wanted, Next::Nothing);
        }
        if self.out.len() < engine.tuning.output_ceiling(self.output_class()) {
            self.parked = Parked::Yielding;
            return (Input::Held, Next::AnotherTurn);
        }
        self.parked = Parked::OutputFull;
        (if self.draining { Input::Held } else { Input::Wanted }, Next::OnceWritten)
    }

    #[inline]
    pub(super) fn deadline_us(&self, engine: &Engine) -> Option<u64> {
        let soon = Special::UNAUTHENTICATED | Special::PROBED;
        let may_time_out =
            engine.config.integer(Id::Timeout) != 0 || self.state.special.intersects(soon);
        match may_time_out || self.is_parked() || self.over_soft_limit_since.is_some() {
            true => self.earliest_deadline_us(engine),
            false => None,
        }
    }

    #[inline(never)]
    fn earliest_deadline_us(&self, engine: &Engine) -> Option<u64> {
        let parked = match &self.parked {
            Parked::Blocked { deadline_us, .. } => *deadline_us,
            Parked::Paused { until_us } => Some(*until_us),
            Parked::No | Parked::Held | Parked::Asking => None,
            Parked::Yielding | Parked::OutputFull => None,
        };
        let limits = [
            self.idle_deadline_us(engine),
            self.login_deadline_us(engine),
            self.soft_limit_deadline_us(engine),
            self.state.passage_due_us(),
        ];
        limits.into_iter().chain([parked]).flatten().min()
    }
}
