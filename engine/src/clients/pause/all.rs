//! Pauses as they begin and end.

use super::{PauseMode, Purpose};
use crate::clients::{Clients, Event};
use crate::gate::{Gate, Gates};
use crate::notify::keyspace::Keyspace;

impl Clients {
    /// Begins a pause, or extends the current one for this purpose: the later end and the stricter mode
    /// apply.
    pub(crate) fn pause_all(
        &self,
        (gates, keyspace): (&Gates, &Keyspace),
        purpose: Purpose,
        (until_ms, mode): (u64, PauseMode),
        now_ms: u64,
    ) {
        let mut current = self.pause.current.lock();
        let current = &mut current[purpose as usize];
        *current = match current.filter(|(until, _)| *until > now_ms) {
            Some((until, before)) => Some((until.max(until_ms), before.max(mode))),
            None => Some((until_ms, mode)),
        };
        set_paused(gates, keyspace, true);
    }

    /// Ends the pause for this purpose. Clients try again what was held back.
    pub(crate) fn unpause_all(&self, gates: &Gates, keyspace: &Keyspace, purpose: Purpose) {
        let mut current = self.pause.current.lock();
        current[purpose as usize] = None;
        set_paused(gates, keyspace, current.iter().any(Option::is_some));
        drop(current);
        self.list().iter().for_each(|client| client.send(Event::Poke, 0));
    }

    /// Ends the pauses whose time is over at `now_ms`.
    pub(crate) fn end_pauses(&self, gates: &Gates, keyspace: &Keyspace, now_ms: u64) {
        for purpose in [Purpose::Client, Purpose::Failover, Purpose::Shutdown] {
            let pause = self.pause.current.lock()[purpose as usize];
            if pause.is_some_and(|(until_ms, _)| until_ms <= now_ms) {
                self.unpause_all(gates, keyspace, purpose);
            }
        }
    }
}

/// Nothing is written from now on; keys neither expire nor are evicted.
fn set_paused(gates: &Gates, keyspace: &Keyspace, paused: bool) {
    gates.set(Gate::PAUSED, paused);
    keyspace.set_hides_expired(paused || gates.any(Gate::REPLICA));
}
