//! Replication: ROLE, REPLICAOF, REPLCONF, SYNC, PSYNC, FAILOVER, WAIT, WAITAOF.

use super::base::SERVER;
use super::role;
use engine::clients::ClientFlags;
use engine::command::{Category, Flag, Flag::*, Group, LockRule, SPEC, Spec};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::blocking::{Block, LateReply, Progress};
use engine::replication::{Failover, Link, Wanted};
use engine::text::args::{OwnedRequest, integer, is_word};
use resp::{Reply, Request, parse_i64};
use storage::{Db, ShardSet};

/// Longest address that a replica may announce.
const IP_LEN_MAX: usize = 255;

fn replicaof(cx: &mut Cx<'_>) -> Outcome {
    let engine = cx.engine;
    if engine.is_in_cluster() {
        return Err(failure("ERR REPLICAOF not allowed in cluster mode."));
    }
    if engine.failover_state() != "no-failover" {
        return Err(failure("ERR REPLICAOF not allowed while failing over."));
    }
    if cx.is(1, "NO") && cx.is(2, "ONE") {
        if engine.lead() {
            engine.environment.host.follow(None, engine.replication.generation());
            tracing::info!("MASTER MODE enabled (user request)");
        }
        cx.reply.ok();
        return Ok(());
    }
    if cx.session.follower().is_some() {
        return Err(failure("ERR Command is not valid when client is a replica."));
    }
    let port = parse_i64(cx.args.arg(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(failure("ERR Invalid master port"))?;
    let host = String::from_utf8_lossy(cx.args.arg(1)).into_owned();
    let same = engine.replication.source();
    if same.is_some_and(|source| source.host == host && source.port == port) {
        cx.reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    let generation = engine.follow(&host, port, cx.now.wall_ms);
    tracing::info!(host, port, "REPLICAOF enabled (user request)");
    engine.environment.host.follow(Some((&host, port)), generation);
    cx.reply.ok();
    Ok(())
}

/// `REPLCONF`: notes a replica's description of itself, option by option.
fn replconf(cx: &mut Cx<'_>) -> Outcome {
    let word = cx.args.get(1).unwrap_or_default();
    let silent = ["ack", "fack", "getack"].iter().any(|silent| is_word(word, silent));
    if cx.session.follower().is_some() && !silent {
        // The answer would stand in the middle of the stream.
        tracing::warn!(client = cx.session.client().id, "a replica asks: closed");
        cx.session.client().kill();
        return Ok(());
    }
    if cx.argc().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    for at in (1..cx.argc()).step_by(2) {
        if cx.is(at, "ack") {
            return acknowledge(cx, at);
        }
        // The latter is for a master's connection, which is no client.
        if cx.is(at, "fack") || cx.is(at, "getack") {
            return Ok(());
        }
        announce(cx, at)?;
    }
    cx.reply.ok();
    Ok(())
}

/// Takes what a replica says of itself: the option at `at`, and its value.
fn announce(cx: &mut Cx<'_>, at: usize) -> Outcome {
    let value = cx.args.arg(at + 1);
    if cx.is(at, "listening-port") {
        let port = integer(value)?;
        cx.session.announced().port = port as u16;
    } else if cx.is(at, "ip-address") {
        if value.len() >= IP_LEN_MAX {
            let len = value.len();
            let text = "ERR REPLCONF ip-address provided by replica instance is too long";
            return Err(Failure::text(format!("{text}: {len} bytes")));
        }
        cx.session.announced().ip = String::from_utf8_lossy(value).into_owned();
    } else if cx.is(at, "capa") {
        let announced = cx.session.announced();
        announced.eof |= value.eq_ignore_ascii_case(b"eof");
        announced.psync2 |= value.eq_ignore_ascii_case(b"psync2");
    } else if cx.is(at, "rdb-only") {
        cx.session.announced().rdb_only = integer(value)? == 1;
    } else if cx.is(at, "rdb-filter-only") {
        cx.session.announced().wanted = filter(value)?;
    } else {
        let word = String::from_utf8_lossy(cx.args.arg(at));
        return Err(Failure::text(format!("ERR Unrecognized REPLCONF option: {word}")));
    }
    Ok(())
}

/// `REPLCONF ACK <position> [FACK <position>]`: is not answered.
fn acknowledge(cx: &mut Cx<'_>, at: usize) -> Outcome {
    let position = |at: usize| {
        let number = cx.args.get(at).and_then(parse_i64);
        number.and_then(|number| u64::try_from(number).ok())
    };
    let durable = if at + 3 < cx.argc() && cx.is(at + 2, "fack") { position(at + 3) } else { None };
    if let Some(position) = position(at + 1) {
        cx.engine.acknowledged(cx.session, position, durable, cx.now);
    }
    Ok(())
}

/// `REPLCONF rdb-filter-only`.
fn filter(value: &[u8]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted::Nothing;
    for word in value.split(|byte| *byte == b' ').filter(|word| !word.is_empty()) {
        if !word.eq_ignore_ascii_case(b"functions") {
            let word = String::from_utf8_lossy(word);
            return Err(Failure::text(format!("ERR Unsupported rdb-filter-only option: {word}")));
        }
        wanted = Wanted::Functions;
    }
    Ok(wanted)
}

/// A replica that takes its master's place needs every shard.
fn psync_locks(_: &Engine, _: Db, request: Request<'_>) -> ShardSet {
    let mut shards = ShardSet::new();
    if request.len() > 3 {
        shards.add_all();
    }
    shards
}

/// `PSYNC … FAILOVER`: the master asks us to take its place.
fn take_over(cx: &mut Cx<'_>) -> Outcome {
    let engine = cx.engine;
    if !engine.is_replica() {
        return Err(failure("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if cx.args.arg(1) != engine.replication.out.history().id.as_str().as_bytes() {
        return Err(failure("ERR PSYNC FAILOVER replid must match my replid."));
    }
    engine.lead();
    engine.environment.host.follow(None, engine.replication.generation());
    tracing::info!("failover: taking over from the master");
    Ok(())
}

fn psync(cx: &mut Cx<'_>) -> Outcome {
    let legacy = cx.argc() == 1;
    if cx.session.client().has_flag(ClientFlags::REPLICA | ClientFlags::MONITOR) {
        return Ok(());
    }
    if cx.argc() > 3 && cx.is(3, "FAILOVER") {
        take_over(cx)?;
    }
    let source = cx.engine.replication.source();
    if source.is_some_and(|source| source.link != Link::Up) {
        return Err(failure("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    let asked = match legacy {
        true => None,
        false => Some((cx.args.arg(1), integer(cx.args.arg(2))?)),
    };
    let now_ms = cx.now.wall_ms;
    if let Some(line) = cx.engine.admit_follower(cx.session, asked, now_ms) {
        cx.reply.simple(&line);
    }
    Ok(())
}

fn failover(cx: &mut Cx<'_>) -> Outcome {
    let (mut args, mut timeout_ms, mut target, mut force) = (cx.args_from(1), None, None, false);
    while !args.is_empty() {
        if timeout_ms.is_none()
            && let Some(value) = args.option("TIMEOUT")
        {
            let ms = integer(value)?;
            if ms <= 0 {
                return Err(failure("ERR FAILOVER timeout must be greater than 0"));
            }
            timeout_ms = Some(ms as u64);
        } else if cx.argc() == 2 && args.keyword("ABORT") {
            return match cx.engine.abort_failover() {
                true => {
                    cx.reply.ok();
                    Ok(())
                }
                false => Err(failure("ERR No failover in progress.")),
            };
        } else if target.is_none() && args.keyword_before("TO", 2) {
            let host = String::from_utf8_lossy(args.expect()?).into_owned();
            target = Some((host, integer(args.expect()?)? as u16));
        } else if !force && args.keyword("FORCE") {
            force = true;
        } else {
            return Err(SYNTAX);
        }
    }
    if force && (target.is_none() || timeout_ms.is_none()) {
        let text = "ERR FAILOVER with force option requires both a timeout and target HOST and IP.";
        let busy = cx.engine.failover_state() != "no-failover" || cx.engine.is_replica();
        let alone = cx.engine.replication.followers().is_empty();
        if !busy && !alone {
            return Err(failure(text));
        }
    }
    let until_ms = timeout_ms.map(|ms| cx.now.wall_ms.saturating_add(ms));
    cx.engine.begin_failover(Failover { target, until_ms, force, told: None }, cx.now)?;
    cx.reply.ok();
    Ok(())
}

/// A timeout in milliseconds as microseconds, `None` for ever; Redis's errors.
fn timeout_us(word: &[u8]) -> Result<Option<u64>, Failure> {
    let ms = parse_i64(word).ok_or(failure("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| failure("ERR timeout is negative"))?;
    let out = failure("ERR timeout is out of range");
    Ok((ms > 0).then_some(ms.checked_mul(1000).ok_or(out)?))
}

/// The position for which a client waits: the current end of the stream or, if a wait is tried
/// again, the position behind its arguments.
fn target(progress: &Progress, request: Request<'_>, at: usize) -> u64 {
    let told =
        request.get(at).and_then(parse_i64).and_then(|position| u64::try_from(position).ok());
    told.unwrap_or(progress.end)
}

/// Waits until replicas have acknowledged more. Returns false where nothing may block.
pub(super) fn wait_for_replicas(
    cx: &mut Cx<'_>,
    position: Option<u64>,
    timeout_us: Option<u64>,
    late: LateReply,
) -> bool {
    if cx.session.may_not_block() {
        return false;
    }
    let mut request = OwnedRequest::new(cx.args.iter());
    if let Some(position) = position.filter(|_| !cx.session.is_served()) {
        request.push(position.to_string().as_bytes());
        cx.engine.replication.out.ask();
        cx.engine.replication.wake();
    }
    let (keys, on_timeout) =
        (Vec::new(), (|reply: &mut Reply<'_>| reply.null()) as fn(&mut Reply<'_>));
    let request = Some(request);
    let block = Block { keys, timeout_us, on_timeout, request, needs_keys: false };
    cx.block_for_replicas(block, late)
}

const WAIT_ON_REPLICA: &str = "ERR WAIT cannot be used with replica instances. Please also note that \
    since Redis 4.0 if a replica is configured to be writable (which is not the default) writes to \
    replicas are just local and are not propagated.";

fn wait(cx: &mut Cx<'_>) -> Outcome {
    if cx.engine.is_replica() {
        return Err(failure(WAIT_ON_REPLICA));
    }
    let replicas = integer(cx.args.arg(1))?;
    let timeout = timeout_us(cx.args.arg(2))?;
    let progress = cx.engine.progress();
    let position = target(&progress, cx.args, 3);
    let reached = progress.acks.reached(position) as i64;
    if reached >= replicas || !wait_for_replicas(cx, Some(position), timeout, waited) {
        cx.reply.integer(reached);
    }
    Ok(())
}

fn waited(progress: &Progress, request: Request<'_>, reply: &mut Reply<'_>) {
    let position = target(progress, request, 3);
    reply.integer(progress.acks.reached(position) as i64);
}

const WAITAOF_ON_REPLICA: &str = "ERR WAITAOF cannot be used with replica instances. Please also note \
    that writes to replicas are just local and are not propagated.";

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
    if cx.engine.is_replica() {
        return Err(failure(WAITAOF_ON_REPLICA));
    }
    if local == 1 && !cx.engine.progress().keeps_log {
        return Err(failure(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    if local == 1
        && let Some(journal) = cx.engine.any_journal()
    {
        // A sync now answers at once what Redis waits for.
        journal.sync()?;
    }
    let progress = cx.engine.progress();
    let position = target(&progress, cx.args, 4);
    let reached = progress.acks.durable(position) as i64;
    if reached >= replicas || !wait_for_replicas(cx, Some(position), timeout, waited_for_disk) {
        waited_for_disk(&progress, cx.args, &mut cx.reply);
    }
    Ok(())
}

fn waited_for_disk(progress: &Progress, request: Request<'_>, reply: &mut Reply<'_>) {
    let position = target(progress, request, 4);
    reply.array(2);
    reply.integer(progress.keeps_log.into());
    reply.integer(progress.acks.durable(position) as i64);
}

/// The fields shared by `REPLICAOF` and its older name.
const REPLICAOF: Spec = Spec {
    complexity: "O(1)",
    arity: 3,
    flags: &[Flag::Admin, NoScript, Stale, NoAsyncLoading],
    syntax: "args: <host-port: <host port>|no-one: <NO ONE>>",
    // No effect may be half of one role and half of the other.
    locks: LockRule::All,
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
        handler: role::role,
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
        flags: &[Flag::Admin, NoScript, Loading, Stale, AllowBusy, ReplicaLink, Streaming, System],
        handler: replconf,
        ..SERVER
    },
    Spec {
        name: "sync",
        summary: "An internal command used in replication.",
        since: "1.0.0",
        arity: 1,
        flags: &[Flag::Admin, NoScript, NoAsyncLoading, NoMulti, ReplicaLink, Streaming],
        handler: psync,
        ..SERVER
    },
    Spec {
        name: "psync",
        summary: "An internal command used in replication.",
        since: "2.8.0",
        arity: -3,
        flags: &[Flag::Admin, NoScript, NoAsyncLoading, NoMulti, ReplicaLink, Streaming],
        syntax: "replicationid offset",
        locks: LockRule::Custom(psync_locks),
        handler: psync,
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
