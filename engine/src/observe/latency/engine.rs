//! The engine's measurements for the latency monitor.

use crate::command::{CommandEntry, Flag};
use crate::engine::Engine;
use runtime::Now;

impl Engine {
    /// Runs `work`, and records its time as `event`, if it was long.
    #[inline]
    pub(crate) fn noting<T>(&self, event: &'static str, now: Now, work: impl FnOnce() -> T) -> T {
        if !self.observe.latency.is_on() {
            return work();
        }
        let begun = (self.environment.stopwatch)();
        let done = work();
        let took = (self.environment.stopwatch)().saturating_sub(begun);
        self.observe.latency.note(event, took, now.wall_ms);
        done
    }

    /// Records the time of a command, if it was long.
    #[inline]
    pub(crate) fn note_moment(&self, entry: &CommandEntry, nanos: u64, now: Now) {
        if self.observe.latency.is_on() {
            let event = if entry.has(Flag::Fast) { "fast-command" } else { "command" };
            self.observe.latency.note(event, nanos, now.wall_ms);
        }
    }
}
