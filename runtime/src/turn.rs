//! The half of a connection's turn that makes no system call: bytes and events in, chunks out.
//!
//! An [`Exchange`] is what every runtime does with a [`Connection`], whoever moves its bytes. A
//! runtime that is told when a socket is *ready* reads and writes itself: [`Driver`](crate::Driver)
//! is the other half for it. One that is told when a read or a write is *complete* (io_uring) calls
//! the methods here: [`Exchange::receive`] for what a read brought, [`Exchange::write`] for the chunks
//! to hand to the next write, [`Exchange::onward`] when that is done.

use crate::{Clock, Connection, Events, Flow, Input, Next, Now, Peer, Refusal, RuntimeStats};
use crate::{Sent, Service, Status};
use resp::Output;
use std::any::Any;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

/// Times one write goes on with what a filter has ready next, before others get their turn.
const PORTIONS_MAX: u32 = 16;

/// How long a peer may take to read the last answers of a connection that is to close, in µs.
const CLOSING_US: u64 = 60_000_000;

/// The clock and counters that all connections of a runtime share.
#[derive(Debug)]
pub struct RuntimeContext {
    /// The clock connections are told the time of.
    pub clock: Clock,
    /// The runtime's counters.
    pub stats: Arc<RuntimeStats>,
}

impl RuntimeContext {
    /// Introduces a peer to `service`.
    ///
    /// # Errors
    /// The service refuses the peer, which is to be told so, or panicked: then there is nothing to tell.
    pub fn introduce(
        self: &Arc<Self>,
        service: &dyn Service,
        peer: Peer,
        waker: Waker,
        now: Now,
    ) -> Result<Exchange, Refusal> {
        match catch_unwind(AssertUnwindSafe(|| service.connect(peer, waker, now))) {
            Ok(connected) => Ok(Exchange::new(self.clone(), connected?)),
            Err(panic) => {
                self.panicked("connect", &*panic);
                Err(Refusal(Vec::new()))
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

/// The step to take after a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Onward {
    /// Wait for input, as [`Exchange::input`] says, a wake or the deadline.
    Wait,
    /// Write again: there is more by now.
    Write,
    /// Give it another turn after those of others; [`Exchange::notify`] begins that.
    Turn,
    /// Everything is said: end the sending side in an orderly way and close.
    Finish,
}

/// A connection between those who move its bytes and itself.
///
/// Promises: the connection is called by one thread at a time; [`Connection::before_write`] is called
/// once between its other calls and a look at its output; a panic ends this connection only; and
/// [`Connection::closed`] is called exactly once, when the exchange is dropped.
pub struct Exchange {
    connection: Box<dyn Connection>,
    context: Arc<RuntimeContext>,
    status: Status,
    /// No further input is taken: the peer ended it, or the server drains.
    input_over: bool,
    /// The connection was called since its last `before_write`.
    unsettled: bool,
    /// When to give up on a peer that does not read the last answers.
    closing_until_us: Option<u64>,
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
        }
    }

    /// When the connection must be woken if nothing else happens, in [`Now::mono_us`].
    #[inline]
    pub fn deadline_us(&self) -> Option<u64> {
        // What it waited for before it was to close means nothing any more.
        if self.is_open() { self.connection.deadline_us() } else { self.closing_until_us }
    }

    /// Whether it goes on: otherwise only what is queued may still be written.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.status.flow == Flow::Open
    }

    /// How to handle input from the peer; [`Input::Held`] once the end of input was reported.
    #[inline]
    pub fn input(&self) -> Input {
        if self.input_over { Input::Held } else { self.status.input }
    }

    /// Whether the end of input was told, by the peer or because the server drains.
    #[inline]
    pub fn input_is_over(&self) -> bool {
        self.input_over
    }

    /// Tells of a wake ([`Events::WAKE`]), a drain ([`Events::DRAIN`]), or of another turn that it asked
    /// for ([`Onward::Turn`]). Other events mean nothing here.
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

    /// One that only has its last answers written can still be ended at once: by whoever kills it, or
    /// because its peer takes too long.
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

    /// Hands over what arrived; all of it is taken.
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

    /// Tells that no input follows: the peer has ended it, or the server drains. Only the first time
    /// counts.
    pub fn end_input(&mut self, now: Now) {
        if self.input_over || !self.is_open() {
            return;
        }
        self.input_over = true;
        self.unsettled = true;
        self.guarded("drain", |exchange| exchange.status = exchange.connection.drain(now));
    }

    /// Ends it: the socket is gone. What is queued is dropped.
    pub fn abort(&mut self) {
        self.status.flow = Flow::Abort;
    }

    /// Settles what the answers promise, and lets `send` take from what is to be written: it removes
    /// what it wrote, or what it has handed to the system to be written. It is called again for what a
    /// filter has only then made ready, and not at all when nothing waits. `None`: close now.
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

    /// Says how to go on after [`Exchange::write`], and lets a connection that waited until all was
    /// written go on.
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

    /// Whether everything is said once nothing is left to write.
    #[inline]
    fn finished(&self) -> bool {
        let wants_more = self.status.input == Input::Wanted;
        self.status.flow == Flow::CloseAfterFlush || (self.input_over && wants_more)
    }

    fn resume(&mut self, now: Now) {
        self.unsettled = true;
        self.guarded("resume", |exchange| exchange.status = exchange.connection.resume(now));
    }

    /// Has a panic of the connection end the connection.
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
        // Nothing more is asked of it.
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
