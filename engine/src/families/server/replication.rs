//! Replication, as a server without replicas that is nobody's replica answers: ROLE, REPLICAOF,
//! REPLCONF, SYNC, PSYNC, FAILOVER, WAIT, WAITAOF.

use super::SERVER;
use crate::args::integer;
use crate::blocking::Block;
use crate::command::{Category, Flag, Flag::*, Group, LockRule, SPEC, Spec};
use crate::config::Id;
use crate::cx::Cx;
use crate::failure::{Failure, Outcome, SYNTAX, failure};
use resp::{Reply, parse_i64};

fn role(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.array(3);
    cx.reply.bulk(b"master");
    cx.reply.integer(0);
    cx.reply.array(0);
    Ok(())
}

fn replicaof(cx: &mut Cx<'_>) -> Outcome {
    if cx.is(1, "NO") && cx.is(2, "ONE") {
        cx.reply.ok();
        return Ok(());
    }
    let port = parse_i64(cx.args.arg(2)).filter(|port| (0..=65_535).contains(port));
    port.ok_or(failure("ERR Invalid master port"))?;
    // Becoming a replica would throw the data away; pretending to would lose what follows.
    Err(failure("ERR this server cannot become a replica"))
}

fn replconf(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    const KNOWN: [&str; 8] = [
        "ip-address",
        "capa",
        "ack",
        "fack",
        "getack",
        "rdb-only",
        "rdb-filter-only",
        "listening-port",
    ];
    for at in (1..cx.argc()).step_by(2) {
        if !KNOWN.iter().any(|word| cx.is(at, word)) {
            let word = String::from_utf8_lossy(cx.args.arg(at));
            return Err(Failure::text(format!("ERR Unrecognized REPLCONF option: {word}")));
        }
        if cx.is(at, "listening-port") {
            integer(cx.args.arg(at + 1))?;
        }
    }
    cx.reply.ok();
    Ok(())
}

fn no_replicas(_: &mut Cx<'_>) -> Outcome {
    Err(failure("ERR this server does not serve replicas"))
}

fn failover(cx: &mut Cx<'_>) -> Outcome {
    let (mut at, mut target, mut timeout) = (1, false, false);
    while at < cx.argc() {
        if cx.is(at, "TIMEOUT") && at + 1 < cx.argc() && !timeout {
            timeout = true;
            if integer(cx.args.arg(at + 1))? <= 0 {
                return Err(failure("ERR FAILOVER timeout must be greater than 0"));
            }
            at += 2;
        } else if cx.is(at, "ABORT") && cx.argc() == 2 {
            return Err(failure("ERR No failover in progress."));
        } else if cx.is(at, "TO") && at + 2 < cx.argc() && !target {
            target = true;
            integer(cx.args.arg(at + 2))?;
            at += 3;
        } else if cx.is(at, "FORCE") {
            at += 1;
        } else {
            return Err(SYNTAX);
        }
    }
    Err(failure("ERR FAILOVER requires connected replicas."))
}

/// A timeout in milliseconds as microseconds, `None` for ever; Redis's errors.
fn timeout_us(word: &[u8]) -> Result<Option<u64>, Failure> {
    let ms = parse_i64(word).ok_or(failure("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| failure("ERR timeout is negative"))?;
    let out = failure("ERR timeout is out of range");
    Ok((ms > 0).then_some(ms.checked_mul(1000).ok_or(out)?))
}

/// Waits for replicas that will never acknowledge, until the time is over.
fn wait_out(cx: &mut Cx<'_>, timeout_us: Option<u64>, reply: fn(&mut Reply<'_>)) {
    let (keys, request, needs_keys) = (Vec::new(), None, false);
    if !cx.block(Block { keys, timeout_us, on_timeout: reply, request, needs_keys }) {
        reply(&mut cx.reply);
    }
}

fn wait(cx: &mut Cx<'_>) -> Outcome {
    let replicas = integer(cx.args.arg(1))?;
    let timeout = timeout_us(cx.args.arg(2))?;
    match replicas > 0 {
        true => wait_out(cx, timeout, |reply| reply.integer(0)),
        false => cx.reply.integer(0),
    }
    Ok(())
}

fn acknowledged(reply: &mut Reply<'_>, local: bool) {
    reply.array(2);
    reply.integer(local.into());
    reply.integer(0);
}

fn waitaof(cx: &mut Cx<'_>) -> Outcome {
    let local = integer(cx.args.arg(1))?;
    if !(0..=1).contains(&local) {
        return Err(failure("ERR value is out of range, value must between 0 and 1"));
    }
    let replicas = integer(cx.args.arg(2))?;
    if replicas < 0 {
        return Err(failure("ERR value is out of range, must be positive"));
    }
    let timeout = timeout_us(cx.args.arg(3))?;
    let enabled = cx.engine.is_logging() && cx.engine.config.boolean(Id::Appendonly);
    let Some(journal) = cx.engine.journal.clone().filter(|_| enabled) else {
        if local == 1 {
            return Err(failure(
                "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
            ));
        }
        return answer_aof(cx, replicas, timeout, false);
    };
    // A sync now answers at once what Redis waits for.
    if local == 1 {
        journal.sync()?;
    }
    answer_aof(cx, replicas, timeout, true)
}

fn answer_aof(cx: &mut Cx<'_>, replicas: i64, timeout: Option<u64>, local: bool) -> Outcome {
    match (replicas > 0, local) {
        (true, true) => wait_out(cx, timeout, |reply| acknowledged(reply, true)),
        (true, false) => wait_out(cx, timeout, |reply| acknowledged(reply, false)),
        (false, _) => acknowledged(&mut cx.reply, local),
    }
    Ok(())
}

/// What `REPLICAOF` and its older name have in common.
const REPLICAOF: Spec = Spec {
    complexity: "O(1)",
    arity: 3,
    flags: &[Flag::Admin, NoScript, Stale, NoAsyncLoading],
    syntax: "args: <host-port: <host port>|no-one: <NO ONE>>",
    handler: replicaof,
    ..SERVER
};

/// Waiting for replicas. Redis documents these with the commands for any key, but keeps them out
/// of that ACL category.
const WAITING: Spec = Spec {
    complexity: "O(1)",
    group: Group::Connection,
    flags: &[Blocking],
    locks: LockRule::None,
    ..SPEC
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "role",
        summary: "Returns the replication role.",
        since: "2.8.12",
        arity: 1,
        flags: &[NoScript, Loading, Stale, Fast],
        categories: &[Category::Admin, Category::Dangerous],
        handler: role,
        ..SERVER
    },
    Spec {
        name: "replicaof",
        summary: "Configures a server as replica of another, or promotes it to a master.",
        since: "5.0.0",
        ..REPLICAOF
    },
    Spec {
        name: "slaveof",
        summary: "Sets a Redis server as a replica of another, or promotes it to being a master.",
        since: "1.0.0",
        deprecated: Some(("5.0.0", "`REPLICAOF`")),
        ..REPLICAOF
    },
    Spec {
        name: "replconf",
        summary: "An internal command for configuring the replication stream.",
        since: "3.0.0",
        arity: -1,
        flags: &[Flag::Admin, NoScript, Loading, Stale, AllowBusy],
        handler: replconf,
        ..SERVER
    },
    Spec {
        name: "sync",
        summary: "An internal command used in replication.",
        since: "1.0.0",
        arity: 1,
        flags: &[Flag::Admin, NoScript, NoAsyncLoading, NoMulti],
        handler: no_replicas,
        ..SERVER
    },
    Spec {
        name: "psync",
        summary: "An internal command used in replication.",
        since: "2.8.0",
        arity: -3,
        flags: &[Flag::Admin, NoScript, NoAsyncLoading, NoMulti],
        syntax: "replicationid offset",
        handler: no_replicas,
        ..SERVER
    },
    Spec {
        name: "failover",
        summary: "Starts a coordinated failover from a server to one of its replicas.",
        since: "6.2.0",
        arity: -1,
        flags: &[Flag::Admin, NoScript, Stale],
        syntax: "target: [TO <host port [FORCE]>] [ABORT] [TIMEOUT milliseconds]",
        handler: failover,
        ..SERVER
    },
    Spec {
        name: "wait",
        summary: "Blocks until the asynchronous replication of all preceding write commands sent by the connection is completed.",
        since: "3.0.0",
        arity: 3,
        syntax: "numreplicas timeout",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        handler: wait,
        ..WAITING
    },
    Spec {
        name: "waitaof",
        summary: "Blocks until all of the preceding write commands sent by the connection are written to the append-only file of the master and/or replicas.",
        since: "7.2.0",
        arity: 4,
        syntax: "numlocal numreplicas timeout",
        tips: &["request_policy:all_shards", "response_policy:agg_min"],
        handler: waitaof,
        ..WAITING
    },
];
