//! The half of a connection's turn that makes no system calls: bytes and events in, chunks out.
//!
//! An [`Exchange`] is what every runtime does with a [`Connection`], whichever way its bytes are
//! moved. A runtime that is told when a socket is *ready* reads and writes itself;
//! [`Driver`](crate::Driver) is the other half for it. A runtime that is told when a read or write
//! is *complete* (io_uring) calls the methods here: [`Exchange::receive`] with the bytes of a read,
//! [`Exchange::write`] for the chunks of the next write, and [`Exchange::onward`] when that is
//! complete.

use crate::spans::{self, Turn};
use crate::trace::{self, Stage};
use crate::{Clock, Connection, Events, Flow, Input, Next, Now, Peer, Rejection, RuntimeStats};
use crate::{Sent, Service, Status};
use resp::Output;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Instant;

/// The number of portions of a filter's output that one call may write before other connections get
/// their turn.
const PORTIONS_MAX: u32 = 16;

/// The time that a peer may take to read the last replies of a connection that is to close, in µs.
const CLOSING_US: u64 = 60_000_000;

/// The clock and counters that all connections of a runtime share.
#[derive(Debug)]
pub struct RuntimeContext {
    /// The clock from which connections are told the time.
    pub clock: Clock,
    /// The runtime's counters.
    pub stats: Arc<RuntimeStats>,
}

impl RuntimeContext {
    /// Creates a connection of `service` for a peer.
    ///
    /// # Errors
    /// Fails if the service refuses the peer, with the bytes to send, or if it panics, without any.
    pub fn introduce(
        self: &Arc<Self>,
        service: &dyn Service,
        peer: Peer,
        waker: Waker,
        now: Now,
    ) -> Result<Exchange, Rejection> {
        match catch_unwind(AssertUnwindSafe(|| service.connect(peer, waker, now))) {
            Ok(connected) => Ok(Exchange::new(self.clone(), connected?)),
            Err(panic) => {
                self.panicked("connect", &*panic);
                Err(Rejection(Vec::new()))
            }
        }
    }

    fn panicked(&self, during: &str, panic: &(dyn Any + Send)) {
        self.stats.panics.fetch_add(1, Relaxed);
        let text = panic.downcast_ref::<&str>().copied();
        let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        tracing::error!(during, panic = text.unwrap_or("?"), "a connection panicked and is closed");
    }
}

/// The next step of a runtime after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Wait for input, as [`Exchange::input`] says, for a wake or for the deadline.
    Wait,
    /// Write again: more output is available.
    Write,
    /// Give it another turn after those of other connections, beginning with [`Exchange::notify`].
    Turn,
    /// All output is written: end the sending side in an orderly way and close.
    Finish,
}

/// A connection as runtimes drive it.
///
/// Promises: the connection is called by one thread at a time. [`Connection::before_write`] is
/// called once between its other calls and the writing of its output. A panic ends only this
/// connection. [`Connection::closed`] is called exactly once, when the exchange is dropped.
pub struct Exchange {
    connection: Box<dyn Connection>,
    context: Arc<RuntimeContext>,
    status: Status,
    /// Whether no further input is taken: the peer has ended it, or the server drains.
    input_over: bool,
    /// Whether the connection was called since its last `before_write`.
    unsettled: bool,
    /// The time at which to give up on a peer that does not read the last replies.
    closing_until_us: Option<u64>,
    /// The turn that may be a sample, while turns are timed.
    turn: Option<Box<Turn>>,
}

impl Exchange {
    fn new(context: Arc<RuntimeContext>, connection: Box<dyn Connection>) -> Self {
        context.stats.connections.fetch_add(1, Relaxed);
        Exchange {
            connection,
            context,
            status: Status::READING,
            input_over: false,
            unsettled: false,
            closing_until_us: None,
            turn: None,
        }
    }

    /// The monotonic time at which the connection must be resumed if nothing else happens, as in
    /// [`Now::mono_us`].
    #[inline]
    pub fn deadline_us(&self) -> Option<u64> {
        // A deadline from before it was to close no longer applies.
        if self.is_open() { self.connection.deadline_us() } else { self.closing_until_us }
    }

    /// Whether the connection is open. If not, only queued output may still be written.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.status.flow == Flow::Open
    }

    /// How to handle input from the peer; [`Input::Held`] once the end of input was reported.
    #[inline]
    pub fn input(&self) -> Input {
        if self.input_over { Input::Held } else { self.status.input }
    }

    /// Whether the connection was told that no input follows, because of the peer or because the
    /// server drains.
    #[inline]
    pub fn input_is_over(&self) -> bool {
        self.input_over
    }

    /// Tells the connection of a wake ([`Events::WAKE`]), a drain ([`Events::DRAIN`]), or another
    /// turn that it asked for ([`Onward::Turn`]). Other events have no effect here.
    #[inline]
    pub fn notify(&mut self, events: Events, now: Now) {
        if !self.is_open() {
            return self.notify_closing(events, now);
        }
        if events.intersects(Events::WAKE) || self.status.next == Next::AnotherTurn {
            self.resume(now);
        }
        if events.intersects(Events::DRAIN) {
            self.end_input(now);
        }
    }

    /// A connection that only has its last replies left to write can still be ended at once: by
    /// `CLIENT KILL`, or because its peer takes too long.
    #[cold]
    fn notify_closing(&mut self, events: Events, now: Now) {
        if self.status.flow != Flow::CloseAfterFlush || !events.intersects(Events::WAKE) {
            return;
        }
        let late = self.closing_until_us.is_some_and(|until_us| now.mono_us >= until_us);
        let said = self.guarded("resume", |exchange| exchange.connection.resume(now).flow);
        if late || said == Some(Flow::Abort) {
            self.abort();
        }
    }

    /// Hints what is coming; see [`Connection::anticipate`].
    #[inline]
    pub fn anticipate(&mut self, bytes: &[u8]) {
        self.guarded("anticipate", |exchange| exchange.connection.anticipate(bytes));
    }

    /// Passes on input; all of it is taken.
    #[inline(always)]
    pub fn receive(&mut self, bytes: &[u8], now: Now) {
        if !self.is_open() {
            return;
        }
        self.unsettled = true;
        self.guarded("receive", |exchange| {
            exchange.status = exchange.connection.receive(bytes, now);
        });
    }

    /// Tells the connection that no input follows: the peer has ended it, or the server drains.
    /// Only the first call has an effect.
    pub fn end_input(&mut self, now: Now) {
        if self.input_over || !self.is_open() {
            return;
        }
        self.input_over = true;
        self.unsettled = true;
        self.guarded("drain", |exchange| exchange.status = exchange.connection.drain(now));
    }

    /// Ends the connection: the socket is gone. Queued output is dropped.
    pub fn abort(&mut self) {
        self.status.flow = Flow::Abort;
    }

    /// Makes true what the replies promise, and lets `send` take from the output: it removes what
    /// it wrote, or what it has passed to the system to be written. `send` is called again for
    /// output that a filter encodes only then, and not at all if there is none. `None`: close now.
    #[inline]
    pub fn write(
        &mut self,
        now: Now,
        send: impl FnMut(&mut Output) -> io::Result<Sent>,
    ) -> Option<Sent> {
        self.guarded("write", |exchange| exchange.settle_and_send(now, send)).flatten()
    }

    #[inline(always)]
    fn settle_and_send(
        &mut self,
        now: Now,
        mut send: impl FnMut(&mut Output) -> io::Result<Sent>,
    ) -> Option<Sent> {
        if std::mem::take(&mut self.unsettled) {
            self.connection.before_write(now);
        }
        if self.status.flow == Flow::Abort {
            return None;
        }
        for _ in 0..PORTIONS_MAX {
            let output = self.connection.output();
            if output.is_empty() {
                return Some(Sent::All);
            }
            let sent = send(output).ok()?;
            let more = self.connection.written();
            if !more || sent != Sent::All {
                return Some(sent);
            }
        }
        Some(Sent::Limit)
    }

    /// Shows the output that [`Exchange::write`] left. It stays as it is until the next call, so a runtime may lend
    /// its chunks to the system for as long as it lets nobody call the connection. `None`: close now.
    pub fn unwritten<T>(&mut self, look: impl FnOnce(&Output) -> T) -> Option<T> {
        self.guarded("output", |exchange| look(exchange.connection.output()))
    }

    /// Whether something follows at once when everything is written: [`Exchange::onward`] does not only say to wait.
    #[inline]
    pub fn goes_on_once_written(&self) -> bool {
        self.status.next != Next::Nothing || self.finished()
    }

    /// Returns what to do after [`Exchange::write`], and resumes a connection that waited until
    /// everything was written.
    #[inline]
    pub fn onward(&mut self, sent: Sent, now: Now) -> Onward {
        let all = sent == Sent::All;
        if all && self.finished() {
            return Onward::Finish;
        }
        if !self.is_open() {
            self.closing_until_us.get_or_insert(now.mono_us.saturating_add(CLOSING_US));
            return Onward::Wait;
        }
        match self.status.next {
            Next::AnotherTurn => Onward::Turn,
            Next::OnceWritten if all => {
                self.resume(now);
                Onward::Write
            }
            _ => Onward::Wait,
        }
    }

    /// Whether the connection is finished once nothing is left to write.
    #[inline]
    fn finished(&self) -> bool {
        let wants_more = self.status.input == Input::Wanted;
        self.status.flow == Flow::CloseAfterFlush || (self.input_over && wants_more)
    }

    fn resume(&mut self, now: Now) {
        match self.turn.take() {
            None => self.resume_it(now),
            // Its replies were withheld.
            turn => self.within(turn, |exchange| exchange.resume_it(now)),
        }
    }

    /// Begins another turn that may be a sample, unless one is not over. Its bytes were read in so many nanoseconds.
    #[cold]
    pub(crate) fn begin_turn(&mut self, read_nanos: u64) {
        if spans::is_wanted() && !self.turn.as_ref().is_some_and(|turn| turn.is_claimed()) {
            self.turn.insert(Turn::begin()).read(read_nanos);
        }
    }

    /// The turn that may be a sample.
    pub(crate) fn turn(&mut self) -> Option<&mut Turn> {
        self.turn.as_deref_mut()
    }

    /// [`Exchange::receive`] while turns are timed, for bytes that have been there since `ready`, and whose reading is
    /// part of no turn. They are a turn that may be a sample ([`spans`]); [`Exchange::write_timed`] ends it.
    #[cold]
    pub fn receive_ready(&mut self, bytes: &[u8], ready: Instant, now: Now) {
        self.begin_turn(0);
        self.turn.iter_mut().for_each(|turn| turn.ready(ready));
        self.receive_timed(bytes, now);
    }

    /// Passes on input, as the turn that was begun.
    #[cold]
    pub(crate) fn receive_timed(&mut self, bytes: &[u8], now: Now) {
        let mut turn = self.turn.take();
        turn.iter_mut().filter(|turn| !turn.is_claimed()).for_each(|turn| turn.deliver());
        self.within(turn, |exchange| exchange.receive(bytes, now));
    }

    /// [`Exchange::write`] while turns are timed. A turn is over when all is written, unless replies are withheld.
    #[cold]
    pub fn write_timed(
        &mut self,
        now: Now,
        send: impl FnMut(&mut Output) -> io::Result<Sent>,
    ) -> Option<Sent> {
        let turn = self.turn.take();
        let sent = self.within(turn, |exchange| exchange.write(now, send));
        if sent == Some(Sent::All)
            && let Some(turn) = self.turn.take_if(|turn| turn.is_over())
        {
            turn.end();
        }
        sent
    }

    /// Records the time of a write that [`Exchange::write_timed`] is told of later. Returns whether the turn is a sample,
    /// which should be told soon.
    #[cold]
    pub fn wrote(&mut self, nanos: u64) -> bool {
        let turn = self.turn.take();
        self.within(turn, |_| trace::record(Stage::Write, nanos));
        self.turn.as_ref().is_some_and(|turn| turn.is_claimed())
    }

    fn within<T>(&mut self, turn: Option<Box<Turn>>, work: impl FnOnce(&mut Self) -> T) -> T {
        let mut turn = turn;
        let done = spans::within(&mut turn, || work(self));
        self.turn = turn;
        done
    }

    fn resume_it(&mut self, now: Now) {
        self.unsettled = true;
        self.guarded("resume", |exchange| exchange.status = exchange.connection.resume(now));
    }

    /// Calls the connection. A panic ends it.
    #[inline(always)]
    fn guarded<T>(&mut self, during: &str, call: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(|| call(self))) {
            Ok(result) => Some(result),
            Err(panic) => {
                self.panicked(during, &*panic);
                None
            }
        }
    }

    #[cold]
    fn panicked(&mut self, during: &str, panic: &(dyn Any + Send)) {
        self.context.panicked(during, panic);
        self.abort();
        // The connection is not called again.
        self.unsettled = false;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.context.stats.connections.fetch_sub(1, Relaxed);
        let now = self.context.clock.now();
        self.guarded("closed", |exchange| exchange.connection.closed(now));
    }
}
