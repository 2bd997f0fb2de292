//! Requests of another protocol: HTTP, which a web page may make a browser send to this port.
//!
//! A page can make a browser send a `POST` to any address, with any body. Read as inline requests,
//! its head is a series of unknown commands, and the body may contain real ones. So the first word
//! that can only be HTTP's ends the connection, and the input behind it is ignored.

use resp::Request;
use runtime::{Now, Peer};
use std::sync::atomic::{AtomicU64, Ordering};

/// Time between two warnings at least, in microseconds.
const WARN_EVERY_US: u64 = 60_000_000;

/// Whether a request is the first line of an HTTP `POST`, or a `Host:` header.
pub(crate) fn is_http(request: Request<'_>) -> bool {
    let is = |word: &[u8]| request.arg(0).eq_ignore_ascii_case(word);
    is(b"post") || is(b"host:")
}

/// The time of the last warning about such a request.
#[derive(Debug, Default)]
pub struct CrossProtocol {
    /// Monotonic microseconds; 0: never.
    warned_us: AtomicU64,
}

impl CrossProtocol {
    /// Warns that a connection is closed, unless that was done less than a minute ago.
    pub(crate) fn warn(&self, peer: &Peer, now: Now) {
        if self.is_due(now) {
            tracing::warn!(
                "Possible SECURITY ATTACK detected: somebody sends HTTP (POST or Host:) to this port, \
                 probably through a browser, to have commands executed. The connection from {peer} \
                 was closed."
            );
        }
    }

    fn is_due(&self, now: Now) -> bool {
        let now_us = now.mono_us.max(1);
        let last_us = self.warned_us.load(Ordering::Relaxed);
        let due = last_us == 0 || now_us.saturating_sub(last_us) >= WARN_EVERY_US;
        let (set, order) = (Ordering::Relaxed, Ordering::Relaxed);
        due && self.warned_us.compare_exchange(last_us, now_us, set, order).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_a_minute() {
        let guard = CrossProtocol::default();
        let at = |seconds: u64| Now { wall_ms: 0, mono_us: seconds * 1_000_000 };
        let said: Vec<bool> = [0, 1, 59, 61, 62, 121].map(|s| guard.is_due(at(s))).into();
        assert_eq!(said, [true, false, false, true, false, true]);
    }
}
