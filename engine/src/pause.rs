//! `CLIENT PAUSE`: holding commands back for a while.

use crate::clients::Event;
use crate::engine::{Engine, gate};
use parking_lot::Mutex;

/// What is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PauseMode {
    /// Writes, and what may propagate.
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

impl Engine {
    /// Begins a pause, or lengthens the one in force: the later end and the stricter mode win.
    pub fn pause_clients(&self, until_ms: u64, mode: PauseMode, now_ms: u64) {
        let mut current = self.pause.current.lock();
        *current = match current.filter(|(until, _)| *until > now_ms) {
            Some((until, before)) => Some((until.max(until_ms), before.max(mode))),
            None => Some((until_ms, mode)),
        };
        self.set_paused(true);
    }

    /// Nothing is written now; nor does anything expire or give way.
    fn set_paused(&self, paused: bool) {
        self.set_gate(gate::PAUSED, paused);
        self.keyspace.set_hides_expired(paused || self.is_replica());
    }

    /// Ends the pause and lets everybody go on.
    pub fn unpause_clients(&self) {
        *self.pause.current.lock() = None;
        self.set_paused(false);
        self.clients.list().iter().for_each(|client| client.send(Event::Poke, 0));
    }
}
