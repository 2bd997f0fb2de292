//! The engine's measurements for the latency monitor.

use super::LatencyMonitor;
use crate::command::{CommandEntry, Flag};
use runtime::Now;

impl LatencyMonitor {
    /// Runs `work`, and records its time as `event`, if it was long.
    #[inline]
    pub(crate) fn noting<T>(
        &self,
        stopwatch: fn() -> u64,
        event: &'static str,
        now: Now,
        work: impl FnOnce() -> T,
    ) -> T {
        if !self.is_on() {
            return work();
        }
        let begun = stopwatch();
        let done = work();
        let took = stopwatch().saturating_sub(begun);
        self.note(event, took, now.wall_ms);
        done
    }

    /// Records the time of a command, if it was long.
    #[inline]
    pub(crate) fn note_command(&self, entry: &CommandEntry, nanos: u64, now: Now) {
        if self.is_on() {
            let event = if entry.has(Flag::Fast) { "fast-command" } else { "command" };
            self.note(event, nanos, now.wall_ms);
        }
    }
}
