//! Client eviction: closes connections when all of them together use more memory than
//! `maxmemory-clients`.
//!
//! As in Redis, the clients that use most are closed first, until the rest is below the limit.
//! `CLIENT NO-EVICT` and monitoring clients are exempt. The memory is checked after a certain
//! growth, by the session that grew and before it executes more, and by the housekeeper. Nothing is
//! counted while there is no limit.

mod closing;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// State kept between looks.
#[derive(Debug, Default)]
pub(crate) struct ClientEviction {
    /// Whether there is a limit.
    limited: AtomicBool,
    /// Bytes that buffers have grown by since the last look.
    grown: AtomicU64,
    /// Held by the thread that evicts.
    evicting: Mutex<()>,
}

impl ClientEviction {
    /// Whether there is a limit, so that growth must be reported.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }
}
