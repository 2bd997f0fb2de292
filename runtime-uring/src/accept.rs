//! The listeners, which the first reactor has: the kernel accepts on them until it fails.

use crate::ring::Ring;
use runtime::reactors::Newcomer;
use runtime::{Listener, RuntimeStats, accept_failed_for_good};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::Ordering::Relaxed;

/// The pause after accepting failed, in µs: without a free file descriptor it fails again at once.
const BACK_OFF_US: u64 = 80_000;

/// A listener, and whether the kernel accepts on it.
struct Listening {
    /// `None` once it is closed.
    listener: Option<Listener>,
    accepts: bool,
}

/// The listeners of a server. Reactors but the first have an empty set.
#[derive(Default)]
pub(crate) struct Listeners {
    listeners: Vec<Listening>,
    /// The monotonic time in µs at which to accept again, after a failure.
    again_us: Option<u64>,
    /// Whether no further client is accepted.
    closed: bool,
}

impl Listeners {
    /// Listeners that do not accept yet.
    pub fn new(listeners: Vec<Listener>) -> Listeners {
        let listening = |listener| Listening { listener: Some(listener), accepts: false };
        let listeners = listeners.into_iter().map(listening).collect();
        Listeners { listeners, again_us: None, closed: false }
    }

    /// The time at which [`Listeners::accept`] must be called.
    pub fn again_us(&self) -> Option<u64> {
        self.again_us
    }

    /// Accepts wherever the kernel does not, if it is time for it.
    pub fn accept(&mut self, now_us: u64, ring: &mut Ring) {
        if self.closed || self.again_us.is_some_and(|at| at > now_us) {
            return;
        }
        self.again_us = None;
        for (listening, n) in self.listeners.iter_mut().zip(0..) {
            let Some(listener) = &listening.listener else { continue };
            if !std::mem::replace(&mut listening.accepts, true) {
                ring.accept(n, listener.as_raw_fd());
            }
        }
    }

    /// The kernel has accepted a client, or failed. `last`: it does not go on.
    pub fn accepted(
        &mut self,
        (n, accepted, last): (u64, io::Result<OwnedFd>, bool),
        now_us: u64,
        stats: &RuntimeStats,
        ring: &mut Ring,
    ) -> Option<Newcomer> {
        let listening = self.listeners.get_mut(n as usize)?;
        listening.accepts &= !last;
        if accepted.as_ref().is_ok_and(|fd| !last && is_beyond_limit(fd)) {
            ring.stop_accepting(n);
        }
        let Listener { stream, service } = listening.listener.as_ref()?;
        let newcomer = accepted.and_then(|fd| stream.accepted(fd));
        let newcomer = newcomer.map(|(socket, peer)| (socket, peer, service.clone()));
        if self.closed && last {
            listening.listener = None;
        }
        newcomer.map_err(|error| self.failed(&error, now_us, stats)).ok()
    }

    fn failed(&mut self, error: &io::Error, now_us: u64, stats: &RuntimeStats) {
        if error.raw_os_error() == Some(libc::ECANCELED) {
            return;
        }
        stats.accept_errors.fetch_add(1, Relaxed);
        if accept_failed_for_good(error) {
            tracing::warn!(%error, "cannot accept connections, trying again shortly");
            self.again_us = Some(now_us + BACK_OFF_US);
        }
    }

    /// The operations of a ring have ended: those to come are another's.
    pub fn come_to_rest(&mut self) {
        self.listeners.iter_mut().for_each(|listening| listening.accepts = false);
    }

    /// Closes all listeners, soon: the kernel refuses clients from then on.
    pub fn close(&mut self, ring: &mut Ring) {
        self.closed = true;
        self.again_us = None;
        for (listening, n) in self.listeners.iter_mut().zip(0..) {
            match listening.accepts {
                true => ring.stop_accepting(n),
                false => listening.listener = None,
            }
        }
    }
}

/// Whether a descriptor is beyond what the process may open now. An operation that accepts keeps to the limit of the
/// time when it began.
fn is_beyond_limit(fd: &OwnedFd) -> bool {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the call only fills the struct it is given.
    let known = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } == 0;
    known && fd.as_raw_fd() as u64 >= limit.rlim_cur
}
