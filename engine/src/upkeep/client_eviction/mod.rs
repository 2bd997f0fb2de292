//! Client eviction: connections that give way when all of them together hold more than
//! `maxmemory-clients`.
//!
//! As in Redis, those go first that hold most, until the rest is below the limit; `CLIENT NO-EVICT`
//! and those who monitor are spared. What is held is looked at after so many bytes of growth, by the
//! session that grew and before it executes more, and by the housekeeper: nothing is counted while
//! there is no limit.

mod engine;

use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// State kept between looks.
#[derive(Debug, Default)]
pub(crate) struct ClientEviction {
    /// Whether there is a limit.
    limited: AtomicBool,
    /// Bytes that buffers have grown by since the last look.
    grown: AtomicU64,
    /// Whoever has it evicts.
    evicting: Mutex<()>,
}

impl ClientEviction {
    /// Whether there is a limit: growth is to be told.
    #[inline]
    pub fn is_limited(&self) -> bool {
        self.limited.load(Ordering::Relaxed)
    }
}
