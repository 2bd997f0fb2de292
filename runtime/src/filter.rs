//! [`Filtered`]: a connection behind a filter that wraps its bytes (TLS, WebSocket), on any runtime.
//!
//! A filter is sans-IO, as the connection it stands around, and a [`Connection`] itself: a runtime
//! cannot tell the two apart. What holds for a filtered connection:
//!
//! - **Back-pressure.** At most [`PORTION`] bytes of output are wrapped ahead of the socket. What the peer
//!   does not read stays in the connection's own output, where the limits of the connection count it.
//! - **Limits count what is inside.** The connection is told how many bytes the filter holds
//!   ([`Connection::held_outside`]), wrapped ones and those of a half-arrived record.
//! - **Order.** What the answers promise is settled ([`Connection::before_write`]) before they are wrapped.
//! - **The beginning is bounded.** Until the filter is open (a handshake), nothing of the connection's is
//!   sent, and it has [`Filtered::new`]'s time for that, however the peer spreads its bytes.
//! - **The end is told.** When the connection has said everything, the filter says goodbye
//!   ([`Filter::close`]). An end said by the peer inside the filter is an end of input like any other.
//! - **Nonsense ends it.** After a [`Broken`] the filter's own last words are written, and nothing else is.

use crate::{Connection, Flow, Input, Next, Now, Peer, Refusal, Service, Status};
use resp::Output;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

/// Bytes of a connection's output that are wrapped ahead of the socket: four TLS records.
pub const PORTION: usize = 64 * 1024;

/// The peer sent what the filter does not understand, or not from this peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// The state of the peer's stream after a [`Filter`] has decoded the bytes it was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inward {
    /// More may follow.
    Open,
    /// The peer said inside the filter that it sends no more.
    Ended,
}

/// Turns the socket's bytes into a connection's and back.
pub trait Filter: Send {
    /// Takes bytes of the socket, all of them. What they carry goes to `plain`, in pieces; what the
    /// filter answers by itself is appended to `wire`. It keeps no more than one unfinished record.
    ///
    /// # Errors
    /// [`Broken`]; last words for the peer may be in `wire`.
    fn unwrap(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken>;

    /// Whether the beginning is over, so that [`Filter::wrap`] may be called.
    fn is_open(&self) -> bool;

    /// Appends `plain`, wrapped, to `wire`.
    fn wrap(&mut self, plain: &[u8], wire: &mut Output);

    /// Appends what tells the peer that nothing follows.
    fn close(&mut self, wire: &mut Output);

    /// Bytes held of what has arrived.
    fn held(&self) -> usize;
}

/// A connection behind a filter.
pub struct Filtered<F> {
    filter: F,
    inner: Box<dyn Connection>,
    /// The connection's, as it last said.
    status: Status,
    /// Wrapped bytes.
    wire: Output,
    /// When the beginning must be over; `None` once it is.
    begin_until_us: Option<u64>,
    /// The filter has said its last words; the connection is not asked for any.
    over: bool,
    /// The connection was told that no input follows.
    drained: bool,
}

impl<F: Filter> Filtered<F> {
    /// Puts `filter` around `inner`. The filter must be open within `patience` from now.
    pub fn new(filter: F, inner: Box<dyn Connection>, now: Now, patience: Duration) -> Self {
        let patience_us = u64::try_from(patience.as_micros()).unwrap_or(u64::MAX);
        Filtered {
            filter,
            inner,
            status: Status::READING,
            wire: Output::new(),
            begin_until_us: Some(now.mono_us.saturating_add(patience_us)),
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
        }
    }

    fn end_input(&mut self, now: Now) {
        if !std::mem::replace(&mut self.drained, true) && self.status.flow == Flow::Open {
            self.status = self.inner.drain(now);
        }
    }

    /// Whether the beginning took too long.
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

    /// Wraps the next portion, when the last one is written.
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
            // Whoever kills it is heard also when only last words are left.
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
        // Before the filter is open there is nobody to say anything to.
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

/// Serves what another service does, behind a filter of `make`.
pub struct FilterService<M> {
    /// The service whose connections are wrapped in the filter.
    pub inner: Arc<dyn Service>,
    /// Makes a filter for each connection, or says why there can be none.
    pub make: M,
    /// How long its beginning may take.
    pub patience: Duration,
}

impl<F, M> Service for FilterService<M>
where
    F: Filter + 'static,
    M: Fn() -> Result<F, Refusal> + Send + Sync,
{
    fn connect(&self, peer: Peer, waker: Waker, now: Now) -> Result<Box<dyn Connection>, Refusal> {
        let filter = (self.make)()?;
        // The text of a refusal would not be understood before the filter is open.
        let inner = self.inner.connect(peer, waker, now).map_err(|_| Refusal(Vec::new()))?;
        Ok(Box::new(Filtered::new(filter, inner, now, self.patience)))
    }

    fn may_block(&self) -> bool {
        self.inner.may_block()
    }
}
