//! [`ScriptHost`]: the commands of a running script.

use super::eval::is_short_of_memory;
use super::running::{Kind, Running};
use super::watch::Watch;
use crate::acl::Context;
use crate::command::{CommandEntry, Flag};
use crate::config::Id;
use crate::cx::Cx;
use crate::execute::{Again, Call, Changes, Effects};
use crate::failure::{Failure, NO_REPLICAS, OOM, READ_ONLY, failure};
use crate::gate::Gate;
use crate::session::state::Special;
use resp::{Output, Proto, Reply, Request};
use script::Embedder;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Locks, ShardSet};

/// The conditions under which a script runs.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub(crate) kind: Kind,
    /// Writing commands are refused.
    pub read_only: bool,
    /// Memory over its limit does not matter.
    pub allow_oom: bool,
}

/// Runs a script's commands in the transaction of the command that called it.
pub struct ScriptHost<'h, 'a> {
    cx: &'h mut Cx<'a>,
    terms: Terms,
    name: &'h dyn Fn() -> String,
    /// Memory was over its limit when the request began.
    short: bool,
    /// A writing command was called.
    wrote: bool,
    /// A command was called whose effects cannot be taken back: one that writes or publishes.
    acted: bool,
    /// `redis.set_repl` lets effects into the log.
    logs: bool,
    /// A key outside of the locked shards was touched.
    pub strayed: bool,
    began_ns: u64,
    /// The time from which on the script counts as too slow, if ever.
    deadline_ns: Option<u64>,
    /// The part of its state that other threads read.
    watch: Arc<Watch>,
    /// Set once the script was reported as too slow.
    slow: Option<Arc<Running>>,
    /// The shards of the declared keys, while it is learned whether the script keeps to them.
    watched: Option<ShardSet>,
    /// The caller's database, protocol and special states.
    before: (storage::Db, Proto, Special),
}

impl<'h, 'a> ScriptHost<'h, 'a> {
    /// A host for one run in `cx`; `name` is asked only when a script runs too long.
    /// `watched` are the shards of the keys it declares, if every shard is locked in order to see
    /// whether it keeps to them.
    pub fn new(
        cx: &'h mut Cx<'a>,
        terms: Terms,
        name: &'h dyn Fn() -> String,
        watched: Option<ShardSet>,
        watch: Arc<Watch>,
    ) -> Self {
        let short = is_short_of_memory(cx);
        let session = &mut cx.session;
        let before = (session.db, session.proto, session.special);
        session.set_special(Special::NO_BLOCK | Special::SCRIPT, true);
        let began_ns = (cx.engine.environment.stopwatch)();
        let threshold = u64::try_from(cx.engine.config.integer(Id::BusyReplyThreshold));
        let limit_ns = threshold.ok().filter(|ms| *ms > 0).map(|ms| ms.saturating_mul(1_000_000));
        let deadline_ns = limit_ns.map(|limit| began_ns.saturating_add(limit));
        watch.begin(terms.kind, deadline_ns);
        ScriptHost {
            cx,
            terms,
            name,
            short,
            wrote: false,
            acted: false,
            watched,
            logs: true,
            strayed: false,
            began_ns,
            deadline_ns,
            watch,
            slow: None,
            before,
        }
    }

    fn refuse(&mut self, entry: Option<&CommandEntry>, refusal: Failure, out: &mut Output) {
        self.cx.engine.observe.stats.rejected(entry.map(|entry| entry.id), refusal.code());
        Reply::new(out, Proto::Resp2).error(refusal.as_str());
    }

    /// The checks of Redis's `scriptCall`, in its order.
    fn admit(&self, entry: &CommandEntry, request: Request<'_>) -> Result<(), Failure> {
        if !entry.accepts(request.len()) {
            return Err(failure("ERR Wrong number of args calling Redis command from script"));
        }
        if entry.has(Flag::NoScript) && !self.may_more(entry) {
            return Err(failure("ERR This Redis command is not allowed from script"));
        }
        let (engine, now_ms) = (self.cx.engine, self.cx.now.wall_ms);
        engine.check_within_script(self.cx.session, entry, request)?;
        engine.check_permission(self.cx.session, entry, request, Context::Lua, now_ms)?;
        if entry.replicates() && self.terms.read_only {
            return Err(failure("ERR Write commands are not allowed from read-only scripts."));
        }
        if entry.has(Flag::Write) && engine.gate().contains(Gate::JOURNAL_FAILED) {
            let cause = engine.journal().and_then(|j| j.failure()).unwrap_or_default();
            return Err(Failure::text(format!("MISCONF Errors writing to the AOF file: {cause}")));
        }
        if entry.has(Flag::Write) && engine.gate().intersects(Gate::REPLICA | Gate::FEW_REPLICAS) {
            if engine.gate().contains(Gate::FEW_REPLICAS) {
                return Err(NO_REPLICAS);
            }
            if engine.config.boolean(Id::ReplicaReadOnly) {
                return Err(READ_ONLY);
            }
        }
        let refused = self.short && !self.terms.allow_oom && !self.wrote;
        if refused && entry.has(Flag::DenyOom) {
            return Err(OOM);
        }
        Ok(())
    }

    /// `DEBUG SET-DISABLE-DENY-SCRIPTS`: permits `DEBUG` in scripts, which test suites need. Other
    /// commands that are not for scripts, about connections, transactions and scripts, cannot be
    /// nested.
    fn may_more(&self, entry: &CommandEntry) -> bool {
        entry.spec.enabled_by == Some(Id::EnableDebugCommand)
            && self.cx.engine.tuning.switches.scripts_may_more.load(Ordering::Relaxed)
    }

    fn is_declared(&self, shard: u32) -> bool {
        match &self.watched {
            Some(declared) => declared.contains(shard),
            None => self.cx.is_locked(shard),
        }
    }

    /// Whether the command's shards are locked; locks them if they can be.
    fn locked(&mut self, call: Call<'_>) -> bool {
        let (engine, db) = (self.cx.engine, self.cx.session.db);
        if engine.notify.keyspace.is_holding() && engine.peers.holds.hold_up(&call, self.cx.session)
        {
            // Executed commands cannot be undone, and half of a transaction cannot wait.
            let may_wait = !self.before.2.contains(Special::NO_BLOCK);
            self.cx.changes.rest().again = (!self.acted && may_wait).then_some(Again::Held);
            return false;
        }
        if matches!(*self.cx.locks, Locks::All) && self.watched.is_none() {
            return true;
        }
        if let (Some(hash), true) = (call.hash, call.entry.single_key)
            && self.is_declared(engine.backend.shard_of(hash))
        {
            return true;
        }
        let mut shards = ShardSet::new();
        engine.add_shards(call, db, &mut shards);
        let covered = match shards.locks() {
            Locks::None => true,
            Locks::One(shard) => self.is_declared(shard),
            Locks::Many(many) => many.iter().all(|&shard| self.is_declared(shard)),
            Locks::All => false,
        };
        if covered {
            return true;
        }
        self.strayed = true;
        if matches!(*self.cx.locks, Locks::All) {
            self.watched = None;
            return true;
        }
        if !self.acted {
            // Nothing has happened yet that running it again would do twice.
            self.cx.changes.rest().again = Some(Again::Widened);
            return false;
        }
        self.cx.tx.extend(shards.locks())
    }

    fn run(&mut self, call: Call<'_>, proto: Proto, out: &mut Output) {
        let (engine, now) = (self.cx.engine, self.cx.now);
        let entry = call.entry;
        self.acted |= entry.replicates();
        if entry.has(Flag::Write) && !std::mem::replace(&mut self.wrote, true) {
            self.watch.wrote.store(true, Ordering::Relaxed);
        }
        if entry.has(Flag::Write) {
            // The script's own request says nothing of it.
            engine.note_growth(call.request.iter().map(<[u8]>::len).sum());
        }
        if engine.gate().contains(Gate::MONITORED) {
            let from = (self.cx.session.db, "lua");
            let seen_by = (&engine.commands, &engine.tuning);
            engine.notify.monitors.feed(seen_by, (call.entry, call.request), from, now);
        }
        let db = self.cx.session.db;
        self.cx.session.proto = proto;
        let began = (engine.environment.stopwatch)();
        let mut changes = Changes::default();
        let mut cx = self.cx.within(&call, &mut changes);
        cx.reply = Reply::new(out, proto);
        engine.call(&mut cx);
        let ended = (engine.environment.stopwatch)();
        let took = ended.saturating_sub(began);
        engine.observe.note_call(&engine.commands, (call.entry, call.request), took, None, now);
        self.cx.session.proto = self.before.1;
        self.settle(call, db, changes);
        if self.deadline_ns.is_some_and(|deadline| deadline <= ended) {
            self.say_so(ended);
        }
    }

    /// Reports once that this script runs too long.
    #[cold]
    fn say_so(&mut self, now_ns: u64) {
        if self.slow.is_some() {
            return;
        }
        let engine = self.cx.engine;
        let command = self.cx.args.iter().map(<[u8]>::to_vec).collect();
        let name = (self.name)();
        let ms = now_ns.saturating_sub(self.began_ns) / 1_000_000;
        tracing::warn!(script = name, "slow script: still in execution after {ms} milliseconds");
        let mut holds = ShardSet::new();
        holds.add_locks(*self.cx.locks);
        let (kind, began_ns, watch) = (self.terms.kind, self.began_ns, self.watch.clone());
        let slow = Arc::new(Running { kind, name, command, began_ns, holds, watch });
        engine.scripting.running.add(&slow, &*engine.backend, &engine.gates);
        self.slow = Some(slow);
        runtime::stand_in::send_for();
    }

    /// Adds a command's changes to those of the script.
    fn settle(&mut self, call: Call<'_>, db: storage::Db, changes: Changes) {
        let cx = &mut *self.cx;
        if changes.count > 0 && self.logs && cx.engine.journal().is_some() {
            let all = &mut cx.changes.rest().effects;
            changes.effects().render(&call, db, |db, args| all.replace(db, args));
        }
        cx.changes.absorb(changes);
        cx.announce_expired();
    }
}

/// `redis.log`.
pub(crate) fn log(level: u8, text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    match level {
        0 => tracing::debug!(target: "script", "{text}"),
        1 | 2 => tracing::info!(target: "script", "{text}"),
        _ => tracing::warn!(target: "script", "{text}"),
    }
}

impl Drop for ScriptHost<'_, '_> {
    fn drop(&mut self) {
        let (db, proto, special) = self.before;
        self.cx.session.db = db;
        self.cx.session.proto = proto;
        self.cx.session.special = special;
        self.watch.end();
        if let Some(slow) = self.slow.take() {
            if self.watch.end.load(Ordering::Relaxed) {
                // Half of a script is in no log.
                self.cx.changes.count = 0;
                self.cx.changes.rest().effects = Effects::Nothing;
            }
            let engine = self.cx.engine;
            engine.scripting.running.remove(&slow, &*engine.backend, &engine.gates);
        }
    }
}

/// The reply that ends a script which is to be run again. No client sees it.
const AGAIN: &str = "ERR script touched a key it did not declare";
/// The reply when locks cannot be had any more.
const CONTENDED: &str = "BUSY script touched a key it did not declare, which others are using; \
    what it wrote before stays";

impl Embedder for ScriptHost<'_, '_> {
    fn command(&mut self, request: Request<'_>, proto: Proto, out: &mut Output) -> bool {
        let engine = self.cx.engine;
        let Some(entry) = engine.commands.resolve(request) else {
            let refusal = failure("ERR Unknown Redis command called from script");
            self.refuse(None, refusal, out);
            return true;
        };
        if !entry.subcommands.is_empty() && request.len() > 1 {
            let refusal = failure("ERR Unknown Redis command called from script");
            self.refuse(None, refusal, out);
            return true;
        }
        if let Err(refusal) = self.admit(entry, request) {
            self.refuse(Some(entry), refusal, out);
            return true;
        }
        let hash = entry.first_key.and_then(|at| request.get(at));
        let hash = hash.map(|key| engine.backend.hash(key));
        let call = Call { entry, request, hash };
        if !self.locked(call) {
            let again = self.cx.changes.again().is_some();
            Reply::new(out, proto).error(if again { AGAIN } else { CONTENDED });
            return !again;
        }
        self.run(call, proto, out);
        true
    }

    fn may_run(&mut self, request: Request<'_>) -> Option<bool> {
        let entry = self.cx.engine.commands.resolve(request)?;
        Some(self.cx.engine.may_run(self.cx.session, entry, request))
    }

    fn log(&mut self, level: u8, text: &[u8]) {
        log(level, text);
    }

    fn set_replication(&mut self, to: u8) {
        self.logs = to & 1 != 0;
    }

    fn interrupt(&mut self) -> Option<String> {
        if self.watch.kill.load(Ordering::Relaxed) {
            if self.watch.end.load(Ordering::Relaxed) {
                return Some("ERR Script ended by the server's end".to_owned());
            }
            if !self.wrote {
                return Some("ERR Script killed by user with SCRIPT KILL...".to_owned());
            }
        }
        let now = (self.cx.engine.environment.stopwatch)();
        if self.deadline_ns.is_some_and(|deadline| deadline <= now) {
            self.say_so(now);
        }
        None
    }

    fn stopwatch_ns(&self) -> u64 {
        (self.cx.engine.environment.stopwatch)()
    }
}
