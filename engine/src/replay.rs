//! [`Replayer`]: runs logged effects again, at start.

use crate::command::Group;
use crate::commit::slot;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::execute::{Call, Changes, Invocation};
use crate::session::state::SessionState;
use crate::session::state::Special;
use resp::{Output, Request};
use runtime::Now;
use smallvec::SmallVec;
use std::sync::Arc;
use storage::{Db, Error, Expiry, Locks, Position, ShardSet, Tx};

/// Applies the effects of a log to an engine's storage. Nothing is logged again, nothing expires,
/// and no client is notified.
pub struct Replayer<'e> {
    engine: &'e Engine,
    session: SessionState,
    out: Output,
}

impl<'e> Replayer<'e> {
    /// A replayer for one log.
    pub fn new(engine: &'e Engine) -> Self {
        let mut session = SessionState::new(Arc::new(engine.clients.unlisted()));
        session.set_special(Special::SOURCE | Special::NO_BLOCK, true);
        Replayer { engine, session, out: Output::new() }
    }

    /// Runs one effect in `db`.
    ///
    /// # Errors
    /// Fails like [`Replayer::record`].
    pub fn apply<'r>(&mut self, db: Db, request: Request<'r>) -> Result<(), String>
    where
        'e: 'r,
    {
        self.record(None, [(db, request)])
    }

    /// Runs the effects of one record of a log in one transaction. `at` is the record's position:
    /// what a persistent backend contains already is skipped.
    ///
    /// # Errors
    /// Fails with a command's error reply, or if an effect cannot be run: the log is damaged, or
    /// was written by a server with other commands.
    pub fn record<'r>(
        &mut self,
        at: Option<Position>,
        effects: impl IntoIterator<Item = (Db, Request<'r>)>,
    ) -> Result<(), String>
    where
        'e: 'r,
    {
        let mut calls = SmallVec::<[_; 1]>::new();
        for (db, request) in effects {
            calls.push((db, self.call(request)?));
        }
        let outcome = match self.run(at, &calls) {
            Ok(true) => Ok(()),
            Ok(false) => Err(last_error(&self.out.to_vec())),
            Err(error) => Err(error.to_string()),
        };
        self.out.release();
        outcome
    }

    /// Runs the effects of one record, all under the same locks, unless the storage already holds
    /// them: a persistent backend knows how far it got before the log was cut off from it. Stops at
    /// the first that fails, and is then false.
    ///
    /// # Errors
    /// Fails if the storage does.
    fn run(&mut self, at: Option<Position>, calls: &[(Db, Call<'_>)]) -> storage::Result<bool> {
        let Replayer { engine, session, out } = self;
        let mut shards = ShardSet::new();
        calls.iter().for_each(|(db, call)| engine.add_shards(*call, *db, &mut shards));
        let locks = shards.locks();
        let mut whole = false;
        let mut body = |tx: &mut dyn Tx| {
            tx.set_expiry_mode(Expiry::Ignore);
            let persistent = engine.backend.persistent();
            let applied = at.is_some_and(|at| persistent && tx.last(at.stream) >= at);
            // Functions are not in the storage, so it cannot contain a record's effects on them.
            let is_missing =
                |call: &Call<'_>| !applied || call.entry.spec.group == Group::Scripting;
            whole = calls.iter().filter(|(_, call)| is_missing(call)).all(|(db, call)| {
                session.db = *db;
                let (now, changes) = (Now::default(), &mut Changes::default());
                let invocation = Invocation { call, session, out, now, changes };
                !engine.call(&mut Cx::new(engine, invocation, &locks, tx))
            });
            if let Some(at) = at.filter(|_| whole && !applied) {
                tx.set_last(at);
            }
        };
        // The effects must be applied, so a replay waits for a script, however long it runs.
        loop {
            match engine.backend.transact(locks, 0, &mut body) {
                Err(Error::Busy) => {}
                done => break done,
            }
        }?;
        Ok(whole)
    }

    /// The cluster's slot to which an effect belongs: that of its keys or, for one on libraries, the
    /// first. `None` for an effect that belongs to no slot.
    pub fn slot(&self, request: Request<'_>) -> Option<u16> {
        let entry = self.engine.commands.resolve(request)?;
        match entry.routed(request)?.iter().next() {
            Some(key) => Some(slot(request.arg(key.index))),
            None => (entry.spec.group == Group::Scripting).then_some(0),
        }
    }

    /// The one shard that the effects of a record touch. `None` if there are several or none, and for
    /// effects that are not only on keys: these go in the order of the log, before and behind those of every
    /// shard.
    pub fn shard<'r>(&self, effects: impl IntoIterator<Item = (Db, Request<'r>)>) -> Option<u32>
    where
        'e: 'r,
    {
        let mut shards = ShardSet::new();
        for (db, request) in effects {
            let call = self.call(request).ok()?;
            if call.entry.spec.group == Group::Scripting {
                return None;
            }
            self.engine.add_shards(call, db, &mut shards);
        }
        match shards.locks() {
            Locks::One(shard) => Some(shard),
            _ => None,
        }
    }

    fn call<'r>(&self, request: Request<'r>) -> Result<Call<'r>, String>
    where
        'e: 'r,
    {
        let entry = self.engine.commands.resolve(request).ok_or_else(|| {
            format!("unknown command '{}'", String::from_utf8_lossy(request.arg(0)))
        })?;
        if !entry.accepts(request.len()) {
            return Err(format!("wrong number of arguments for '{}'", entry.full_name));
        }
        let hash = entry.first_key.and_then(|at| request.get(at));
        let hash = hash.map(|key| self.engine.backend.hash(key));
        Ok(Call { entry, request, hash })
    }
}

/// The text of the error that a list of replies ends with.
fn last_error(replies: &[u8]) -> String {
    let text = String::from_utf8_lossy(replies);
    text.trim_end().rsplit("\r\n").next().unwrap_or_default().trim_start_matches('-').to_owned()
}
