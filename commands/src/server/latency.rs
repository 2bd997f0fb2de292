//! `LATENCY`: shows the records of the latency monitor and the histograms of commands.

use super::base::{ADMIN, CONTAINER, HELP};
use super::sparkline;
use engine::command::{CommandEntry, CommandId, Spec};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome};
use engine::histogram::Histogram;
use engine::observe::latency::Series;
use std::fmt::Write;

fn latest(cx: &mut Cx<'_>) -> Outcome {
    let events = cx.engine.observe.latency.all();
    cx.reply.array(events.len());
    for (name, series) in events {
        let last = series.samples.back();
        cx.reply.array(4);
        cx.reply.bulk(name.as_bytes());
        cx.reply.integer(last.map_or(0, |sample| sample.time_s as i64));
        cx.reply.integer(last.map_or(0, |sample| sample.latency_ms as i64));
        cx.reply.integer(series.max_ms as i64);
    }
    Ok(())
}

fn history(cx: &mut Cx<'_>) -> Outcome {
    let series = cx.engine.observe.latency.series(cx.args.arg(2)).unwrap_or_default();
    cx.reply.array(series.samples.len());
    for sample in series.samples {
        cx.reply.array(2);
        cx.reply.integer(sample.time_s as i64);
        cx.reply.integer(sample.latency_ms as i64);
    }
    Ok(())
}

fn reset(cx: &mut Cx<'_>) -> Outcome {
    let named = cx.args.tail(2);
    let all = named.is_empty();
    let forget = |name: &str| all || named.iter().any(|arg| arg == name.as_bytes());
    let count = cx.engine.observe.latency.reset(forget);
    cx.reply.integer(count as i64);
    Ok(())
}

fn graph(cx: &mut Cx<'_>) -> Outcome {
    let event = String::from_utf8_lossy(cx.args.arg(2)).into_owned();
    let series = cx.engine.observe.latency.series(cx.args.arg(2));
    let series = series
        .filter(|series| !series.samples.is_empty())
        .ok_or_else(|| Failure::text(format!("ERR No samples available for event '{event}'")))?;
    let text = draw(&event, &series, cx.now.wall_ms / 1000);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A headline with the extremes, and a graph of the samples with their age below.
fn draw(event: &str, series: &Series, now_s: u64) -> String {
    let values: Vec<u64> = series.samples.iter().map(|sample| sample.latency_ms).collect();
    let ages: Vec<String> =
        series.samples.iter().map(|s| age(now_s.saturating_sub(s.time_s))).collect();
    let (high, low) = (values.iter().max(), values.iter().min());
    let mut text = format!(
        "{event} - high {} ms, low {} ms (all time high {} ms)\n",
        high.unwrap_or(&0),
        low.unwrap_or(&0),
        series.max_ms
    );
    text.push_str(&"-".repeat(80));
    text.push('\n');
    text.push_str(&sparkline::draw(&values, &ages));
    text
}

/// Seconds in the shortest unit that fits: `12s`, `3m`, `5h`, `2d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..86_400 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn doctor(cx: &mut Cx<'_>) -> Outcome {
    let monitor = &cx.engine.observe.latency;
    let events = monitor.all();
    let mut text = String::new();
    if !monitor.is_on() && events.is_empty() {
        text.push_str(
            "Latency monitoring is off. Turn it on with \
             CONFIG SET latency-monitor-threshold <milliseconds>, and ask again later.\n",
        );
    } else if events.is_empty() {
        text.push_str("No moment has been longer than the threshold so far.\n");
    } else {
        text.push_str("Moments longer than the threshold, by event:\n\n");
        events.iter().for_each(|(name, series)| report(&mut text, name, series));
        advise(&mut text, &events);
    }
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn report(text: &mut String, name: &str, series: &Series) {
    let count = series.samples.len() as u64;
    let sum: u64 = series.samples.iter().map(|sample| sample.latency_ms).sum();
    let first = series.samples.front().map_or(0, |sample| sample.time_s);
    let last = series.samples.back().map_or(0, |sample| sample.time_s);
    let mean = sum / count.max(1);
    let _ = writeln!(
        text,
        "- {name}: {count} samples over {} s, {mean} ms on average, {} ms at worst.",
        last - first,
        series.max_ms
    );
}

/// Appends the advice that follows from the events that occurred.
fn advise(text: &mut String, events: &[(&'static str, Series)]) {
    let advice = [
        (
            "command",
            "SLOWLOG GET names the slow commands; lower slowlog-log-slower-than to see more of them.",
        ),
        (
            "fast-command",
            "Commands that should take microseconds took long: the machine, not the commands, is the first suspect (swapping, a crowded host), then very long pipelines.",
        ),
        (
            "expire-cycle",
            "Many keys expire at once: spread their times. A lower hz makes rounds rarer, not shorter.",
        ),
        (
            "eviction-cycle",
            "Memory is at its limit, and commands wait until others' keys are gone: raise maxmemory, or store less.",
        ),
        (
            "aof-write",
            "Writing the log was slow: the disk is busy, or too slow for appendfsync as it is set.",
        ),
        (
            "aof-write-pending-fsync",
            "Writes of the log waited for a sync of it: appendfsync no leaves syncing to the kernel.",
        ),
        (
            "aof-write-active-child",
            "The log was written slowly while a snapshot or a rewrite was: both want the disk.",
        ),
        (
            "aof-fsync-always",
            "Replies waited for the disk: appendfsync everysec gives them before it has the data.",
        ),
    ];
    text.push('\n');
    for (event, line) in advice {
        if events.iter().any(|(name, _)| *name == event) {
            let _ = writeln!(text, "- {line}");
        }
    }
}

fn histogram(cx: &mut Cx<'_>) -> Outcome {
    let engine = cx.engine;
    let chosen: Vec<&CommandEntry> = match cx.argc() {
        2 => engine.commands.entries().iter().collect(),
        _ => {
            let named = cx.args.tail(2).iter().filter_map(|name| engine.commands.find_full(name));
            named.flat_map(|entry| with_subcommands(cx, entry)).collect()
        }
    };
    let times = |id: CommandId| (id, engine.observe.stats.histogram(id));
    let used: Vec<(CommandId, Histogram)> =
        chosen.iter().map(|entry| times(entry.id)).filter(|(_, h)| !h.is_empty()).collect();
    cx.reply.map(used.len());
    for (id, histogram) in used {
        let shown = histogram.cumulative_micros();
        cx.reply.bulk(engine.commands.entry(id).full_name.as_bytes());
        cx.reply.map(2);
        cx.reply.bulk(b"calls");
        cx.reply.integer(histogram.count() as i64);
        cx.reply.bulk(b"histogram_usec");
        cx.reply.map(shown.len());
        for (micros, count) in shown {
            cx.reply.integer(micros as i64);
            cx.reply.integer(count as i64);
        }
    }
    Ok(())
}

/// An entry, and all that it contains.
fn with_subcommands<'e>(cx: &Cx<'e>, entry: &'e CommandEntry) -> Vec<&'e CommandEntry> {
    let commands = &cx.engine.commands;
    let inner = entry.subcommands.iter().map(|&id| commands.entry(id));
    std::iter::once(entry).chain(inner).collect()
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("LATENCY", super::help::LATENCY);
    Ok(())
}

/// The fields that the subcommands share.
const LATENCY: Spec = Spec {
    since: "2.8.13",
    arity: 2,
    tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
    ..ADMIN
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "latency",
    summary: "A container for latency diagnostics commands.",
    since: "2.8.13",
    subcommands: &[
        Spec {
            name: "doctor",
            summary: "Returns a human-readable latency analysis report.",
            handler: doctor,
            ..LATENCY
        },
        Spec {
            name: "graph",
            summary: "Returns a latency graph for an event.",
            arity: 3,
            syntax: "event",
            handler: graph,
            ..LATENCY
        },
        Spec { since: "2.8.13", handler: help, ..HELP },
        Spec {
            name: "histogram",
            summary: "Returns the cumulative distribution of latencies of a subset or all commands.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands with latency information being retrieved.",
            arity: -2,
            syntax: "[command [command ...]]",
            handler: histogram,
            ..LATENCY
        },
        Spec {
            name: "history",
            summary: "Returns timestamp-latency samples for an event.",
            arity: 3,
            syntax: "event",
            handler: history,
            ..LATENCY
        },
        Spec {
            name: "latest",
            summary: "Returns the latest latency samples for all events.",
            handler: latest,
            ..LATENCY
        },
        Spec {
            name: "reset",
            summary: "Resets the latency data for one or more events.",
            arity: -2,
            syntax: "[event [event ...]]",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: reset,
            ..LATENCY
        },
    ],
    ..CONTAINER
}];
