//! `CLIENT PAUSE`, and other reasons to hold commands back for a while.

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

/// The reason for a pause. Pauses for different reasons do not end each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// `CLIENT PAUSE`.
    Client,
    /// A handover to a replica.
    Failover,
    /// The end of the server.
    Shutdown,
}

/// The pauses that were begun and not ended, one for each purpose: the end (Unix milliseconds) and mode.
#[derive(Debug, Default)]
pub struct Pause {
    current: Mutex<[Option<(u64, PauseMode)>; 3]>,
}

impl Pause {
    /// Until when (Unix milliseconds) a request is held back, if it is; `propagates` says whether it
    /// may change data or be passed on.
    pub(crate) fn holds(&self, propagates: bool, now_ms: u64) -> Option<u64> {
        let current = self.current.lock();
        let holds =
            current.iter().flatten().filter(|(_, mode)| propagates || *mode == PauseMode::All);
        holds.map(|(until_ms, _)| *until_ms).filter(|until_ms| *until_ms > now_ms).max()
    }
}
