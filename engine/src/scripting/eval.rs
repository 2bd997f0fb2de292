//! `EVAL`, `FCALL` and similar commands: runs a script as one transaction.
//!
//! **Locks.** A script declares its keys, but Redis permits it to use others. If every script
//! locked every shard, no two scripts could run at the same time. So the engine learns how a script
//! behaves:
//!
//! - A script that is not known yet runs with every shard locked (with none, if it declares no
//!   key).
//! - A script that used only its keys is run with only their shards locked from then on.
//! - If a script uses another key before it has written anything, it is stopped and run again with
//!   every shard locked, because nothing has happened yet. This is remembered, so the next time
//!   every shard is locked at once.
//! - If a script that was trusted uses another key only after it has written, it cannot be run
//!   again. The storage is asked to lock further shards. It waits for a bounded time, because two
//!   scripts might wait for each other. If that fails, which takes two scripts that both do this
//!   for the first time at the same moment, the command fails and the script's earlier writes stay,
//!   as after any error.
//!
//! With a storage that cannot lock more shards in the middle of a transaction, no script is
//! trusted: scripts with keys always lock every shard.
//!
//! Inside `MULTI`, every shard is locked if a script is queued.

use super::host::{ScriptHost, Terms};
use super::running::Kind;
use super::state::{Conduct, Worker};
use crate::cx::Cx;
use crate::engine::Engine;
use crate::failure::{Failure, NOT_INTEGER, Outcome, failure};
use crate::gate::Gate;
use crate::session::state::Special;
use crate::text::args::integer;
use resp::{Output, Reply, Request};
use script::shebang::ScriptFlags;
use script::{Failed, Sha};
use storage::{Db, Locks, ShardSet};

const NO_SCRIPT: Failure = failure("NOSCRIPT No matching script. Please use EVAL.");
const NO_VM: Failure = failure("ERR not enough memory for a script");

/// The number of a script call's arguments that are keys.
pub fn key_count(request: Request<'_>) -> Result<usize, Failure> {
    let count = integer(request.arg(2)).map_err(|_| NOT_INTEGER)?;
    let Ok(count) = usize::try_from(count) else {
        return Err(failure("ERR Number of keys can't be negative"));
    };
    if count > request.len() - 3 {
        return Err(failure("ERR Number of keys can't be greater than number of args"));
    }
    Ok(count)
}

/// The shards a script's call locks.
pub fn locks(engine: &Engine, _: Db, request: Request<'_>) -> ShardSet {
    let conduct = engine.scripting.conduct(name_hash(engine, request));
    let has_keys = key_count(request).is_ok_and(|keys| keys > 0);
    if conduct == Some(Conduct::Roams) || (conduct.is_none() && has_keys) {
        let mut all = ShardSet::new();
        all.add_all();
        return all;
    }
    declared(engine, request)
}

/// The shards of the keys a call declares.
fn declared(engine: &Engine, request: Request<'_>) -> ShardSet {
    let mut shards = ShardSet::new();
    let keys = key_count(request).unwrap_or(0);
    for key in request.iter().skip(3).take(keys) {
        shards.add(engine.backend.shard_of(engine.backend.hash(key)));
    }
    shards
}

/// The hash that a script's conduct is kept under.
fn name_hash(engine: &Engine, request: Request<'_>) -> u64 {
    engine.backend.hash(request.arg(1))
}

/// Runs something with a VM, which goes back afterwards.
pub fn with_worker(
    cx: &mut Cx<'_>,
    run: impl FnOnce(&mut Cx<'_>, &mut Worker) -> Outcome,
) -> Outcome {
    let engine = cx.engine;
    let mut worker = engine.scripting.worker(&*engine.backend).ok_or(NO_VM)?;
    let outcome = run(cx, &mut worker);
    engine.scripting.return_worker(worker);
    outcome
}

/// Runs the script whose text is argument 1, with its keys and arguments behind the count in
/// argument 2, and replies.
///
/// # Errors
/// The text does not compile, the count is wrong, or the script may not run now.
pub fn by_text(cx: &mut Cx<'_>, read_only: bool) -> Outcome {
    with_worker(cx, |cx, worker| {
        let keys = key_count(cx.args)?;
        let engine = cx.engine;
        let script = engine.scripting.by_text(&*engine.backend, worker, cx.args.arg(1));
        let script = script.map_err(Failure::text)?;
        run_script(cx, worker, script.sha, script.flags, keys, read_only)
    })
}

/// As [`by_text`], for the cached script whose digest is argument 1.
///
/// # Errors
/// There is no such script, the count is wrong, or the script may not run now.
pub fn by_sha(cx: &mut Cx<'_>, read_only: bool) -> Outcome {
    with_worker(cx, |cx, worker| {
        let sha = Sha::parse(cx.args.arg(1)).ok_or(NO_SCRIPT)?;
        let keys = key_count(cx.args)?;
        let script = cx.engine.scripting.by_sha(worker, &sha).ok_or(NO_SCRIPT)?;
        run_script(cx, worker, sha, script.flags, keys, read_only)
    })
}

fn run_script(
    cx: &mut Cx<'_>,
    worker: &mut Worker,
    sha: Sha,
    flags: ScriptFlags,
    keys: usize,
    read_only: bool,
) -> Outcome {
    let terms = terms(cx, Kind::Script, flags, read_only)?;
    let name = || String::from_utf8_lossy(&sha.hex()).into_owned();
    run(cx, worker, terms, &name, |worker, host, args, seed| {
        let (keys, values) = split(args, keys);
        worker.vm.eval(&sha, keys, values, seed, host)
    })
}

/// The keys and the other arguments of a call.
pub fn split(
    args: Request<'_>,
    keys: usize,
) -> (impl ExactSizeIterator<Item = &[u8]>, impl ExactSizeIterator<Item = &[u8]>) {
    let rest = args.tail(3);
    (rest.iter().take(keys), rest.iter().skip(keys))
}

/// Whether the memory limit was exceeded when the request began. Memory that is used later, by
/// other clients or by the script itself, does not stop the script half-way. Source: Redis's
/// `pre_command_oom_state`.
pub(crate) fn is_short_of_memory(cx: &Cx<'_>) -> bool {
    match cx.session.may_not_block() {
        true => cx.session.special.contains(Special::SHORT),
        false => cx.engine.gate().contains(Gate::OVER_MEMORY),
    }
}

/// The conditions under which a script with these flags runs; the checks of Redis's
/// `scriptPrepareForRun`.
pub fn terms(
    cx: &Cx<'_>,
    kind: Kind,
    flags: ScriptFlags,
    read_only: bool,
) -> Result<Terms, Failure> {
    let no_writes = flags.contains(ScriptFlags::NO_WRITES);
    let allow_oom = flags.contains(ScriptFlags::ALLOW_OOM);
    if !flags.contains(ScriptFlags::COMPATIBLE) {
        if read_only && !no_writes {
            return Err(failure(
                "ERR Can not execute a script with write flag using *_ro command.",
            ));
        }
        if is_short_of_memory(cx) && !allow_oom && !no_writes {
            return Err(failure(
                "OOM allow-oom flag is not set on the script, can not run it when used memory > \
                 'maxmemory'",
            ));
        }
    }
    Ok(Terms { kind, read_only: read_only || no_writes, allow_oom })
}

/// Runs a script or function in `worker` and replies.
pub fn run(
    cx: &mut Cx<'_>,
    worker: &mut Worker,
    terms: Terms,
    name: &dyn Fn() -> String,
    call: impl FnOnce(&mut Worker, &mut ScriptHost<'_, '_>, Request<'_>, u32) -> Result<(), Failed>,
) -> Outcome {
    let args = cx.args;
    let seed = cx.random() as u32;
    // The commands of the script log their own effects.
    cx.changes.rest().effects.suppress();
    let scripting = &cx.engine.scripting;
    let json = scripting.json(terms.kind);
    worker.vm.set_json(json);
    let (mut replied, proto) = (Output::new(), cx.session.proto);
    let (ran, strayed) = {
        let watched = watched(cx);
        let watch = worker.watch.clone();
        let mut host = ScriptHost::new(cx, terms, name, watched, watch);
        let ran = call(worker, &mut host, args, seed).and_then(|()| {
            let reply = &mut Reply::new(&mut replied, proto);
            worker.vm.reply(reply, &mut host)
        });
        (ran, host.strayed)
    };
    if worker.vm.json() != json {
        scripting.set_json(terms.kind, worker.vm.json());
    }
    learn(cx, args, strayed, ran.is_ok());
    if cx.changes.again().is_some() {
        worker.vm.discard();
        return Ok(());
    }
    match ran {
        Ok(()) => cx.reply.output().append(replied),
        Err(Failed { message, counted }) => {
            if !counted {
                let code = message.split(|&b| b == b' ').next().unwrap_or_default();
                cx.engine.observe.stats.count_error(&String::from_utf8_lossy(code));
            }
            cx.reply.error_bytes(&message);
        }
    }
    Ok(())
}

/// The shards of the declared keys, when every shard is locked because it is not known yet whether
/// the script keeps to them.
fn watched(cx: &Cx<'_>) -> Option<ShardSet> {
    let unknown = cx.engine.scripting.conduct(name_hash(cx.engine, cx.args)).is_none();
    (unknown && matches!(*cx.locks, Locks::All)).then(|| declared(cx.engine, cx.args))
}

fn learn(cx: &Cx<'_>, args: Request<'_>, strayed: bool, succeeded: bool) {
    let engine = cx.engine;
    let name = name_hash(engine, args);
    match (strayed, engine.scripting.conduct(name)) {
        (true, Some(Conduct::Roams)) => {}
        (true, _) => engine.scripting.learn(name, Conduct::Roams),
        (false, None)
            if succeeded && engine.backend.can_extend() && !matches!(*cx.locks, Locks::None) =>
        {
            engine.scripting.learn(name, Conduct::Declares);
        }
        _ => {}
    }
}
