//! `HOTKEYS`: the keys on which most time is spent, and the most bytes.

use super::base::{ADMIN, CONTAINER, HELP};
use engine::Engine;
use engine::cluster::Cluster;
use engine::command::Spec;
use engine::commit::SLOTS;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::observe::hot_keys::{Hot, HotKeys, Options, Report};
use engine::text::args::{Args, is_word, parse_i64};
use std::collections::BTreeSet;
use std::ops::Range;

/// The number of keys that are named if `COUNT` does not say it.
const COUNT_DEFAULT: usize = 10;

/// The largest `DURATION`, in seconds.
const DURATION_MAX: i64 = 1_000_000;

fn start(cx: &mut Cx<'_>) -> Outcome {
    let options = options(cx.engine, cx.args_from(2))?;
    if !cx.engine.observe.hot_keys.begin(&cx.engine.notify.keyspace, options, cx.now) {
        return Err(failure("ERR hotkey tracking session already in progress"));
    }
    cx.reply.ok();
    Ok(())
}

fn options(engine: &Engine, mut args: Args<'_>) -> Result<Options, Failure> {
    let (time, bytes) = metrics(&mut args)?;
    let (count, slots) = (COUNT_DEFAULT, Vec::new());
    let mut options = Options { time, bytes, count, duration_ms: 0, ratio: 1, slots };
    while !args.is_empty() {
        if let Some(count) = args.option("COUNT") {
            const { assert!(HotKeys::COUNT_MAX == 64) };
            options.count = number(count, 64, "COUNT must be between 1 and 64")? as usize;
        } else if let Some(seconds) = args.option("DURATION") {
            let wrong = "DURATION must be between 1 and 1000000";
            options.duration_ms = number(seconds, DURATION_MAX, wrong)? as u64 * 1000;
        } else if let Some(ratio) = args.option("SAMPLE") {
            options.ratio = number(ratio, i32::MAX.into(), "SAMPLE ratio must be positive")? as u64;
        } else if let Some(count) = args.option("SLOTS") {
            options.slots = own_slots(engine, count, &mut args, !options.slots.is_empty())?;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

/// `METRICS count [CPU] [NET]`. As with Redis, what is no metric counts as one.
fn metrics(args: &mut Args<'_>) -> Result<(bool, bool), Failure> {
    let count = args.option("METRICS").ok_or(failure("ERR METRICS parameter is required"))?;
    let (mut time, mut bytes) = (false, false);
    for _ in 0..number(count, 2, "METRICS count must be > 0 and <= 2")? {
        let wrong = "ERR METRICS count does not match number of metric types provided";
        let metric = args.next().ok_or(failure(wrong))?;
        if is_word(metric, "CPU") && std::mem::replace(&mut time, true) {
            return Err(failure("ERR METRICS CPU defined more than once!"));
        }
        if is_word(metric, "NET") && std::mem::replace(&mut bytes, true) {
            return Err(failure("ERR METRICS NET defined more than once!"));
        }
    }
    match time || bytes {
        true => Ok((time, bytes)),
        false => Err(failure("ERR METRICS no valid metrics passed. Supported: CPU|NET")),
    }
}

/// The slots behind `SLOTS count`, all of which are this node's. `again`: there were some before.
fn own_slots(
    engine: &Engine,
    count: &[u8],
    args: &mut Args<'_>,
    again: bool,
) -> Result<Vec<Range<u16>>, Failure> {
    let wrong = "ERR SLOTS parameter cannot be used in non-cluster mode";
    let cluster = engine.cluster().ok_or(failure(wrong))?;
    if again {
        return Err(failure("ERR SLOTS parameter already specified"));
    }
    let count = number(count, SLOTS.into(), "SLOTS count must be between 1 and 16384")? as usize;
    if args.left() < count {
        return Err(failure("ERR not enough slot numbers provided"));
    }
    let (served, mut slots) = (cluster.served(), BTreeSet::new());
    for word in args.by_ref().take(count) {
        let slot = parse_i64(word).and_then(|slot| u16::try_from(slot).ok());
        let slot = slot.filter(|slot| *slot < SLOTS);
        let slot = slot.ok_or(failure("ERR Invalid or out of range slot"))?;
        if !served.iter().any(|range| range.contains(&slot)) {
            return Err(Failure::text(format!("ERR slot {slot} not handled by this node")));
        }
        if !slots.insert(slot) {
            return Err(failure("ERR duplicate slot number"));
        }
    }
    Ok(ranges(&slots))
}

fn ranges(slots: &BTreeSet<u16>) -> Vec<Range<u16>> {
    let mut ranges: Vec<Range<u16>> = Vec::new();
    for slot in slots {
        match ranges.last_mut().filter(|last| last.end == *slot) {
            Some(last) => last.end += 1,
            None => ranges.push(*slot..*slot + 1),
        }
    }
    ranges
}

/// A number from 1 to `max`.
fn number(word: &[u8], max: i64, otherwise: &str) -> Result<i64, Failure> {
    let number = parse_i64(word).filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| Failure::text(format!("ERR {otherwise}")))
}

/// Answers with a list of one map, as Redis, whose clients append to it what other nodes answer.
fn get(cx: &mut Cx<'_>) -> Outcome {
    let Some(report) = cx.engine.observe.hot_keys.report(cx.now) else {
        cx.reply.null();
        return Ok(());
    };
    let all = || std::iter::once(0..SLOTS).collect();
    let everything = || cx.engine.cluster().map_or_else(all, Cluster::served);
    let slots = report.selected.as_ref().map_or_else(everything, |it| it.slots.clone());
    let numbers = numbers(&report);
    let lists = [("by-cpu-time-us", report.by_time_us), ("by-net-bytes", report.by_bytes)];
    let lists = lists.into_iter().filter_map(|(name, list)| Some((name, list?)));
    let lists: Vec<(&str, Vec<Hot>)> = lists.collect();
    cx.reply.array(1);
    cx.reply.map(numbers.len() + 1 + lists.len());
    for (name, number) in numbers {
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(number as i64);
        if name == "sample-ratio" {
            selected_slots(cx, &slots);
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

/// The numbers of a report, in the order of Redis.
fn numbers(report: &Report) -> Vec<(&'static str, u64)> {
    let Report { selected, ratio, .. } = report;
    let seen = selected.as_ref().filter(|_| *ratio > 1);
    let by_bytes = report.by_bytes.as_ref();
    let all = [
        ("tracking-active", Some(u64::from(report.is_active))),
        ("sample-ratio", Some(*ratio)),
        ("sampled-commands-selected-slots-us", seen.map(|it| it.seen_us)),
        ("all-commands-selected-slots-us", selected.as_ref().map(|it| it.us)),
        ("all-commands-all-slots-us", Some(report.total_us)),
        ("net-bytes-sampled-commands-selected-slots", seen.map(|_| report.seen_bytes)),
        ("net-bytes-all-commands-selected-slots", selected.as_ref().map(|it| it.bytes)),
        ("net-bytes-all-commands-all-slots", Some(report.total_bytes)),
        ("collection-start-time-unix-ms", Some(report.started_ms)),
        ("collection-duration-ms", Some(report.duration_ms)),
        ("total-net-bytes", by_bytes.map(|_| report.seen_bytes)),
    ];
    all.into_iter().filter_map(|(name, number)| Some((name, number?))).collect()
}

/// Single slots, and first and last ones.
fn selected_slots(cx: &mut Cx<'_>, slots: &[Range<u16>]) {
    cx.reply.bulk(b"selected-slots");
    cx.reply.array(slots.len());
    for range in slots {
        let (first, last) = (range.start, range.end - 1);
        cx.reply.array(if first == last { 1 } else { 2 });
        cx.reply.integer(first.into());
        if first != last {
            cx.reply.integer(last.into());
        }
    }
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
        return Err(failure("ERR hotkey tracking session in progress, stop tracking first"));
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
