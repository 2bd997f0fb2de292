//! Runs one command: determines its shards, locks them, and calls its handler.

use super::{Again, Call, Invocation};
use crate::command::{CommandEntry, Flag, LockRule};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::execute::containment::{Doing, Watch};
use crate::failure::{Failure, Outcome};
use crate::observe::hot_keys::profile::profiled;
use crate::observe::stages;
use crate::session::state::SessionState;
use resp::{Output, Reply};
use storage::{Db, Expiry, Key, Locks, ShardSet};

impl Engine {
    /// Runs one command in a transaction of its own. Work that is left for later is in the invocation's
    /// changes. If `TRACED`, the times for locks and log are recorded separately.
    #[inline(always)]
    pub(crate) fn run<const TRACED: bool>(&self, invocation: Invocation<'_>) {
        match invocation.call.hash {
            Some(hash) if invocation.call.entry.single_key => {
                let locks = Locks::One(self.backend.shard_of(hash));
                self.run_under::<TRACED>(locks, invocation);
            }
            _ => self.run_under_several::<TRACED>(invocation),
        }
    }

    #[inline(never)]
    fn run_under_several<const TRACED: bool>(&self, mut invocation: Invocation<'_>) {
        let mut shards = ShardSet::new();
        self.add_shards(*invocation.call, invocation.session.db, &mut shards);
        self.run_under::<TRACED>(shards.locks(), invocation.again());
        if invocation.changes.again() == Some(Again::Widened) {
            invocation.changes.rest().again = None;
            self.run_under::<TRACED>(Locks::All, invocation);
        }
    }

    #[inline(always)]
    fn run_under<const TRACED: bool>(&self, locks: Locks<'_>, invocation: Invocation<'_>) {
        let Invocation { call, session, out, now, changes } = invocation;
        stages::begin_waiting(self, TRACED, locks);
        let outcome = self.backend.transact(locks, now.wall_ms, &mut |tx| {
            stages::end_waiting(self, TRACED);
            let mut watch = Watch::new(self, Doing::Command(call.entry), tx);
            let invocation = Invocation { call, session, out, now, changes };
            let mut cx = Cx::new(self, invocation, &locks, watch.tx);
            self.call(&mut cx);
            if cx.changes.is_to_be_settled() || cx.tx.met_expired() {
                watch.logging = true;
                self.settle::<TRACED>(&mut cx);
            }
            watch.end();
        });
        if let Err(error) = outcome {
            self.run_failed(error, Invocation { call, session, out, now, changes });
        }
    }

    /// Replies that a transaction failed. A command that is allowed while a slow script holds its
    /// shards (`WATCH`) runs without them instead.
    #[cold]
    #[inline(never)]
    fn run_failed(&self, error: storage::Error, invocation: Invocation<'_>) {
        invocation.out.truncate(invocation.changes.start);
        let entry = invocation.call.entry;
        if matches!(error, storage::Error::Busy) && entry.has(Flag::AllowBusy) {
            return self.run_under::<false>(Locks::None, invocation);
        }
        self.not_committed(&error, entry.has(Flag::Write));
        self.fail(entry, self.storage_failure(error), invocation.session, invocation.out);
    }

    /// The error reply for a transaction that the storage refused.
    #[cold]
    pub(crate) fn storage_failure(&self, error: storage::Error) -> Failure {
        match error {
            storage::Error::Busy => self.scripting.running.busy(),
            error => error.into(),
        }
    }

    /// Adds the shards that a request needs to `shards`.
    pub(crate) fn add_shards(&self, call: Call<'_>, db: Db, shards: &mut ShardSet) {
        match call.entry.spec.locks {
            LockRule::None => {}
            LockRule::All => shards.add_all(),
            LockRule::Custom(rule) => shards.add_locks(rule(self, db, call.request).locks()),
            LockRule::Keys => match call.entry.keys(call.request) {
                Some(keys) => {
                    for key in keys {
                        let hash = self.backend.hash(call.request.arg(key.index));
                        shards.add(self.backend.shard_of(hash));
                    }
                }
                // The handler will refuse the request. If it touches a key first, it may.
                None => shards.add_all(),
            },
        }
    }

    /// Runs one command. Returns true if the reply is an error.
    #[inline(always)]
    pub(crate) fn call(&self, cx: &mut Cx<'_>) -> bool {
        match cx.session.is_attended || self.notify.keyspace.is_attended() {
            true => self.call_attended(cx),
            false => self.handle(cx),
        }
    }

    /// A call to which more belongs than its handler: see [`SessionState::is_attended`] and
    /// [`Keyspace::is_attended`](crate::notify::keyspace::Keyspace::is_attended).
    #[inline(never)]
    fn call_attended(&self, cx: &mut Cx<'_>) -> bool {
        // For a command inside a transaction or a script, this was checked before.
        let looks = !cx.session.may_not_block();
        if looks
            && self.notify.keyspace.is_holding()
            && self.peers.holds.hold_up(cx.call, cx.session)
        {
            cx.changes.rest().again = Some(Again::Held);
            return true;
        }
        let guarded = self.notify.keyspace.is_guarded();
        if guarded
            && looks
            && let Err(failure) = self.guard(cx.session, cx.call.entry)
        {
            cx.fail(failure);
            return true;
        }
        let failed = match self.notify.keyspace.is_profiled() {
            true => profiled(cx, |cx| self.call_noted(cx)),
            false => self.call_noted(cx),
        };
        if guarded && let Some(seen) = self.seen(cx.session, cx.tx) {
            cx.changes.position = Some(seen);
        }
        failed
    }

    /// A call of which accesses, expired keys, new keys or stale caches are recorded.
    fn call_noted(&self, cx: &mut Cx<'_>) -> bool {
        let entry = cx.call.entry;
        if cx.session.no_touch {
            cx.tx.set_no_touch(!entry.has(Flag::AlwaysTouches));
        }
        if entry.has(Flag::Write) && self.notify.keyspace.announces_new() {
            cx.changes.rest().absent = self.absent_keys(cx);
        }
        let hides = self.hides_expired_from(entry, cx.session);
        if hides {
            // What is agreed on is what the log says: a key is there until the leader has deleted it, whatever the clock
            // of a follower says.
            let agreed = cx.session.reads_index();
            cx.tx.set_expiry_mode(if agreed { Expiry::Ignore } else { Expiry::Hide });
        }
        let failed = self.handle(cx);
        if hides {
            cx.tx.set_expiry_mode(Expiry::Delete);
        }
        let caches = cx.session.tracker().is_some_and(|tracker| !tracker.options.broadcast);
        if caches {
            cx.announce_expired();
        }
        if let Some(tracker) = cx.session.tracker().filter(|_| caches) {
            let stale =
                self.notify.tracking.remember_keys(self, tracker, cx.session.is_caching(), cx.call);
            cx.changes.make_stale(stale);
        }
        failed
    }

    /// Whether a command sees expired keys as missing, without deleting them.
    fn hides_expired_from(&self, entry: &CommandEntry, session: &SessionState) -> bool {
        // Scripts may write, whatever their row says.
        let reads = entry.has(Flag::Readonly) && !entry.has(Flag::NoMandatoryKeys);
        // Without a fence a command may meet keys of which others decide.
        let decides = || session.fence().is_some() || !self.is_divided();
        let may_delete =
            || !self.notify.keyspace.is_guarded() || (decides() && self.is_admitted(session.slot));
        reads && !session.is_timeless() && (self.notify.keyspace.hides_expired() || !may_delete())
    }

    /// The keys of a request that do not exist, which the command may create. A request that will
    /// be refused may not have locked them.
    fn absent_keys(&self, cx: &mut Cx<'_>) -> Vec<Box<[u8]>> {
        let keys = cx.call.entry.keys(cx.args).unwrap_or_default();
        let (args, db) = (cx.args, cx.session.db);
        let keys = keys.iter().map(|key| args.arg(key.index));
        let absent = keys.filter(|bytes| {
            let key = Key { db, hash: self.backend.hash(bytes), bytes };
            cx.is_locked(self.backend.shard_of(key.hash)) && matches!(cx.tx.kind(&key), Ok(None))
        });
        absent.map(Into::into).collect()
    }

    /// Runs the handler. Returns true if the reply is an error.
    #[inline(always)]
    fn handle(&self, cx: &mut Cx<'_>) -> bool {
        let mark = cx.reply.output().len();
        let outcome: Outcome = (cx.call.entry.handler)(cx);
        let Err(failure) = outcome else { return false };
        cx.reply.output().truncate(mark);
        self.note_wrong_type(cx, &failure);
        cx.fail(failure);
        true
    }

    /// Counts a key that a reading command found, but of another type: Redis looks a key up, which it counts, before it
    /// looks at its type.
    #[cold]
    fn note_wrong_type(&self, cx: &mut Cx<'_>, failure: &Failure) {
        if failure.code() == "WRONGTYPE" && cx.call.entry.has(Flag::Readonly) {
            cx.session.count_lookup(true);
        }
    }

    /// Replies with an error of `entry`.
    #[cold]
    pub(crate) fn fail(
        &self,
        entry: &CommandEntry,
        failure: Failure,
        session: &SessionState,
        out: &mut Output,
    ) {
        self.observe.stats.failed(entry.id, failure.code());
        Reply::new(out, session.proto).error(failure.as_str());
    }
}
