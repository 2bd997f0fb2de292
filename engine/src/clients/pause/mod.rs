//! `CLIENT PAUSE`: holding commands back for a while.

mod all;

use parking_lot::Mutex;

/// Which commands a pause holds back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Writes, and other commands with effects for replicas.
    Write,
    /// Every command.
    All,
}

/// The pause in force, if any.
#[derive(Debug, Default)]
pub struct Pause {
    current: Mutex<Option<(u64, PauseMode)>>,
}

impl Pause {
    /// The end (Unix milliseconds) and mode of the pause in force at `now_ms`.
    pub fn current(&self, now_ms: u64) -> Option<(u64, PauseMode)> {
        self.current.lock().filter(|(until, _)| *until > now_ms)
    }

    /// Until when (Unix milliseconds) a request is held back, if it is; `propagates` says whether it
    /// may change data or be passed on.
    pub(crate) fn holds(&self, propagates: bool, now_ms: u64) -> Option<u64> {
        let (until_ms, mode) = self.current(now_ms)?;
        (propagates || mode == PauseMode::All).then_some(until_ms)
    }
}
