//! How other threads wake one that sleeps in `poll`: a socket pair, written to at most once per
//! sleep.

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

/// Wakes a thread from `poll`: its descriptor becomes readable when it is raised.
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

    /// Wakes the thread, or prevents its next sleep.
    pub fn raise(&self) {
        if !self.raised.swap(true, SeqCst) {
            // This fails only if the pair is full, and then it has been raised.
            let _ = (&self.raising_end).write(&[0]);
        }
    }

    /// Resets the wake. The reasons for it must be checked afterwards.
    pub fn reset(&self) {
        if self.raised.load(SeqCst) {
            let _ = (&self.polled_end).read(&mut [0; 16]);
            // A swap, so that everything done before a wake that found it still raised is visible.
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

/// The waker of one connection. It wakes the worker that serves the connection, until that ends.
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

    /// Resets the wake and returns it, if there was one.
    pub fn take(&self) -> Events {
        Events::WAKE.when(self.woken.swap(false, AcqRel))
    }

    /// Reports that the connection has ended, and its worker serves others.
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
    /// The end of the peer's input, which is reported even when not reading (Linux).
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

/// Waits until one of `sources` has a wanted event, or for `timeout`. Returns the events of the
/// first source. An interrupted wait returns nothing, like a timeout.
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
