//! TIME, MONITOR, LOLWUT, MODULE.

use super::base::{CONTAINER, HELP, SERVER};
use crate::auth::REDIS_VERSION;
use engine::command::{Flag::*, Spec};
use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use engine::text::args::integer;

fn time(cx: &mut Cx<'_>) -> Outcome {
    // Time stands still while a script runs.
    let now_us = match cx.session.in_script() {
        true => cx.now.wall_ms * 1000,
        false => cx.engine.environment.host.time_us(cx.now),
    };
    cx.reply.array(2);
    cx.reply.bulk_i64((now_us / 1_000_000) as i64);
    cx.reply.bulk_i64((now_us % 1_000_000) as i64);
    Ok(())
}

fn monitor(cx: &mut Cx<'_>) -> Outcome {
    if cx.session.may_not_block() {
        return Err(failure("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    cx.engine.notify.monitors.begin(cx.session.client(), cx.engine.gates());
    cx.reply.ok();
    Ok(())
}

/// Letters of a layer, from fine clay to coarse sand.
const GRAINS: [char; 8] = [' ', '.', ':', '-', '=', '+', '*', '#'];

/// A core of sediment: summer layers are light and thick, winter layers dark and thin, and the
/// lake's floor waves a little. The oldest year lies at the bottom.
fn core(columns: usize, rows: usize, mut random: impl FnMut() -> u64) -> String {
    let layers: Vec<char> = (0..rows * 2)
        .flat_map(|year| {
            let (thick, grain) = match year % 2 {
                0 => (1 + random() % 3, 1 + random() % 3),
                _ => (1, 5 + random() % 3),
            };
            vec![GRAINS[grain as usize % GRAINS.len()]; thick as usize]
        })
        .collect();
    let mut depth = vec![0_usize; columns];
    for column in 1..columns {
        let step = random() % 7;
        depth[column] = match step {
            0 => depth[column - 1].saturating_sub(1),
            1 => (depth[column - 1] + 1).min(rows / 3),
            _ => depth[column - 1],
        };
    }
    let mut text = String::with_capacity((columns + 1) * rows);
    for row in 0..rows {
        text.extend(depth.iter().map(|shift| layers[(row + shift) % layers.len()]));
        text.push('\n');
    }
    text
}

fn lolwut(cx: &mut Cx<'_>) -> Outcome {
    let mut at = 1;
    if cx.argc() > 2 && cx.is(1, "VERSION") {
        integer(cx.args.arg(2))?;
        at = 3;
    }
    // As in Redis, arguments that are not numbers are ignored.
    let size = |index: usize, default: usize, max: i64| {
        let given = cx.args.get(index).and_then(resp::parse_i64);
        given.map_or(default, |n| n.clamp(1, max) as usize)
    };
    let (columns, rows) = (size(at, 66, 160), size(at + 1, 16, 60));
    let mut text = core(columns, rows, || cx.random());
    text.push_str(&format!(
        "\nA varve is one year at the bottom of a lake. Varve ver. {}, Redis ver. {REDIS_VERSION}\n",
        env!("CARGO_PKG_VERSION")
    ));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn module_list(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.array(0);
    Ok(())
}

fn module_load(cx: &mut Cx<'_>) -> Outcome {
    cx.entry().check_enabled(&cx.engine.config, cx.session.client())?;
    Err(failure("ERR Error loading the extension. Please check the server logs."))
}

fn module_unload(cx: &mut Cx<'_>) -> Outcome {
    cx.entry().check_enabled(&cx.engine.config, cx.session.client())?;
    Err(failure("ERR Error unloading module: no such module with that name"))
}

fn module_help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("MODULE", super::help::MODULE);
    Ok(())
}

/// The fields shared by commands that would load something.
const LOADER: Spec = Spec {
    since: "4.0.0",
    flags: &[Admin, NoScript, NoAsyncLoading],
    enabled_by: Some(Id::EnableModuleCommand),
    ..SERVER
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "time",
        summary: "Returns the server time.",
        since: "2.6.0",
        complexity: "O(1)",
        arity: 1,
        flags: &[Loading, Stale, Fast],
        tips: &["nondeterministic_output"],
        handler: time,
        ..SERVER
    },
    Spec {
        name: "monitor",
        summary: "Listens for all requests received by the server in real-time.",
        since: "1.0.0",
        complexity: "O(1)",
        arity: 1,
        flags: &[Admin, NoScript, Loading, Stale, Streaming],
        handler: monitor,
        ..SERVER
    },
    Spec {
        name: "lolwut",
        summary: "Displays computer art and the Redis version",
        since: "5.0.0",
        complexity: "O(1)",
        arity: -1,
        flags: &[Readonly, Fast],
        syntax: "[VERSION version]",
        handler: lolwut,
        ..SERVER
    },
    Spec {
        name: "module",
        summary: "A container for module commands.",
        since: "4.0.0",
        subcommands: &[
            Spec { handler: module_help, ..HELP },
            Spec {
                name: "list",
                summary: "Returns all loaded modules.",
                since: "4.0.0",
                complexity: "O(N) where N is the number of loaded modules.",
                arity: 2,
                flags: &[Admin, NoScript],
                tips: &["nondeterministic_output_order"],
                handler: module_list,
                ..SERVER
            },
            Spec {
                name: "load",
                summary: "Loads a module.",
                arity: -3,
                syntax: "path [arg [arg ...]]",
                handler: module_load,
                ..LOADER
            },
            Spec {
                name: "loadex",
                summary: "Loads a module using extended parameters.",
                since: "7.0.0",
                arity: -3,
                syntax: "path configs: [CONFIG <name value> [CONFIG <name value> ...]] [ARGS args [args ...]]",
                handler: module_load,
                ..LOADER
            },
            Spec {
                name: "unload",
                summary: "Unloads a module.",
                arity: 3,
                syntax: "name",
                handler: module_unload,
                ..LOADER
            },
        ],
        ..CONTAINER
    },
];
