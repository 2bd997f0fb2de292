//! Measures commands for `HOTKEYS`. While nobody wants to know, nothing is executed for it.

use super::{Cost, Options, Used};
use crate::command::Flag;
use crate::cx::Cx;
use crate::engine::Engine;
use runtime::Now;

impl Engine {
    /// Begins to look for hot keys. Returns false if that is already in progress.
    pub fn start_hot_keys(&self, options: Options, now: Now) -> bool {
        let started = self.observe.hot_keys.start(options, now);
        self.follow_hot_keys();
        started
    }

    /// Ends that; the results are kept. Returns false if it is not in progress.
    pub fn stop_hot_keys(&self, now: Now) -> bool {
        let stopped = self.observe.hot_keys.stop(now);
        self.follow_hot_keys();
        stopped
    }

    /// Forgets the results. Returns false if it is still in progress.
    pub fn reset_hot_keys(&self, now: Now) -> bool {
        self.observe.hot_keys.reset(now)
    }

    fn follow_hot_keys(&self) {
        self.observe.hot_keys.while_still(|active| self.notify.keyspace.set_profiled(active));
    }

    /// Runs a call, and records what it cost.
    #[inline(never)]
    pub(crate) fn call_profiled(
        &self,
        cx: &mut Cx<'_>,
        run: impl FnOnce(&mut Cx<'_>) -> bool,
    ) -> bool {
        let stopwatch = self.environment.stopwatch;
        let (begun, replied) = (stopwatch(), cx.reply.output().len());
        let failed = run(cx);
        let nanos = stopwatch().saturating_sub(begun);
        let entry = cx.call.entry;
        // What a script does is done by the commands in it.
        if entry.has(Flag::Admin) || entry.spec.runs_script.is_some() {
            return failed;
        }
        let arguments: usize = cx.args.iter().map(<[u8]>::len).sum();
        let bytes = (arguments + cx.reply.output().len().saturating_sub(replied)) as u64;
        let keys = entry.keys(cx.args).unwrap_or_default();
        let shard = |key: &[u8]| self.backend.shard_of(self.backend.hash(key));
        let keys = keys.iter().map(|key| cx.args.arg(key.index)).map(|key| (key, shard(key)));
        let keys: Vec<Used<'_>> = keys.collect();
        if !self.observe.hot_keys.note(Cost { nanos, bytes }, &keys, cx.now) {
            self.follow_hot_keys();
        }
        failed
    }
}
