//! [`Busy`]: tells transactions that wait for a lock whether a script holds locks for long.

use crate::backend::HeldUp;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a script holds locks for so long that other transactions need not wait for them.
#[derive(Default)]
pub struct Busy {
    /// Whether such a script has reported itself.
    told: AtomicBool,
    /// Functions that know of scripts which could not report themselves. Every engine over the
    /// backend registers one, including an engine that replays the log.
    ask: Mutex<Vec<HeldUp>>,
}

impl Busy {
    /// Reports that a script holds shards for long, or that it has ended.
    pub fn tell(&self, busy: bool) {
        self.told.store(busy, Ordering::Relaxed);
    }

    /// Registers a function to ask. Functions that can no longer answer are dropped.
    pub fn ask(&self, ask: HeldUp) {
        let mut all = self.ask.lock();
        all.retain(|ask| ask().is_some());
        all.push(ask);
    }

    /// Whether such a script is running. Takes a lock, so call it only after waiting for a while.
    #[cold]
    pub fn is_so(&self) -> bool {
        self.told.load(Ordering::Relaxed) || self.ask.lock().iter().any(|ask| ask() == Some(true))
    }
}

impl std::fmt::Debug for Busy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Busy").field(&self.told).finish()
    }
}
