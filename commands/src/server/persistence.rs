//! Saving, and the end: SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE, SHUTDOWN.

use super::base::SERVER;
use super::replication::wait_for_replicas;
use engine::command::{Category, Flag::*, Spec};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::gate::Gate;
use engine::host::{Begun, End, When};
use engine::observe::section;
use runtime::Flow;

/// A refusal of the host, as an error reply.
fn refused(error: String) -> Failure {
    Failure::text(format!("ERR {error}"))
}

fn save(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.environment.host.save().map_err(refused)?;
    cx.reply.ok();
    Ok(())
}

/// When work in the background that a command asks for begins; inside of `EXEC` it is always later.
fn when(cx: &Cx<'_>, otherwise: When) -> When {
    if cx.session.may_not_block() { When::Later } else { otherwise }
}

fn bgsave(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 2 || (cx.argc() == 2 && !cx.is(1, "SCHEDULE")) {
        return Err(SYNTAX);
    }
    let when = when(cx, if cx.argc() == 2 { When::Soon } else { When::Now });
    cx.reply.simple(
        match cx.engine.environment.host.save_in_background(when).map_err(refused)? {
            Begun::Started => "Background saving started",
            Begun::Scheduled => "Background saving scheduled",
        },
    );
    Ok(())
}

fn bgrewriteaof(cx: &mut Cx<'_>) -> Outcome {
    let when = when(cx, When::Soon);
    cx.reply.simple(match cx.engine.environment.host.rewrite_journal(when).map_err(refused)? {
        Begun::Started => "Background append only file rewriting started",
        Begun::Scheduled => "Background append only file rewriting scheduled",
    });
    Ok(())
}

fn lastsave(cx: &mut Cx<'_>) -> Outcome {
    let seconds = section(cx.engine, "persistence", cx.now).number("rdb_last_save_time");
    cx.reply.integer(seconds as i64);
    Ok(())
}

/// The parsed options of `SHUTDOWN`.
#[derive(Default)]
struct Request {
    end: End,
    abort: bool,
}

fn parse_shutdown(cx: &Cx<'_>) -> Result<Request, Failure> {
    let mut request = Request::default();
    let mut args = cx.args_from(1);
    while !args.is_empty() {
        let save = args.keyword("SAVE");
        if save || args.keyword("NOSAVE") {
            if request.end.save.is_some_and(|before| before != save) {
                return Err(SYNTAX);
            }
            request.end.save = Some(save);
        } else if args.keyword("NOW") {
            request.end.now = true;
        } else if args.keyword("FORCE") {
            request.end.force = true;
        } else if args.keyword("ABORT") {
            request.abort = true;
        } else {
            return Err(SYNTAX);
        }
    }
    let alone = request.end.save.is_none() && !request.end.now && !request.end.force;
    if request.abort && !alone { Err(SYNTAX) } else { Ok(request) }
}

fn shutdown(cx: &mut Cx<'_>) -> Outcome {
    let request = parse_shutdown(cx)?;
    let engine = cx.engine;
    let host = &engine.environment.host;
    if request.abort {
        host.abort_shutdown().map_err(refused)?;
        cx.reply.ok();
        return Ok(());
    }
    if request.end.save != Some(false) && cx.engine.gate().contains(Gate::BUSY) {
        return Err(cx.engine.scripting.running.busy());
    }
    if cx.session.may_not_block() && !request.end.now {
        return Err(failure(
            "ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client",
        ));
    }
    let ends = match cx.session.is_served() {
        true => host.shutdown_is_under_way().map(|()| false),
        false => host.shutdown(request.end),
    };
    match ends.map_err(refused)? {
        // Redis closes without a word: that is the answer clients wait for.
        true => cx.session.flow = Flow::CloseAfterFlush,
        // It waits like them for the end, or for an error.
        false => {
            wait_for_replicas(cx, None, None, |_, _, _| {});
        }
    }
    Ok(())
}

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "save",
        summary: "Synchronously saves the database(s) to disk.",
        since: "1.0.0",
        complexity: "O(N) where N is the total number of keys in all databases",
        arity: 1,
        flags: &[Admin, NoScript, NoAsyncLoading, NoMulti],
        handler: save,
        ..SERVER
    },
    Spec {
        name: "bgsave",
        summary: "Asynchronously saves the database(s) to disk.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: -1,
        flags: &[Admin, NoScript, NoAsyncLoading],
        syntax: "[SCHEDULE] @3.2.2",
        history: &[("3.2.2", "Added the `SCHEDULE` option.")],
        handler: bgsave,
        ..SERVER
    },
    Spec {
        name: "bgrewriteaof",
        summary: "Asynchronously rewrites the append-only file to disk.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 1,
        flags: &[Admin, NoScript, NoAsyncLoading],
        handler: bgrewriteaof,
        ..SERVER
    },
    Spec {
        name: "lastsave",
        summary: "Returns the Unix timestamp of the last successful save to disk.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 1,
        flags: &[Loading, Stale, Fast],
        categories: &[Category::Admin, Category::Dangerous],
        tips: &["nondeterministic_output"],
        handler: lastsave,
        ..SERVER
    },
    Spec {
        name: "shutdown",
        summary: "Synchronously saves the database(s) to disk and shuts down the Redis server.",
        since: "1.0.0",
        complexity: "O(N) when saving, where N is the total number of keys in all databases when saving data, otherwise O(1)",
        arity: -1,
        flags: &[Admin, NoScript, Loading, Stale, NoMulti, AllowBusy],
        syntax: "save-selector: [NOSAVE|SAVE] [NOW] @7.0.0 [FORCE] @7.0.0 [ABORT] @7.0.0",
        history: &[("7.0.0", "Added the `NOW`, `FORCE` and `ABORT` modifiers.")],
        handler: shutdown,
        ..SERVER
    },
];
