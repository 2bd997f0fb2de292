//! `HOTKEYS`: the keys on which most time is spent, and the most bytes.

use super::base::{ADMIN, CONTAINER, HELP};
use engine::command::Spec;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::observe::hot_keys::{Hot, HotKeys, Options};
use engine::text::args::{Args, parse_i64};

/// The number of keys that are named if `COUNT` does not say it.
const COUNT_DEFAULT: usize = 10;

/// The largest `DURATION` in seconds, and the largest `SAMPLE`.
const NUMBER_MAX: i64 = 1_000_000;

fn start(cx: &mut Cx<'_>) -> Outcome {
    let options = options(cx.args_from(2))?;
    if !cx.engine.observe.hot_keys.begin(&cx.engine.notify.keyspace, options, cx.now) {
        return Err(failure("ERR hotkeys tracking session already in progress"));
    }
    cx.reply.ok();
    Ok(())
}

fn options(mut args: Args<'_>) -> Result<Options, Failure> {
    let count = args.option("METRICS").ok_or(failure("ERR METRICS parameter is required"))?;
    let count = number(count, "METRICS count", 2)?;
    let (mut time, mut bytes) = (false, false);
    while !(time && bytes) {
        if args.keyword("CPU") {
            time = true;
        } else if args.keyword("NET") {
            bytes = true;
        } else {
            break;
        }
    }
    if i64::from(time) + i64::from(bytes) != count {
        return Err(failure("ERR METRICS count does not match the number of metrics"));
    }
    let count = COUNT_DEFAULT;
    let mut options = Options { time, bytes, count, duration_ms: 0, ratio: 1 };
    while !args.is_empty() {
        if let Some(count) = args.option("COUNT") {
            options.count = number(count, "COUNT", HotKeys::COUNT_MAX as i64)? as usize;
        } else if let Some(seconds) = args.option("DURATION") {
            options.duration_ms = number(seconds, "DURATION", NUMBER_MAX)? as u64 * 1000;
        } else if let Some(ratio) = args.option("SAMPLE") {
            options.ratio = number(ratio, "SAMPLE", NUMBER_MAX)? as u64;
        } else if args.keyword("SLOTS") {
            return Err(failure(
                "ERR SLOTS is not supported: all slots of this server are tracked",
            ));
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

/// A number from 1 to `max`.
fn number(word: &[u8], name: &str, max: i64) -> Result<i64, Failure> {
    let number = parse_i64(word).filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Failure::text(format!("ERR {name} must be between 1 and {max}")))
}

fn get(cx: &mut Cx<'_>) -> Outcome {
    let Some(report) = cx.engine.observe.hot_keys.report(cx.now) else {
        cx.reply.null();
        return Ok(());
    };
    let numbers = [
        ("tracking-active", u64::from(report.is_active)),
        ("sample-ratio", report.ratio),
        ("all-commands-all-slots-us", report.total_us),
        ("net-bytes-all-commands-all-slots", report.total_bytes),
        ("collection-start-time-unix-ms", report.started_ms),
        ("collection-duration-ms", report.duration_ms),
    ];
    let lists = [("by-cpu-time-us", report.by_time_us), ("by-net-bytes", report.by_bytes)];
    let lists = lists.into_iter().filter_map(|(name, list)| Some((name, list?)));
    let lists: Vec<(&str, Vec<Hot>)> = lists.collect();
    cx.reply.map(numbers.len() + 1 + lists.len());
    for (name, number) in numbers {
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(number as i64);
        if name == "sample-ratio" {
            cx.reply.bulk(b"selected-slots");
            cx.reply.array(0);
        }
    }
    for (name, keys) in lists {
        cx.reply.bulk(name.as_bytes());
        cx.reply.array(2 * keys.len());
        for (key, spent) in keys {
            cx.reply.bulk(&key);
            cx.reply.integer(spent as i64);
        }
    }
    Ok(())
}

fn stop(cx: &mut Cx<'_>) -> Outcome {
    match cx.engine.observe.hot_keys.end(&cx.engine.notify.keyspace, cx.now) {
        true => cx.reply.ok(),
        false => cx.reply.null(),
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_>) -> Outcome {
    if !cx.engine.observe.hot_keys.reset(cx.now) {
        return Err(failure("ERR hotkeys tracking session in progress, stop tracking first"));
    }
    cx.reply.ok();
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("HOTKEYS", super::help::HOTKEYS);
    Ok(())
}

/// The fields that the subcommands share.
const HOTKEYS: Spec = Spec {
    since: "8.6.0",
    complexity: "O(1)",
    arity: 2,
    tips: &["request_policy:special", "response_policy:special", "nondeterministic_output"],
    ..ADMIN
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "hotkeys",
    summary: "A container for commands that find the keys on which most is spent.",
    since: "8.6.0",
    subcommands: &[
        Spec {
            name: "get",
            summary: "Returns the keys on which most time and most bytes were spent.",
            complexity: "O(K*log(K)) where K is the number of keys that are tracked",
            handler: get,
            ..HOTKEYS
        },
        Spec { since: "8.6.0", handler: help, ..HELP },
        Spec { name: "reset", summary: "Forgets what was found.", handler: reset, ..HOTKEYS },
        Spec {
            name: "start",
            summary: "Begins to track the keys on which most is spent.",
            complexity: "O(1); every command then costs O(N) in its keys more.",
            arity: -2,
            syntax: "METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio] [SLOTS count slot [slot ...]]",
            handler: start,
            ..HOTKEYS
        },
        Spec {
            name: "stop",
            summary: "Ends tracking, and keeps what was found.",
            handler: stop,
            ..HOTKEYS
        },
    ],
    ..CONTAINER
}];
