//! The half of a connection's turn that makes the system calls, for runtimes that are told when a
//! socket is ready. It decides when to read and write, and how events of the socket end a
//! connection.

use crate::trace::{self, Stage};
use crate::{Events, Exchange, Input, Now, Onward, Peer, RuntimeContext, Sent, Service, Socket};
use resp::Output;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

/// The number of times that a connection may produce more output in one turn because its output has
/// drained.
const REFILLS_MAX: u32 = 4;

/// The number of bytes that one turn may write before other connections get their turn.
const WRITE_MAX: usize = 1 << 20;

/// Reads up to this many bytes may be held back after [`Driver::fetch`], so that the memory for the
/// requests of several connections can be prefetched together. A longer read is a pipeline, which
/// is enough by itself.
const FEW: usize = 1024;

/// The action the runtime takes on a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Wait for the next event, wake or deadline.
    Wait,
    /// Its share of the turn is used up, but it has more to do: give it another turn after the
    /// other connections.
    More,
    /// It has ended: drop the driver.
    Closed,
}

/// The result of [`Driver::fetch`]: how much input was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// Nothing has arrived.
    Nothing,
    /// This many bytes, which may be held back until other connections have been read from.
    Few(usize),
    /// This many bytes, which are best passed on at once.
    Many(usize),
    /// The end of input.
    End,
}

/// A connection with its socket. `S` is the type in which the runtime keeps the socket.
///
/// A turn has two halves, [`Driver::receive`] and [`Driver::transmit`], so that a runtime with
/// several ready connections can let all of them receive first ([`crate::Connection::before_write`]
/// says why). The first half has three parts, [`Driver::notice`], [`Driver::fetch`] and
/// [`Driver::deliver`], so that a runtime can read from all connections before it passes any input
/// on.
///
/// Promises, in addition to those of [`Exchange`]: output is written after every turn, and input is
/// read as the connection wants it ([`Input`]), however much output waits.
///
/// Each part is compiled twice: with `TRACED`, reads and writes are timed for [`trace`].
pub struct Driver<S: AsRef<Socket> = Socket> {
    exchange: Exchange,
    socket: S,
    /// Events that persist and have not been used up yet.
    ready: Events,
}

/// The next operation, which depends on the readiness of the socket and the status of the
/// connection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Wait,
    Read,
    EndInput,
    Close,
}

impl<S: AsRef<Socket>> Driver<S> {
    /// Creates a connection of `service` for an accepted socket. `None` if the service refused it
    /// (which the peer was told) or panicked.
    pub fn connect(
        context: &Arc<RuntimeContext>,
        service: &dyn Service,
        (socket, peer): (S, Peer),
        waker: Waker,
        now: Now,
    ) -> Option<Self> {
        match context.introduce(service, peer, waker, now) {
            Ok(exchange) => Some(Driver { exchange, socket, ready: Events::WRITABLE }),
            Err(refusal) => {
                socket.as_ref().refuse(&refusal.0);
                None
            }
        }
    }

    /// The same connection, with the socket kept in another way: `change` registers it with another poller, which
    /// reports the socket's state anew.
    ///
    /// # Errors
    /// Fails as `change` does; then the connection is closed.
    pub fn with_socket<T: AsRef<Socket>>(
        self,
        change: impl FnOnce(S) -> io::Result<T>,
    ) -> io::Result<Driver<T>> {
        let Driver { exchange, socket, ready } = self;
        Ok(Driver { exchange, socket: change(socket)?, ready })
    }

    /// The socket, for registering it with a poller.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// The monotonic time at which the connection must be resumed if nothing else happens, as in
    /// [`Now::mono_us`].
    #[inline]
    pub fn deadline_us(&self) -> Option<u64> {
        self.exchange.deadline_us()
    }

    /// Whether output waits until the socket is writable.
    #[inline]
    pub fn write_blocked(&self) -> bool {
        !self.ready.intersects(Events::WRITABLE)
    }

    /// Whether input is wanted now. Level-triggered pollers must ask for it only then.
    pub fn reads(&self) -> bool {
        self.exchange.input() != Input::Held
    }

    /// Whether the peer's end of input was reported. Level-triggered pollers must not ask for input
    /// then.
    pub fn saw_read_closed(&self) -> bool {
        self.ready.intersects(Events::READ_CLOSED)
    }

    /// Runs both halves of a turn.
    pub fn turn(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Turn {
        if trace::is_on() {
            return self.traced_turn(events, buffer, now);
        }
        self.receive::<false>(events, buffer, now);
        self.transmit::<false>(now)
    }

    #[cold]
    fn traced_turn(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Turn {
        self.receive::<true>(events, buffer, now);
        self.transmit::<true>(now)
    }

    /// Tells the connection what happened, and reads at most once. `buffer` is only used during the
    /// call. [`Driver::transmit`] must follow.
    #[inline]
    pub fn receive<const TRACED: bool>(&mut self, events: Events, buffer: &mut [u8], now: Now) {
        if !self.notice(events, now) {
            return;
        }
        match self.read::<TRACED>(buffer) {
            Fetched::Nothing => {}
            Fetched::Few(n) | Fetched::Many(n) => self.deliver::<TRACED>(&buffer[..n], now),
            Fetched::End => self.exchange.end_input(now),
        }
    }

    /// The first part of [`Driver::receive`]: tells the connection what happened. Returns true if
    /// it is to be read from; then [`Driver::fetch`] must follow.
    #[inline]
    pub fn notice(&mut self, events: Events, now: Now) -> bool {
        self.ready |= events & Events::LASTING;
        // The read or write that follows will report the error.
        self.ready |= (Events::READABLE | Events::WRITABLE).when(events.intersects(Events::HANGUP));
        self.exchange.notify(events, now);
        match self.next_step() {
            Step::Wait => return false,
            Step::Read => return true,
            Step::EndInput => self.exchange.end_input(now),
            Step::Close => self.exchange.abort(),
        }
        false
    }

    /// The second part: reads at most once. The connection only gets a hint of what is coming
    /// ([`crate::Connection::anticipate`]). The bytes are left in `buffer` and must be passed to
    /// [`Driver::deliver`]; after [`Fetched::End`], which has none, it must be called with an empty
    /// slice.
    #[inline]
    pub fn fetch<const TRACED: bool>(&mut self, buffer: &mut [u8]) -> Fetched {
        let fetched = self.read::<TRACED>(buffer);
        if let Fetched::Few(n) = fetched {
            self.exchange.anticipate(&buffer[..n]);
        }
        fetched
    }

    /// The third part: passes on the bytes that [`Driver::fetch`] left. No bytes mean the end of
    /// input.
    #[inline(always)]
    pub fn deliver<const TRACED: bool>(&mut self, bytes: &[u8], now: Now) {
        match bytes {
            [] => self.exchange.end_input(now),
            bytes if TRACED => self.exchange.receive_timed(bytes, now),
            bytes => self.exchange.receive(bytes, now),
        }
    }

    /// The connection was ready then. Called while turns are timed, before [`Driver::deliver`].
    pub fn ready_at(&mut self, at: Instant) {
        if let Some(turn) = self.exchange.turn() {
            turn.ready(at);
        }
    }

    /// Writes the connection's output, and returns what the runtime has to do next.
    #[inline]
    pub fn transmit<const TRACED: bool>(&mut self, now: Now) -> Turn {
        for _ in 0..=REFILLS_MAX {
            let Some(sent) = self.send::<TRACED>(now) else { return Turn::Closed };
            if sent == Sent::Limit {
                return Turn::More;
            }
            match self.exchange.onward(sent, now) {
                Onward::Write => {}
                Onward::Wait => return self.until_something_happens(),
                Onward::Turn => return Turn::More,
                Onward::Finish => {
                    self.socket.as_ref().finish();
                    return Turn::Closed;
                }
            }
        }
        Turn::More
    }

    #[inline]
    fn send<const TRACED: bool>(&mut self, now: Now) -> Option<Sent> {
        let Driver { exchange, socket, ready } = self;
        let send = |output: &mut Output| {
            if !ready.intersects(Events::WRITABLE) {
                return Ok(Sent::Blocked);
            }
            let socket = socket.as_ref();
            let sent = trace::time::<TRACED, _>(Stage::Write, || socket.send(output, WRITE_MAX))?;
            if sent == Sent::Blocked {
                *ready = ready.difference(Events::WRITABLE);
            }
            Ok(sent)
        };
        if TRACED { exchange.write_timed(now, send) } else { exchange.write(now, send) }
    }

    #[inline]
    fn next_step(&self) -> Step {
        if !self.exchange.is_open() {
            return Step::Wait;
        }
        match self.exchange.input() {
            Input::Wanted => self.read_or_wait(),
            Input::Kept if !self.ready.intersects(Events::GONE) => self.read_or_wait(),
            _ => self.while_held(),
        }
    }

    #[inline]
    fn read_or_wait(&self) -> Step {
        if self.ready.intersects(Events::READABLE) { Step::Read } else { Step::Wait }
    }

    /// Handles events of a connection that is not to be read from. If the peer is gone, the
    /// connection must not go on waiting. If not, unread requests before the end of input must
    /// still be answered.
    fn while_held(&self) -> Step {
        if self.ready.intersects(Events::HANGUP) {
            return Step::Close;
        }
        if self.exchange.input_is_over() || !self.ready.intersects(Events::READ_CLOSED) {
            return Step::Wait;
        }
        let ended = self.exchange.input() == Input::Kept || self.socket.as_ref().at_end();
        if ended { Step::EndInput } else { Step::Wait }
    }

    #[inline]
    fn read<const TRACED: bool>(&mut self, buffer: &mut [u8]) -> Fetched {
        let socket = self.socket.as_ref();
        let begun = TRACED.then(Instant::now);
        let received = socket.receive(buffer);
        if let Some(begun) = begun {
            let nanos = begun.elapsed().as_nanos() as u64;
            trace::record(Stage::Read, nanos);
            self.exchange.begin_turn(nanos);
        }
        match received {
            Ok(0) => return Fetched::End,
            Ok(n) => {
                // A short read emptied the socket, so the next arrival is a new edge. Only the end
                // of input may have been reported before; then read until it is reached.
                if n < buffer.len() && !self.ready.intersects(Events::READ_CLOSED) {
                    self.ready = self.ready.difference(Events::READABLE);
                }
                return if n <= FEW { Fetched::Few(n) } else { Fetched::Many(n) };
            }
            Err(error) => self.read_failed(&error),
        }
        Fetched::Nothing
    }

    fn read_failed(&mut self, error: &io::Error) {
        match error.kind() {
            ErrorKind::WouldBlock => self.ready = self.ready.difference(Events::READABLE),
            ErrorKind::Interrupted => {}
            _ => self.exchange.abort(),
        }
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
