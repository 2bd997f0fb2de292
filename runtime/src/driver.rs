//! What every runtime does with one connection once something happened to it: read, hand over,
//! write, hold back, end. A runtime only supplies the events, the threads and the timers.

use crate::{Clock, Connection, Flow, Now, Peer, RuntimeStats, Sent, Service, Socket, Status};
use std::any::Any;
use std::io::ErrorKind;
use std::ops::{BitOr, BitOrAssign};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;

/// Reads (or drained outputs) one turn may take before others get theirs.
const ROUNDS_MAX: u32 = 4;

/// Bytes one turn may write before others get theirs.
const WRITE_MAX: usize = 1 << 20;

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
    pub fn connect(
        self: &Arc<Self>,
        service: &dyn Service,
        (socket, peer): (Socket, Peer),
        waker: Waker,
        now: Now,
    ) -> Option<Driver> {
        match catch_unwind(AssertUnwindSafe(|| service.connect(peer, waker, now))) {
            Ok(Ok(connection)) => Some(Driver::new(self.clone(), socket, connection)),
            Ok(Err(refusal)) => {
                socket.refuse(&refusal.0);
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

/// A connection with its socket.
///
/// Promises: the connection is called by one thread at a time, its output is written after every
/// call, nothing is read while it wants no input, a panic ends this connection only, and
/// [`Connection::closed`] is called exactly once, at the latest when the driver is dropped.
pub struct Driver {
    connection: Box<dyn Connection>,
    host: Arc<Host>,
    socket: Socket,
    /// Lasting events not yet used up.
    ready: Events,
    status: Status,
    /// No further input is read: the peer ended it, or the server drains.
    input_over: bool,
}

/// What a turn does next.
enum Step {
    Wait,
    Read,
    EndInput,
}

/// The connection has ended; carried by `?` through the steps of a turn.
struct Ended;

impl Driver {
    fn new(host: Arc<Host>, socket: Socket, connection: Box<dyn Connection>) -> Self {
        host.stats.connections.fetch_add(1, Relaxed);
        let (ready, status) = (Events::WRITABLE, Status::READING);
        Driver { connection, host, socket, ready, status, input_over: false }
    }

    /// The socket, for registering it with a poller.
    pub fn socket(&self) -> &Socket {
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

    /// Whether input is being read now; level-triggered pollers ask only then.
    pub fn reads(&self) -> bool {
        self.status.wants_input && !self.input_over
    }

    /// Deals with what happened. `buffer` is lent for reading into and keeps nothing.
    #[inline]
    pub fn turn(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Turn {
        match catch_unwind(AssertUnwindSafe(|| self.steps(events, buffer, now))) {
            Ok(Ok(turn)) => turn,
            Ok(Err(Ended)) => Turn::Closed,
            Err(panic) => {
                self.host.panicked("turn", &*panic);
                Turn::Closed
            }
        }
    }

    #[inline]
    fn steps(&mut self, events: Events, buffer: &mut [u8], now: Now) -> Result<Turn, Ended> {
        self.ready |= events.and(Events::LASTING);
        if events.any(Events::WAKE) {
            self.status = self.connection.resume(now);
        }
        if events.any(Events::DRAIN) {
            self.end_input(now);
        }
        let mut rounds = ROUNDS_MAX;
        loop {
            if self.flush(now)? == Sent::Limit {
                return Ok(Turn::More);
            }
            match self.next_step()? {
                Step::Wait => return Ok(Turn::Wait),
                Step::EndInput => self.end_input(now),
                Step::Read if rounds == 0 => return Ok(Turn::More),
                Step::Read => self.read(buffer, now)?,
            }
            rounds = rounds.saturating_sub(1);
        }
    }

    /// Writes what is queued, lets a connection that waited for that go on, and ends it when it
    /// asked for that.
    #[inline]
    fn flush(&mut self, now: Now) -> Result<Sent, Ended> {
        let mut resumes = ROUNDS_MAX;
        loop {
            if self.status.flow == Flow::Abort {
                return Err(Ended);
            }
            let output = self.connection.output();
            let had_output = !output.is_empty();
            if had_output {
                if !self.ready.any(Events::WRITABLE) {
                    return Ok(Sent::Blocked);
                }
                match self.socket.send(output, WRITE_MAX).map_err(|_| Ended)? {
                    Sent::All => {}
                    Sent::Limit => return Ok(Sent::Limit),
                    Sent::Blocked => {
                        self.ready = self.ready.without(Events::WRITABLE);
                        return Ok(Sent::Blocked);
                    }
                }
            }
            if self.finished() {
                self.socket.finish();
                return Err(Ended);
            }
            if !had_output || self.status.wants_input {
                return Ok(Sent::All);
            }
            self.status = self.connection.resume(now);
            if resumes == 0 {
                return Ok(Sent::Limit);
            }
            resumes -= 1;
        }
    }

    /// Whether everything is written and nothing will follow.
    #[inline]
    fn finished(&self) -> bool {
        self.status.flow == Flow::CloseAfterFlush || (self.input_over && self.status.wants_input)
    }

    /// What to do once the output is dealt with.
    #[inline]
    fn next_step(&self) -> Result<Step, Ended> {
        if self.input_over || self.status.flow != Flow::Open {
            return Ok(Step::Wait);
        }
        if !self.status.wants_input {
            return self.while_held();
        }
        Ok(if self.ready.any(Events::READABLE) { Step::Read } else { Step::Wait })
    }

    /// Looks after a connection that is not reading: when the peer has left, a blocking wait must
    /// not go on for it. Unread requests before the end of input are still owed an answer, though.
    fn while_held(&self) -> Result<Step, Ended> {
        if self.ready.any(Events::HANGUP) {
            return Err(Ended);
        }
        let ended = self.ready.any(Events::READ_CLOSED) && self.socket.at_end();
        Ok(if ended { Step::EndInput } else { Step::Wait })
    }

    #[inline]
    fn read(&mut self, buffer: &mut [u8], now: Now) -> Result<(), Ended> {
        match self.socket.receive(buffer) {
            Ok(0) => self.end_input(now),
            Ok(n) => {
                // A short read emptied the socket: the next arrival is a new edge. Only the end
                // of input may have been announced already, so then read until it shows.
                if n < buffer.len() && !self.ready.any(Events::READ_CLOSED) {
                    self.ready = self.ready.without(Events::READABLE);
                }
                self.status = self.connection.receive(&buffer[..n], now);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready = self.ready.without(Events::READABLE);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(Ended),
        }
        Ok(())
    }

    fn end_input(&mut self, now: Now) {
        if !self.input_over && self.status.flow == Flow::Open {
            self.input_over = true;
            self.status = self.connection.drain(now);
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.host.stats.connections.fetch_sub(1, Relaxed);
        let now = self.host.clock.now();
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.connection.closed(now))) {
            self.host.panicked("closed", &*panic);
        }
    }
}
