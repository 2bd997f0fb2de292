//! The traits themselves: [`Runtime`], [`Service`], [`Connection`], and the values they exchange.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current time, as passed to a connection. The engine never reads a clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds: what expiry and `TIME` are about.
    pub wall_ms: u64,
    /// Microseconds since an arbitrary start, never going backwards: deadlines and durations.
    pub mono_us: u64,
}

impl Now {
    /// The monotonic time in whole milliseconds.
    pub fn mono_ms(self) -> u64 {
        self.mono_us / 1000
    }
}

/// The clock a runtime reads on behalf of its connections.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock {
    /// A clock whose monotonic time starts at zero now.
    pub fn new() -> Self {
        Clock { start: Instant::now() }
    }

    /// Reads both times.
    pub fn now(&self) -> Now {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { wall_ms: wall.as_millis() as u64, mono_us: self.start.elapsed().as_micros() as u64 }
    }

    /// The instant a monotonic time in microseconds stands for, for handing to timers.
    pub fn instant(&self, mono_us: u64) -> Instant {
        self.start + Duration::from_micros(mono_us)
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// Go on.
    #[default]
    Open,
    /// Write what is in the output, then close.
    CloseAfterFlush,
    /// Close now; unwritten output is dropped (protocol abuse, `CLIENT KILL`, output limit).
    Abort,
}

/// How the runtime handles input from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// It is read and handed over, whether or not the peer reads its answers: one that writes a
    /// whole pipeline before it reads anything would otherwise never come to read.
    #[default]
    Wanted,
    /// The connection waits for what others do (a blocking pop, a pause). Input is read and handed
    /// over all the same, and kept, so that nothing hides the peer's end; when that is known, the
    /// wait is over ([`Connection::drain`]), whatever is still unread before it.
    Kept,
    /// It stays in the kernel for now: what was taken comes first. That must not depend on the peer
    /// reading.
    Held,
}

/// The work a connection has left to do without any further event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it waits for input, its waker or its deadline.
    #[default]
    Nothing,
    /// It has more to do with what it was handed than is fair in one turn: [`Connection::resume`] is
    /// called in another one, after those of other connections, whether or not the peer reads.
    AnotherTurn,
    /// So much output waits that the rest must: [`Connection::resume`] is called once all is written.
    OnceWritten,
}

/// A connection's instructions to the runtime, returned after each call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether to go on, finish or abort.
    pub flow: Flow,
    /// How to handle further input; bytes already handed over are kept by the connection.
    pub input: Input,
    /// The work it has left to do without any further event.
    pub next: Next,
}

impl Status {
    /// Open and reading: the ordinary state.
    pub const READING: Status =
        Status { flow: Flow::Open, input: Input::Wanted, next: Next::Nothing };
}

/// One client's side of the protocol, without input or output of its own.
///
/// The runtime calls one method at a time, from any thread. After every call it looks at the
/// returned [`Status`], writes what [`Connection::output`] holds, and re-arms the timer for
/// [`Connection::deadline_us`].
pub trait Connection: Send {
    /// A hint: these bytes have arrived and will be handed to [`Connection::receive`] later in this
    /// turn, once other connections' bytes have been read as well. Memory that will be needed can
    /// be sent for; nothing may be done yet.
    fn anticipate(&mut self, _bytes: &[u8]) {}

    /// Takes bytes that arrived. All of `bytes` is consumed: complete requests are executed
    /// straight from the slice, and what remains is copied. How much it keeps at most is the
    /// connection's to bound: it ends itself when that is too much.
    fn receive(&mut self, bytes: &[u8], now: Now) -> Status;

    /// Called after the connection's waker fired, or when its deadline passed, or for what it said
    /// it does [`Next`]. Calls without such a cause happen too and must be harmless.
    fn resume(&mut self, now: Now) -> Status;

    /// Called once after one or more calls and before [`Connection::output`] is written: what the
    /// answers promise (a journal write) happens here. A runtime that finds several connections
    /// ready in one turn calls `receive` on all of them first and `before_write` on each only then,
    /// so that one write of the journal serves them all.
    fn before_write(&mut self, _now: Now) {}

    /// The buffer of output to be written. The runtime removes from it the bytes that the socket
    /// accepted.
    fn output(&mut self) -> &mut resp::Output;

    /// Told that [`Connection::output`] was written, as far as the socket took it. True when more can be
    /// had there at once: a filter makes its output ready by portions.
    fn written(&mut self) -> bool {
        false
    }

    /// Told how many bytes a filter around this connection holds of it, in either direction, so that
    /// limits and reports count them.
    fn held_outside(&mut self, _bytes: usize) {}

    /// The monotonic time (µs, as in [`Now::mono_us`]) at which [`Connection::resume`] must be
    /// called if nothing else happens before.
    fn deadline_us(&self) -> Option<u64>;

    /// Told that no input will follow: the server drains, or the peer shut its sending side (or is
    /// gone, which looks the same). Finish what was parsed. The returned status normally is
    /// [`Flow::CloseAfterFlush`]; a connection that must still wait for something worth answering
    /// stays open with [`Input::Held`] and says `CloseAfterFlush` from a later `resume`.
    /// A wait for *other clients* (a blocking pop) must end here: nobody may be left to answer.
    fn drain(&mut self, now: Now) -> Status;

    /// The peer is gone or the runtime closed the socket. No call follows.
    fn closed(&mut self, now: Now);
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer: its address and ours.
    Tcp {
        /// The client's address.
        remote: SocketAddr,
        /// The address it connected to.
        local: SocketAddr,
    },
    /// A Unix-domain peer, named by the path it connected to.
    Unix(String),
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp { remote, .. } => write!(f, "{remote}"),
            Peer::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// Why a connection was not taken, with the bytes to send before closing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal(pub Vec<u8>);

/// Makes connections: what a listener serves.
pub trait Service: Send + Sync {
    /// A socket was accepted. `waker` may be kept and fired from any thread, any number of times,
    /// also after the connection has closed.
    fn connect(&self, peer: Peer, waker: Waker, now: Now) -> Result<Box<dyn Connection>, Refusal>;

    /// True when a call into a connection may block its thread for long (disk reads): a runtime
    /// that has a way to keep other connections going meanwhile should use it.
    fn may_block(&self) -> bool {
        false
    }
}

/// A bound socket and what is served on it.
pub struct Listener {
    /// Where to accept.
    pub stream: Stream,
    /// The service for connections accepted there: plain sessions, or sessions behind a filter
    /// (TLS).
    pub service: Arc<dyn Service>,
}

/// The kinds of listening socket, bound and set non-blocking by whoever starts the runtime.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix-domain socket and the path it is bound to.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, String),
}

/// A request to stop, shared between whoever asks (signals, `SHUTDOWN`) and the runtime.
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<ShutdownInner>,
}

#[derive(Default)]
struct ShutdownInner {
    asked: AtomicBool,
    wakers: std::sync::Mutex<Vec<Waker>>,
}

impl Shutdown {
    /// Not asked for yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for the stop; idempotent, callable from any thread.
    pub fn request(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.inner.wakers.lock().expect("no panic while held"));
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Whether the stop was asked for.
    pub fn requested(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Registers a waker that fires when the stop is asked for; fires at once when it already was.
    pub fn subscribe(&self, waker: Waker) {
        self.inner.wakers.lock().expect("no panic while held").push(waker.clone());
        if self.requested() {
            waker.wake();
        }
    }
}

impl fmt::Debug for Shutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shutdown").field("requested", &self.requested()).finish()
    }
}

/// A runtime's own counters, for `INFO`, metrics and the bench. All only ever grow, but `threads`,
/// `connections` and `queue_depth`.
#[derive(Debug, Default)]
pub struct RuntimeStats {
    /// Threads that serve connections now.
    pub threads: AtomicU64,
    /// Connections open now.
    pub connections: AtomicU64,
    /// Times a poller returned, or a task was polled.
    pub loops: AtomicU64,
    /// Wake-ups that came from other threads.
    pub wakes: AtomicU64,
    /// Sessions waiting for a worker now (pool execution).
    pub queue_depth: AtomicU64,
    /// Connection calls that panicked and took only their own connection down.
    pub panics: AtomicU64,
    /// `accept` calls that failed (out of file descriptors, mostly).
    pub accept_errors: AtomicU64,
}

/// Something that serves listeners until told to stop.
pub trait Runtime: Send + Sync {
    /// The name used on the command line: `epoll`, `tokio`.
    fn name(&self) -> &'static str;

    /// Serves until `shutdown` is requested, then stops accepting, lets every connection finish
    /// what it has parsed ([`Connection::drain`]), flushes for at most `drain_timeout`, and closes.
    ///
    /// Errors are those of starting (poller or thread creation); a failing connection never ends
    /// the call.
    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()>;

    /// The counters; alive as long as the runtime.
    fn stats(&self) -> Arc<RuntimeStats>;

    /// Changes the number of serving threads while running. Runtimes that cannot say so.
    fn resize(&self, _threads: usize) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this runtime's threads are fixed at start"))
    }
}
