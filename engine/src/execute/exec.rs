//! `EXEC`: runs the commands of a transaction under the locks of all of them, and logs them
//! together.

use super::{Again, Call, Changes, Invocation};
use crate::command::Flag;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::execute::containment::{Doing, Watch};
use crate::gate::Gate;
use crate::observe::stages;
use crate::session::state::{Queued, SessionState, Special};
use resp::Reply;
use storage::{Db, Expiry, ShardSet};

/// The effects of a transaction, each with its database.
type Logged = Vec<(Db, Vec<Vec<u8>>)>;

impl Engine {
    /// Runs the commands of a transaction under the same locks and logs them together, unless a
    /// watched key has changed. `invocation` is that of `EXEC`.
    pub(crate) fn run_all(&self, queue: &[Queued], invocation: Invocation<'_>) {
        let Invocation { call, session, out, now, changes } = invocation;
        let shards = self.shards_of(queue, session);
        let locks = shards.locks();
        let mut committed = false;
        stages::begin_waiting(self, runtime::trace::is_on(), locks);
        let outcome = self.backend.transact(locks, now.wall_ms, &mut |tx| {
            stages::end_waiting(self, runtime::trace::is_on());
            let mut watch = Watch::new(self, Doing::Queue(queue), tx);
            let invocation = Invocation { call, session, out, now, changes };
            let mut cx = Cx::new(self, invocation, &locks, watch.tx);
            committed = self.exec_guarded(queue, &mut cx, &mut watch.logging);
            watch.end();
        });
        if let Err(error) = outcome {
            self.not_committed(&error, changes.position.is_some());
            Reply::new(out, session.proto).error(self.storage_failure(error).as_str());
        } else if !committed {
            Reply::new(out, session.proto).null_array();
        }
    }

    /// The shards of all queued commands and of all watched keys.
    fn shards_of(&self, queue: &[Queued], session: &SessionState) -> ShardSet {
        let mut shards = ShardSet::new();
        for queued in queue {
            let entry = self.commands.entry(queued.command);
            let call = Call { entry, request: queued.request.view(), hash: None };
            // A script that touches an undeclared key could not be run again here.
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

    /// Runs `EXEC` under its locks, if it may run now. Returns false if a watched key has changed.
    /// Sets `logging` once something may be in the log.
    fn exec_guarded(&self, queue: &[Queued], cx: &mut Cx<'_>, logging: &mut bool) -> bool {
        if self.notify.keyspace.is_holding()
            && self.peers.holds.hold_up_any(&self.commands, queue, cx.session)
        {
            cx.changes.rest().again = Some(Again::Held);
            return true;
        }
        let guarded = self.notify.keyspace.is_guarded();
        if guarded && let Err(failure) = self.guard_all(cx.session, queue) {
            cx.fail(failure);
            return true;
        }
        let lost = self.is_watch_lost(cx);
        let effects = if lost { Logged::default() } else { self.exec_queue(queue, cx) };
        if !effects.is_empty() {
            *logging = true;
            self.log_all(&effects, cx);
        } else if guarded {
            // The reply to a transaction that wrote depends on the effects it appended, which come
            // after everything it saw. A read whose reply may not be sent has no effect, but a
            // write may have one.
            cx.changes.position = self.seen(cx.session, cx.tx).or(cx.changes.position);
        }
        !lost
    }

    /// Runs the commands, and returns the effects to log.
    fn exec_queue(&self, queue: &[Queued], cx: &mut Cx<'_>) -> Logged {
        // `CLIENT REPLY` may leave elements out, so their number is known only at the end.
        let varies = cx.session.special.contains(Special::SILENT)
            || queue.iter().any(|queued| queued.command == self.known.client_reply);
        let (header, mut left_out) = (cx.reply.deferred(), 0);
        if !varies {
            cx.reply.array(queue.len());
        }
        let mut effects = Vec::new();
        cx.session.set_special(Special::NO_BLOCK, true);
        for queued in queue {
            let mark = cx.reply.output().len();
            self.run_queued(queued, cx, &mut effects);
            left_out += usize::from(varies && is_left_out(cx, mark));
        }
        cx.session.set_special(Special::NO_BLOCK, false);
        if varies {
            cx.reply.finish_array(header, queue.len() - left_out);
        }
        effects
    }

    /// Logs the effects of a transaction together.
    fn log_all(&self, effects: &Logged, cx: &mut Cx<'_>) {
        let Some(journal) = self.journal() else { return };
        let appended = journal.append_atomic(cx.session.slot, effects);
        match self.note_appended(cx.tx, appended) {
            Ok(position) => cx.changes.position = Some(position),
            Err(refusal) => self.refuse(cx, refusal),
        }
    }

    /// Whether a watched key has changed. If this server may not delete expired keys, they are only
    /// looked at; each command of the queue then decides for itself whether it only looks.
    fn is_watch_lost(&self, cx: &mut Cx<'_>) -> bool {
        let only_looks = self.is_replica()
            || self.notify.keyspace.is_guarded()
                && (!self.is_admitted(cx.session.slot)
                    || cx.session.fence().is_none() && self.is_divided());
        if only_looks {
            cx.tx.set_expiry_mode(Expiry::Hide);
        }
        let lost = self.watch_failed(cx);
        if only_looks {
            cx.tx.set_expiry_mode(Expiry::Delete);
        }
        lost
    }

    /// Runs one command of a transaction, and adds the effects to log to `effects`.
    fn run_queued(&self, queued: &Queued, cx: &mut Cx<'_>, effects: &mut Logged) {
        let entry = self.commands.entry(queued.command);
        let call = Call { entry, request: queued.request.view(), hash: None };
        if let Err(failure) = self.check_queued(cx.session, entry, call.request, cx.now.wall_ms) {
            return self.fail(entry, failure, cx.session, cx.reply.output());
        }
        let (mut changes, db) = (Changes::default(), cx.session.db);
        let begin = (self.environment.stopwatch)();
        if !entry.has(Flag::Fast) {
            // A slow command may read the counters.
            cx.session.flush_counts(&self.observe.stats);
        }
        self.call(&mut cx.within(&call, &mut changes));
        let took = (self.environment.stopwatch)().saturating_sub(begin);
        let client = Some(&**cx.session.client());
        self.observe.note_call(&self.commands, (entry, call.request), took, client, cx.now);
        if self.gate().contains(Gate::MONITORED) {
            let source = cx.session.client().peer.to_string();
            let from = (cx.session.db, &*source);
            let seen_by = (&self.commands, &self.tuning);
            self.notify.monitors.feed(seen_by, (entry, call.request), from, cx.now);
        }
        if changes.count > 0 {
            cx.session.counts.changes += changes.count;
            changes.effects().collect(&call, db, effects);
        }
        cx.changes.absorb(changes);
        cx.announce_expired();
    }

    /// Whether a watched key has changed or expired since it was watched.
    fn watch_failed(&self, cx: &mut Cx<'_>) -> bool {
        for watched in &cx.session.watched {
            let hash = self.backend.hash(&watched.key);
            if self.notify.keyspace.has_expired(watched, hash, cx.session.client(), cx.tx) {
                return true;
            }
        }
        cx.announce_expired();
        cx.session.client().transaction_failed()
    }
}

/// Whether `CLIENT REPLY` leaves the reply of a transaction's last command, which begins at `mark`,
/// out of the transaction's reply. If so, removes it.
fn is_left_out(cx: &mut Cx<'_>, mark: usize) -> bool {
    if cx.session.is_silent() {
        cx.reply.output().truncate(mark);
    }
    cx.reply.output().len() == mark
}
