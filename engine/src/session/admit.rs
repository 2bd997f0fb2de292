//! Step 5, the closer look: may this request run now, later, or not at all?
//!
//! The order of the checks is that of Redis's `processCommand`, so that the first error is the
//! same. Ordinary requests of ordinary clients never come here.

use super::state::{SessionState, Special};
use crate::acl::Context;
use crate::clients::rate_limits::Over;
use crate::clients::{Client, ClientFlags};
use crate::command::{CommandEntry, Flag};
use crate::config::{Id, by_id};
use crate::engine::{Engine, Gate};
use crate::execute::Call;
use crate::failure::{Failure, MASTER_DOWN, NO_AUTH, NO_REPLICAS, OOM, READ_ONLY, failure};
use resp::Request;
use runtime::Now;
use std::sync::atomic::Ordering;
use storage::ShardSet;

/// Whether a request runs.
pub(super) enum Admission {
    /// It runs.
    Run,
    /// It is queued for `EXEC`.
    Queue,
    /// It waits until this Unix time in milliseconds.
    Pause(u64),
}

/// Decides about a request whose name and arity are right.
pub(super) fn admit(
    engine: &Engine,
    session: &mut SessionState,
    entry: &CommandEntry,
    request: Request<'_>,
    now: Now,
) -> Result<Admission, Failure> {
    if engine.gate().contains(Gate::LIMITED)
        && let Some(admission) = check_rate(engine, session, request, now)?
    {
        return Ok(admission);
    }
    admit_within_rate(engine, session, entry, request, now)
}

fn admit_within_rate(
    engine: &Engine,
    session: &mut SessionState,
    entry: &CommandEntry,
    request: Request<'_>,
    now: Now,
) -> Result<Admission, Failure> {
    let now_ms = now.wall_ms;
    if session.in_multi() {
        // At the top it is the command itself that looks.
        engine.check_enabled(session.client(), entry)?;
    }
    if !session.is_authenticated() && !entry.has(Flag::NoAuth) {
        return Err(NO_AUTH);
    }
    if session.in_multi() && entry.has(Flag::NoMulti) {
        return Err(failure("ERR Command not allowed inside a transaction"));
    }
    let context = if session.in_multi() { Context::Multi } else { Context::TopLevel };
    engine.check_permission(session, entry, request, context, now_ms)?;
    if engine.gate().contains(Gate::BROKEN) {
        return Err(failure("ERR a panic left half a transaction: the server ends"));
    }
    engine.route(session, entry, request)?;
    engine.make_room(now);
    let nature = Nature::of(engine, session, entry, request);
    check_memory(engine, session, entry, nature, now)?;
    check_journal(engine, entry, nature)?;
    check_replication(engine, nature)?;
    check_subscribed(session, entry)?;
    if engine.gate().contains(Gate::STALE) && nature.lacks(Flag::Stale) {
        return Err(MASTER_DOWN);
    }
    if engine.gate().contains(Gate::LOADING) && nature.lacks(Flag::Loading) {
        return Err(failure("LOADING Redis is loading the dataset in memory"));
    }
    check_busy(engine, session, entry, request)?;
    check_monitor(session, entry, nature)?;
    if let Some(until_ms) = paused_until(engine, session, nature, now_ms) {
        return Ok(Admission::Pause(until_ms));
    }
    Ok(match session.in_multi() && !entry.has(Flag::NotQueued) {
        true => Admission::Queue,
        false => Admission::Run,
    })
}

impl Engine {
    /// Whether a command that a directive guards ([`Spec::enabled_by`](crate::command::Spec::enabled_by)), if this is one, may run
    /// for a client.
    ///
    /// # Errors
    /// Redis's, for one that may not.
    pub fn check_enabled(&self, client: &Client, entry: &CommandEntry) -> Result<(), Failure> {
        let Some(id) = entry.spec.enabled_by else { return Ok(()) };
        let allowed = match self.config.choice(id) {
            "yes" => true,
            "local" => client.is_local(),
            _ => false,
        };
        if allowed {
            return Ok(());
        }
        let option = by_id(id).name;
        let name = option.trim_start_matches("enable-").trim_end_matches("-command");
        let command = name.to_uppercase();
        Err(Failure::text(format!(
            "ERR {command} command not allowed. If the {option} option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server."
        )))
    }
}

/// The flags of a request: for `EXEC`, those of all the commands it ends, together.
#[derive(Clone, Copy)]
struct Nature {
    has: u32,
    lacks: u32,
}

impl Nature {
    fn of(
        engine: &Engine,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> Nature {
        let flags = engine.flags_of(entry, request);
        let multi = session.multi.as_ref().filter(|_| entry.id == engine.exec);
        let (has, lacks) = multi.map_or((0, 0), |multi| (multi.has, multi.lacks));
        Nature { has: flags | has, lacks: !flags | lacks }
    }

    fn has(self, flag: Flag) -> bool {
        self.has & flag.bit() != 0
    }

    fn lacks(self, flag: Flag) -> bool {
        self.lacks & flag.bit() != 0
    }

    fn propagates(self) -> bool {
        self.has(Flag::Write) || self.has(Flag::MayReplicate)
    }
}

/// Whether its client, user and address may ask for this now. It comes first, so that guesses at passwords are
/// limited as well. Replicas and masters are not clients that ask for something.
#[cold]
fn check_rate(
    engine: &Engine,
    session: &mut SessionState,
    request: Request<'_>,
    now: Now,
) -> Result<Option<Admission>, Failure> {
    let client = session.client().clone();
    if client.has_flag(ClientFlags::REPLICA) || client.has_flag(ClientFlags::MASTER) {
        return Ok(None);
    }
    let bytes =
        (0..request.len()).filter_map(|at| request.get(at)).map(|arg| arg.len() as u64).sum();
    // Who has not said who they are asks in nobody's name: strangers must not use up what a user may.
    let account = session.account();
    let account = account.as_ref().unwrap_or(engine.acl.default_account());
    let user = session.is_authenticated().then_some(&account.buckets);
    let who = (&session.rare_mut().buckets, user, &client.peer);
    match engine.clients.rate_limits.admit(who, bytes, now) {
        Ok(()) => Ok(None),
        Err(over) => {
            engine.clients.rate_limits.limited.fetch_add(1, Ordering::Relaxed);
            match over {
                Over::Delay(ms) => Ok(Some(Admission::Pause(now.wall_ms.saturating_add(ms)))),
                Over::Refuse(ms) => Err(Failure::text(format!("RATELIMITED retry after {ms} ms"))),
            }
        }
    }
}

/// When memory is over its limit nothing is done that takes more, and queueing takes some.
fn check_memory(
    engine: &Engine,
    session: &SessionState,
    entry: &CommandEntry,
    nature: Nature,
    now: Now,
) -> Result<(), Failure> {
    const ENDING: [&str; 4] = ["exec", "discard", "quit", "reset"];
    let grows =
        nature.has(Flag::DenyOom) || (session.in_multi() && !ENDING.contains(&entry.spec.name));
    let over = engine.gate().contains(Gate::OVER_MEMORY);
    if over && grows && engine.is_out_of_memory(now) { Err(OOM) } else { Ok(()) }
}

/// Writes need enough replicas, and a master.
fn check_replication(engine: &Engine, nature: Nature) -> Result<(), Failure> {
    let gate = engine.gate() & (Gate::FEW_REPLICAS | Gate::REPLICA);
    if gate.is_empty() || !nature.has(Flag::Write) {
        return Ok(());
    }
    if gate.contains(Gate::FEW_REPLICAS) {
        return Err(NO_REPLICAS);
    }
    if engine.config.boolean(Id::ReplicaReadOnly) { Err(READ_ONLY) } else { Ok(()) }
}

/// When the log cannot be written nothing changes; `PING` says so.
fn check_journal(engine: &Engine, entry: &CommandEntry, nature: Nature) -> Result<(), Failure> {
    let failed = engine.gate() & (Gate::JOURNAL_FAILED | Gate::REPLICA) == Gate::JOURNAL_FAILED;
    if !failed || !(nature.has(Flag::Write) || entry.spec.name == "ping") {
        return Ok(());
    }
    let cause = engine.journal().and_then(|j| j.failure()).unwrap_or_default();
    Err(Failure::text(format!("MISCONF Errors writing to the AOF file: {cause}")))
}

/// While a script runs too long, only that is done which it does not hold up. Of a transaction
/// nothing is: one that was begun could not be ended, and half of one must not be done.
fn check_busy(
    engine: &Engine,
    session: &SessionState,
    entry: &CommandEntry,
    request: Request<'_>,
) -> Result<(), Failure> {
    if !engine.gate().contains(Gate::BUSY) || entry.has(Flag::AllowBusy) {
        return Ok(());
    }
    if session.in_multi() {
        return Err(engine.busy());
    }
    let mut shards = ShardSet::new();
    engine.add_shards(Call { entry, request, hash: None }, session.db, &mut shards);
    match engine.is_aside_of_scripts(shards.locks()) {
        true => Ok(()),
        false => Err(engine.busy()),
    }
}

/// RESP2 has no pushes: a subscriber can only use commands whose replies look like messages.
fn check_subscribed(session: &SessionState, entry: &CommandEntry) -> Result<(), Failure> {
    const ALLOWED: [&str; 9] = [
        "ping",
        "subscribe",
        "ssubscribe",
        "psubscribe",
        "unsubscribe",
        "sunsubscribe",
        "punsubscribe",
        "quit",
        "reset",
    ];
    if !session.special.contains(Special::SUBSCRIBED) || ALLOWED.contains(&entry.spec.name) {
        return Ok(());
    }
    Err(Failure::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        entry.full_name
    )))
}

/// Who monitors is a kind of replica to Redis, and replicas leave the keyspace alone. A real one asks for
/// nothing: an answer would stand in the middle of the stream, so that its session ends instead.
fn check_monitor(
    session: &SessionState,
    entry: &CommandEntry,
    nature: Nature,
) -> Result<(), Failure> {
    let client = session.client();
    let silent = matches!(entry.spec.name, "replconf" | "psync" | "sync");
    if client.has_flag(ClientFlags::REPLICA) && !silent {
        tracing::warn!(client = client.id, command = %entry.full_name, "a replica asks: closed");
        client.kill();
    }
    let uses_keys = nature.propagates() || nature.has(Flag::Readonly);
    if uses_keys && client.has_flag(ClientFlags::MONITOR | ClientFlags::REPLICA) {
        return Err(failure("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// Until when (Unix milliseconds) `CLIENT PAUSE` holds a request back, if it does. With `ALL` that is
/// every request, `CLIENT UNPAUSE` among them, but those of replicas, as which who monitors counts.
fn paused_until(
    engine: &Engine,
    session: &SessionState,
    nature: Nature,
    now_ms: u64,
) -> Option<u64> {
    let is_replica = session.client().has_flag(ClientFlags::MONITOR | ClientFlags::REPLICA);
    if !engine.gate().contains(Gate::PAUSED) || is_replica {
        return None;
    }
    engine.pause.holds(nature.propagates(), now_ms)
}
