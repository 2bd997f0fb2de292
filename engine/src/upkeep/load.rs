//! The engine's part in load shedding: wakes the connections that are observed, and sets the gate.

use crate::clients::Event;
use crate::clients::overload::Overload;
use crate::config::Id;
use crate::engine::Engine;
use crate::gate::Gate;
use runtime::Now;
use std::time::Duration;

impl Engine {
    /// Observes how long connections wait for their turns, if `overload-delay-target` is set. Must be called
    /// again after the time that it returns; if it returns none, there is nothing to observe.
    ///
    /// This takes no lock of a shard, so it is never held up by what it is to notice.
    pub fn watch_load(&self, now: Now) -> Option<Duration> {
        let overload = &self.clients.overload;
        if !overload.is_on() {
            // It may have been set below while this was switched off.
            self.set_gate(Gate::OVERLOADED, false);
            return None;
        }
        if overload.judge(now, |client| self.clients.get(client).is_some()) {
            let start = self.random() as usize;
            overload.begin(self.clients.some(start, Overload::CLIENTS).into_iter(), now);
            self.set_gate(Gate::OVERLOADED, overload.share() > 0);
        }
        for (client, probe) in overload.due(now) {
            if let Some(client) = self.clients.get(client) {
                client.send(Event::Probe(probe), 0);
            }
        }
        Some(Duration::from_micros(overload.pause_us()))
    }

    /// Takes the limit from the configuration.
    pub(crate) fn follow_overload(&self) {
        let overload = &self.clients.overload;
        let setting = |id| self.config.integer(id) as u64;
        overload.set(setting(Id::OverloadDelayTarget), setting(Id::OverloadInterval));
        if !overload.is_on() {
            overload.end();
            self.set_gate(Gate::OVERLOADED, false);
        }
    }
}
