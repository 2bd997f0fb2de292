//! Steps 5 to 7 of a command: which shards, running the handler under their locks, logging what it
//! did while they are still held.

use crate::affected::Affected;
use crate::args::OwnedRequest;
use crate::blocking::Waiter;
use crate::clients::Client;
use crate::command::{Entry, Flag, Group, LockRule};
use crate::containment::{Doing, Watch};
use crate::cx::{CallResult, Cx, Rest};
use crate::effects::log;
use crate::engine::Engine;
use crate::failure::{Failure, Outcome};
use crate::keyspace::Class;
use crate::peers::Errand;
use crate::session::SessionState;
use resp::{Output, Reply, Request};
use runtime::Now;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Db, Expired, Expiry, Locks, Position, Refusal, ShardSet, Tx};

/// One request about to run.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub entry: &'a Entry,
    pub request: Request<'a>,
    /// The first key's hash, when it is known already.
    pub hash: Option<u64>,
}

/// What running left to do once the locks are gone.
#[derive(Default)]
pub(crate) struct Aftermath {
    /// The position in a stream of effects that the reply depends on.
    pub position: Option<Position>,
    /// Where in the output that reply begins.
    pub start: usize,
    /// What hardly any command leaves.
    pub rest: Option<Box<Follow>>,
}

/// The rarer part of an [`Aftermath`].
#[derive(Default)]
pub(crate) struct Follow {
    /// Who is to hear of changes.
    pub affected: Affected,
    /// The session waits.
    pub waiter: Option<(Arc<Waiter>, Option<u64>)>,
    /// Nothing was done, and it is to be tried again when a key is held no longer.
    pub held: bool,
    /// What the session waits for, to be begun.
    pub errand: Option<Box<Errand>>,
    /// Nothing was done yet, and it is to be done under every lock.
    widen: bool,
}

impl Aftermath {
    /// The rarer part, made when it is first needed.
    pub fn rest(&mut self) -> &mut Follow {
        self.rest.get_or_insert_default()
    }

    /// Adds who is to hear of changes.
    pub fn affect(&mut self, affected: Affected) {
        if !affected.is_empty() {
            self.rest().affected.append(affected);
        }
    }

    /// Who waits, if the command has not come to its end.
    pub fn waiter(&self) -> Option<&Waiter> {
        let (waiter, _) = self.rest.as_ref()?.waiter.as_ref()?;
        Some(waiter)
    }

    /// Whether nothing was done because of a key that is held.
    pub fn is_held(&self) -> bool {
        self.rest.as_ref().is_some_and(|rest| rest.held)
    }

    /// Whether there is anything to do.
    #[inline(always)]
    pub fn is_something(&self) -> bool {
        self.position.is_some() || self.rest.is_some()
    }
}

impl Engine {
    /// Runs one command in a transaction of its own. What is left to do is added to `aftermath`. If
    /// `TRACED`, the time for locks and log is told apart.
    #[inline(always)]
    pub(crate) fn run<const TRACED: bool>(
        &self,
        call: &Call<'_>,
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
        aftermath: &mut Aftermath,
    ) {
        match call.hash {
            Some(hash) if call.entry.single_key => {
                let locks = Locks::One(self.backend.shard_of(hash));
                self.run_under::<TRACED>(locks, call, session, out, now, aftermath);
            }
            _ => self.run_under_several::<TRACED>(call, session, out, now, aftermath),
        }
    }

    #[inline(never)]
    fn run_under_several<const TRACED: bool>(
        &self,
        call: &Call<'_>,
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
        aftermath: &mut Aftermath,
    ) {
        let mut shards = ShardSet::new();
        self.add_shards(*call, session.db, &mut shards);
        self.run_under::<TRACED>(shards.locks(), call, session, out, now, aftermath);
        let rest = aftermath.rest.as_deref_mut();
        if rest.is_some_and(|rest| std::mem::take(&mut rest.widen)) {
            self.run_under::<TRACED>(Locks::All, call, session, out, now, aftermath);
        }
    }

    #[inline(always)]
    fn run_under<const TRACED: bool>(
        &self,
        locks: Locks<'_>,
        call: &Call<'_>,
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
        aftermath: &mut Aftermath,
    ) {
        let mark = out.len();
        self.begin_waiting(TRACED, locks);
        let outcome = self.backend.transact(locks, now.wall_ms, &mut |tx| {
            self.end_waiting(TRACED);
            let mut watch = Watch::new(self, Doing::Command(call.entry), tx);
            let mut result = CallResult::default();
            self.call(call, locks, session, watch.tx, out, now, &mut result);
            if result.is_something() || watch.tx.met_expired() {
                watch.logging = true;
                self.settle::<TRACED>(call, session, watch.tx, (out, mark), result, aftermath);
            } else {
                // Nothing is in it: not even the call that frees nothing.
                std::mem::forget(result);
            }
            watch.end();
        });
        if let Err(error) = outcome {
            out.truncate(mark);
            if matches!(error, storage::Error::Busy) && call.entry.has(Flag::AllowBusy) {
                return self.run_unlocked(call, session, out, now, aftermath);
            }
            self.not_committed(&error, call.entry.has(Flag::Write));
            self.fail(call.entry, self.storage_failure(error), session, out);
        }
    }

    /// Runs what is allowed while a slow script has its shards, and does without them then (`WATCH`).
    #[cold]
    #[inline(never)]
    fn run_unlocked(
        &self,
        call: &Call<'_>,
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
        aftermath: &mut Aftermath,
    ) {
        self.run_under::<false>(Locks::None, call, session, out, now, aftermath);
    }

    /// What a client is told of a transaction that failed.
    #[cold]
    pub(crate) fn storage_failure(&self, error: storage::Error) -> Failure {
        match error {
            storage::Error::Busy => self.busy(),
            error => error.into(),
        }
    }

    /// Adds the shards a request needs.
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
                // The handler will refuse the request; should it touch a key first, it may.
                None => shards.add_all(),
            },
        }
    }

    /// Runs one command; true when it answered with an error.
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    #[inline(always)]
    pub(crate) fn call(
        &self,
        call: &Call<'_>,
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
        now: Now,
        result: &mut CallResult,
    ) -> bool {
        match session.is_attended || self.keyspace.is_attended() {
            true => self.call_attended(call, locks, session, tx, out, now, result),
            false => self.handle(call, locks, session, tx, out, now, result),
        }
    }

    /// A call with more to it than its handler: see [`SessionState::is_attended`] and
    /// [`Keyspace::is_attended`](crate::keyspace::Keyspace::is_attended).
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    #[inline(never)]
    fn call_attended(
        &self,
        call: &Call<'_>,
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
        now: Now,
        result: &mut CallResult,
    ) -> bool {
        // A transaction or a script has looked already.
        let looks = !session.may_not_block();
        if looks && self.keyspace.is_holding() && self.is_held_up(call, session) {
            result.rest().held = true;
            return true;
        }
        let guarded = self.keyspace.is_guarded();
        if guarded
            && looks
            && let Err(failure) = self.guard(session, call.entry)
        {
            self.fail(call.entry, failure, session, out);
            return true;
        }
        let failed = self.call_noted(call, locks, session, tx, out, now, result);
        if guarded && let Some(seen) = self.seen(session, tx) {
            result.rest().depends_on = Some(seen);
        }
        failed
    }

    /// A call whose accesses, expired keys, new keys or stale caches are looked after.
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    fn call_noted(
        &self,
        call: &Call<'_>,
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
        now: Now,
        result: &mut CallResult,
    ) -> bool {
        if session.no_touch {
            tx.set_no_touch(!call.entry.spec.name.eq("touch"));
        }
        if call.entry.has(Flag::Write) && self.keyspace.announces_new() {
            result.rest().absent = self.absent_keys(call, session.db, tx);
        }
        // Scripts write, whatever their row says.
        let reads = call.entry.has(Flag::Readonly) && !call.entry.has(Flag::NoMandatoryKeys);
        let may_delete = || !self.keyspace.is_guarded() || self.is_admitted(session.slot);
        let hides =
            reads && !session.is_timeless() && (self.keyspace.hides_expired() || !may_delete());
        if hides {
            tx.set_expiry_mode(Expiry::Hide);
        }
        let failed = self.handle(call, locks, session, tx, out, now, result);
        if hides {
            tx.set_expiry_mode(Expiry::Delete);
        }
        if let Some(tracker) = session.tracker().filter(|tracker| !tracker.options.broadcast) {
            if tx.met_expired() {
                let Rest { affected, depends_on, .. } = result.rest();
                let by = Some(session.client());
                self.settle_expired(by, tx, affected, |at| *depends_on = Some(at));
            }
            let stale = self.remember_keys(tracker, session.is_caching(), call);
            result.make_stale(stale);
        }
        failed
    }

    /// The keys of a request that are not there: those it may make.
    fn absent_keys(&self, call: &Call<'_>, db: Db, tx: &mut dyn Tx) -> Vec<Box<[u8]>> {
        let keys = call.entry.keys(call.request).unwrap_or_default();
        let keys = keys.iter().map(|key| call.request.arg(key.index));
        let absent = keys.filter(|bytes| {
            let key = storage::Key { db, hash: self.backend.hash(bytes), bytes };
            matches!(tx.kind(&key), Ok(None))
        });
        absent.map(Into::into).collect()
    }

    /// Runs the handler, whatever else there is to a call; true when it answered with an error.
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    #[inline(always)]
    fn handle(
        &self,
        call: &Call<'_>,
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
        now: Now,
        result: &mut CallResult,
    ) -> bool {
        let mark = out.len();
        let proto = session.proto;
        let mut cx = Cx {
            args: call.request,
            tx,
            reply: Reply::new(out, proto),
            session,
            engine: self,
            now,
            call,
            locks: &locks,
            out: result,
        };
        let outcome: Outcome = (call.entry.handler)(&mut cx);
        let Err(failure) = outcome else { return false };
        out.truncate(mark);
        self.fail(call.entry, failure, session, out);
        true
    }

    #[cold]
    pub(crate) fn fail(
        &self,
        entry: &Entry,
        failure: Failure,
        session: &SessionState,
        out: &mut Output,
    ) {
        self.stats.failed(entry.id, failure.code());
        Reply::new(out, session.proto).error(failure.as_str());
    }

    /// Replies that the journal does not take what a command did, which was taken back.
    #[cold]
    pub(crate) fn refuse(
        &self,
        entry: &Entry,
        refusal: Refusal,
        session: &SessionState,
        out: &mut Output,
        mark: usize,
    ) {
        out.truncate(mark);
        self.fail(entry, Failure::text(refusal.0), session, out);
    }

    /// What follows a call, still under its locks: logging, announcing what expired, parking.
    #[inline]
    fn settle<const TRACED: bool>(
        &self,
        call: &Call<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        (out, mark): (&mut Output, usize),
        result: CallResult,
        aftermath: &mut Aftermath,
    ) {
        aftermath.start = mark;
        let (dirty, rest) = result.into_parts();
        aftermath.position = rest.as_ref().and_then(|rest| rest.depends_on).or(aftermath.position);
        if tx.met_expired() {
            self.settle_met(session, tx, aftermath);
        }
        if dirty > 0 {
            session.counts.changes += dirty;
            if let Some(journal) = self.journal()
                && let Some(appended) = self.spend::<TRACED, _>(
                    |spent| &mut spent.journal,
                    || log(journal, call, (session.slot, session.db), rest.as_deref()),
                )
            {
                match self.note_appended(tx, appended) {
                    Ok(position) => aftermath.position = Some(position),
                    Err(refusal) => return self.refuse(call.entry, refusal, session, out, mark),
                }
            }
        }
        if let Some(rest) = rest {
            self.settle_rest(call, session, *rest, aftermath);
        }
    }

    /// [`Engine::settle_expired`], with what it leaves going to `aftermath`.
    #[cold]
    pub(crate) fn settle_met(
        &self,
        session: &SessionState,
        tx: &mut dyn Tx,
        aftermath: &mut Aftermath,
    ) {
        let mut affected = Affected::default();
        let by = Some(session.client());
        self.settle_expired(by, tx, &mut affected, aftermath_position(&mut aftermath.position));
        aftermath.affect(affected);
    }

    #[inline(never)]
    fn settle_rest(
        &self,
        call: &Call<'_>,
        session: &mut SessionState,
        mut rest: Rest,
        aftermath: &mut Aftermath,
    ) {
        aftermath.affect(std::mem::take(&mut rest.affected));
        if rest.widen {
            aftermath.rest().widen = true;
        }
        if rest.held {
            aftermath.rest().held = true;
        }
        if let Some(mut block) = rest.block {
            let sent = OwnedRequest::new(call.request.iter());
            let (request, sent) = match block.request.take() {
                Some(other) => (other, Some(sent)),
                None => (sent, None),
            };
            let client = session.client().clone();
            let mut waiter = Waiter::new(client, session.db, call.entry.id, request, &mut block);
            waiter.sent = sent;
            waiter.caching = session.is_caching();
            waiter.late = rest.late;
            let waiter = Arc::new(waiter);
            self.park(&waiter);
            if let Some(mut errand) = rest.errand {
                // Nobody else ends this wait, neither `CLIENT UNBLOCK` nor the client's going.
                waiter.claim();
                errand.waiter = Some(waiter.clone());
                aftermath.rest().errand = Some(errand);
            }
            aftermath.rest().waiter = Some((waiter, block.timeout_us));
        }
    }

    /// Logs and announces what a transaction met expired and deleted: keys, and fields of hashes.
    /// `by` is the client whose command runs.
    pub(crate) fn settle_expired(
        &self,
        by: Option<&Arc<Client>>,
        tx: &mut dyn Tx,
        affected: &mut Affected,
        mut logged: impl FnMut(Position),
    ) {
        for Expired { db, key, fields } in std::mem::take(tx.expired()) {
            let whole = fields.is_empty();
            if let Some(journal) = self.journal() {
                let name: &[u8] = if whole { b"DEL" } else { b"HDEL" };
                let mut effect: SmallVec<[&[u8]; 8]> = SmallVec::from_slice(&[name, &key]);
                effect.extend(fields.iter().map(|field| &field[..]));
                let appended = journal.append(self.slot_of(&key), db, &effect);
                self.note_taken(tx, appended).into_iter().for_each(&mut logged);
            }
            if whole {
                self.stats.expired_keys.fetch_add(1, Ordering::Relaxed);
            } else {
                self.stats.expired_fields.fetch_add(fields.len() as u64, Ordering::Relaxed);
            }
            if self.keyspace.has_interest() {
                match whole {
                    true => self.keyspace.expired(db, &key),
                    false => self.keyspace.modified(db, &key),
                }
                let hash = self.backend.hash(&key);
                let by_id = by.map(|by| by.id);
                self.invalidate(hash, &key, by_id, true, &mut affected.stale);
                let (class, event) = match whole {
                    true => (Class::Expired, "expired"),
                    false => (Class::Hash, "hexpired"),
                };
                let own = by.map(|by| (by, &mut affected.messages));
                self.notify_event(db, &key, class, event, own);
            }
            if self.blocking.is_awaited(db, &key) {
                affected.ready.push((db, key));
            }
        }
    }

    /// Runs the effects of one record of a log, all under the same locks, unless the storage
    /// already holds them: a persistent backend knows how far it got before the log was cut off
    /// from it. Stops at the first that fails, and is then false.
    ///
    /// # Errors
    /// The storage's.
    pub(crate) fn run_record(
        &self,
        at: Option<Position>,
        calls: &[(Db, Call<'_>)],
        session: &mut SessionState,
        out: &mut Output,
    ) -> storage::Result<bool> {
        let mut shards = ShardSet::new();
        for (db, call) in calls {
            self.add_shards(*call, *db, &mut shards);
        }
        let locks = shards.locks();
        let mut outcome = Ok(true);
        self.backend.transact(locks, 0, &mut |tx| {
            tx.set_expiry_mode(Expiry::Ignore);
            outcome = self.run_record_locked(at, calls, locks, session, tx, out);
        })?;
        outcome
    }

    fn run_record_locked(
        &self,
        at: Option<Position>,
        calls: &[(Db, Call<'_>)],
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
    ) -> storage::Result<bool> {
        let applied = match at {
            Some(at) => self.backend.persistent() && tx.last(at.stream) >= at,
            None => false,
        };
        for (db, call) in calls {
            // Functions are not in the storage: it cannot hold what a record says of them.
            if applied && call.entry.spec.group != Group::Scripting {
                continue;
            }
            session.db = *db;
            let mut result = CallResult::default();
            if self.call(call, locks, session, tx, out, Now::default(), &mut result) {
                return Ok(false);
            }
        }
        if let Some(at) = at.filter(|_| !applied) {
            tx.set_last(at);
        }
        Ok(true)
    }
}

fn aftermath_position(position: &mut Option<Position>) -> impl FnMut(Position) {
    |appended| *position = Some(appended)
}
