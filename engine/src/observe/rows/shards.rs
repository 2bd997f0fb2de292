//! `INFO shards`: how the load is spread over the shards of the storage, and how long their locks are waited for.

use crate::observe::figures::{Family, Unit, Value, counter, gauge};
use crate::observe::row::{Reading, Row, count, figure};
use crate::observe::shards::{Used, busiest, quantile};
use storage::load::ShardLoad;

fn all(r: &Reading<'_>) -> Vec<Used> {
    r.engine.observe.shards.all(&*r.engine.backend)
}

fn sum(r: &Reading<'_>, of: fn(ShardLoad) -> u64) -> u64 {
    let backend = &r.engine.backend;
    (0..backend.shard_count()).map(|shard| of(backend.shard_load(shard))).sum()
}

/// Of a few shards only: there may be a thousand.
const SHARD: Family = Family {
    name: "shard_",
    label: "shard",
    fields: &[
        counter("accesses", Unit::One, "Accesses to keys of the shard", ()),
        gauge("accesses_per_sec", Unit::One, "Accesses per second, over the last ten seconds", ()),
        counter("lock_waits", Unit::One, "How often the shard's lock was found taken", ()),
        counter("lock_wait_usec", Unit::Micros, "Time spent waiting for the shard's lock", ()),
    ],
};

const SPREAD: Family = Family {
    name: "shards_",
    label: "quantile",
    fields: &[gauge(
        "accesses_per_sec",
        Unit::One,
        "Accesses per second of the shard at this place among all, the least used first",
        (),
    )],
};

fn micros(nanos: u64) -> Value {
    Value::Real(nanos as f64 / 1000.0, 3)
}

fn shown(shard: Used) -> Vec<Value> {
    let ShardLoad { accesses, lock_waits, lock_wait_ns } = shard.load;
    let per_s = Value::Real(shard.accesses_per_s, 2);
    vec![accesses.into(), per_s, lock_waits.into(), micros(lock_wait_ns)]
}

pub(super) const ROWS: &[Row] = &[
    count("shards_accesses", "Accesses to keys that exist", |r| sum(r, |it| it.accesses).into()),
    count("shards_lock_waits", "How often a shard's lock was found taken", |r| {
        sum(r, |it| it.lock_waits).into()
    }),
    figure(counter("shards_lock_wait_usec", Unit::Micros, "Time spent waiting for shards", |r| {
        micros(sum(r, |it| it.lock_wait_ns))
    })),
    Row::Many(&SPREAD, |r| {
        let shards = all(r);
        let one = |share: &str| {
            let rate = quantile(&shards, share.parse().unwrap_or_default());
            (share.to_owned(), vec![Value::Real(rate, 2)])
        };
        ["0", "0.5", "0.9", "0.99", "1"].map(one).into()
    }),
    Row::Many(&SHARD, |r| {
        let shards = all(r);
        busiest(&shards).into_iter().map(|at| (at.to_string(), shown(shards[at]))).collect()
    }),
];
