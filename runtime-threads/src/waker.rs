//! How other threads reach one that sleeps in `poll`: a socket pair, raised at most once per sleep.

use parking_lot::Mutex;
use runtime::{Events, RuntimeStats};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Relaxed, SeqCst};
use std::task::Wake;
use std::time::Duration;

/// Wakes a thread out of `poll`: its descriptor becomes readable when raised.
#[derive(Debug)]
pub(crate) struct PollWaker {
    raised: AtomicBool,
    raising_end: UnixStream,
    polled_end: UnixStream,
}

impl PollWaker {
    pub fn new() -> io::Result<Self> {
        let (raising_end, polled_end) = UnixStream::pair()?;
        raising_end.set_nonblocking(true)?;
        polled_end.set_nonblocking(true)?;
        Ok(PollWaker { raised: AtomicBool::new(false), raising_end, polled_end })
    }

    /// Has the thread wake, or not sleep when it next would.
    pub fn raise(&self) {
        if !self.raised.swap(true, SeqCst) {
            // Fails only when the pair is full, and then it has been raised.
            let _ = (&self.raising_end).write(&[0]);
        }
    }

    /// Takes the wake back; what was raised for must be looked at afterwards.
    pub fn reset(&self) {
        if self.raised.load(SeqCst) {
            let _ = (&self.polled_end).read(&mut [0; 16]);
            // A swap, to see everything done before a wake that found it still raised.
            self.raised.swap(false, SeqCst);
        }
    }
}

impl AsRawFd for PollWaker {
    fn as_raw_fd(&self) -> RawFd {
        self.polled_end.as_raw_fd()
    }
}

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.raise();
    }
}

/// The waker of one connection; wakes the worker that serves it, until it has ended.
pub(crate) struct ConnectionWaker {
    woken: AtomicBool,
    worker: Mutex<Option<Arc<PollWaker>>>,
    stats: Arc<RuntimeStats>,
}

impl ConnectionWaker {
    pub fn new(worker: Arc<PollWaker>, stats: Arc<RuntimeStats>) -> Arc<Self> {
        let (woken, worker) = (AtomicBool::new(false), Mutex::new(Some(worker)));
        Arc::new(ConnectionWaker { woken, worker, stats })
    }

    /// Takes the wake that came, if one did.
    pub fn take(&self) -> Events {
        Events::WAKE.when(self.woken.swap(false, AcqRel))
    }

    /// The connection has ended; its worker serves others now.
    pub fn retire(&self) {
        *self.worker.lock() = None;
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.stats.wakes.fetch_add(1, Relaxed);
        if !self.woken.swap(true, AcqRel)
            && let Some(poll_waker) = &*self.worker.lock()
        {
            poll_waker.raise();
        }
    }
}

/// The events to wait for on one descriptor.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Wanted {
    pub read: bool,
    pub write: bool,
    /// The end of the peer's input, also when not reading (Linux).
    pub end: bool,
}

#[cfg(target_os = "linux")]
const END: libc::c_short = libc::POLLRDHUP;
#[cfg(not(target_os = "linux"))]
const END: libc::c_short = 0;

impl Wanted {
    fn bits(self) -> libc::c_short {
        let when = |condition, bit| if condition { bit } else { 0 };
        when(self.read, libc::POLLIN) | when(self.write, libc::POLLOUT) | when(self.end, END)
    }
}

/// Waits until one of `sources` has what is wanted, or for `timeout`; the events of the first.
/// An interrupted wait reports nothing, as a timeout does.
pub(crate) fn poll(sources: &[(RawFd, Wanted)], timeout: Option<Duration>) -> Events {
    let as_pollfd = |&(fd, wanted): &(RawFd, Wanted)| -> libc::pollfd {
        libc::pollfd { fd, events: wanted.bits(), revents: 0 }
    };
    // A worker has two sources; only the acceptor may have more.
    if let [first, second] = sources {
        return poll_slice(&mut [as_pollfd(first), as_pollfd(second)], timeout);
    }
    let mut list: Vec<libc::pollfd> = sources.iter().map(as_pollfd).collect();
    poll_slice(&mut list, timeout)
}

fn poll_slice(list: &mut [libc::pollfd], timeout: Option<Duration>) -> Events {
    // Rounded up, so that a deadline has passed when the wait ends.
    let up = |t: Duration| t.as_micros().div_ceil(1000).min(libc::c_int::MAX as u128) as i32;
    // SAFETY: the pointer and the length are those of one live, exclusively borrowed slice.
    unsafe { libc::poll(list.as_mut_ptr(), list.len() as libc::nfds_t, timeout.map_or(-1, up)) };
    let seen = list.first().map_or(0, |first| first.revents);
    let any = |bits: libc::c_short| seen & bits != 0;
    let gone = any(libc::POLLHUP | libc::POLLERR | libc::POLLNVAL);
    Events::READABLE.when(any(libc::POLLIN | END))
        | Events::WRITABLE.when(any(libc::POLLOUT))
        | Events::READ_CLOSED.when(any(END))
        | Events::HANGUP.when(gone)
}
