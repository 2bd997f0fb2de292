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
//!   sends. [`Handshakes`] bounds how many are under way at once.
//! - **The end is announced.** When the connection has sent everything, the filter announces the
//!   end ([`Filter::close`]). If the peer announces its end inside the filter, that is an end of
//!   input like any other.
//! - **Invalid input ends it.** After a [`Broken`] error the filter's own last bytes are written,
//!   and nothing else.

use crate::{Connection, Flow, Input, Next, Now, Peer, Rejection, Service, Status};
use resp::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
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

/// Between two lines of the log about refused handshakes, in microseconds.
const SAID_EVERY_US: u64 = 60_000_000;

/// The number of handshakes under way, and how many there may be.
///
/// A handshake costs more than any request, before anyone knows who the peer is. Those under way have work
/// waiting in each thread at most once, so their number bounds how long a turn of a thread takes because of them.
#[derive(Debug, Default)]
pub struct Handshakes {
    under_way: AtomicUsize,
    /// 0: any number.
    max: AtomicUsize,
    refused: AtomicU64,
    /// The time from which a refusal is logged again, in monotonic microseconds.
    quiet_until_us: AtomicU64,
}

/// One that is under way, until this is dropped.
struct Handshake(Arc<Handshakes>);

impl Handshakes {
    /// Sets how many may be under way at once; 0: any number. Those that are under way go on.
    pub fn set_max(&self, max: usize) {
        self.max.store(max, Relaxed);
    }

    /// The number of connections that were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Begins one, unless there are too many.
    fn begin(self: &Arc<Self>, now: Now) -> Option<Handshake> {
        let max = self.max.load(Relaxed);
        let before = self.under_way.fetch_add(1, Relaxed);
        let begun = Handshake(self.clone());
        if max == 0 || before < max {
            return Some(begun);
        }
        self.refused.fetch_add(1, Relaxed);
        if self.quiet_until_us.load(Relaxed) <= now.mono_us {
            self.quiet_until_us.store(now.mono_us + SAID_EVERY_US, Relaxed);
            tracing::warn!(max, "too many handshakes are under way: new connections are closed");
        }
        None
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.0.under_way.fetch_sub(1, Relaxed);
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
        let handshake = self.handshakes.begin(now).ok_or_else(|| Rejection(Vec::new()))?;
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
