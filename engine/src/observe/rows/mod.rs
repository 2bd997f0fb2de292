//! The tables: every section's rows, in Redis's order and with Redis's names.

mod breakers;
mod calls;
mod clients;
mod memory;
mod persistence;
mod replication;
mod server;
mod stats;

use super::{Reading, Row};
use crate::observe::figures::{Figure, Unit, Value, counter, gauge, note};

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

/// Every section, in Redis's order; the last two are ours.
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
    section("cluster", "Cluster", CLUSTER),
    section("keyspace", "Keyspace", server::KEYSPACE),
    section("breakers", "Breakers", breakers::ROWS),
    on_demand("trace", "Trace", calls::STAGES),
];

const CLUSTER: &[Row] = &[shown("cluster_enabled", |r| u64::from(r.engine.is_in_cluster()).into())];

type Read = for<'a, 'b> fn(&'b Reading<'a>) -> Value;

/// A row that only grows.
const fn count(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(counter(name, Unit::One, help, read))
}

/// A row that goes up and down.
const fn level(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(gauge(name, Unit::One, help, read))
}

/// A size that goes up and down, bytes.
const fn bytes(name: &'static str, help: &'static str, read: Read) -> Row {
    Row::One(gauge(name, Unit::Bytes, help, read))
}

/// A row for people.
const fn shown(name: &'static str, read: Read) -> Row {
    Row::One(note(name, read))
}

/// A row that Redis shows and that has no meaning here; its value is always zero.
const fn zero(name: &'static str) -> Row {
    shown(name, |_| Value::Whole(0))
}

/// A row of another unit.
const fn figure(figure: Figure<Read>) -> Row {
    Row::One(figure)
}
