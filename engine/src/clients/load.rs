//! Load shedding: wakes the connections that are observed, notes the use of memory, and sets the gate.

use crate::clients::overload::Overload;
use crate::clients::{Clients, Event};
use crate::config::{ConfigStore, Id};
use crate::gate::{Gate, Gates};
use runtime::Now;
use std::time::Duration;

impl Clients {
    /// Observes how long connections wait for their turns, if `overload-delay-target` is set. Must be called
    /// again after the time that it returns; if it returns none, there is nothing to observe.
    ///
    /// This takes no lock of a shard, so it is never held up by what it is to notice.
    pub(crate) fn watch_load(
        &self,
        gates: &Gates,
        now: Now,
        random: impl FnOnce() -> u64,
    ) -> Option<Duration> {
        let overload = &self.overload;
        if !overload.is_on() {
            // It may have been set below while this was switched off.
            gates.set(Gate::OVERLOADED, false);
            return None;
        }
        if overload.judge(now, |client| self.get(client).is_some()) {
            let start = random() as usize;
            overload.begin(self.some(start, Overload::CLIENTS).into_iter(), now);
            gates.set(Gate::OVERLOADED, overload.refuses_any());
        }
        for (client, probe) in overload.due(now) {
            if let Some(client) = self.get(client) {
                client.send(Event::Probe(probe), 0);
            }
        }
        Some(Duration::from_micros(overload.pause_us()))
    }

    /// Notes how much of the memory is in use, in percent of what the process may use.
    pub(crate) fn note_memory_load(&self, gates: &Gates, percent: Option<u32>, now: Now) {
        self.overload.note_memory(percent, now);
        gates.set(Gate::OVERLOADED, self.overload.refuses_any());
    }

    /// Takes the limit from the configuration.
    pub(crate) fn follow_overload(&self, config: &ConfigStore, gates: &Gates) {
        let overload = &self.overload;
        let setting = |id| config.integer(id) as u64;
        overload.set(setting(Id::OverloadDelayTarget), setting(Id::OverloadInterval));
        overload.set_memory_target(setting(Id::OverloadMemoryTarget) as u32);
        if !overload.is_on() {
            overload.end();
        }
        gates.set(Gate::OVERLOADED, overload.refuses_any());
    }
}
