//! `MEMORY`: what keys and the whole server hold.

use super::base::{CONTAINER, HELP, SERVER};
use engine::command::{Flag, LockRule, Spec, key};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::observe::figures::Sheet;
use engine::observe::{clients_memory, section};
use engine::text::args::integer;

/// The number of elements that are sampled by default.
const SAMPLES: usize = 5;

fn usage(cx: &mut Cx<'_>) -> Outcome {
    let mut samples = SAMPLES;
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        let value = args.option("SAMPLES").ok_or(SYNTAX)?;
        samples = usize::try_from(integer(value)?).map_err(|_| SYNTAX)?;
    }
    match cx.tx.info(&cx.key(2), samples)? {
        Some(info) => cx.reply.integer(info.bytes as i64),
        None => cx.reply.null(),
    }
    Ok(())
}

fn memory_lines(cx: &Cx<'_>) -> Sheet {
    section(cx.engine, "memory", cx.now)
}

/// Writes the pairs of `MEMORY STATS`.
struct Figures<'c, 'a> {
    cx: &'c mut Cx<'a>,
    pairs: usize,
}

impl Figures<'_, '_> {
    fn integer(&mut self, name: &str, value: f64) {
        self.pairs += 1;
        self.cx.reply.bulk(name.as_bytes());
        self.cx.reply.integer(value as i64);
    }

    fn double(&mut self, name: &str, value: f64) {
        self.pairs += 1;
        self.cx.reply.bulk(name.as_bytes());
        self.cx.reply.double(value);
    }

    /// The overhead of a database's tables, bytes. Keys and values share their memory with the table here, so
    /// it is part of the data set and not told apart.
    fn database(&mut self, db: storage::Db) {
        self.pairs += 1;
        self.cx.reply.bulk(format!("db.{db}").as_bytes());
        self.cx.reply.map(2);
        for name in ["overhead.hashtable.main", "overhead.hashtable.expires"] {
            self.cx.reply.bulk(name.as_bytes());
            self.cx.reply.integer(0);
        }
    }
}

fn stats(cx: &mut Cx<'_>) -> Outcome {
    let lines = memory_lines(cx);
    let backend = cx.engine.backend.clone();
    let dbs = backend.used_dbs();
    let keys: u64 = dbs.iter().map(|&db| backend.len(db)).sum();
    let clients = clients_memory(cx.engine) as f64;
    let used = lines.number("used_memory");
    let startup = lines.number("used_memory_startup");
    let dataset = lines.number("used_memory_dataset");
    let net = (used - startup).max(1.0);
    let mark = cx.reply.deferred();
    let mut figures = Figures { cx, pairs: 0 };
    figures.integer("peak.allocated", lines.number("used_memory_peak"));
    figures.integer("total.allocated", used);
    figures.integer("startup.allocated", startup);
    figures.integer("replication.backlog", 0.0);
    figures.integer("clients.slaves", 0.0);
    figures.integer("clients.normal", clients);
    figures.integer("cluster.links", 0.0);
    figures.integer("aof.buffer", lines.number("mem_aof_buffer"));
    figures.integer("lua.caches", lines.number("used_memory_scripts_eval"));
    figures.integer("functions.caches", lines.number("used_memory_functions"));
    dbs.iter().for_each(|&db| figures.database(db));
    figures.integer("overhead.total", lines.number("used_memory_overhead"));
    figures.integer("keys.count", keys as f64);
    figures.integer("keys.bytes-per-key", (used - startup).max(0.0) / keys.max(1) as f64);
    figures.integer("dataset.bytes", dataset);
    figures.double("dataset.percentage", dataset * 100.0 / net);
    figures.double("peak.percentage", used * 100.0 / lines.number("used_memory_peak").max(1.0));
    allocator(&mut figures, &lines);
    let pairs = figures.pairs;
    cx.reply.finish_map(mark, pairs);
    Ok(())
}

fn allocator(figures: &mut Figures<'_, '_>, lines: &Sheet) {
    for name in ["allocator.allocated", "allocator.active", "allocator.resident"] {
        figures.integer(name, lines.number(&name.replace('.', "_")));
    }
    figures.double("allocator-fragmentation.ratio", lines.number("allocator_frag_ratio"));
    figures.integer("allocator-fragmentation.bytes", lines.number("allocator_frag_bytes"));
    figures.double("allocator-rss.ratio", lines.number("allocator_rss_ratio"));
    figures.integer("allocator-rss.bytes", lines.number("allocator_rss_bytes"));
    figures.double("rss-overhead.ratio", lines.number("rss_overhead_ratio"));
    figures.integer("rss-overhead.bytes", lines.number("rss_overhead_bytes"));
    figures.double("fragmentation", lines.number("mem_fragmentation_ratio"));
    figures.integer("fragmentation.bytes", lines.number("mem_fragmentation_bytes"));
}

fn doctor(cx: &mut Cx<'_>) -> Outcome {
    let lines = memory_lines(cx);
    let clients = cx.engine.clients.len();
    let text = diagnose(&lines, clients_memory(cx.engine) as f64 / clients.max(1) as f64);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// Below this there is nothing to learn, bytes.
const SMALL: f64 = 5.0 * 1024.0 * 1024.0;

/// The thresholds are those of Redis's doctor; the advice is ours.
fn diagnose(lines: &Sheet, bytes_per_client: f64) -> String {
    let used = lines.number("used_memory");
    if used < SMALL {
        return "There is too little data here to say anything about it.\n".to_owned();
    }
    let excess = |bytes: &str| lines.number(bytes) > 10.0 * 1024.0 * 1024.0;
    let findings = [
        (
            lines.number("used_memory_peak") / used > 1.5,
            "The peak was more than 1.5 times what is used now: the allocator may keep what it no longer needs. MEMORY PURGE gives it back.",
        ),
        (
            lines.number("allocator_frag_ratio") > 1.1 && excess("allocator_frag_bytes"),
            "Pages are only partly used (allocator_frag_ratio above 1.1): values of changing sizes come and go.",
        ),
        (
            lines.number("allocator_rss_ratio") > 1.1 && excess("allocator_rss_bytes"),
            "The allocator holds pages that it does not use (allocator_rss_ratio above 1.1). MEMORY PURGE gives them back.",
        ),
        (
            lines.number("rss_overhead_ratio") > 1.1 && excess("rss_overhead_bytes"),
            "The process holds memory outside of its allocator (rss_overhead_ratio above 1.1).",
        ),
        (
            bytes_per_client > 200.0 * 1024.0,
            "Clients hold more than 200 kB each in their buffers: they read slowly, or send large requests in pieces. See CLIENT LIST, qbuf and omem.",
        ),
    ];
    let found: Vec<String> = findings
        .iter()
        .filter(|(found, _)| *found)
        .map(|(_, text)| format!("- {text}\n"))
        .collect();
    match found.is_empty() {
        true => "No memory problem was found.\n".to_owned(),
        false => format!("Found:\n\n{}", found.concat()),
    }
}

fn purge(cx: &mut Cx<'_>) -> Outcome {
    let done = cx.engine.environment.host.purge_memory();
    done.map_err(|error| Failure::text(format!("ERR {error}")))?;
    cx.reply.ok();
    Ok(())
}

fn malloc_stats(cx: &mut Cx<'_>) -> Outcome {
    match cx.engine.environment.host.allocator_report() {
        Some(report) => cx.reply.verbatim("txt", report.as_bytes()),
        None => cx.reply.bulk(b"Stats not supported for the current allocator"),
    }
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("MEMORY", super::help::MEMORY);
    Ok(())
}

/// The fields that the subcommands share.
const MEMORY: Spec = Spec {
    since: "4.0.0",
    arity: 2,
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    ..SERVER
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "memory",
    summary: "A container for memory diagnostics commands.",
    since: "4.0.0",
    subcommands: &[
        Spec {
            name: "doctor",
            summary: "Outputs a memory problems report.",
            handler: doctor,
            ..MEMORY
        },
        Spec { since: "4.0.0", handler: help, ..HELP },
        Spec {
            name: "malloc-stats",
            summary: "Returns the allocator statistics.",
            complexity: "Depends on how much memory is allocated, could be slow",
            handler: malloc_stats,
            ..MEMORY
        },
        Spec {
            name: "purge",
            summary: "Asks the allocator to release memory.",
            complexity: "Depends on how much memory is allocated, could be slow",
            tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
            handler: purge,
            ..MEMORY
        },
        Spec {
            name: "stats",
            summary: "Returns details about memory usage.",
            handler: stats,
            ..MEMORY
        },
        Spec {
            name: "usage",
            summary: "Estimates the memory usage of a key.",
            since: "4.0.0",
            complexity: "O(N) where N is the number of samples.",
            arity: -3,
            flags: &[Flag::Readonly],
            keys: &[key("RO", 2)],
            syntax: "key [SAMPLES count]",
            locks: LockRule::Keys,
            handler: usage,
            ..SERVER
        },
    ],
    ..CONTAINER
}];
