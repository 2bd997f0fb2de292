//! Connection commands: PING, ECHO, SELECT, QUIT.

use engine::command::{Flag::*, Group, LockRule, SPEC, Spec};
use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use resp::Proto;
use runtime::Flow;

fn ping(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 2 {
        return Err(cx.wrong_arity());
    }
    let text = cx.args.get(1);
    if cx.session.is_subscribed() && cx.session.proto == Proto::Resp2 {
        // A RESP2 subscriber expects everything to look like a message.
        cx.reply.array(2);
        cx.reply.bulk(b"pong");
        cx.reply.bulk(text.unwrap_or_default());
        return Ok(());
    }
    match text {
        Some(text) => cx.reply.bulk(text),
        None => cx.reply.simple("PONG"),
    }
    Ok(())
}

fn echo(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.bulk(cx.args.arg(1));
    Ok(())
}

fn select(cx: &mut Cx<'_>) -> Outcome {
    let db = super::generic::database(cx, 1)?;
    if db != 0 && cx.engine.is_in_cluster() {
        return Err(failure("ERR SELECT is not allowed in cluster mode"));
    }
    cx.session.select(db);
    cx.reply.ok();
    Ok(())
}

fn quit(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.ok();
    cx.session.flow = Flow::CloseAfterFlush;
    Ok(())
}

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "ping",
        summary: "Returns the server's liveliness response.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: -1,
        group: Group::Connection,
        flags: &[Fast, Health, WhileSubscribed],
        syntax: "[message]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        locks: LockRule::None,
        handler: ping,
        ..SPEC
    },
    Spec {
        name: "echo",
        summary: "Returns the given string.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 2,
        group: Group::Connection,
        flags: &[Loading, Stale, Fast],
        syntax: "message",
        locks: LockRule::None,
        handler: echo,
        ..SPEC
    },
    Spec {
        name: "select",
        summary: "Changes the selected database.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 2,
        group: Group::Connection,
        flags: &[Loading, Stale, Fast],
        syntax: "index",
        locks: LockRule::None,
        handler: select,
        ..SPEC
    },
    Spec {
        name: "quit",
        summary: "Closes the connection.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: -1,
        group: Group::Connection,
        flags: &[
            AllowBusy,
            NoScript,
            Loading,
            Stale,
            Fast,
            NoAuth,
            NotQueued,
            EndsMulti,
            WhileSubscribed,
            Streaming,
        ],
        deprecated: Some(("7.2.0", "just closing the connection")),
        locks: LockRule::None,
        handler: quit,
        ..SPEC
    },
];
