//! `INFO stats`.

use crate::notify::pubsub::Space;
use crate::observe::figures::{Unit, Value, counter, gauge};
use crate::observe::row::{Row, count, figure, level, shown, zero};
use std::sync::atomic::Ordering::Relaxed;

fn kbps(bytes_per_second: f64) -> Value {
    Value::Real(bytes_per_second / 1024.0, 2)
}

pub(super) const ROWS: &[Row] = &[
    count("total_connections_received", "Connections accepted", |r| {
        r.engine.clients.accepted.load(Relaxed).into()
    }),
    count("total_commands_processed", "Commands run", |r| {
        r.engine.observe.stats.total_calls().into()
    }),
    level("instantaneous_ops_per_sec", "Commands per second, over the last moments", |r| {
        Value::Whole(r.engine.observe.rates.per_second().commands.round() as u64)
    }),
    figure(counter("total_net_input_bytes", Unit::Bytes, "Received from clients", |r| {
        r.engine.observe.stats.traffic().0.into()
    })),
    figure(counter("total_net_output_bytes", Unit::Bytes, "Sent to clients", |r| {
        r.engine.observe.stats.traffic().1.into()
    })),
    zero("total_net_repl_input_bytes"),
    zero("total_net_repl_output_bytes"),
    shown("instantaneous_input_kbps", |r| kbps(r.engine.observe.rates.per_second().bytes_in)),
    shown("instantaneous_output_kbps", |r| kbps(r.engine.observe.rates.per_second().bytes_out)),
    shown("instantaneous_input_repl_kbps", |_| "0.00".into()),
    shown("instantaneous_output_repl_kbps", |_| "0.00".into()),
    count("rejected_connections", "Connections refused for maxclients", |r| {
        r.engine.clients.rejected.load(Relaxed).into()
    }),
    count("sync_full", "Full synchronizations of replicas", |r| {
        r.engine.replication.counts.full.load(Relaxed).into()
    }),
    count("sync_partial_ok", "Replicas that went on where they were", |r| {
        r.engine.replication.counts.partial_ok.load(Relaxed).into()
    }),
    count("sync_partial_err", "Replicas that could not go on where they were", |r| {
        r.engine.replication.counts.partial_err.load(Relaxed).into()
    }),
    count("expired_subkeys", "Fields of hashes deleted because their time was over", |r| {
        r.engine.observe.stats.expired_fields.load(Relaxed).into()
    }),
    count("expired_keys", "Keys deleted because their time was over", |r| {
        r.engine.observe.stats.expired_keys.load(Relaxed).into()
    }),
    // Expiry goes by an index of due keys, not by sampling: nothing stale is left to estimate.
    shown("expired_stale_perc", |_| "0.00".into()),
    zero("expired_time_cap_reached_count"),
    zero("expire_cycle_cpu_milliseconds"),
    count("evicted_keys", "Keys evicted for maxmemory", |r| {
        r.engine.observe.stats.evicted_keys.load(Relaxed).into()
    }),
    count("evicted_clients", "Clients closed for maxmemory-clients", |r| {
        r.engine.observe.stats.evicted_clients.load(Relaxed).into()
    }),
    count("rate_limited_requests", "Requests refused or delayed by rate limits", |r| {
        r.engine.clients.rate_limits.limited.load(Relaxed).into()
    }),
    count("overload_refused_requests", "Requests refused because of overload", |r| {
        r.engine.clients.overload.refused.load(Relaxed).into()
    }),
    level(
        "overload_refused_share",
        "Share of requests refused because of overload, of 1024",
        |r| r.engine.clients.overload.share().into(),
    ),
    figure(gauge("overload_delay_usec", Unit::Micros, "Shortest wait of late for a turn", |r| {
        r.engine.clients.overload.delay_us.load(Relaxed).into()
    })),
    level(
        "overload_memory_share",
        "Share of requests that need memory refused because little is left, of 1024",
        |r| r.engine.clients.overload.memory_share().into(),
    ),
    level(
        "overload_memory_percent",
        "Memory in use, in percent of what the process may use, while load shedding looks at it",
        |r| r.engine.clients.overload.memory_percent().into(),
    ),
    zero("evicted_scripts"),
    zero("total_eviction_exceeded_time"),
    zero("current_eviction_exceeded_time"),
    count("keyspace_hits", "Keys that reads found", |r| r.engine.observe.stats.lookups().0.into()),
    count("keyspace_misses", "Keys that reads did not find", |r| {
        r.engine.observe.stats.lookups().1.into()
    }),
    level("pubsub_channels", "Channels with subscribers", |r| {
        r.engine.notify.pubsub.len(Space::Channel).into()
    }),
    level("pubsub_patterns", "Patterns with subscribers", |r| {
        r.engine.notify.pubsub.len(Space::Pattern).into()
    }),
    level("pubsubshard_channels", "Shard channels with subscribers", |r| {
        r.engine.notify.pubsub.len(Space::Shard).into()
    }),
    zero("latest_fork_usec"),
    zero("total_forks"),
    zero("migrate_cached_sockets"),
    zero("slave_expires_tracked_keys"),
    zero("active_defrag_hits"),
    zero("active_defrag_misses"),
    zero("active_defrag_key_hits"),
    zero("active_defrag_key_misses"),
    zero("total_active_defrag_time"),
    zero("current_active_defrag_time"),
    level("tracking_total_keys", "Keys that clients cache", |r| {
        r.engine.notify.tracking.keys().into()
    }),
    level("tracking_total_items", "Keys that clients cache, times the clients", |r| {
        r.engine.notify.tracking.items().into()
    }),
    level("tracking_total_prefixes", "Prefixes that clients cache", |r| {
        r.engine.notify.tracking.prefixes().into()
    }),
    zero("unexpected_error_replies"),
    count("total_error_replies", "Replies that were errors", |r| {
        r.engine.observe.stats.errors.lock().values().sum::<u64>().into()
    }),
    zero("dump_payload_sanitizations"),
    Row::Host,
    zero("io_threaded_reads_processed"),
    zero("io_threaded_writes_processed"),
    count(
        "client_query_buffer_limit_disconnections",
        "Clients closed for too long a command",
        |r| r.engine.observe.stats.query_limit_disconnections.load(Relaxed).into(),
    ),
    count("client_output_buffer_limit_disconnections", "Clients closed for unread replies", |r| {
        r.engine.observe.stats.output_limit_disconnections.load(Relaxed).into()
    }),
    zero("reply_buffer_shrinks"),
    zero("reply_buffer_expands"),
    count("acl_access_denied_auth", "Logins refused", |r| {
        r.engine.acl.log.denied[0].load(Relaxed).into()
    }),
    count("acl_access_denied_cmd", "Commands refused by ACL", |r| {
        r.engine.acl.log.denied[1].load(Relaxed).into()
    }),
    count("acl_access_denied_key", "Keys refused by ACL", |r| {
        r.engine.acl.log.denied[2].load(Relaxed).into()
    }),
    count("acl_access_denied_channel", "Channels refused by ACL", |r| {
        r.engine.acl.log.denied[3].load(Relaxed).into()
    }),
];
