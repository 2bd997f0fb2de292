//! Accepts clients, on the listeners, which the first reactor polls.

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use runtime::reactors::Newcomer;
use runtime::{Listener, RuntimeStats, accept_failed_for_good};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::Relaxed;

/// The number of connections accepted at once before existing ones get their turn.
const ACCEPTS_MAX: usize = 128;

/// The pause after `accept` failed, in µs: without a free file descriptor it fails again at once.
const BACK_OFF_US: u64 = 80_000;

/// The mailbox's token.
pub(crate) const MAILBOX_TOKEN: Token = Token(usize::MAX);

/// Tokens from this value on are not connections, but listeners and the mailbox.
const SPECIAL_TOKENS: usize = usize::MAX - 0xFFFF;

/// The listeners of a server, polled by one reactor. Other reactors have an empty set.
#[derive(Default)]
pub(crate) struct Listeners {
    listeners: Vec<Listener>,
    /// The monotonic time in µs at which to accept without an event: after a failure, or because
    /// more clients wait than are accepted at once.
    again_us: Option<u64>,
}

impl Listeners {
    /// Registers every listener with the poller.
    pub fn register(listeners: Vec<Listener>, registry: &Registry) -> io::Result<Self> {
        for (listener, n) in listeners.iter().zip(0..) {
            let fd = listener.stream.as_raw_fd();
            let token = Token(SPECIAL_TOKENS + n);
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
        }
        Ok(Listeners { listeners, again_us: None })
    }

    /// Whether `token` belongs to a listener.
    pub fn owns(token: Token) -> bool {
        token.0 >= SPECIAL_TOKENS && token != MAILBOX_TOKEN
    }

    /// The time at which [`Listeners::accept`] must be called even without an event.
    pub fn again_us(&self) -> Option<u64> {
        self.again_us
    }

    /// Accepts waiting clients, within bounds. Listeners are edge-triggered, so each is asked until
    /// it has none.
    pub fn accept(&mut self, now_us: u64, stats: &RuntimeStats, mut admit: impl FnMut(Newcomer)) {
        self.again_us = None;
        for listener in &self.listeners {
            if let Some(wait_us) = accept_from(listener, stats, &mut admit) {
                let at = now_us + wait_us;
                self.again_us = Some(self.again_us.map_or(at, |earlier| earlier.max(at)));
            }
        }
    }

    /// Closes all listeners: the kernel refuses clients from now on.
    pub fn close(&mut self) {
        *self = Listeners::default();
    }
}

/// Accepts from one listener. Returns after how many µs it must be asked again, if it must.
fn accept_from(
    listener: &Listener,
    stats: &RuntimeStats,
    admit: &mut impl FnMut(Newcomer),
) -> Option<u64> {
    for _ in 0..ACCEPTS_MAX {
        match listener.stream.accept() {
            Ok((socket, peer)) => admit((socket, peer, listener.service.clone())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(error) => {
                stats.accept_errors.fetch_add(1, Relaxed);
                if accept_failed_for_good(&error) {
                    tracing::warn!(%error, "cannot accept connections, trying again shortly");
                    return Some(BACK_OFF_US);
                }
            }
        }
    }
    Some(0)
}
