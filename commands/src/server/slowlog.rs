//! `SLOWLOG`: what took long, newest first.

use super::base::{CONTAINER, HELP};
use engine::command::{Flag, Spec};
use engine::cx::Cx;
use engine::failure::{Outcome, failure, subcommand_syntax};
use engine::text::args::parse_i64;

fn get(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 3 {
        return Err(subcommand_syntax(cx.args));
    }
    let count = match cx.args.get(2) {
        None => 10,
        Some(word) => parse_i64(word)
            .filter(|count| *count >= -1)
            .ok_or(failure("ERR count should be greater than or equal to -1"))?,
    };
    // -1 asks for all of them.
    let entries = cx.engine.observe.slowlog.newest(usize::try_from(count).unwrap_or(usize::MAX));
    cx.reply.array(entries.len());
    for entry in entries {
        cx.reply.array(6);
        cx.reply.integer(entry.id as i64);
        cx.reply.integer(entry.time_s as i64);
        cx.reply.integer(entry.duration_us as i64);
        cx.reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| cx.reply.bulk(arg));
        cx.reply.bulk(entry.peer.as_bytes());
        cx.reply.bulk(entry.name.as_bytes());
    }
    Ok(())
}

fn len(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.integer(cx.engine.observe.slowlog.len() as i64);
    Ok(())
}

fn reset(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.observe.slowlog.clear();
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("SLOWLOG", super::help::SLOWLOG);
    Ok(())
}

/// The fields that the subcommands share.
const SLOWLOG: Spec = Spec {
    since: "2.2.12",
    flags: &[Flag::Admin, Flag::Loading, Flag::Stale],
    ..super::base::SERVER
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "slowlog",
    summary: "A container for slow log commands.",
    since: "2.2.12",
    subcommands: &[
        Spec {
            name: "get",
            summary: "Returns the slow log's entries.",
            complexity: "O(N) where N is the number of entries returned",
            arity: -2,
            syntax: "[count]",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            history: &[("4.0.0", "Added client IP address, port and name to the reply.")],
            handler: get,
            ..SLOWLOG
        },
        Spec { since: "6.2.0", handler: help, ..HELP },
        Spec {
            name: "len",
            summary: "Returns the number of entries in the slow log.",
            arity: 2,
            tips: &[
                "request_policy:all_nodes",
                "response_policy:agg_sum",
                "nondeterministic_output",
            ],
            handler: len,
            ..SLOWLOG
        },
        Spec {
            name: "reset",
            summary: "Clears all entries from the slow log.",
            complexity: "O(N) where N is the number of entries in the slowlog",
            arity: 2,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: reset,
            ..SLOWLOG
        },
    ],
    ..CONTAINER
}];
