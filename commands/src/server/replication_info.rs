//! What `INFO replication` and `ROLE` show; Sentinel reads both.

use super::info::Lines;
use engine::config::Id;
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::Outcome;
use engine::replication::{Link, Source};
use runtime::Now;

/// The lines of `INFO replication`, in Redis's order.
pub(super) fn fill(engine: &Engine, now: Now, lines: &mut Lines) {
    match engine.replication.source() {
        Some(source) => replica(engine, &source, now, lines),
        None => lines.add("role", "master"),
    }
    followers(engine, now, lines);
    lines.add("master_failover_state", engine.failover_state());
    let (out, history) = (&engine.replication.out, engine.replication.out.history());
    lines.add("master_replid", history.id);
    let before = history.before.map(|(id, _)| id).unwrap_or(engine::replication::wire::Id::NONE);
    lines.add("master_replid2", before);
    lines.add("master_repl_offset", out.end());
    let second = history.before.map_or(-1, |(_, position)| position as i64 + 1);
    lines.add("second_repl_offset", second);
    let held = out.held();
    lines.add("repl_backlog_active", u8::from(held.is_some()));
    lines.add("repl_backlog_size", engine.config.memory(Id::ReplBacklogSize));
    lines.add("repl_backlog_first_byte_offset", held.map_or(0, |(first, _)| first + 1));
    lines.add("repl_backlog_histlen", held.map_or(0, |(_, len)| len));
}

fn replica(engine: &Engine, source: &Source, now: Now, lines: &mut Lines) {
    let seconds = |since_ms: u64| now.wall_ms.saturating_sub(since_ms) / 1000;
    let up = source.link == Link::Up;
    lines.add("role", "slave");
    lines.add("master_host", &source.host);
    lines.add("master_port", source.port);
    lines.add("master_link_status", if up { "up" } else { "down" });
    let silent = if up { seconds(source.last_io_ms) as i64 } else { -1 };
    lines.add("master_last_io_seconds_ago", silent);
    lines.add("master_sync_in_progress", u8::from(source.link == Link::Sync));
    let position = engine.replication.out.end();
    lines.add("slave_read_repl_offset", position);
    lines.add("slave_repl_offset", position);
    if source.link == Link::Sync {
        sync(source, seconds(source.last_io_ms), lines);
    }
    if !up {
        lines.add("master_link_down_since_seconds", seconds(source.down_since_ms));
    }
    lines.add("slave_priority", engine.config.integer(Id::ReplicaPriority));
    lines.add("slave_read_only", u8::from(engine.config.boolean(Id::ReplicaReadOnly)));
    lines.add("replica_announced", u8::from(engine.config.boolean(Id::ReplicaAnnounced)));
}

fn sync(source: &Source, silent_s: u64, lines: &mut Lines) {
    let read = source.file_read;
    let total = source.file_left.map_or(0, |left| left + read);
    lines.add("master_sync_total_bytes", total);
    lines.add("master_sync_read_bytes", read);
    lines.add("master_sync_left_bytes", source.file_left.map_or(-1, |left| left as i64));
    let share = if total > 0 { read as f64 * 100.0 / total as f64 } else { 0.0 };
    lines.add("master_sync_perc", format_args!("{share:.2}"));
    lines.add("master_sync_last_io_seconds_ago", silent_s);
}

fn followers(engine: &Engine, now: Now, lines: &mut Lines) {
    let followers = engine.replication.followers();
    lines.add("connected_slaves", followers.len());
    let least = engine.config.integer(Id::MinReplicasToWrite);
    let lag_s = engine.config.integer(Id::MinReplicasMaxLag) as u64;
    if least > 0 && lag_s > 0 {
        let good = engine.replication.acks().good(now.wall_ms, lag_s);
        lines.add("min_slaves_good_slaves", good);
    }
    for (number, follower) in followers.iter().enumerate() {
        let ack = follower.ack();
        let lag_s = match follower.state_name() {
            "online" => now.wall_ms.saturating_sub(ack.at_ms) / 1000,
            _ => 0,
        };
        let (ip, port) = (follower.ip(), follower.announced.port);
        let state = follower.state_name();
        let text = format!("ip={ip},port={port},state={state},offset={},lag={lag_s}", ack.position);
        lines.add(&format!("slave{number}"), text);
    }
}

/// `ROLE`.
pub(super) fn role(cx: &mut Cx<'_>) -> Outcome {
    let (replication, reply) = (&cx.engine.replication, &mut cx.reply);
    let position = replication.out.end();
    if let Some(source) = replication.source() {
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(source.host.as_bytes());
        reply.integer(source.port.into());
        reply.bulk(source.link.name().as_bytes());
        let known = source.link == Link::Up;
        reply.integer(if known { position as i64 } else { -1 });
        return Ok(());
    }
    let followers = replication.followers();
    let online: Vec<_> = followers.iter().filter(|f| f.state_name() == "online").collect();
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(position as i64);
    reply.array(online.len());
    for follower in online {
        reply.array(3);
        reply.bulk(follower.ip().as_bytes());
        reply.bulk(follower.announced.port.to_string().as_bytes());
        reply.bulk(follower.ack().position.to_string().as_bytes());
    }
    Ok(())
}
