//! Step 5: decides whether a request runs now, later, or not at all.
//!
//! The checks are in the order of Redis's `processCommand`, so that the first error is the same.
//! Ordinary requests of ordinary clients skip this step.

use super::state::{SessionState, Special};
use crate::acl::Context;
use crate::clients::rate_limits::Over;
use crate::clients::{Client, ClientFlags};
use crate::command::{CommandEntry, Flag, Flags};
use crate::config::{ConfigStore, Id, by_id};
use crate::engine::Engine;
use crate::execute::Call;
use crate::failure::{
    Failure, MASTER_DOWN, NO_AUTH, NO_REPLICAS, OOM, OVERLOADED, READ_ONLY, failure,
};
use crate::gate::Gate;
use resp::Request;
use runtime::Now;
use std::sync::atomic::Ordering;
use storage::ShardSet;

/// The decision about a request.
pub(super) enum Admission {
    /// It runs.
    Run,
    /// It is queued for `EXEC`.
    Queue,
    /// It waits until this Unix time in milliseconds.
    Pause(u64),
    /// It waits until the session is woken.
    Hold,
}

/// Decides about a request whose name and number of arguments are right.
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
    if engine.gate().contains(Gate::OVERLOADED) {
        check_load(engine, session, entry, request)?;
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
        // Outside of scripts, the command itself checks this.
        entry.check_enabled(&engine.config, session.client())?;
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
    if !engine.route(session, entry, request)? {
        return Ok(Admission::Hold);
    }
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

impl CommandEntry {
    /// Whether a client may run the command, if a directive guards it
    /// ([`Spec::enabled_by`](crate::command::Spec::enabled_by)). Other commands always may.
    ///
    /// # Errors
    /// Fails with Redis's error if it may not.
    pub fn check_enabled(&self, config: &ConfigStore, client: &Client) -> Result<(), Failure> {
        let Some(id) = self.spec.enabled_by else { return Ok(()) };
        let allowed = match config.choice(id) {
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

/// The flags of a request: for `EXEC`, the flags of all queued commands together.
#[derive(Clone, Copy)]
struct Nature {
    has: Flags,
    lacks: Flags,
}

impl Nature {
    fn of(
        engine: &Engine,
        session: &SessionState,
        entry: &CommandEntry,
        request: Request<'_>,
    ) -> Nature {
        let flags = engine.scripting.request_flags(entry, request);
        let multi = session.multi.as_ref().filter(|_| entry.id == engine.known.exec);
        let (has, lacks) = multi.map_or_else(Default::default, |multi| (multi.has, multi.lacks));
        Nature { has: flags | has, lacks: !flags | lacks }
    }

    fn has(self, flag: Flag) -> bool {
        self.has.contains(flag.set())
    }

    fn lacks(self, flag: Flag) -> bool {
        self.lacks.contains(flag.set())
    }

    fn propagates(self) -> bool {
        self.has(Flag::Write) || self.has(Flag::MayReplicate)
    }
}

/// Whether the rate limits of client, user and address permit the request. This check comes first,
/// so that attempts to guess passwords are limited as well. Replicas and masters are exempt.
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
    // A client that has not authenticated does not count against a user's limit, so that strangers
    // cannot use that up.
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

/// While connections wait too long, refuses a share of the requests that use data or run scripts; while memory is about
/// to run out, a share of those that may need more. What is needed
/// to log in, to look after the server, or to end what was begun is never refused: other commands, those of a
/// transaction, and replication.
#[cold]
fn check_load(
    engine: &Engine,
    session: &SessionState,
    entry: &CommandEntry,
    request: Request<'_>,
) -> Result<(), Failure> {
    const WORK: Flags =
        Flag::Write.set().union(Flag::Readonly.set()).union(Flag::MayReplicate.set());
    let flags = engine.scripting.request_flags(entry, request);
    let (works, grows) = (flags.intersects(WORK), flags.contains(Flag::DenyOom.set()));
    let peer = session.client().has_flag(ClientFlags::REPLICA | ClientFlags::MASTER);
    if !works || peer || session.in_multi() || !session.is_authenticated() {
        return Ok(());
    }
    if !engine.clients.overload.refuses(grows) {
        return Ok(());
    }
    engine.clients.overload.refused.fetch_add(1, Ordering::Relaxed);
    Err(OVERLOADED)
}

/// If the memory limit is exceeded, refuses commands that need more memory, and queueing, which
/// needs some too.
fn check_memory(
    engine: &Engine,
    session: &SessionState,
    entry: &CommandEntry,
    nature: Nature,
    now: Now,
) -> Result<(), Failure> {
    let is_queued = session.in_multi() && !entry.has(Flag::EndsMulti);
    let grows = nature.has(Flag::DenyOom) || is_queued;
    let over = engine.gate().contains(Gate::OVER_MEMORY);
    if over && grows && engine.is_out_of_memory(now) { Err(OOM) } else { Ok(()) }
}

/// Refuses writes on a replica, and while there are too few replicas.
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

/// If the log cannot be written, refuses writes, and commands by which clients find out whether the
/// server works (`PING`).
fn check_journal(engine: &Engine, entry: &CommandEntry, nature: Nature) -> Result<(), Failure> {
    let failed = engine.gate() & (Gate::JOURNAL_FAILED | Gate::REPLICA) == Gate::JOURNAL_FAILED;
    if !failed || !(nature.has(Flag::Write) || entry.has(Flag::Health)) {
        return Ok(());
    }
    let cause = engine.journal().and_then(|j| j.failure()).unwrap_or_default();
    Err(Failure::text(format!("MISCONF Errors writing to the AOF file: {cause}")))
}

/// While a script runs too long, permits only commands that do not have to wait for it, and nothing
/// of a transaction: a transaction that was begun could not be ended, and half of one must not be
/// executed.
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
        return Err(engine.scripting.running.busy());
    }
    let mut shards = ShardSet::new();
    engine.add_shards(Call { entry, request, hash: None }, session.db, &mut shards);
    match engine.scripting.running.is_aside(shards.locks(), engine.backend.shard_count()) {
        true => Ok(()),
        false => Err(engine.scripting.running.busy()),
    }
}

/// RESP2 has no pushes, so a subscriber can only use commands whose replies look like messages.
fn check_subscribed(session: &SessionState, entry: &CommandEntry) -> Result<(), Failure> {
    if !session.special.contains(Special::SUBSCRIBED) || entry.has(Flag::WhileSubscribed) {
        return Ok(());
    }
    Err(Failure::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        entry.full_name
    )))
}

/// To Redis, a monitoring client is a kind of replica, and replicas may not access keys. A real
/// replica sends no requests: a reply would be in the middle of the stream, so its session ends
/// instead.
fn check_monitor(
    session: &SessionState,
    entry: &CommandEntry,
    nature: Nature,
) -> Result<(), Failure> {
    let client = session.client();
    if client.has_flag(ClientFlags::REPLICA) && !entry.has(Flag::ReplicaLink) {
        tracing::warn!(client = client.id, command = %entry.full_name, "a replica asks: closed");
        client.kill();
    }
    let uses_keys = nature.propagates() || nature.has(Flag::Readonly);
    if uses_keys && client.has_flag(ClientFlags::MONITOR | ClientFlags::REPLICA) {
        return Err(failure("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

/// The Unix time in milliseconds until which `CLIENT PAUSE` holds a request back, if it does. With
/// `ALL` that applies to every request, including `CLIENT UNPAUSE`, but not to those of replicas
/// and monitoring clients.
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
    engine.clients.pause.holds(nature.propagates(), now_ms)
}
