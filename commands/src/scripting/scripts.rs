//! `SCRIPT`.

use super::functions::kill_kind;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::scripting::eval::with_worker;
use engine::scripting::running::Kind;
use script::Sha;

pub(super) fn load(cx: &mut Cx<'_>) -> Outcome {
    with_worker(cx, |cx, worker| {
        let engine = cx.engine;
        let script = engine.scripting.by_text(&*engine.backend, worker, cx.args.arg(2));
        cx.reply.bulk(&script.map_err(Failure::text)?.sha.hex());
        Ok(())
    })
}

pub(super) fn exists(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.array(cx.argc() - 2);
    for sha in cx.args.iter().skip(2) {
        let known = Sha::parse(sha).is_some_and(|sha| cx.engine.scripting.knows(&sha));
        cx.reply.integer(known.into());
    }
    Ok(())
}

pub(super) fn flush(cx: &mut Cx<'_>) -> Outcome {
    let known = cx.argc() == 2 || (cx.argc() == 3 && (cx.is(2, "SYNC") || cx.is(2, "ASYNC")));
    if !known {
        return Err(failure("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    cx.engine.scripting.flush();
    cx.reply.ok();
    Ok(())
}

pub(super) fn kill(cx: &mut Cx<'_>) -> Outcome {
    kill_kind(cx, Kind::Script)
}

/// There is no debugger, which `NO` asks for.
pub(super) fn debug(cx: &mut Cx<'_>) -> Outcome {
    if cx.is(2, "NO") {
        cx.reply.ok();
        return Ok(());
    }
    Err(match cx.is(2, "YES") || cx.is(2, "SYNC") {
        true => failure("ERR the script debugger is not available here"),
        false => failure("ERR Use SCRIPT DEBUG YES/SYNC/NO"),
    })
}

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help(
        "SCRIPT",
        &[
            "DEBUG (YES|SYNC|NO)",
            "    Set the debug mode for subsequent scripts executed.",
            "EXISTS <sha1> [<sha1> ...]",
            "    Return information about the existence of the scripts in the script cache.",
            "FLUSH [ASYNC|SYNC]",
            "    Flush the Lua scripts cache. Very dangerous on replicas.",
            "    When called without the optional mode argument, the behavior is determined by the",
            "    lazyfree-lazy-user-flush configuration directive. Valid modes are:",
            "    * ASYNC: Asynchronously flush the scripts cache.",
            "    * SYNC: Synchronously flush the scripts cache.",
            "KILL",
            "    Kill the currently executing Lua script.",
            "LOAD <script>",
            "    Load a script into the scripts cache without executing it.",
        ],
    );
    Ok(())
}
