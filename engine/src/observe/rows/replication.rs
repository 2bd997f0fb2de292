//! `INFO replication`; Sentinel reads it.

use crate::config::Id;
use crate::observe::figures::{Family, Unit, Value, gauge, note};
use crate::observe::figures::{Series, Sheet};
use crate::observe::row::{Reading, Row, bytes, level, shown};
use crate::replication::{Link, Source, wire};

/// Seconds from a moment until now.
fn seconds(r: &Reading<'_>, since_ms: u64) -> u64 {
    r.now.wall_ms.saturating_sub(since_ms) / 1000
}

fn role(r: &Reading<'_>, sheet: &mut Sheet) {
    match r.engine.replication.source() {
        Some(source) => replica(r, &source, sheet),
        None => sheet.put(note("role", "master".into())),
    }
}

fn replica(r: &Reading<'_>, source: &Source, sheet: &mut Sheet) {
    let (engine, up) = (r.engine, source.link == Link::Up);
    sheet.put(note("role", "slave".into()));
    sheet.put(note("master_host", source.host.clone().into()));
    sheet.put(note("master_port", u64::from(source.port).into()));
    sheet.put(note("master_link_status", if up { "up" } else { "down" }.into()));
    let silent = if up { seconds(r, source.last_io_ms) as i64 } else { -1 };
    let help = "Since the master was last heard; -1 while the link is down";
    sheet.put(gauge("master_last_io_seconds_ago", Unit::Seconds, help, silent.into()));
    let syncs = (source.link == Link::Sync).into();
    sheet.put(gauge(
        "master_sync_in_progress",
        Unit::One,
        "Whether all data is being received",
        syncs,
    ));
    let position = engine.replication.out.end();
    sheet.put(note("slave_read_repl_offset", position.into()));
    sheet.put(gauge(
        "slave_repl_offset",
        Unit::Bytes,
        "Applied of the master's stream",
        position.into(),
    ));
    if source.link == Link::Sync {
        sync(source, seconds(r, source.last_io_ms), sheet);
    }
    if !up {
        let down_s = seconds(r, source.down_since_ms).into();
        let help = "Since the master was lost";
        sheet.put(gauge("master_link_down_since_seconds", Unit::Seconds, help, down_s));
    }
    sheet.put(note("slave_priority", engine.config.integer(Id::ReplicaPriority).into()));
    sheet.put(note("slave_read_only", engine.config.boolean(Id::ReplicaReadOnly).into()));
    sheet.put(note("replica_announced", engine.config.boolean(Id::ReplicaAnnounced).into()));
}

fn sync(source: &Source, silent_s: u64, sheet: &mut Sheet) {
    let read = source.file_read;
    let total = source.file_left.map_or(0, |left| left + read);
    sheet.put(note("master_sync_total_bytes", total.into()));
    sheet.put(note("master_sync_read_bytes", read.into()));
    let left = source.file_left.map_or(-1, |left| left as i64);
    sheet.put(note("master_sync_left_bytes", left.into()));
    let share = if total > 0 { read as f64 * 100.0 / total as f64 } else { 0.0 };
    sheet.put(note("master_sync_perc", Value::Real(share, 2)));
    sheet.put(note("master_sync_last_io_seconds_ago", silent_s.into()));
}

/// `min-replicas-to-write`, where it is set.
fn good_replicas(r: &Reading<'_>, sheet: &mut Sheet) {
    let least = r.engine.config.integer(Id::MinReplicasToWrite);
    let lag_s = r.engine.config.integer(Id::MinReplicasMaxLag) as u64;
    if least > 0 && lag_s > 0 {
        let good = r.engine.replication.acks().good(r.now.wall_ms, lag_s);
        let help = "Replicas within min-replicas-max-lag";
        sheet.put(gauge("min_slaves_good_slaves", Unit::One, help, good.into()));
    }
}

const REPLICA: Family = Family {
    name: "slave",
    label: "replica",
    fields: &[
        note("ip", ()),
        note("port", ()),
        note("state", ()),
        gauge("offset", Unit::Bytes, "What the replica says that it has of the stream", ()),
        gauge("lag", Unit::Seconds, "Since the replica last said so", ()),
    ],
};

fn replicas(r: &Reading<'_>) -> Vec<Series> {
    let followers = r.engine.replication.followers();
    let described = followers.iter().enumerate().map(|(number, follower)| {
        let (ack, state) = (follower.ack(), follower.state_name());
        let lag_s = if state == "online" { seconds(r, ack.at_ms) } else { 0 };
        let port = u64::from(follower.announced.port);
        let ip = follower.ip().to_string();
        (
            number.to_string(),
            vec![ip.into(), port.into(), state.into(), ack.position.into(), lag_s.into()],
        )
    });
    described.collect()
}

pub(super) const ROWS: &[Row] = &[
    Row::Free(role),
    level("connected_slaves", "Replicas connected", |r| {
        r.engine.replication.followers().len().into()
    }),
    Row::Free(good_replicas),
    Row::Many(&REPLICA, replicas),
    shown("master_failover_state", |r| r.engine.failover_state().into()),
    shown("master_replid", |r| r.engine.replication.out.history().id.to_string().into()),
    shown("master_replid2", |r| {
        let before = r.engine.replication.out.history().before;
        before.map_or(wire::Id::NONE, |(id, _)| id).to_string().into()
    }),
    bytes("master_repl_offset", "The end of the stream that replicas get", |r| {
        r.engine.replication.out.end().into()
    }),
    shown("second_repl_offset", |r| {
        let before = r.engine.replication.out.history().before;
        before.map_or(-1, |(_, position)| position as i64 + 1).into()
    }),
    shown("repl_backlog_active", |r| r.engine.replication.out.held().is_some().into()),
    shown("repl_backlog_size", |r| r.engine.config.memory(Id::ReplBacklogSize).into()),
    shown("repl_backlog_first_byte_offset", |r| {
        r.engine.replication.out.held().map_or(0, |(first, _)| first + 1).into()
    }),
    shown("repl_backlog_histlen", |r| {
        r.engine.replication.out.held().map_or(0, |(_, len)| len).into()
    }),
];
