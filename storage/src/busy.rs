//! [`Busy`]: what a backend's transactions ask while they wait for a lock.

use crate::backend::HeldUp;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a script holds locks for so long that others need not wait for them.
#[derive(Default)]
pub struct Busy {
    /// Such a script has said so.
    told: AtomicBool,
    /// Who knows of scripts that have not come to say so: every engine over the backend, such as
    /// one that replays the log.
    ask: Mutex<Vec<HeldUp>>,
}

impl Busy {
    /// A script says that it holds shards for long, or that it has ended.
    pub fn tell(&self, busy: bool) {
        self.told.store(busy, Ordering::Relaxed);
    }

    /// Registers whom to ask; those that no longer answer are dropped.
    pub fn ask(&self, ask: HeldUp) {
        let mut all = self.ask.lock();
        all.retain(|ask| ask().is_some());
        all.push(ask);
    }

    /// Whether such a script runs. Takes a lock: ask it only after waiting for a while.
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
