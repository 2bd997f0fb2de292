//! Pauses as they begin and end.

use super::PauseMode;
use crate::clients::{Clients, Event};
use crate::gate::{Gate, Gates};
use crate::notify::keyspace::Keyspace;

impl Clients {
    /// Begins a pause, or extends the current one: the later end and the stricter mode apply.
    pub(crate) fn pause_all(
        &self,
        (gates, keyspace): (&Gates, &Keyspace),
        (until_ms, mode): (u64, PauseMode),
        now_ms: u64,
    ) {
        let mut current = self.pause.current.lock();
        *current = match current.filter(|(until, _)| *until > now_ms) {
            Some((until, before)) => Some((until.max(until_ms), before.max(mode))),
            None => Some((until_ms, mode)),
        };
        set_paused(gates, keyspace, true);
    }

    /// Ends the pause for all clients.
    pub(crate) fn unpause_all(&self, gates: &Gates, keyspace: &Keyspace) {
        *self.pause.current.lock() = None;
        set_paused(gates, keyspace, false);
        self.list().iter().for_each(|client| client.send(Event::Poke, 0));
    }
}

/// Nothing is written from now on; keys neither expire nor are evicted.
fn set_paused(gates: &Gates, keyspace: &Keyspace, paused: bool) {
    gates.set(Gate::PAUSED, paused);
    keyspace.set_hides_expired(paused || gates.any(Gate::REPLICA));
}
