//! The traits [`Runtime`], [`Service`] and [`Connection`], and the values they exchange.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The current time, as passed to a connection. The engine never reads a clock itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Unix time in milliseconds, for expiry and `TIME`.
    pub wall_ms: u64,
    /// Microseconds since an arbitrary start, which never go backwards: for deadlines and
    /// durations.
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

    /// Converts a monotonic time in microseconds to an instant, for timers.
    pub fn instant(&self, mono_us: u64) -> Instant {
        self.start + Duration::from_micros(mono_us)
    }
}

/// Whether a connection stays open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flow {
    /// It stays open.
    #[default]
    Open,
    /// Write what is in the output, then close.
    CloseAfterFlush,
    /// Close now and drop unwritten output (protocol abuse, `CLIENT KILL`, output limit).
    Abort,
}

/// How the runtime handles input from the peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Input {
    /// Input is read and passed on, whether or not the peer reads its replies. A peer that writes a
    /// whole pipeline before it reads anything would otherwise never get to read.
    #[default]
    Wanted,
    /// The connection waits for something other than input (a blocking pop, a pause). Input is
    /// nevertheless read, passed on and kept, so that the peer's end of input is noticed. The wait
    /// ends then ([`Connection::drain`]), whatever input is before it.
    Kept,
    /// Input stays in the kernel for now, because the connection first has to handle what it has.
    /// It must be able to do that without the peer reading.
    Held,
}

/// The work a connection has left to do without any further event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it waits for input, for its waker or for its deadline.
    #[default]
    Nothing,
    /// It has more input to handle than is fair in one turn. [`Connection::resume`] is called in
    /// another turn, after those of other connections, whether or not the peer reads.
    AnotherTurn,
    /// So much output waits that the rest has to wait: [`Connection::resume`] is called once
    /// everything is written.
    OnceWritten,
}

/// A connection's instructions to the runtime, returned after each call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Whether the connection stays open.
    pub flow: Flow,
    /// How to handle further input. The connection keeps what it has been given already.
    pub input: Input,
    /// The work that it has left to do without any further event.
    pub next: Next,
}

impl Status {
    /// Open and reading, the usual state.
    pub const READING: Status =
        Status { flow: Flow::Open, input: Input::Wanted, next: Next::Nothing };
}

/// One client's side of the protocol, without input or output of its own.
///
/// The runtime calls one method at a time, from any thread. After every call it looks at the
/// returned [`Status`], writes what [`Connection::output`] holds, and re-arms the timer for
/// [`Connection::deadline_us`].
pub trait Connection: Send {
    /// A hint: these bytes have arrived and will be passed to [`Connection::receive`] later in this
    /// turn, after other connections have been read from as well. The connection may prefetch
    /// memory that it will need, but may do nothing else yet.
    fn anticipate(&mut self, _bytes: &[u8]) {}

    /// Takes bytes that have arrived, all of them. Complete requests are executed directly from the
    /// slice; the rest is copied. The connection itself must bound how much it keeps, and end if
    /// that is exceeded.
    fn receive(&mut self, bytes: &[u8], now: Now) -> Status;

    /// Called after the connection's waker was woken, when its deadline has passed, or as it asked
    /// for with [`Next`]. Calls without such a cause happen too, and must be harmless.
    fn resume(&mut self, now: Now) -> Status;

    /// Called once after one or more other calls, and before [`Connection::output`] is written.
    /// The service makes sure here that its replies are true, for example by writing the journal. A
    /// runtime that finds several connections ready in one turn first calls `receive` on all of
    /// them, and then `before_write` on each, so that one write of the journal serves them all.
    fn before_write(&mut self, _now: Now) {}

    /// The buffer of output to be written. The runtime removes from it the bytes that the socket
    /// accepted.
    fn output(&mut self) -> &mut resp::Output;

    /// Called after [`Connection::output`] was written, as far as the socket took it. Returns true
    /// if more output is available at once: a filter encodes its output in portions.
    fn written(&mut self) -> bool {
        false
    }

    /// Tells the connection how many of its bytes a filter around it holds, in either direction, so
    /// that limits and reports count them.
    fn held_outside(&mut self, _bytes: usize) {}

    /// The monotonic time (µs, as in [`Now::mono_us`]) at which [`Connection::resume`] must be
    /// called if nothing else happens before.
    fn deadline_us(&self) -> Option<u64>;

    /// Tells the connection that no input will follow: the server drains, or the peer has ended its
    /// sending side (or is gone, which looks the same). It should finish what was parsed. The
    /// returned status normally is [`Flow::CloseAfterFlush`]. A connection that still waits for
    /// something worth replying stays open with [`Input::Held`], and returns `CloseAfterFlush` from
    /// a later `resume`. A wait for *other clients* (a blocking pop) must end here, because the
    /// peer may be gone.
    fn drain(&mut self, now: Now) -> Status;

    /// The peer is gone or the runtime has closed the socket. No other call follows.
    fn closed(&mut self, now: Now);
}

/// The other end of a connection.
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

impl Peer {
    /// The address that limits by address count this peer for; none for a Unix-domain socket. The network of an IPv6
    /// address counts as one, because its owner has all 2⁶⁴ addresses in it.
    pub fn owner(&self) -> Option<IpAddr> {
        let Peer::Tcp { remote, .. } = self else { return None };
        Some(match remote.ip() {
            IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
                IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
            }
            other => other.to_canonical(),
        })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Tcp { remote, .. } => write!(f, "{remote}"),
            Peer::Unix(path) => write!(f, "{path}:0"),
        }
    }
}

/// A refused connection, with the bytes to send before closing it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection(pub Vec<u8>);

/// Creates connections for the sockets that a listener accepts.
pub trait Service: Send + Sync {
    /// Creates the connection for an accepted socket. `waker` may be kept and woken from any
    /// thread, any number of times, also after the connection has closed.
    fn connect(&self, peer: Peer, waker: Waker, now: Now)
    -> Result<Box<dyn Connection>, Rejection>;

    /// Whether the next call into a connection is likely to block its thread for long (disk reads). The
    /// answer is cheap and changes while serving, so a runtime that can keep other connections going meanwhile,
    /// at a price, asks before each turn.
    fn may_block(&self) -> bool {
        false
    }
}

/// A bound socket and the service behind it.
pub struct Listener {
    /// The listening socket.
    pub stream: Stream,
    /// The service for connections accepted there: plain sessions, or sessions behind a filter
    /// (TLS).
    pub service: Arc<dyn Service>,
}

/// The kinds of listening socket. The caller of the runtime binds them and sets them non-blocking.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix-domain socket and the path it is bound to.
    #[cfg(unix)]
    Unix(std::os::unix::net::UnixListener, String),
}

/// A request to stop, shared between the runtime and those who may ask for it (signals,
/// `SHUTDOWN`).
#[derive(Clone, Default)]
pub struct Shutdown {
    inner: Arc<ShutdownInner>,
}

#[derive(Default)]
struct ShutdownInner {
    asked: AtomicBool,
    /// The time to drain within, in milliseconds and one more; 0: as the runtime was told.
    drain_ms: AtomicU64,
    wakers: std::sync::Mutex<Vec<Waker>>,
}

impl Shutdown {
    /// A request that has not been made yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Requests the stop. May be called from any thread, and repeatedly.
    pub fn request(&self) {
        self.inner.asked.store(true, Ordering::SeqCst);
        let wakers = std::mem::take(&mut *self.inner.wakers.lock().expect("no panic while held"));
        wakers.iter().for_each(Waker::wake_by_ref);
    }

    /// Changes the time for which a runtime lets peers read their last replies, for stops that begin later.
    pub fn set_drain_timeout(&self, timeout: Duration) {
        let ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        self.inner.drain_ms.store(ms.saturating_add(1), Ordering::Relaxed);
    }

    /// That time; `usual` unless it was changed.
    pub fn drain_timeout(&self, usual: Duration) -> Duration {
        let ms = self.inner.drain_ms.load(Ordering::Relaxed).checked_sub(1);
        ms.map_or(usual, Duration::from_millis)
    }

    /// Whether the stop was requested.
    pub fn requested(&self) -> bool {
        self.inner.asked.load(Ordering::SeqCst)
    }

    /// Registers a waker that is woken when the stop is requested; at once if it has been already.
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

/// A runtime's counters, for `INFO`, metrics and benchmarks. All but `threads`, `connections` and
/// `queue_depth` only increase.
#[derive(Debug, Default)]
pub struct RuntimeStats {
    /// The current number of threads that serve connections.
    pub threads: AtomicU64,
    /// The current number of open connections.
    pub connections: AtomicU64,
    /// The number of times that a poller returned or a task was polled.
    pub loops: AtomicU64,
    /// The number of wake-ups from other threads.
    pub wakes: AtomicU64,
    /// The current number of sessions that wait for a worker (pool execution).
    pub queue_depth: AtomicU64,
    /// The number of calls into connections that panicked; each ended only its own connection.
    pub panics: AtomicU64,
    /// The number of `accept` calls that failed (mostly for lack of file descriptors).
    pub accept_errors: AtomicU64,
}

/// Serves listeners until it is told to stop.
pub trait Runtime: Send + Sync {
    /// The name used on the command line: `epoll`, `tokio`.
    fn name(&self) -> &'static str;

    /// Serves until `shutdown` is requested. Then it stops accepting, lets every connection finish
    /// what it has parsed ([`Connection::drain`]), writes output for at most `drain_timeout`, and
    /// closes.
    ///
    /// Fails only if it cannot start (creation of pollers or threads); a failing connection never
    /// ends the call.
    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()>;

    /// The runtime's counters, which live as long as the runtime.
    fn stats(&self) -> Arc<RuntimeStats>;

    /// Changes the number of serving threads while running. Fails with `Unsupported` in a runtime
    /// that cannot.
    fn resize(&self, _threads: usize) -> io::Result<()> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "this runtime's threads are fixed at start"))
    }
}
