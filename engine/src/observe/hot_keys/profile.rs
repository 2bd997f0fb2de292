//! Measures commands for `HOTKEYS`. While nobody wants to know, nothing is executed for it.

use super::{Cost, HotKeys, Options, Used};
use crate::command::Flag;
use crate::cx::Cx;
use crate::notify::keyspace::Keyspace;
use runtime::Now;

impl HotKeys {
    /// Begins to look for hot keys. Returns false if that is already in progress.
    pub fn begin(&self, keyspace: &Keyspace, options: Options, now: Now) -> bool {
        let started = self.start(options, now);
        self.follow(keyspace);
        started
    }

    /// Ends that; the results are kept. Returns false if it is not in progress.
    pub fn end(&self, keyspace: &Keyspace, now: Now) -> bool {
        let stopped = self.stop(now);
        self.follow(keyspace);
        stopped
    }

    /// Marks in the keyspace whether calls have to be measured.
    fn follow(&self, keyspace: &Keyspace) {
        self.while_still(|active| keyspace.set_profiled(active));
    }
}

/// Runs a call, and records what it cost.
#[inline(never)]
pub(crate) fn profiled(cx: &mut Cx<'_>, run: impl FnOnce(&mut Cx<'_>) -> bool) -> bool {
    let engine = cx.engine;
    let stopwatch = engine.environment.stopwatch;
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
    let shard = |key: &[u8]| engine.backend.shard_of(engine.backend.hash(key));
    let keys = keys.iter().map(|key| cx.args.arg(key.index)).map(|key| (key, shard(key)));
    let keys: Vec<Used<'_>> = keys.collect();
    // Those of one command are in one slot.
    let slot = keys.first().map_or(0, |(key, _)| engine.slot_of(key));
    let hot_keys = &engine.observe.hot_keys;
    if !hot_keys.note(Cost { nanos, bytes }, &keys, slot, cx.now) {
        hot_keys.follow(&engine.notify.keyspace);
    }
    failed
}
