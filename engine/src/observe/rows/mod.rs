//! The tables: every section's rows, in Redis's order and with Redis's names.

mod calls;
mod clients;
mod cluster;
mod memory;
mod persistence;
mod replication;
mod server;
mod shards;
mod stats;

use super::row::{Row, count, level};
use crate::observe::figures::{Family, Unit, Value, counter, gauge, note};
use crate::peers::breaker::State;
use crate::peers::breakers::Shown;

pub use clients::clients_memory;

/// A part of `INFO`.
pub struct Section {
    /// The argument of `INFO` that selects the section.
    pub key: &'static str,
    /// Its headline.
    pub title: &'static str,
    /// Whether plain `INFO` has it.
    pub by_default: bool,
    /// Its figures.
    pub rows: &'static [Row],
}

const fn section(key: &'static str, title: &'static str, rows: &'static [Row]) -> Section {
    Section { key, title, by_default: true, rows }
}

const fn on_demand(key: &'static str, title: &'static str, rows: &'static [Row]) -> Section {
    Section { key, title, by_default: false, rows }
}

/// Every section, in Redis's order; the last three are ours.
pub const SECTIONS: &[Section] = &[
    section("server", "Server", server::ROWS),
    section("clients", "Clients", clients::ROWS),
    section("memory", "Memory", memory::ROWS),
    section("persistence", "Persistence", persistence::ROWS),
    section("stats", "Stats", stats::ROWS),
    section("replication", "Replication", replication::ROWS),
    section("cpu", "CPU", &[Row::Host]),
    section("modules", "Modules", &[]),
    on_demand("commandstats", "Commandstats", calls::COMMANDS),
    section("errorstats", "Errorstats", calls::ERRORS),
    on_demand("latencystats", "Latencystats", calls::TIMES),
    section("cluster", "Cluster", cluster::ROWS),
    section("keyspace", "Keyspace", server::KEYSPACE),
    section("breakers", "Breakers", BREAKERS),
    on_demand("trace", "Trace", calls::STAGES),
    on_demand("shards", "Shards", shards::ROWS),
];

const BREAKER: Family = Family {
    name: "breaker_",
    label: "downstream",
    fields: &[
        note("state", ()),
        gauge("open", Unit::One, "Whether the breaker admits no attempts, or only a probe", ()),
        note("retry_ms", ()),
        counter("failures", Unit::One, "Failed attempts", ()),
        counter("opened", Unit::One, "How often the breaker opened", ()),
        counter("refused", Unit::One, "Attempts that the breaker refused", ()),
    ],
};

const BREAKERS: &[Row] = &[
    level("breakers_open", "Circuit breakers that are not closed", |r| {
        let all = r.engine.peers.breakers.all();
        all.iter().filter(|it| it.state != State::Closed).count().into()
    }),
    count("total_breakers_opened", "How often circuit breakers opened", |r| {
        r.engine.peers.breakers.tally().opened.into()
    }),
    count("total_breakers_refused", "Attempts that circuit breakers refused", |r| {
        r.engine.peers.breakers.tally().refused.into()
    }),
    Row::Many(&BREAKER, |r| {
        let shown = |it: Shown| {
            let retry_ms = it.state.wait(r.now.mono_us).as_millis() as u64;
            let state: [Value; 3] =
                [it.state.name().into(), (it.state != State::Closed).into(), retry_ms.into()];
            let counts = [it.tally.failures, it.tally.opened, it.tally.refused];
            (it.name, state.into_iter().chain(counts.map(Value::Whole)).collect())
        };
        r.engine.peers.breakers.all().into_iter().map(shown).collect()
    }),
];
