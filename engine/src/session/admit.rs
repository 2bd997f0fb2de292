//! Step 5, the closer look: may this request run now, later, or not at all?
//!
//! The order of the checks is that of Redis's `processCommand`, so that the first error is the
//! same. Ordinary requests of ordinary clients never come here.

use super::state::{SessionState, special};
use crate::acl::Context;
use crate::clients::flag;
use crate::command::{Entry, Flag};
use crate::dispatch::Call;
use crate::engine::{Engine, gate};
use crate::failure::{Failure, NO_AUTH, OOM, failure};
use crate::pause::PauseMode;
use resp::Request;
use runtime::Now;
use storage::ShardSet;

/// What becomes of a request.
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
    session: &SessionState,
    entry: &Entry,
    request: Request<'_>,
    now: Now,
) -> Result<Admission, Failure> {
    if session.is_replay() {
        return Ok(Admission::Run);
    }
    let now_ms = now.wall_ms;
    if !session.is_authenticated() && !entry.has(Flag::NoAuth) {
        return Err(NO_AUTH);
    }
    if session.in_multi() && entry.has(Flag::NoMulti) {
        return Err(failure("ERR Command not allowed inside a transaction"));
    }
    let context = if session.in_multi() { Context::Multi } else { Context::TopLevel };
    engine.check_permission(session, entry, request, context, now_ms)?;
    engine.make_room(now);
    check_state(engine, session, entry, now)?;
    check_busy(engine, session, entry, request)?;
    check_subscribed(session, entry)?;
    check_monitor(session, entry)?;
    if session.in_multi() && !entry.has(Flag::NotQueued) {
        return Ok(Admission::Queue);
    }
    Ok(pause(engine, session, entry, now_ms))
}

fn check_state(
    engine: &Engine,
    session: &SessionState,
    entry: &Entry,
    now: Now,
) -> Result<(), Failure> {
    let gate = engine.gate();
    if gate & gate::BROKEN != 0 {
        return Err(failure("ERR a panic left half a transaction: the server ends"));
    }
    let is_exec = entry.id == engine.exec;
    let in_queue = |flag: Flag| {
        let queue = session.multi.iter().flat_map(|multi| &multi.queue);
        is_exec && queue.into_iter().any(|queued| engine.commands.entry(queued.command).has(flag))
    };
    let grows = entry.has(Flag::DenyOom) || in_queue(Flag::DenyOom);
    if gate & gate::OVER_MEMORY != 0 && grows && engine.is_out_of_memory(now) {
        return Err(OOM);
    }
    let writes = entry.has(Flag::Write) || in_queue(Flag::Write);
    if gate & gate::JOURNAL_FAILED != 0 && (writes || entry.spec.name == "ping") {
        let cause = engine.journal().and_then(|j| j.failure()).unwrap_or_default();
        return Err(Failure::text(format!("MISCONF Errors writing to the AOF file: {cause}")));
    }
    if gate & gate::LOADING != 0 && !entry.has(Flag::Loading) {
        return Err(failure("LOADING Redis is loading the dataset in memory"));
    }
    Ok(())
}

/// While a script runs too long, only that is done which it does not hold up.
fn check_busy(
    engine: &Engine,
    session: &SessionState,
    entry: &Entry,
    request: Request<'_>,
) -> Result<(), Failure> {
    if engine.gate() & gate::BUSY == 0 || entry.has(Flag::AllowBusy) {
        return Ok(());
    }
    let mut shards = ShardSet::new();
    engine.add_shards(Call { entry, request, hash: None }, session.db, &mut shards);
    match engine.is_aside_of_scripts(shards.locks()) {
        true => Ok(()),
        false => Err(engine.busy()),
    }
}

/// RESP2 has no pushes: a subscriber can only use commands whose replies look like messages.
fn check_subscribed(session: &SessionState, entry: &Entry) -> Result<(), Failure> {
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
    if session.special & special::SUBSCRIBED == 0 || ALLOWED.contains(&entry.spec.name) {
        return Ok(());
    }
    Err(Failure::text(format!(
        "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
        entry.full_name
    )))
}

/// Who monitors is a kind of replica to Redis, and replicas leave the keyspace alone.
fn check_monitor(session: &SessionState, entry: &Entry) -> Result<(), Failure> {
    let uses_keys = [Flag::Write, Flag::Readonly, Flag::MayReplicate];
    if session.client().has_flag(flag::MONITOR) && uses_keys.iter().any(|f| entry.has(*f)) {
        return Err(failure("ERR Replica can't interact with the keyspace"));
    }
    Ok(())
}

fn pause(engine: &Engine, session: &SessionState, entry: &Entry, now_ms: u64) -> Admission {
    if engine.gate() & gate::PAUSED == 0 {
        return Admission::Run;
    }
    let Some((until, mode)) = engine.pause.current(now_ms) else { return Admission::Run };
    let queue = session.multi.iter().flat_map(|multi| &multi.queue);
    let queued_writes = entry.id == engine.exec
        && queue.into_iter().any(|q| propagates(engine.commands.entry(q.command)));
    let held = match mode {
        PauseMode::All => !session.in_multi() || entry.id == engine.exec,
        PauseMode::Write => propagates(entry) || queued_writes,
    };
    // The pauser itself must be able to end it.
    if held && !entry.is_within(engine, "client") {
        return Admission::Pause(until);
    }
    Admission::Run
}

fn propagates(entry: &Entry) -> bool {
    entry.has(Flag::Write) || entry.has(Flag::MayReplicate)
}
