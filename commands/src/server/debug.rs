//! `DEBUG`: what test suites rely on, behind `enable-debug-command`.

use super::base::ADMIN;
use super::debug_data::{
    htstats, htstats_key, info_of, listpack, populate, quicklist, quicklist_fields, sdslen,
};
use super::{debug_switches as switches, digest};
use engine::clients::ReplyBuffers;
use engine::command::{Flag::*, LockRule, Spec};
use engine::config::{Id, memory};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::{Failure, NOT_INTEGER, Outcome, failure, subcommand_syntax};
use engine::text::args::is_word;
use engine::text::glob;
use resp::{Request, parse_i64};
use std::sync::atomic::Ordering;
use std::time::Duration;
use storage::{Db, ShardSet};

/// A subcommand: its name, the number of its arguments (negative: at least that many), and its
/// handler.
type Subcommand = (&'static str, i32, fn(&mut Cx<'_>) -> Outcome);

const SUBCOMMANDS: &[Subcommand] = &[
    ("AOF-FLUSH-SLEEP", 3, switches::aof_flush_sleep),
    ("ASSERT", -2, crash),
    ("CHANGE-REPL-ID", 2, change_repl_id),
    ("CLIENT-ENFORCE-REPLY-LIST", 3, nothing),
    ("CLIENT-EVICTION", 2, client_eviction),
    ("CLUSTERLINK", 5, switches::clusterlink),
    ("CONFIG-REWRITE-FORCE-ALL", 2, switches::config_rewrite),
    ("CRASH-AND-RECOVER", -2, switches::restart),
    ("DICT-RESIZING", 3, nothing),
    ("DIGEST", 2, dataset_digest),
    ("DIGEST-VALUE", -2, digest_value),
    ("DROP-CLUSTER-PACKET-FILTER", 3, nothing),
    ("ERROR", 3, error),
    ("HELP", 2, help),
    ("HTSTATS", -3, htstats),
    ("HTSTATS-KEY", -3, htstats_key),
    ("JMAP", 2, nothing),
    ("LEAK", 3, nothing),
    ("LISTPACK", 3, listpack),
    ("LOADAOF", 2, loadaof),
    ("LOG", 3, log),
    ("MALLCTL", -3, switches::mallctl),
    ("MALLCTL-STR", -3, switches::mallctl_str),
    ("OBJECT", -3, object),
    ("OOM", -2, crash),
    ("PANIC", -2, crash),
    ("PAUSE-CRON", 3, |cx| switches::set(cx, |all| &all.pauses_housekeeping)),
    ("POPULATE", -3, populate),
    ("PROTOCOL", 3, super::protocol::protocol),
    ("QUICKLIST", -3, quicklist),
    ("QUICKLIST-PACKED-THRESHOLD", 3, packed_threshold),
    ("RELOAD", -2, reload),
    ("REPLICATE", -3, switches::replicate),
    ("REPLYBUFFER", 4, reply_buffer),
    ("RESTART", -2, switches::restart),
    ("SDSLEN", 3, sdslen),
    ("SEGFAULT", -2, crash),
    ("SET-ACTIVE-EXPIRE", 3, set_active_expire),
    ("SET-DISABLE-DENY-SCRIPTS", 3, |cx| switches::set(cx, |all| &all.scripts_may_more)),
    ("SET-SKIP-CHECKSUM-VALIDATION", 3, |cx| switches::set(cx, |all| &all.ignores_checksums)),
    ("SLEEP", 3, sleep),
    ("STRINGMATCH-LEN", 4, stringmatch_len),
    ("STRINGMATCH-TEST", 2, switches::stringmatch_test),
    ("STRUCTSIZE", 2, structsize),
];

fn debug(cx: &mut Cx<'_>) -> Outcome {
    cx.entry().check_enabled(&cx.engine.config, cx.session.client())?;
    let word = cx.args.arg(1);
    let argc = cx.argc() as i32;
    let fits = |arity: i32| if arity >= 0 { argc == arity } else { argc >= -arity };
    let found = SUBCOMMANDS.iter().find(|(name, arity, _)| is_word(word, name) && fits(*arity));
    match found {
        Some((.., run)) => run(cx),
        None => Err(subcommand_syntax(cx.args)),
    }
}

/// The shards that a subcommand looks at; all the others look at none, so that `SLEEP` and
/// `RELOAD` hold nothing up.
fn locks(engine: &Engine, _: Db, request: Request<'_>) -> ShardSet {
    const OF_KEYS: [&str; 6] =
        ["OBJECT", "DIGEST-VALUE", "LISTPACK", "QUICKLIST", "HTSTATS-KEY", "SDSLEN"];
    let mut shards = ShardSet::new();
    let is = |word| request.get(1).is_some_and(|arg| is_word(arg, word));
    if is("DIGEST") || is("POPULATE") {
        shards.add_all();
    } else if OF_KEYS.into_iter().any(is) {
        for key in request.tail(2).iter() {
            shards.add(engine.backend.shard_of(engine.backend.hash(key)));
        }
    }
    shards
}

pub(super) fn nothing(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.ok();
    Ok(())
}

fn change_repl_id(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.change_replication_id();
    nothing(cx)
}

fn dataset_digest(cx: &mut Cx<'_>) -> Outcome {
    let digest = digest::of_everything(cx)?;
    cx.reply.simple(&digest.hex());
    Ok(())
}

fn digest_value(cx: &mut Cx<'_>) -> Outcome {
    let mut digests = Vec::with_capacity(cx.argc() - 2);
    for at in 2..cx.argc() {
        let key = cx.key(at);
        digests.push(digest::of_value(cx, &key)?);
    }
    cx.reply.array(digests.len());
    digests.iter().for_each(|digest| cx.reply.simple(&digest.hex()));
    Ok(())
}

fn error(cx: &mut Cx<'_>) -> Outcome {
    Err(Failure::text(String::from_utf8_lossy(cx.args.arg(2))))
}

fn log(cx: &mut Cx<'_>) -> Outcome {
    tracing::warn!("DEBUG LOG: {}", String::from_utf8_lossy(cx.args.arg(2)));
    nothing(cx)
}

/// Bits of Redis's access clock, seconds.
const LRU_CLOCK_MAX: u64 = (1 << 24) - 1;

fn object(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(2);
    let info = info_of(cx)?;
    let mut value = Vec::new();
    cx.tx.dump(&key, &mut value)?;
    // The type byte does not count.
    let length = value.len().saturating_sub(1);
    let idle_s = info.idle_ms / 1000;
    let nodes = match info.encoding {
        "quicklist" => quicklist_fields(cx, &value)?,
        _ => String::new(),
    };
    let lru = (cx.now.wall_ms / 1000).saturating_sub(idle_s) & LRU_CLOCK_MAX;
    cx.reply.simple(&format!(
        "Value at:0x{:x} refcount:1 encoding:{} serializedlength:{length} lru:{lru} lru_seconds_idle:{idle_s}{nodes}",
        key.hash, info.encoding
    ));
    Ok(())
}

/// Parses a truth value with C's `atoi`, as Redis does here: anything that is not a number is zero.
pub(super) fn truthy(word: &[u8]) -> bool {
    parse_i64(word).is_some_and(|number| number != 0)
}

/// `REPLYBUFFER`: what `CLIENT LIST` says of buffers for replies.
fn reply_buffer(cx: &mut Cx<'_>) -> Outcome {
    let (word, buffers) = (cx.args.arg(3), &cx.engine.clients.reply_buffers);
    if cx.is(2, "PEAK-RESET-TIME") {
        let ms = match word {
            word if is_word(word, "never") => -1,
            word if is_word(word, "reset") => ReplyBuffers::PEAK_RESET_MS,
            word => parse_i64(word).ok_or(NOT_INTEGER)?,
        };
        buffers.peak_reset_ms.store(ms, Ordering::Relaxed);
    } else if cx.is(2, "RESIZING") {
        let on = parse_i64(word).is_some_and(|number| number != 0);
        buffers.resizing.store(on, Ordering::Relaxed);
    } else {
        return Err(subcommand_syntax(cx.args));
    }
    cx.reply.ok();
    Ok(())
}

fn set_active_expire(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.tuning.active_expire.set(truthy(cx.args.arg(2)));
    nothing(cx)
}

/// Ends the process at once like a crash, with the reason in the log.
fn crash(cx: &mut Cx<'_>) -> Outcome {
    let word = String::from_utf8_lossy(cx.args.arg(1)).to_ascii_uppercase();
    let refused = cx.engine.environment.host.crash(&word);
    Err(Failure::text(format!("ERR {refused}")))
}

/// The structures that Redis tells the sizes of are not ours.
fn structsize(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.simple(&format!("bits:{} ", usize::BITS));
    Ok(())
}

/// Powers of two of the smallest and the largest memory that clients are told apart by.
const EVICTION_BUCKETS: std::ops::RangeInclusive<u32> = 15..=32;

/// The numbers of clients by memory use, as in Redis's pools for `maxmemory-clients`.
fn client_eviction(cx: &mut Cx<'_>) -> Outcome {
    if cx.engine.config.integer(Id::MaxmemoryClients) == 0 {
        return Err(failure("ERR maxmemory-clients is disabled."));
    }
    let held: Vec<u64> =
        cx.engine.clients.list().iter().map(|client| client.memory() as u64).collect();
    let mut text = String::new();
    let mut low = 0;
    for high in EVICTION_BUCKETS.map(|bits| Some(1_u64 << bits)).chain([None]) {
        let within = |bytes: &&u64| **bytes >= low && high.is_none_or(|high| **bytes < high);
        let (total, clients) =
            held.iter().filter(within).fold((0, 0), |(total, n), bytes| (total + bytes, n + 1));
        let range = match high {
            Some(high) => format!("{low:>10} - {:>10}", high - 1),
            None => format!("{low:>10}+            "),
        };
        text += &format!("bucket {range}: tot-mem: {total:>10}, clients: {clients}\n");
        low = high.unwrap_or(low);
    }
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn packed_threshold(cx: &mut Cx<'_>) -> Outcome {
    const MAX: u64 = 4 << 30;
    let size = std::str::from_utf8(cx.args.arg(2)).ok().and_then(memory::parse);
    if size.is_none_or(|bytes| bytes > MAX) {
        return Err(failure(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    }
    nothing(cx)
}

/// Longer sleeps are cut to this, seconds.
const SLEEP_MAX_S: f64 = 3_600.0;

fn sleep(cx: &mut Cx<'_>) -> Outcome {
    let text = String::from_utf8_lossy(cx.args.arg(2));
    let seconds: f64 = text.parse().unwrap_or(0.0);
    if seconds > 0.0 {
        let time = Duration::from_secs_f64(seconds.min(SLEEP_MAX_S));
        cx.engine.environment.host.sleep(time);
    }
    nothing(cx)
}

/// Loading needs every shard, so it cannot happen where some are held already.
pub(super) fn check_alone(cx: &Cx<'_>) -> Outcome {
    match cx.session.may_not_block() {
        true => Err(failure("ERR loading is not possible inside a transaction or script")),
        false => Ok(()),
    }
}

fn reload(cx: &mut Cx<'_>) -> Outcome {
    let (mut save, mut flush, mut merge) = (true, true, false);
    let mut args = cx.args_from(2);
    while !args.is_empty() {
        if args.keyword("NOSAVE") {
            save = false;
        } else if args.keyword("NOFLUSH") {
            flush = false;
        } else if args.keyword("MERGE") {
            merge = true;
        } else {
            return Err(failure(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    check_alone(cx)?;
    let host = &cx.engine.environment.host;
    let done = match (save, flush) {
        (true, true) => host.reload(false),
        (true, false) => host.save().and_then(|()| host.load_snapshot(true, merge)),
        (false, flush) => host.load_snapshot(!flush, merge),
    };
    done.map_err(|error| {
        tracing::warn!(error, "DEBUG RELOAD failed");
        failure("ERR Error trying to load the RDB dump, check server logs.")
    })?;
    nothing(cx)
}

fn loadaof(cx: &mut Cx<'_>) -> Outcome {
    check_alone(cx)?;
    let done = cx.engine.environment.host.reload(true);
    done.map_err(|error| Failure::text(format!("ERR {error}")))?;
    nothing(cx)
}

fn stringmatch_len(cx: &mut Cx<'_>) -> Outcome {
    const MAX: usize = 512 << 20;
    let len = parse_i64(cx.args.arg(2)).and_then(|len| usize::try_from(len).ok());
    let len = len.filter(|len| *len <= MAX).ok_or(NOT_INTEGER)?;
    let matched = glob::matches(cx.args.arg(3), &vec![b'a'; len], false);
    cx.reply.integer(matched.into());
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("DEBUG", super::help::DEBUG);
    Ok(())
}

/// The row of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "debug",
    summary: "A container for debugging commands.",
    since: "1.0.0",
    complexity: "Depends on subcommand.",
    arity: -2,
    locks: LockRule::Custom(locks),
    enabled_by: Some(Id::EnableDebugCommand),
    flags: &[Admin, NoScript, Loading, Stale, System],
    handler: debug,
    ..ADMIN
}];
