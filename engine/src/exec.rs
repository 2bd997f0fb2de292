//! `EXEC`: the commands of a transaction, under the locks of all of them, logged as one.

use crate::command::{Entry, Flag};
use crate::containment::{Doing, Watch};
use crate::cx::CallResult;
use crate::dispatch::{Aftermath, Call};
use crate::effects::collect;
use crate::engine::{Engine, gate};
use crate::session::{Queued, SessionState, special};
use resp::{Output, Reply};
use runtime::Now;
use storage::{Db, Expiry, Locks, ShardSet, Tx};

impl Engine {
    /// Runs the commands of a transaction: all under the same locks, logged as one,
    /// unless a watched key changed.
    pub(crate) fn run_all(
        &self,
        queue: &[Queued],
        session: &mut SessionState,
        out: &mut Output,
        now: Now,
    ) -> Aftermath {
        let shards = self.shards_of(queue, session);
        let mut aftermath = Aftermath { start: out.len(), ..Aftermath::default() };
        let mut committed = false;
        self.begin_waiting(self.is_traced(), shards.locks());
        let outcome = self.backend.transact(shards.locks(), now.wall_ms, &mut |tx| {
            self.end_waiting(self.is_traced());
            let guarded = self.keyspace.is_guarded();
            let locks = shards.locks();
            if self.keyspace.is_holding() && self.is_any_held_up(queue, session) {
                aftermath.rest().held = true;
                committed = true;
                return;
            }
            if guarded && let Err(failure) = self.guard_all(session, queue) {
                committed = true;
                return self.fail(self.exec_entry(), failure, session, out);
            }
            let mut watch = Watch::new(self, Doing::Queue(queue), tx);
            committed =
                self.run_locked(queue, locks, session, &mut watch, out, now, &mut aftermath);
            if guarded {
                aftermath.position = self.seen(session, watch.tx).or(aftermath.position);
            }
            watch.end();
        });
        if let Err(error) = outcome {
            self.not_committed(&error, aftermath.position.is_some());
            Reply::new(out, session.proto).error(self.storage_failure(error).as_str());
        } else if !committed {
            Reply::new(out, session.proto).null_array();
        }
        aftermath
    }

    /// The shards of everything that is queued and watched.
    fn shards_of(&self, queue: &[Queued], session: &SessionState) -> ShardSet {
        let mut shards = ShardSet::new();
        for queued in queue {
            let entry = self.commands.entry(queued.command);
            let call = Call { entry, request: queued.request.view(), hash: None };
            // A script that touches an undeclared key cannot be run again here.
            match entry.has(Flag::NoMandatoryKeys) {
                true => shards.add_all(),
                false => self.add_shards(call, session.db, &mut shards),
            }
        }
        for watched in &session.watched {
            shards.add(self.backend.shard_of(self.backend.hash(&watched.key)));
        }
        shards
    }

    /// The body of `EXEC`; false when a watched key changed.
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    fn run_locked(
        &self,
        queue: &[Queued],
        locks: Locks<'_>,
        session: &mut SessionState,
        watch: &mut Watch<'_>,
        out: &mut Output,
        now: Now,
        aftermath: &mut Aftermath,
    ) -> bool {
        if self.is_watch_lost(session, watch.tx, aftermath) {
            return false;
        }
        // `CLIENT REPLY` decides about single elements, so how many there are is known at the end.
        let varies = session.special & special::SILENT != 0
            || queue.iter().any(|queued| queued.command == self.client_reply);
        let begun = out.len();
        let (header, mut left_out) = (Reply::new(out, session.proto).deferred(), 0);
        if !varies {
            Reply::new(out, session.proto).array(queue.len());
        }
        let mut effects = Vec::new();
        session.set_special(special::NO_BLOCK, true);
        for queued in queue {
            let mark = out.len();
            let all = &mut effects;
            self.run_queued(queued, locks, session, watch.tx, out, now, all, aftermath);
            left_out += usize::from(varies && is_left_out(session, out, mark));
        }
        session.set_special(special::NO_BLOCK, false);
        if varies {
            Reply::new(out, session.proto).finish_array(header, queue.len() - left_out);
        }
        if let (Some(journal), false) = (self.journal(), effects.is_empty()) {
            watch.logging = true;
            let appended = journal.append_atomic(session.slot, &effects);
            match self.note_appended(watch.tx, appended) {
                Ok(position) => aftermath.position = Some(position),
                Err(refusal) => self.refuse(self.exec_entry(), refusal, session, out, begun),
            }
        }
        true
    }

    /// Whether a watched key has changed. Who may not delete what has expired only looks at them; each
    /// command of the queue says for itself afterwards whether it only looks.
    fn is_watch_lost(
        &self,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        aftermath: &mut Aftermath,
    ) -> bool {
        let only_looks =
            self.is_replica() || self.keyspace.is_guarded() && !self.is_admitted(session.slot);
        if only_looks {
            tx.set_expiry_mode(Expiry::Hide);
        }
        let lost = self.watch_failed(session, tx, aftermath);
        if only_looks {
            tx.set_expiry_mode(Expiry::Delete);
        }
        lost
    }

    /// Runs one command of a transaction; what is to be logged of it is added to `effects`.
    #[allow(clippy::too_many_arguments, reason = "the parts of a Cx, borrowed apart")]
    fn run_queued(
        &self,
        queued: &Queued,
        locks: Locks<'_>,
        session: &mut SessionState,
        tx: &mut dyn Tx,
        out: &mut Output,
        now: Now,
        effects: &mut Vec<(Db, Vec<Vec<u8>>)>,
        aftermath: &mut Aftermath,
    ) {
        let entry = self.commands.entry(queued.command);
        let call = Call { entry, request: queued.request.view(), hash: None };
        if let Err(failure) = self.check_queued(session, entry, call.request, now.wall_ms) {
            return self.fail(entry, failure, session, out);
        }
        let (mut result, db) = (CallResult::default(), session.db);
        let begin = (self.environment.stopwatch)();
        if !entry.has(Flag::Fast) {
            // What is slow may look at the counters.
            session.flush_counts(&self.stats);
        }
        self.call(&call, locks, session, tx, out, now, &mut result);
        let took = (self.environment.stopwatch)().saturating_sub(begin);
        self.note_call(entry, call.request, took, Some(session.client()), now);
        if self.gate() & gate::MONITORED != 0 {
            let source = session.client().peer.to_string();
            self.feed_monitors(entry, call.request, session.db, &source, now);
        }
        let rest = result.take_rest().unwrap_or_default();
        aftermath.position = rest.depends_on.or(aftermath.position);
        self.settle_met(session, tx, aftermath);
        aftermath.affect(rest.affected);
        if result.dirty > 0 {
            session.counts.changes += result.dirty;
            collect(effects, call, db, rest.effects);
        }
    }

    fn exec_entry(&self) -> &Entry {
        self.commands.entry(self.exec)
    }

    /// Whether a watched key changed, or its time has passed since.
    fn watch_failed(
        &self,
        session: &SessionState,
        tx: &mut dyn Tx,
        aftermath: &mut Aftermath,
    ) -> bool {
        for watched in &session.watched {
            let hash = self.backend.hash(&watched.key);
            if self.keyspace.has_expired(watched, hash, session.client(), tx) {
                return true;
            }
        }
        self.settle_met(session, tx, aftermath);
        session.client().transaction_failed()
    }
}

/// Whether `CLIENT REPLY` keeps what the last command of a transaction replied, from `mark` on, out
/// of the transaction's reply; takes it back then.
fn is_left_out(session: &SessionState, out: &mut Output, mark: usize) -> bool {
    if session.is_silent() {
        out.truncate(mark);
    }
    out.len() == mark
}
