//! `CONFIG`: directives read and changed while the server runs.

use super::base::{ADMIN, CONTAINER, HELP};
use engine::command::{Secret, Spec};
use engine::config::SetContext;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::gate::Gate;
use std::sync::atomic::Ordering;

fn get(cx: &mut Cx<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = cx.args.tail(2).iter().collect();
    let found = cx.engine.config.get_matching(&patterns);
    cx.reply.map(found.len());
    for (name, value) in found {
        cx.reply.bulk(name.as_bytes());
        cx.reply.bulk(value.as_bytes());
    }
    Ok(())
}

fn set(cx: &mut Cx<'_>) -> Outcome {
    if !cx.argc().is_multiple_of(2) {
        return Err(SYNTAX);
    }
    let words: Vec<&[u8]> = cx.args.tail(2).iter().collect();
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|p| (p[0], p[1])).collect();
    let context = SetContext {
        local: cx.session.client().is_local(),
        loading: cx.engine.gate().contains(Gate::LOADING),
        owner: false,
    };
    cx.engine.config.set_many(&pairs, context).map_err(|error| Failure::text(error.to_string()))?;
    cx.reply.ok();
    Ok(())
}

fn resetstat(cx: &mut Cx<'_>) -> Outcome {
    cx.engine.observe.stats.reset();
    let freed = cx.engine.backend.lazily_freed().freed;
    cx.engine.observe.stats.lazily_freed_before.store(freed, Ordering::Relaxed);
    cx.engine.clients.accepted.store(0, Ordering::Relaxed);
    cx.engine.clients.rejected.store(0, Ordering::Relaxed);
    cx.engine.observe.rates.reset();
    runtime::trace::reset();
    cx.reply.ok();
    Ok(())
}

fn rewrite(cx: &mut Cx<'_>) -> Outcome {
    let done = cx.engine.environment.host.rewrite_config(false);
    done.map_err(|error| Failure::text(format!("ERR {error}")))?;
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("CONFIG", super::help::CONFIG);
    Ok(())
}

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "config",
    summary: "A container for server configuration commands.",
    since: "2.0.0",
    subcommands: &[
        Spec {
            name: "get",
            summary: "Returns the effective values of configuration parameters.",
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            arity: -3,
            syntax: "parameter [parameter ...]",
            history: &[(
                "7.0.0",
                "Added the ability to pass multiple pattern parameters in one call",
            )],
            handler: get,
            ..ADMIN
        },
        Spec { since: "5.0.0", handler: help, ..HELP },
        Spec {
            name: "resetstat",
            summary: "Resets the server's statistics.",
            since: "2.0.0",
            arity: 2,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: resetstat,
            ..ADMIN
        },
        Spec {
            name: "rewrite",
            summary: "Persists the effective configuration to file.",
            since: "2.8.0",
            arity: 2,
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: rewrite,
            ..ADMIN
        },
        Spec {
            name: "set",
            summary: "Sets configuration parameters in-flight.",
            since: "2.0.0",
            complexity: "O(N) when N is the number of configuration parameters provided",
            arity: -4,
            secrets: &[Secret::Directives(2)],
            syntax: "parameter value [parameter value ...]",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            history: &[("7.0.0", "Added the ability to set multiple parameters in one call.")],
            handler: set,
            ..ADMIN
        },
    ],
    ..CONTAINER
}];
