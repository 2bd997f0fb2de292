//! `INFO`: figures by section, in Redis's names.
//!
//! What only the process knows comes from [`Host::info`](engine::Host::info): its lines are shown
//! in its order, and a name it gives is not given by the engine too.

use super::base::SERVER;
use super::replication_info;
use crate::auth::REDIS_VERSION;
use engine::clients::flag;
use engine::command::{CommandId, Flag::*, Spec};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::Outcome;
use engine::pubsub::Space;
use engine::stats::CommandTotals;
use runtime::{Now, trace};
use std::fmt::{Display, Write};
use std::sync::atomic::Ordering::Relaxed;

/// A section's key, its headline, and what fills it.
type Section = (&'static str, &'static str, fn(&Engine, Now, &mut Lines));

/// Every section, in Redis's order.
const SECTIONS: &[Section] = &[
    ("server", "Server", server),
    ("clients", "Clients", clients),
    ("memory", "Memory", memory),
    ("persistence", "Persistence", persistence),
    ("stats", "Stats", stats),
    ("replication", "Replication", replication_info::fill),
    ("cpu", "CPU", cpu),
    ("modules", "Modules", |_, _, _| {}),
    ("commandstats", "Commandstats", command_stats),
    ("errorstats", "Errorstats", error_stats),
    ("latencystats", "Latencystats", latency_stats),
    ("cluster", "Cluster", |_, _, lines| lines.add("cluster_enabled", 0)),
    ("keyspace", "Keyspace", keyspace),
    ("trace", "Trace", stage_times),
];

/// Sections that plain `INFO` leaves out.
const NOT_BY_DEFAULT: [&str; 3] = ["commandstats", "latencystats", "trace"];

/// The lines of one section, each name once.
#[derive(Default)]
pub(super) struct Lines(Vec<(String, String)>);

impl Lines {
    pub(super) fn add(&mut self, name: &str, value: impl Display) {
        if self.get(name).is_none() {
            self.0.push((name.to_owned(), value.to_string()));
        }
    }

    fn zeros(&mut self, names: &[&str]) {
        names.iter().for_each(|name| self.add(name, 0));
    }

    fn host(&mut self, engine: &Engine, section: &str) {
        for (name, value) in engine.environment.host.info(section) {
            self.add(&name, value);
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A figure of the section as a number, 0 when it is not there.
    pub(super) fn number(&self, name: &str) -> f64 {
        self.get(name).and_then(|value| value.parse().ok()).unwrap_or(0.0)
    }
}

/// The lines of one section.
pub(super) fn section(engine: &Engine, name: &str, now: Now) -> Lines {
    let mut lines = Lines::default();
    if let Some((.., fill)) = SECTIONS.iter().find(|(key, ..)| *key == name) {
        fill(engine, now, &mut lines);
    }
    lines
}

/// The text of the sections that `wanted` picks by key.
pub fn render(engine: &Engine, now: Now, wanted: impl Fn(&str) -> bool) -> String {
    let mut text = String::new();
    for (key, headline, _) in SECTIONS.iter().filter(|(key, ..)| wanted(key)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {headline}\r\n");
        for (name, value) in section(engine, key, now).0 {
            let _ = write!(text, "{name}:{value}\r\n");
        }
    }
    text
}

fn server(engine: &Engine, now: Now, lines: &mut Lines) {
    lines.add("redis_version", REDIS_VERSION);
    lines.add("redis_git_sha1", "00000000");
    lines.add("redis_git_dirty", 0);
    lines.add("redis_build_id", format_args!("{:016x}", build_id()));
    lines.add("redis_mode", "standalone");
    lines.host(engine, "server");
    let uptime_s = now.wall_ms.saturating_sub(engine.environment.started.wall_ms) / 1000;
    lines.add("arch_bits", usize::BITS);
    lines.add("tcp_port", engine.config.integer(engine::config::Id::Port));
    lines.add("server_time_usec", now.wall_ms * 1000);
    lines.add("uptime_in_seconds", uptime_s);
    lines.add("uptime_in_days", uptime_s / 86_400);
    lines.add("hz", engine.config.integer(engine::config::Id::Hz));
    lines.add("configured_hz", engine.config.integer(engine::config::Id::Hz));
    // 24 bits of seconds, as Redis's object headers have.
    lines.add("lru_clock", (now.wall_ms / 1000) & 0xFF_FFFF);
    lines.add("varve_version", env!("CARGO_PKG_VERSION"));
    lines.add("varve_storage", engine.backend.name());
    lines.add("varve_shards", engine.backend.shard_count());
}

/// Something that differs between versions.
fn build_id() -> u64 {
    env!("CARGO_PKG_VERSION")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

fn clients(engine: &Engine, _: Now, lines: &mut Lines) {
    let all = engine.clients.list();
    let with = |bit| all.iter().filter(|client| client.has_flag(bit)).count();
    let most = |bytes: &dyn Fn(&engine::clients::Client) -> usize| {
        all.iter().map(|client| bytes(client)).max().unwrap_or(0)
    };
    lines.add("connected_clients", all.len());
    lines.add("cluster_connections", 0);
    lines.host(engine, "clients");
    lines.add("maxclients", engine.config.integer(engine::config::Id::Maxclients));
    lines.add("client_recent_max_input_buffer", most(&|c| c.input_bytes.load(Relaxed)));
    lines.add("client_recent_max_output_buffer", most(&|c| c.output_bytes.load(Relaxed)));
    lines.add("blocked_clients", with(flag::BLOCKED | flag::PAUSED));
    lines.add("tracking_clients", with(flag::TRACKING));
    lines.add("pubsub_clients", with(flag::PUBSUB));
    lines.add("watching_clients", all.iter().filter(|c| c.watched.load(Relaxed) > 0).count());
    // Every session keeps its own deadline; there is no table, but there are those who would be in it.
    lines.add("clients_in_timeout_table", with(flag::TIMED));
    lines.add("total_watched_keys", engine.keyspace.watched_keys());
    lines.add("total_blocking_keys", engine.blocking.key_count());
    lines.add("total_blocking_keys_on_nokey", engine.blocking.needed_key_count());
}

fn memory(engine: &Engine, _: Now, lines: &mut Lines) {
    lines.host(engine, "memory");
    let used = engine.environment.host.memory_used();
    lines.add("used_memory", used);
    lines.add("used_memory_human", human(used));
    for name in ["used_memory_rss", "used_memory_peak", "used_memory_dataset"] {
        lines.add(name, used);
    }
    let limit = engine.config.memory(engine::config::Id::Maxmemory);
    lines.add("maxmemory", limit);
    lines.add("maxmemory_human", human(limit));
    lines.add("maxmemory_policy", engine.config.choice(engine::config::Id::MaxmemoryPolicy));
    scripts(engine, lines);
    lines.add("mem_fragmentation_ratio", "1.00");
    lines.zeros(&["mem_not_counted_for_evict"]);
    lines.add("mem_replication_backlog", engine.replication.out.held_bytes());
    lines.zeros(&["mem_total_replication_buffers", "mem_clients_slaves"]);
    lines.add("mem_clients_normal", clients_memory(engine));
    lines.add("mem_cluster_links", 0);
    lines.add("mem_aof_buffer", engine.logging_journal().map_or(0, |j| j.backlog_bytes()));
    lines.add("mem_allocator", "unknown");
    lines.add("active_defrag_running", 0);
    let lazily = engine.backend.lazily_freed();
    let before = engine.stats.lazily_freed_before.load(Relaxed);
    lines.add("lazyfree_pending_objects", lazily.pending);
    lines.add("lazyfreed_objects", lazily.freed.saturating_sub(before));
}

/// Scripts and functions. VMs run both, and are counted with the scripts.
fn scripts(engine: &Engine, lines: &mut Lines) {
    let figures = engine.scripting.figures();
    lines.add("used_memory_lua", figures.vm_bytes);
    lines.add("used_memory_vm_eval", figures.vm_bytes);
    lines.add("used_memory_lua_human", human(figures.vm_bytes as u64));
    lines.add("used_memory_scripts_eval", figures.script_bytes);
    lines.add("number_of_cached_scripts", figures.scripts);
    lines.add("number_of_functions", figures.functions);
    lines.add("number_of_libraries", figures.libraries);
    lines.add("used_memory_vm_functions", 0);
    lines.add("used_memory_vm_total", figures.vm_bytes);
    lines.add("used_memory_vm_total_human", human(figures.vm_bytes as u64));
    lines.add("used_memory_functions", figures.library_bytes);
    let scripts = figures.script_bytes + figures.library_bytes;
    lines.add("used_memory_scripts", scripts);
    lines.add("used_memory_scripts_human", human(scripts as u64));
}

/// Bytes that connections hold in their buffers and descriptions.
pub(super) fn clients_memory(engine: &Engine) -> usize {
    engine.clients.list().iter().map(|client| client.memory()).sum()
}

/// A size for people, as Redis's `bytesToHuman`.
fn human(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["K", "M", "G", "T", "P"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn persistence(engine: &Engine, _: Now, lines: &mut Lines) {
    lines.host(engine, "persistence");
    let loading = engine.gate() & engine::engine::gate::LOADING != 0;
    lines.add("loading", u8::from(loading));
    lines.add("async_loading", 0);
    // Nothing forks, so nothing is copied on write.
    lines.zeros(&["current_cow_peak", "current_cow_size", "current_cow_size_age"]);
    lines.add("current_fork_perc", "0.00");
    lines.zeros(&["current_save_keys_processed", "current_save_keys_total"]);
    lines.add("rdb_changes_since_last_save", engine.stats.unsaved_changes());
    lines.add("rdb_bgsave_in_progress", 0);
    lines.add("rdb_last_save_time", engine.environment.started.wall_ms / 1000);
    lines.add("rdb_last_bgsave_status", "ok");
    lines.add("rdb_last_bgsave_time_sec", -1);
    lines.add("rdb_current_bgsave_time_sec", -1);
    lines.zeros(&["rdb_saves", "rdb_last_cow_size"]);
    lines.zeros(&["rdb_last_load_keys_expired", "rdb_last_load_keys_loaded"]);
    let logging = engine.is_logging();
    lines.add("aof_enabled", u8::from(logging));
    // A log that is off can be rewritten, too; of its size and its syncs nothing is told then.
    let of_rewrites = |name: &str| name.contains("rewrite") && name != "aof_pending_rewrite";
    let told = engine.journal.iter().flat_map(|journal| journal.stats());
    for (name, value) in told.filter(|(name, _)| logging || of_rewrites(name)) {
        lines.add(name, value);
    }
    lines.zeros(&["aof_rewrite_in_progress", "aof_rewrite_scheduled"]);
    lines.add("aof_last_rewrite_time_sec", -1);
    lines.add("aof_current_rewrite_time_sec", -1);
    lines.add("aof_last_bgrewrite_status", "ok");
    lines.zeros(&["aof_rewrites", "aof_rewrites_consecutive_failures"]);
    let failed = engine.journal().is_some_and(|journal| journal.failure().is_some());
    lines.add("aof_last_write_status", if failed { "err" } else { "ok" });
    lines.zeros(&["aof_last_cow_size", "module_fork_in_progress", "module_fork_last_cow_size"]);
}

fn stats(engine: &Engine, _: Now, lines: &mut Lines) {
    let stats = &engine.stats;
    let (bytes_in, bytes_out) = stats.traffic();
    let (hits, misses) = stats.lookups();
    let rates = engine.rates.per_second();
    lines.add("total_connections_received", engine.clients.accepted.load(Relaxed));
    lines.add("total_commands_processed", stats.total_calls());
    lines.add("instantaneous_ops_per_sec", rates.commands.round() as u64);
    lines.add("total_net_input_bytes", bytes_in);
    lines.add("total_net_output_bytes", bytes_out);
    lines.zeros(&["total_net_repl_input_bytes", "total_net_repl_output_bytes"]);
    lines.add("instantaneous_input_kbps", format_args!("{:.2}", rates.bytes_in / 1024.0));
    lines.add("instantaneous_output_kbps", format_args!("{:.2}", rates.bytes_out / 1024.0));
    lines.add("instantaneous_input_repl_kbps", "0.00");
    lines.add("instantaneous_output_repl_kbps", "0.00");
    lines.add("rejected_connections", engine.clients.rejected.load(Relaxed));
    let counts = &engine.replication.counts;
    lines.add("sync_full", counts.full.load(Relaxed));
    lines.add("sync_partial_ok", counts.partial_ok.load(Relaxed));
    lines.add("sync_partial_err", counts.partial_err.load(Relaxed));
    lines.add("expired_subkeys", stats.expired_fields.load(Relaxed));
    lines.add("expired_keys", stats.expired_keys.load(Relaxed));
    // Expiry goes by an index of due keys, not by sampling: nothing stale is left to estimate.
    lines.add("expired_stale_perc", "0.00");
    lines.zeros(&["expired_time_cap_reached_count", "expire_cycle_cpu_milliseconds"]);
    lines.add("evicted_keys", stats.evicted_keys.load(Relaxed));
    lines.add("evicted_clients", stats.evicted_clients.load(Relaxed));
    lines.zeros(&["evicted_scripts"]);
    lines.zeros(&["total_eviction_exceeded_time", "current_eviction_exceeded_time"]);
    lines.add("keyspace_hits", hits);
    lines.add("keyspace_misses", misses);
    lines.add("pubsub_channels", engine.pubsub.len(Space::Channel));
    lines.add("pubsub_patterns", engine.pubsub.len(Space::Pattern));
    lines.add("pubsubshard_channels", engine.pubsub.len(Space::Shard));
    lines.zeros(&["latest_fork_usec", "total_forks", "migrate_cached_sockets"]);
    lines.zeros(&["slave_expires_tracked_keys", "active_defrag_hits", "active_defrag_misses"]);
    lines.zeros(&["active_defrag_key_hits", "active_defrag_key_misses"]);
    lines.zeros(&["total_active_defrag_time", "current_active_defrag_time"]);
    lines.add("tracking_total_keys", engine.tracking.keys());
    lines.add("tracking_total_items", engine.tracking.items());
    lines.add("tracking_total_prefixes", engine.tracking.prefixes());
    lines.add("unexpected_error_replies", 0);
    lines.add("total_error_replies", stats.errors.lock().values().sum::<u64>());
    lines.add("dump_payload_sanitizations", 0);
    lines.host(engine, "stats");
    lines.zeros(&["io_threaded_reads_processed", "io_threaded_writes_processed"]);
    lines.add(
        "client_query_buffer_limit_disconnections",
        stats.query_limit_disconnections.load(Relaxed),
    );
    lines.add(
        "client_output_buffer_limit_disconnections",
        stats.output_limit_disconnections.load(Relaxed),
    );
    lines.zeros(&["reply_buffer_shrinks", "reply_buffer_expands"]);
    for (kind, denied) in ["auth", "cmd", "key", "channel"].iter().zip(&engine.acl.log.denied) {
        lines.add(&format!("acl_access_denied_{kind}"), denied.load(Relaxed));
    }
}

fn cpu(engine: &Engine, _: Now, lines: &mut Lines) {
    lines.host(engine, "cpu");
}

/// Every command that was called at least once, or refused.
fn used(engine: &Engine) -> impl Iterator<Item = (CommandId, &str, CommandTotals)> {
    let all = engine.commands.entries().iter();
    all.map(|entry| (entry.id, entry.full_name.as_str(), engine.stats.command(entry.id)))
        .filter(|(.., t)| t.calls + t.rejected + t.failed > 0)
}

fn command_stats(engine: &Engine, _: Now, lines: &mut Lines) {
    for (_, name, totals) in used(engine) {
        let usec = totals.nanos / 1000;
        let each = totals.nanos as f64 / 1000.0 / totals.calls.max(1) as f64;
        lines.add(
            &format!("cmdstat_{name}"),
            format_args!(
                "calls={},usec={usec},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
                totals.calls, totals.rejected, totals.failed
            ),
        );
    }
}

fn error_stats(engine: &Engine, _: Now, lines: &mut Lines) {
    let mut errors: Vec<_> = engine.stats.errors.lock().clone().into_iter().collect();
    errors.sort_unstable();
    for (code, count) in errors {
        lines.add(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

fn latency_stats(engine: &Engine, _: Now, lines: &mut Lines) {
    let percentiles = engine.config.latency_percentiles();
    for (id, name, _) in used(engine) {
        let histogram = engine.stats.histogram(id);
        if histogram.is_empty() {
            continue;
        }
        let shown: Vec<String> = percentiles
            .iter()
            .map(|p| format!("p{p}={:.3}", histogram.percentile(*p) as f64 / 1000.0))
            .collect();
        lines.add(&format!("latency_percentiles_usec_{name}"), shown.join(","));
    }
}

fn keyspace(engine: &Engine, _: Now, lines: &mut Lines) {
    for db in engine.backend.used_dbs() {
        let (keys, expires) = (engine.backend.len(db), engine.backend.expires_len(db));
        if keys > 0 {
            lines.add(&format!("db{db}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
}

/// Ours: where turns spend their time, while `trace` is on.
fn stage_times(engine: &Engine, _: Now, lines: &mut Lines) {
    let report = trace::report();
    lines.add("trace_enabled", u8::from(engine.is_traced()));
    lines.add("trace_commands", report.commands);
    for stage in trace::Stage::ALL {
        let trace::StageTimes { times, nanos } = report.stage(stage);
        let micros = |percent| times.percentile(percent) as f64 / 1000.0;
        lines.add(
            &format!("trace_{}", stage.name()),
            format_args!(
                "turns={},usec={:.3},p50={:.3},p99={:.3}",
                times.count(),
                *nanos as f64 / 1000.0,
                micros(50.0),
                micros(99.0)
            ),
        );
    }
}

fn info(cx: &mut Cx<'_>) -> Outcome {
    let by_default = |key: &str| !NOT_BY_DEFAULT.contains(&key);
    let asked: Vec<String> = cx
        .args
        .tail(1)
        .iter()
        .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
        .collect();
    let wanted = |key: &str| match asked.is_empty() {
        true => by_default(key),
        false => asked.iter().any(|word| match word.as_str() {
            "all" => !["modules", "trace"].contains(&key),
            "everything" => true,
            "default" => by_default(key),
            word => word == key,
        }),
    };
    let text = render(cx.engine, cx.now, wanted);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// The row of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "info",
    summary: "Returns information and statistics about the server.",
    since: "1.0.0",
    complexity: "O(1)",
    arity: -1,
    flags: &[Loading, Stale],
    categories: &[engine::command::Category::Dangerous],
    syntax: "[section [section ...]]",
    tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
    history: &[("7.0.0", "Added support for taking multiple section arguments.")],
    handler: info,
    ..SERVER
}];
