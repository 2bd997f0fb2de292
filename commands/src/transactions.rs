//! Transactions: MULTI, EXEC, DISCARD, WATCH, UNWATCH.

use engine::Engine;
use engine::command::{Flag::*, Group, LockRule, SPEC, Spec, key_range};
use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use engine::gate::Gate;
use resp::Request;
use storage::{Db, ShardSet};

fn multi(cx: &mut Cx<'_>) -> Outcome {
    if cx.session.in_multi() {
        return Err(failure("ERR MULTI calls can not be nested"));
    }
    cx.session.begin_multi();
    cx.reply.ok();
    Ok(())
}

/// Reached only where no transaction is possible, because the session itself runs `EXEC`.
fn exec(_cx: &mut Cx<'_>) -> Outcome {
    Err(failure("ERR EXEC without MULTI"))
}

fn discard(cx: &mut Cx<'_>) -> Outcome {
    if cx.session.end_multi().is_none() {
        return Err(failure("ERR DISCARD without MULTI"));
    }
    cx.session.forget_watches(&cx.engine.notify.keyspace);
    cx.reply.ok();
    Ok(())
}

fn watch(cx: &mut Cx<'_>) -> Outcome {
    if cx.session.in_multi() {
        return Err(failure("ERR WATCH inside MULTI is not allowed"));
    }
    for i in 1..cx.argc() {
        let key = cx.key(i);
        cx.watch(&key)?;
    }
    cx.reply.ok();
    Ok(())
}

/// The shards of the keys to watch. None if a slow script holds one of them: the command does not
/// wait for the script, and is told of the script's later changes nevertheless.
fn watch_locks(engine: &Engine, _: Db, request: Request<'_>) -> ShardSet {
    let mut shards = ShardSet::new();
    for key in request.tail(1).iter() {
        shards.add(engine.backend.shard_of(engine.backend.hash(key)));
    }
    let busy = engine.gate().contains(Gate::BUSY);
    if busy && !engine.scripting.running.is_aside(shards.locks(), engine.backend.shard_count()) {
        ShardSet::new()
    } else {
        shards
    }
}

fn unwatch(cx: &mut Cx<'_>) -> Outcome {
    cx.session.forget_watches(&cx.engine.notify.keyspace);
    cx.reply.ok();
    Ok(())
}

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "multi",
        summary: "Starts a transaction.",
        since: "1.2.0",
        complexity: "O(1)",
        arity: 1,
        group: Group::Transactions,
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy, NotQueued],
        locks: LockRule::None,
        handler: multi,
        ..SPEC
    },
    Spec {
        name: "exec",
        summary: "Executes all commands in a transaction.",
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        arity: 1,
        group: Group::Transactions,
        flags: &[NoScript, Loading, Stale, SkipSlowlog, NotQueued, EndsMulti],
        locks: LockRule::None,
        handler: exec,
        ..SPEC
    },
    Spec {
        name: "discard",
        summary: "Discards a transaction.",
        since: "2.0.0",
        complexity: "O(N), when N is the number of queued commands",
        arity: 1,
        group: Group::Transactions,
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy, NotQueued, EndsMulti],
        locks: LockRule::None,
        handler: discard,
        ..SPEC
    },
    Spec {
        name: "watch",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        since: "2.2.0",
        complexity: "O(1) for every key.",
        arity: -2,
        group: Group::Transactions,
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy, NotQueued],
        keys: &[key_range("RO", 1, -1, 1)],
        syntax: "key [key ...]",
        locks: LockRule::Custom(watch_locks),
        handler: watch,
        ..SPEC
    },
    Spec {
        name: "unwatch",
        summary: "Forgets about watched keys of a transaction.",
        since: "2.2.0",
        complexity: "O(1)",
        arity: 1,
        group: Group::Transactions,
        flags: &[NoScript, Loading, Stale, Fast, AllowBusy],
        locks: LockRule::None,
        handler: unwatch,
        ..SPEC
    },
];
