//! Pauses as they begin and end.

use super::PauseMode;
use crate::clients::Event;
use crate::engine::Engine;
use crate::gate::Gate;

impl Engine {
    /// Begins a pause, or extends the current one: the later end and the stricter mode apply.
    pub fn pause_clients(&self, until_ms: u64, mode: PauseMode, now_ms: u64) {
        let mut current = self.clients.pause.current.lock();
        *current = match current.filter(|(until, _)| *until > now_ms) {
            Some((until, before)) => Some((until.max(until_ms), before.max(mode))),
            None => Some((until_ms, mode)),
        };
        self.set_paused(true);
    }

    /// Nothing is written from now on; keys neither expire nor are evicted.
    fn set_paused(&self, paused: bool) {
        self.set_gate(Gate::PAUSED, paused);
        self.notify.keyspace.set_hides_expired(paused || self.is_replica());
    }

    /// Ends the pause for all clients.
    pub fn unpause_clients(&self) {
        *self.clients.pause.current.lock() = None;
        self.set_paused(false);
        self.clients.list().iter().for_each(|client| client.send(Event::Poke, 0));
    }
}
