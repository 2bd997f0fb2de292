//! [`Filtered`]: a connection behind a filter that encodes its bytes (TLS, WebSocket), on any
//! runtime.
//!
//! A filter is sans-IO, like the connection inside it, and the whole is a [`Connection`] again, so
//! a runtime needs to know nothing of filters. For a filtered connection the following holds:
//!
//! - **Back-pressure.** At most [`PORTION`] bytes of output are encoded ahead of the socket. Output
//!   that the peer does not read stays in the inner connection, whose limits count it.
//! - **Limits include the filter.** The inner connection is told how many bytes the filter holds
//!   ([`Connection::held_outside`]): encoded ones, and those of an incomplete record.
//! - **Order.** Before replies are encoded, what they promise is settled
//!   ([`Connection::before_write`]).
//! - **The handshake is bounded.** Until the filter is open, nothing of the inner connection is
//!   sent. The handshake may take the time given to [`Filtered::new`], however slowly the peer
//!   sends. [`Handshakes`] bounds how many are under way at once, in all and from one address.
//! - **The end is announced.** When the connection has sent everything, the filter announces the
//!   end ([`Filter::close`]). If the peer announces its end inside the filter, that is an end of
//!   input like any other.
//! - **Invalid input ends it.** After a [`Broken`] error the filter's own last bytes are written,
//!   and nothing else.

mod handshakes;

use crate::{Connection, Flow, Input, Next, Now, Peer, Rejection, Service, Status};
use handshakes::Handshake;
pub use handshakes::Handshakes;
use resp::Output;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// The number of bytes of output that are encoded ahead of the socket: four TLS records.
pub const PORTION: usize = 64 * 1024;

/// The peer sent bytes that the filter cannot decode, or that fail its authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// The state of the peer's stream after a [`Filter`] has decoded its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inward {
    /// More may follow.
    Open,
    /// The peer has announced inside the filter that it will send nothing more.
    Ended,
}

/// Decodes the bytes of a socket for a connection, and encodes the connection's.
pub trait Filter: Send {
    /// Decodes bytes from the socket, all of them. The contents go to `plain`, in pieces; answers
    /// of the filter itself are appended to `wire`. The filter keeps no more than one incomplete
    /// record.
    ///
    /// # Errors
    /// Fails with [`Broken`]; last bytes for the peer may then be in `wire`.
    fn unwrap(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken>;

    /// Whether the handshake is over, so that [`Filter::wrap`] may be called.
    fn is_open(&self) -> bool;

    /// Encodes `plain` and appends it to `wire`.
    fn wrap(&mut self, plain: &[u8], wire: &mut Output);

    /// Appends the announcement that nothing follows.
    fn close(&mut self, wire: &mut Output);

    /// The number of bytes of an incomplete record that are held.
    fn held(&self) -> usize;
}

/// A connection behind a filter.
pub struct Filtered<F> {
    filter: F,
    inner: Box<dyn Connection>,
    /// The status that the inner connection returned last.
    status: Status,
    /// Encoded bytes.
    wire: Output,
    /// The time until which the handshake must be over; `None` once it is.
    begin_until_us: Option<u64>,
    /// The handshake's place among those under way.
    handshake: Option<Handshake>,
    /// Whether the filter has sent its last bytes. The connection gives no more output then.
    over: bool,
    /// Whether the inner connection was told that no input follows.
    drained: bool,
}

impl<F: Filter> Filtered<F> {
    /// Puts `filter` around `inner`. The handshake must be over within `patience` from now.
    pub fn new(filter: F, inner: Box<dyn Connection>, now: Now, patience: Duration) -> Self {
        let patience_us = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        Filtered {
            filter,
            inner,
            status: Status::READING,
            wire: Output::new(),
            begin_until_us: Some(now.mono_us.saturating_add(patience_us)),
            handshake: None,
            over: false,
            drained: false,
        }
    }

    fn take(&mut self, bytes: &[u8], now: Now) {
        let Filtered { filter, inner, status, wire, drained, .. } = self;
        let mut plain = |plain: &[u8]| {
            if status.flow == Flow::Open && !*drained {
                *status = inner.receive(plain, now);
            }
        };
        match filter.unwrap(bytes, &mut plain, wire) {
            Ok(Inward::Open) => {}
            Ok(Inward::Ended) => self.end_input(now),
            Err(Broken(reason)) => {
                tracing::debug!(reason, "a connection is closed for what it sent");
                self.over = true;
            }
        }
        if self.filter.is_open() {
            self.begin_until_us = None;
            self.handshake = None;
        }
    }

    fn end_input(&mut self, now: Now) {
        if !std::mem::replace(&mut self.drained, true) && self.status.flow == Flow::Open {
            self.status = self.inner.drain(now);
        }
    }

    /// Whether the handshake took too long.
    fn too_slow(&self, now: Now) -> bool {
        self.begin_until_us.is_some_and(|until_us| now.mono_us >= until_us)
    }

    /// The status reported to the runtime: the inner connection's own, or, once the filter has
    /// ended, to close after the output is flushed. An abort is always passed on.
    fn outward(&self) -> Status {
        if self.over && self.status.flow != Flow::Abort {
            return Status { flow: Flow::CloseAfterFlush, input: Input::Held, next: Next::Nothing };
        }
        self.status
    }

    /// Encodes the next portion once the last one is written.
    fn wrap(&mut self) {
        if self.over || !self.filter.is_open() {
            return;
        }
        let mut room = PORTION.saturating_sub(self.wire.len());
        while room > 0 {
            let output = self.inner.output();
            let front = output.front();
            if front.is_empty() {
                break;
            }
            let piece = front.len().min(room);
            self.filter.wrap(&front[..piece], &mut self.wire);
            output.consume(piece);
            room -= piece;
        }
        if self.status.flow == Flow::CloseAfterFlush && self.inner.output().is_empty() {
            self.filter.close(&mut self.wire);
            self.over = true;
        }
    }

    fn tell_held(&mut self) {
        self.inner.held_outside(self.wire.len() + self.filter.held());
    }
}

impl<F: Filter> Connection for Filtered<F> {
    fn receive(&mut self, bytes: &[u8], now: Now) -> Status {
        if !self.over {
            self.take(bytes, now);
            self.tell_held();
        }
        self.outward()
    }

    fn resume(&mut self, now: Now) -> Status {
        if self.too_slow(now) {
            self.status.flow = Flow::Abort;
        } else {
            // A `CLIENT KILL` must have an effect even if only last bytes are left to write.
            self.status = self.inner.resume(now);
        }
        self.outward()
    }

    fn before_write(&mut self, now: Now) {
        self.inner.before_write(now);
    }

    fn output(&mut self) -> &mut Output {
        self.wrap();
        &mut self.wire
    }

    fn written(&mut self) -> bool {
        self.tell_held();
        self.inner.written();
        let open = !self.over && self.filter.is_open();
        open && !self.inner.output().is_empty()
    }

    fn deadline_us(&self) -> Option<u64> {
        let inner_us = self.inner.deadline_us();
        [inner_us, self.begin_until_us].into_iter().flatten().min()
    }

    fn drain(&mut self, now: Now) -> Status {
        self.end_input(now);
        // Before the filter is open, nothing can be sent.
        if !self.filter.is_open() && self.status.flow == Flow::Open {
            self.status.flow = Flow::Abort;
        }
        self.outward()
    }

    fn closed(&mut self, now: Now) {
        self.inner.closed(now);
    }

    fn held_outside(&mut self, bytes: usize) {
        self.inner.held_outside(bytes + self.wire.len() + self.filter.held());
    }
}

/// A service whose connections are those of another service, behind filters.
pub struct FilterService<M> {
    /// The service whose connections are wrapped in the filter.
    pub inner: Arc<dyn Service>,
    /// Makes a filter for each connection, or says why there can be none.
    pub make: M,
    /// The time that a handshake may take.
    pub patience: Duration,
    /// How many handshakes may be under way at once. A connection beyond that is closed before it has cost
    /// anything: left unaccepted it would hold up others in the queue of its socket, whose handshakes nobody delays.
    pub handshakes: Arc<Handshakes>,
}

impl<F, M> Service for FilterService<M>
where
    F: Filter + 'static,
    M: Fn() -> Result<F, Rejection> + Send + Sync,
{
    fn connect(
        &self,
        peer: Peer,
        waker: Waker,
        now: Now,
    ) -> Result<Box<dyn Connection>, Rejection> {
        let handshake = self.handshakes.begin(&peer, now).ok_or_else(|| Rejection(Vec::new()))?;
        let filter = (self.make)()?;
        // Before the filter is open, the peer could not decode the text of a refusal.
        let inner = self.inner.connect(peer, waker, now).map_err(|_| Rejection(Vec::new()))?;
        let filtered = Filtered::new(filter, inner, now, self.patience);
        Ok(Box::new(Filtered { handshake: Some(handshake), ..filtered }))
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}
