//! [`Slot`]: one connection, and what the kernel does for it.

use crate::buffers::{Buffers, Received};
use crate::ring::Ring;
use resp::Output;
use runtime::reactors::{ConnectionWaker, Key, NEVER};
use runtime::{Events, Exchange, Input, Now, Sent, Socket};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// An operation of the kernel on a connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Idle,
    UnderWay,
    /// It will end soon.
    Cancelled,
}

/// How the input of a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer sends no more.
    Over,
    /// The connection is gone.
    Failed,
}

/// Whether a connection is to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    Here,
    /// It goes to another reactor once no operation is under way. Until then it gets neither turns nor input: output
    /// that does not come from input would keep it here, unable to receive.
    Moves,
    /// It has ended, and its socket is closed once no operation is under way.
    Ended,
}

/// One connection and the reactor's state for it.
pub(crate) struct Slot {
    /// `None` while the connection is lent, called, or after its end.
    pub exchange: Option<Exchange>,
    pub socket: Socket,
    pub waker: Arc<ConnectionWaker<super::reactor::Passed>>,
    /// The events since its last turn.
    pub events: Events,
    /// Whether it is in the reactor's ready queue.
    pub queued: bool,
    /// Whether it has received in this loop and is yet to transmit.
    pub to_transmit: bool,
    pub stay: Stay,
    /// The deadline for which a timer is set, [`NEVER`] if none.
    pub armed_us: u64,
    pub receiving: Operation,
    /// Whether the kernel reports that the peer is gone, which it is asked while nothing is received.
    pub awaits_gone: bool,
    /// Whether the peer is known to have ended its sending side, perhaps behind input that is still in the socket.
    pub half_closed: bool,
    /// Whether the peer is known to be gone, in both directions.
    pub hung_up: bool,
    /// Whether the kernel reports that the socket can be written to.
    pub awaits_writable: bool,
    /// Whether the socket may take output.
    pub writable: bool,
    /// Whether the socket was reported to take output since the connection was lent: the report may be the one about a
    /// send that was cut short, of which the reactor is yet to learn.
    pub room_reported: bool,
    /// Input that came when the connection did not want it. Nothing more is received before it is passed on.
    pub backlog: Vec<u8>,
    /// The end of input, behind the backlog.
    pub end: Option<End>,
}

impl Slot {
    pub fn new(
        exchange: Exchange,
        socket: Socket,
        waker: Arc<ConnectionWaker<super::reactor::Passed>>,
    ) -> Slot {
        Slot {
            exchange: Some(exchange),
            socket,
            waker,
            events: Events::empty(),
            queued: false,
            to_transmit: false,
            stay: Stay::Here,
            armed_us: NEVER,
            receiving: Operation::Idle,
            awaits_gone: false,
            half_closed: false,
            hung_up: false,
            awaits_writable: false,
            writable: true,
            room_reported: false,
            backlog: Vec::new(),
            end: None,
        }
    }

    /// Whether no operation is under way, so that the socket may be closed or go elsewhere.
    pub fn is_quiet(&self) -> bool {
        self.receiving == Operation::Idle && !self.awaits_gone && !self.awaits_writable
    }

    /// Ends all operations, soon.
    pub fn stop_all(&mut self, key: Key, ring: &mut Ring) {
        self.stop_receiving(key, ring);
        if self.awaits_gone {
            ring.stop_awaiting_gone(key);
        }
        if self.awaits_writable {
            ring.stop_awaiting_writable(key);
        }
    }

    /// Keeps input, or its end, until the connection wants it. Receiving ends, so that the peer has to wait.
    pub fn keep(
        &mut self,
        key: Key,
        fetched: Result<Received, End>,
        ring: &mut Ring,
        buffers: &Buffers,
    ) {
        match fetched {
            // A failure is the later one.
            Err(end) if end == End::Failed || self.end.is_none() => self.end = Some(end),
            Err(_) => {}
            Ok(received) => {
                self.backlog.extend_from_slice(buffers.bytes(&received));
                self.stop_receiving(key, ring);
                ring.give_back(received);
            }
        }
    }

    fn stop_receiving(&mut self, key: Key, ring: &mut Ring) {
        if self.receiving == Operation::UnderWay {
            self.receiving = Operation::Cancelled;
            ring.stop_receiving(key);
        }
    }

    /// Begins the operations that `exchange`, which is this slot's, needs while it waits.
    #[inline]
    pub fn arm(&mut self, key: Key, exchange: &Exchange, ring: &mut Ring) {
        if self.stay != Stay::Here {
            return;
        }
        if !self.writable && !self.awaits_writable {
            self.awaits_writable = true;
            ring.await_writable(key, self.socket.as_raw_fd());
        }
        let wanted = exchange.is_open() && exchange.input() != Input::Held;
        if self.receiving == Operation::UnderWay && (wanted || exchange.is_open()) {
            return;
        }
        self.arm_unusual(key, wanted, exchange.is_open(), ring);
    }

    fn arm_unusual(&mut self, key: Key, wanted: bool, open: bool, ring: &mut Ring) {
        if !open {
            return self.stop_receiving(key, ring);
        }
        if self.receiving != Operation::Idle {
            return;
        }
        let fd = self.socket.as_raw_fd();
        if wanted && self.end.is_none() {
            self.receiving = Operation::UnderWay;
            ring.receive(key, fd);
        } else if !wanted && !self.awaits_gone && !self.hung_up {
            self.awaits_gone = true;
            ring.await_gone(key, fd);
        }
    }

    /// The socket is reported to take output, or the operation that reports it is over (`last`). Returns whether the
    /// connection gets a turn.
    pub fn noticed_room(&mut self, writable: bool, last: bool) -> bool {
        self.awaits_writable &= !last;
        let blocked = !self.writable;
        self.writable |= writable;
        self.room_reported |= writable && self.exchange.is_none();
        last || (blocked && writable)
    }

    /// The socket did not take everything. Returns whether it may take more by now.
    pub fn blocked(&mut self) -> bool {
        // The kernel does not repeat a report, so one that came before this was known must not be lost.
        self.writable = std::mem::take(&mut self.room_reported);
        self.writable
    }

    /// Whether the end of input follows what has been received, and no receiving is left that would say so. If there is
    /// input before the end, it is received once the connection wants it.
    pub fn ends_unreported(&self) -> bool {
        let unreported = self.half_closed && self.end.is_none();
        unreported && self.receiving == Operation::Idle && self.socket.at_end()
    }

    /// The end of which `exchange`, which is this slot's, is to be told now. One that holds input back would not hear of
    /// it by reading.
    pub fn end_to_tell(&self, exchange: &Exchange) -> Option<End> {
        match self.end {
            _ if self.hung_up && exchange.input() == Input::Held => Some(End::Failed),
            Some(End::Over) if !self.backlog.is_empty() || exchange.input_is_over() => None,
            end => end,
        }
    }
}

/// Takes from the output of `exchange` what the socket took, and writes nothing. `None`: close now.
pub(crate) fn account<const TRACED: bool>(
    exchange: &mut Exchange,
    sent: io::Result<usize>,
    asked: usize,
    now: Now,
) -> Option<Sent> {
    let mut sent = Some(sent);
    let take = |output: &mut Output| {
        // A filter has more; it is the next send's.
        let Some(sent) = sent.take() else { return Ok(Sent::Limit) };
        let sent = sent?;
        output.consume(sent);
        Ok(match output.is_empty() {
            true => Sent::All,
            false if sent < asked => Sent::Blocked,
            false => Sent::Limit,
        })
    };
    if TRACED { exchange.write_timed(now, take) } else { exchange.write(now, take) }
}
