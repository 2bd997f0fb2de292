//! `INFO server` and `INFO keyspace`.

use crate::REDIS_VERSION;
use crate::config::Id;
use crate::observe::figures::{Family, Unit, Value, gauge, note};
use crate::observe::row::{Reading, Row, figure, level, shown};

fn uptime_s(r: &Reading<'_>) -> u64 {
    r.now.wall_ms.saturating_sub(r.engine.environment.started.wall_ms) / 1000
}

/// Something that differs between versions.
fn build_id() -> u64 {
    env!("CARGO_PKG_VERSION")
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, b| (hash ^ u64::from(b)).wrapping_mul(0x100_0000_01b3))
}

pub(super) const ROWS: &[Row] = &[
    shown("redis_version", |_| REDIS_VERSION.into()),
    shown("redis_git_sha1", |_| "00000000".into()),
    shown("redis_git_dirty", |_| 0_u64.into()),
    shown("redis_build_id", |_| format!("{:016x}", build_id()).into()),
    shown("redis_mode", |r| {
        if r.engine.is_in_cluster() { "cluster".into() } else { "standalone".into() }
    }),
    Row::Host,
    shown("arch_bits", |_| u64::from(usize::BITS).into()),
    shown("tcp_port", |r| r.engine.config.integer(Id::Port).into()),
    shown("server_time_usec", |r| (r.now.wall_ms * 1000).into()),
    figure(gauge("uptime_in_seconds", Unit::Seconds, "Since the server started", |r| {
        uptime_s(r).into()
    })),
    shown("uptime_in_days", |r| (uptime_s(r) / 86_400).into()),
    shown("hz", |r| r.engine.config.integer(Id::Hz).into()),
    shown("configured_hz", |r| r.engine.config.integer(Id::Hz).into()),
    // 24 bits of seconds, as Redis's object headers have.
    shown("lru_clock", |r| ((r.now.wall_ms / 1000) & 0xFF_FFFF).into()),
    shown("varve_version", |_| env!("CARGO_PKG_VERSION").into()),
    shown("varve_storage", |r| r.engine.backend.name().into()),
    level("varve_shards", "Shards of the storage", |r| r.engine.backend.shard_count().into()),
];

const DATABASE: Family = Family {
    name: "db",
    label: "db",
    fields: &[
        gauge("keys", Unit::One, "Keys in the database", ()),
        gauge("expires", Unit::One, "Keys in the database that have a time to live", ()),
        note("avg_ttl", ()),
    ],
};

pub(super) const KEYSPACE: &[Row] = &[Row::Many(&DATABASE, |r| {
    let backend = &r.engine.backend;
    let counted =
        backend.used_dbs().into_iter().map(|db| (db, backend.len(db), backend.expires_len(db)));
    let used = counted.filter(|(_, keys, _)| *keys > 0);
    used.map(|(db, keys, expires)| (db.to_string(), [keys, expires, 0].map(Value::Whole).into()))
        .collect()
})];
