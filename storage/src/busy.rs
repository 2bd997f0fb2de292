//! [`Busy`]: what a backend's transactions ask while they wait for a lock.

use crate::backend::HeldUp;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a script holds locks for so long that others need not wait for them.
#[derive(Default)]
pub(crate) struct Busy {
    /// Such a script has said so.
    told: AtomicBool,
    /// Who knows of scripts that have not come to say so: every engine over the backend, such as
    /// one that replays the log.
    ask: Mutex<Vec<HeldUp>>,
}

impl Busy {
    pub fn tell(&self, busy: bool) {
        self.told.store(busy, Ordering::Relaxed);
    }

    pub fn ask(&self, ask: HeldUp) {
        let mut all = self.ask.lock();
        all.retain(|ask| ask().is_some());
        all.push(ask);
    }

    /// Asked by who has waited for a while already.
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
