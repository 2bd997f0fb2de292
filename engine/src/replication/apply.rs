//! [`Applier`]: runs the commands that a master sends.

use crate::clients::Client;
use crate::command::CommandEntry;
use crate::cx::Cx;
use crate::engine::Engine;
use crate::execute::{Call, Changes, Effects, Invocation, log};
use crate::session::state::{SessionState, Special};
use replication::Unit;
use resp::{Output, Request};
use runtime::Now;
use smallvec::SmallVec;
use std::sync::Arc;
use storage::{Appended, Db, Expiry, Locks, Position, ShardSet, Tx};

type Calls<'a> = SmallVec<[(Db, Call<'a>); 1]>;

/// Applies a master's stream to a serving engine: its log, blocked clients, caches and listeners
/// are notified, and its own replicas get the bytes unchanged. Keys expire only when the master
/// says so.
pub struct Applier<'e> {
    engine: &'e Engine,
    generation: u64,
    session: SessionState,
    out: Output,
    position: Option<Position>,
}

impl<'e> Applier<'e> {
    /// Creates the applier for one connection to a master, which is shown as `client`.
    pub fn new(engine: &'e Engine, generation: u64, client: Arc<Client>) -> Self {
        let mut session = SessionState::new(client);
        session.set_special(Special::SOURCE | Special::NO_BLOCK, true);
        Applier { engine, generation, session, out: Output::new(), position: None }
    }

    /// Applies one unit; false when this master is not followed any more, and nothing was done.
    ///
    /// # Errors
    /// The unit cannot be applied: a database that is not there, a disk that fails.
    pub fn apply(&mut self, unit: &Unit<'_>, now: Now) -> Result<bool, String> {
        let engine = self.engine;
        let calls = calls(engine, unit)?;
        let mut shards = ShardSet::new();
        calls.iter().for_each(|(db, call)| engine.add_shards(*call, *db, &mut shards));
        let (mut current, mut all) = (true, Changes::default());
        let ran =
            engine.transact("the replication stream", shards.locks(), now.wall_ms, &mut |tx| {
                tx.set_expiry_mode(Expiry::Ignore);
                current = engine.replication.generation() == self.generation;
                if current {
                    self.run(unit, &calls, shards.locks(), tx, now, &mut all);
                    engine.replication.out.pass_on(unit.bytes, unit.db);
                }
            });
        self.out.release();
        ran.map_err(|error| error.to_string())?;
        self.tell(all, now);
        Ok(current)
    }

    /// Completes the units applied so far: counts them, writes the log's buffer to the kernel, and
    /// wakes this server's own replicas.
    pub fn flush(&mut self) {
        self.session.flush_counts(&self.engine.observe.stats);
        if let (Some(position), Some(journal)) = (self.position.take(), &self.engine.tee.journal) {
            journal.write_up_to(position);
        }
        self.engine.replication.wake();
    }

    fn run(
        &mut self,
        unit: &Unit<'_>,
        calls: &[(Db, Call<'_>)],
        locks: Locks<'_>,
        tx: &mut dyn Tx,
        now: Now,
        all: &mut Changes,
    ) {
        let engine = self.engine;
        let mut effects = Vec::new();
        for (db, call) in calls {
            self.session.db = *db;
            let mut changes = Changes::default();
            let (session, out) = (&mut self.session, &mut self.out);
            let invocation = Invocation { call, session, out, now, changes: &mut changes };
            if engine.call(&mut Cx::new(engine, invocation, &locks, tx)) {
                self.complain(call);
            }
            self.session.counts.changes += changes.count;
            if changes.count > 0
                && let Some(journal) = engine.logging_journal()
            {
                match calls {
                    [_] => {
                        self.mark(unit, *db, call, &changes);
                        let logged = log(journal, call, (self.session.slot, *db), &changes);
                        self.logged(logged, tx);
                    }
                    _ => changes.effects().collect(call, *db, &mut effects),
                }
            }
            all.absorb(changes);
        }
        if let (Some(journal), false) = (engine.logging_journal(), effects.is_empty()) {
            engine.replication.out.mark(journal, unit.bytes.len(), None, unit.db);
            self.logged(Some(journal.append_atomic(self.session.slot, &effects)), tx);
        }
    }

    /// Records in the log the position of the stream after what is about to be logged for a single
    /// command.
    fn mark(&self, unit: &Unit<'_>, db: Db, call: &Call<'_>, changes: &Changes) {
        let Some(journal) = self.engine.logging_journal() else { return };
        let verbatim = matches!(changes.effects(), Effects::Verbatim);
        let len = || {
            let mut encoded = Vec::new();
            resp::encode_command(call.request.iter(), &mut encoded);
            encoded.len() as u64
        };
        let len = (verbatim && unit.db == db).then(len);
        self.engine.replication.out.mark(journal, unit.bytes.len(), len, unit.db);
    }

    fn logged(&mut self, appended: Option<Appended>, tx: &mut dyn Tx) {
        let position = appended.and_then(|appended| self.engine.note_taken(tx, appended));
        self.position = position.or(self.position);
    }

    /// If a master's command fails here, our data differ from the master's.
    fn complain(&self, call: &Call<'_>) {
        let reply = self.out.to_vec();
        let reply = String::from_utf8_lossy(&reply);
        let reply = reply.trim_end().rsplit("\r\n").next().unwrap_or_default();
        let command = &call.entry.full_name;
        tracing::error!(command, reply, "a command of the master fails here");
    }

    fn tell(&mut self, changes: Changes, now: Now) {
        let served = self.engine.conclude(changes, Some(self.session.client()), now);
        self.position = self.position.max(served);
    }
}

fn calls<'a>(engine: &'a Engine, unit: &'a Unit<'_>) -> Result<Calls<'a>, String> {
    let databases = engine.databases();
    let mut calls = Calls::new();
    for (db, request) in &unit.effects {
        if *db >= databases {
            return Err(format!("the master has a database {db}: raise `databases`"));
        }
        calls.extend(call(engine, *request).map(|call| (*db, call)));
    }
    Ok(calls)
}

/// Looks up a request. As in Redis, an unknown command is skipped. So is one that no master puts
/// into its stream (`SUBSCRIBE`, `REPLICAOF` …), because its session is not a client's.
fn call<'a>(engine: &'a Engine, request: Request<'a>) -> Option<Call<'a>> {
    let entry = engine.commands.resolve(request);
    let belongs = |entry: &&CommandEntry| entry.accepts(request.len()) && entry.replicates();
    let Some(entry) = entry.filter(belongs) else {
        let command = String::from_utf8_lossy(request.arg(0));
        tracing::error!(%command, "the master sends a command that cannot be run here");
        return None;
    };
    let hash = entry.first_key.and_then(|at| request.get(at));
    let hash = hash.map(|key| engine.backend.hash(key));
    Some(Call { entry, request, hash })
}
