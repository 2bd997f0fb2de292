//! What every runtime does with one connection once something happened to it: read, hand over,
//! write, hold back, end. A runtime only supplies the events, the threads and the timers.

use crate::trace::{self, Stage};
use crate::{Clock, Connection, Flow, Input, Next, Now, Peer, RuntimeStats};
use crate::{Sent, Service, Socket, Status};
use std::any::Any;
use std::io::{self, ErrorKind};
use std::ops::{BitOr, BitOrAssign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

/// Times one turn lets a connection go on because its output has drained, before others get theirs.
const REFILLS_MAX: u32 = 4;

/// Bytes one turn may write before others get theirs.
const WRITE_MAX: usize = 1 << 20;

/// Reads up to this long are held back after [`Driver::fetch`], so that what several connections
/// ask for can be sent for together; a longer one is a pipeline, which is enough by itself.
const FEW: usize = 1024;

/// What happened to a connection: a small set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// Input, or its end, may have arrived.
    pub const READABLE: Events = Events(1);
    /// The kernel may take output again.
    pub const WRITABLE: Events = Events(2);
    /// The peer has ended its sending side; input may still be unread before that end.
    pub const READ_CLOSED: Events = Events(4);
    /// Both directions are gone.
    pub const HANGUP: Events = Events(8);
    /// The waker fired, or the deadline passed.
    pub const WAKE: Events = Events(16);
    /// The server stops.
    pub const DRAIN: Events = Events(32);

    /// The peer sends no more.
    const GONE: Events = Events(4 | 8);

    /// Those that persist between turns: facts about the socket, told once (edge-triggered).
    const LASTING: Events = Events(1 | 2 | 4 | 8);

    /// Whether any event of `other` is in this set.
    #[inline]
    pub fn any(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    /// This set if `condition`, the empty one otherwise.
    #[inline]
    pub fn when(self, condition: bool) -> Events {
        if condition { self } else { Events::NONE }
    }

    #[inline]
    fn and(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }

    #[inline]
    fn without(self, other: Events) -> Events {
        Events(self.0 & !other.0)
    }
}

impl BitOr for Events {
    type Output = Events;
    #[inline]
    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    #[inline]
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}

/// What the runtime does with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait for the next event, wake or deadline.
    Wait,
    /// Its share is used up, but there is more to do: give it another turn after the others'.
    More,
    /// It has ended: drop the driver.
    Closed,
}

/// What [`Driver::fetch`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing, for now.
    Nothing,
    /// So many bytes, which may be left until other connections have been read from.
    Few(usize),
    /// So many bytes, which it is best to hand over at once.
    Many(usize),
    /// The end of input.
    End,
}

/// What all connections of a runtime share.
#[derive(Debug)]
pub struct Host {
    /// The clock connections are told the time of.
    pub clock: Clock,
    /// The runtime's counters.
    pub stats: Arc<RuntimeStats>,
}

impl Host {
    /// Introduces an accepted socket to `service`. `None` when it was refused (and told so) or
    /// the service panicked.
    pub fn connect<S: AsRef<Socket>>(
        self: &Arc<Self>,
        service: &dyn Service,
        (socket, peer): (S, Peer),
        waker: Waker,
        now: Now,
    ) -> Option<Driver<S>> {
        match catch_unwind(AssertUnwindSafe(|| service.connect(peer, waker, now))) {
            Ok(Ok(connection)) => Some(Driver::new(self.clone(), socket, connection)),
            Ok(Err(refusal)) => {
                socket.as_ref().refuse(&refusal.0);
                None
            }
            Err(panic) => {
                self.panicked("connect", &*panic);
                None
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

/// A connection with its socket. `S` is what the runtime keeps the socket in.
///
/// A turn has two halves, [`Driver::listen`] and [`Driver::speak`], so that a runtime with several
/// connections ready can let all of them listen first ([`Connection::before_write`] says why). And
/// listening has three parts, [`Driver::notice`], [`Driver::fetch`] and [`Driver::deliver`], so that
/// it can read from all of them before it hands anything over.
///
/// Promises: the connection is called by one thread at a time, its output is written after every
/// turn, input is read as it wants it ([`Input`]) however much output waits, a panic ends this
/// connection only, and
/// [`Connection::closed`] is called exactly once, at the latest when the driver is dropped.
///
/// The parts of a turn exist twice: with `TRACED`, reads and writes are timed for [`trace`].
pub struct Driver<S: AsRef<Socket> = Socket> {
    connection: Box<dyn Connection>,
    host: Arc<Host>,
    socket: S,
    /// Lasting events not yet used up.
    ready: Events,
    status: Status,
    /// No further input is read: the peer ended it, or the server drains.
    input_over: bool,
    /// The connection was called since its last `before_write`.
    unsettled: bool,
}

/// What the socket allows and the connection wants next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Read,
    EndInput,
    Close,
}

impl<S: AsRef<Socket>> Driver<S> {
    fn new(host: Arc<Host>, socket: S, connection: Box<dyn Connection>) -> Self {
        host.stats.connections.fetch_add(1, Relaxed);
        let (ready, status) = (Events::WRITABLE, Status::READING);
        let (input_over, unsettled) = (false, false);
        Driver { connection, host, socket, ready, status, input_over, unsettled }
    }

    /// The socket, for registering it with a poller.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// When the connection must be woken if nothing else happens, in [`Now::mono_us`].
    #[inline]
    pub fn deadline_us(&self) -> Option<u64> {
        self.connection.deadline_us()
    }

    /// Whether output is waiting for the kernel to take more.
    #[inline]
    pub fn write_blocked(&self) -> bool {
        !self.ready.any(Events::WRITABLE)
    }

    /// Whether input is wanted now; level-triggered pollers ask for it only then.
    pub fn reads(&self) -> bool {
        self.status.input != Input::Held && !self.input_over
    }

    /// Whether the peer's end of input was reported; level-triggered pollers stop asking then.
    pub fn saw_read_closed(&self) -> bool {
        self.ready.any(Events::READ_CLOSED)
    }

    /// Both halves of a turn.
    pub fn turn(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Turn {
        if trace::is_on() {
            return self.traced_turn(events, buffer, now);
        }
        self.listen::<false>(events, buffer, now);
        self.speak::<false>(now)
    }

    #[cold]
    fn traced_turn(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Turn {
        self.listen::<true>(events, buffer, now);
        self.speak::<true>(now)
    }

    /// Tells the connection what happened and reads at most once. `buffer` is lent for reading
    /// into and keeps nothing. [`Driver::speak`] must follow.
    #[inline]
    pub fn listen<const TRACED: bool>(&mut self, events: Events, buffer: &mut [u8], now: Now) {
        if let Err(panic) =
            catch_unwind(AssertUnwindSafe(|| self.hear::<TRACED>(events, buffer, now)))
        {
            self.abort("listen", &*panic);
        }
    }

    /// The first part of [`Driver::listen`]: tells the connection what happened. True when it is to
    /// be read from: [`Driver::fetch`] must follow.
    #[inline]
    pub fn notice(&mut self, events: Events, now: Now) -> bool {
        match catch_unwind(AssertUnwindSafe(|| self.take_notice(events, now))) {
            Ok(step) => step == Step::Read,
            Err(panic) => {
                self.abort("listen", &*panic);
                false
            }
        }
    }

    /// The second part: reads at most once. The connection is not called, but for a hint what is
    /// coming ([`Connection::anticipate`]); bytes that were read are left in `buffer`, and
    /// [`Driver::deliver`] must follow with them, after [`Fetched::End`] without any.
    #[inline]
    pub fn fetch<const TRACED: bool>(&mut self, buffer: &mut [u8]) -> Fetched {
        let fetched = self.read::<TRACED>(buffer);
        if let Fetched::Few(n) = fetched {
            let connection = &mut self.connection;
            let hint = catch_unwind(AssertUnwindSafe(|| connection.anticipate(&buffer[..n])));
            if let Err(panic) = hint {
                self.abort("anticipate", &*panic);
            }
        }
        fetched
    }

    /// Hands over what [`Driver::fetch`] left; nothing stands for the end of input.
    #[inline(always)]
    pub fn deliver(&mut self, bytes: &[u8], now: Now) {
        if self.status.flow != Flow::Open {
            return;
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.hand_over(bytes, now))) {
            self.abort("deliver", &*panic);
        }
    }

    #[inline(always)]
    fn hand_over(&mut self, bytes: &[u8], now: Now) {
        match bytes {
            [] => self.end_input(now),
            bytes => self.status = self.connection.receive(bytes, now),
        }
    }

    #[cold]
    fn abort(&mut self, during: &str, panic: &(dyn Any + Send)) {
        self.host.panicked(during, panic);
        self.status.flow = Flow::Abort;
        self.unsettled = false;
    }

    /// Writes what the connection has to say, and tells how to go on with it.
    #[inline]
    pub fn speak<const TRACED: bool>(&mut self, now: Now) -> Turn {
        match catch_unwind(AssertUnwindSafe(|| self.write::<TRACED>(now))) {
            Ok(turn) => turn,
            Err(panic) => {
                self.host.panicked("speak", &*panic);
                Turn::Closed
            }
        }
    }

    #[inline]
    fn hear<const TRACED: bool>(&mut self, events: Events, buffer: &mut [u8], now: Now) {
        if self.take_notice(events, now) != Step::Read {
            return;
        }
        match self.read::<TRACED>(buffer) {
            Fetched::Nothing => {}
            Fetched::Few(n) | Fetched::Many(n) => self.hand_over(&buffer[..n], now),
            Fetched::End => self.end_input(now),
        }
    }

    #[inline]
    fn take_notice(&mut self, events: Events, now: Now) -> Step {
        self.ready |= events.and(Events::LASTING);
        // What is left to read or write then shows the error.
        self.ready |= (Events::READABLE | Events::WRITABLE).when(events.any(Events::HANGUP));
        if self.status.flow != Flow::Open {
            return Step::Wait;
        }
        if events.any(Events::WAKE) || self.status.next == Next::AnotherTurn {
            self.resume(now);
        }
        if events.any(Events::DRAIN) {
            self.end_input(now);
        }
        let step = self.next_step();
        match step {
            Step::Wait | Step::Read => {}
            Step::EndInput => self.end_input(now),
            Step::Close => self.status.flow = Flow::Abort,
        }
        step
    }

    #[inline]
    fn next_step(&self) -> Step {
        if self.status.flow != Flow::Open {
            return Step::Wait;
        }
        match self.status.input {
            Input::Wanted if !self.input_over => self.read_or_wait(),
            Input::Kept if !self.input_over && !self.ready.any(Events::GONE) => self.read_or_wait(),
            _ => self.while_held(),
        }
    }

    #[inline]
    fn read_or_wait(&self) -> Step {
        if self.ready.any(Events::READABLE) { Step::Read } else { Step::Wait }
    }

    /// Looks after a connection that is not to be read from: when the peer has left, it must not go
    /// on waiting for others. Where it does not, unread requests before the end of input are still
    /// owed an answer.
    fn while_held(&self) -> Step {
        if self.ready.any(Events::HANGUP) {
            return Step::Close;
        }
        if self.input_over || !self.ready.any(Events::READ_CLOSED) {
            return Step::Wait;
        }
        let ended = self.status.input == Input::Kept || self.socket.as_ref().at_end();
        if ended { Step::EndInput } else { Step::Wait }
    }

    #[inline]
    fn read<const TRACED: bool>(&mut self, buffer: &mut [u8]) -> Fetched {
        let socket = self.socket.as_ref();
        match trace::time::<TRACED, _>(Stage::Read, || socket.receive(buffer)) {
            Ok(0) => return Fetched::End,
            Ok(n) => {
                // A short read emptied the socket: the next arrival is a new edge. Only the end
                // of input may have been announced already, so then read until it shows.
                if n < buffer.len() && !self.ready.any(Events::READ_CLOSED) {
                    self.ready = self.ready.without(Events::READABLE);
                }
                self.unsettled = true;
                return if n <= FEW { Fetched::Few(n) } else { Fetched::Many(n) };
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready = self.ready.without(Events::READABLE);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => self.status.flow = Flow::Abort,
        }
        Fetched::Nothing
    }

    fn end_input(&mut self, now: Now) {
        if !self.input_over && self.status.flow == Flow::Open {
            self.input_over = true;
            self.unsettled = true;
            self.status = self.connection.drain(now);
        }
    }

    fn resume(&mut self, now: Now) {
        self.unsettled = true;
        self.status = self.connection.resume(now);
    }

    /// Writes what is queued, lets a connection that waited for that go on, and ends it when it
    /// asked for that.
    #[inline]
    fn write<const TRACED: bool>(&mut self, now: Now) -> Turn {
        for _ in 0..=REFILLS_MAX {
            if std::mem::take(&mut self.unsettled) {
                self.connection.before_write(now);
            }
            if self.status.flow == Flow::Abort {
                return Turn::Closed;
            }
            let sent = match self.send::<TRACED>() {
                Ok(Sent::Limit) => return Turn::More,
                Ok(sent) => sent,
                Err(_) => return Turn::Closed,
            };
            if sent == Sent::All && self.finished() {
                self.socket.as_ref().finish();
                return Turn::Closed;
            }
            match self.status.next {
                Next::AnotherTurn if self.status.flow == Flow::Open => return Turn::More,
                Next::OnceWritten if sent == Sent::All => self.resume(now),
                _ => return self.until_something_happens(),
            }
        }
        Turn::More
    }

    #[inline]
    fn send<const TRACED: bool>(&mut self) -> io::Result<Sent> {
        let output = self.connection.output();
        if output.is_empty() {
            return Ok(Sent::All);
        }
        if !self.ready.any(Events::WRITABLE) {
            return Ok(Sent::Blocked);
        }
        let socket = self.socket.as_ref();
        let sent = trace::time::<TRACED, _>(Stage::Write, || socket.send(output, WRITE_MAX))?;
        self.connection.written();
        if sent == Sent::Blocked {
            self.ready = self.ready.without(Events::WRITABLE);
        }
        Ok(sent)
    }

    /// Whether everything is written and nothing will follow.
    #[inline]
    fn finished(&self) -> bool {
        let wants_more = self.status.input == Input::Wanted;
        self.status.flow == Flow::CloseAfterFlush || (self.input_over && wants_more)
    }

    #[inline]
    fn until_something_happens(&self) -> Turn {
        match self.next_step() {
            Step::Wait => Turn::Wait,
            Step::Read | Step::EndInput => Turn::More,
            Step::Close => Turn::Closed,
        }
    }
}

impl<S: AsRef<Socket>> Drop for Driver<S> {
    fn drop(&mut self) {
        self.host.stats.connections.fetch_sub(1, Relaxed);
        let now = self.host.clock.now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.connection.closed(now))) {
            self.host.panicked("closed", &*panic);
        }
    }
}
