//! The server's metrics: every figure is a row, read when it is requested.
//!
//! `INFO` shows the rows of a section in their order; `/metrics` gives those that are numbers to
//! Prometheus. Figures that only the process knows come from
//! [`Host::figures`](crate::Host::figures); they replace rows of the engine with the same
//! name.
//!
//! | module | what |
//! | --- | --- |
//! | `info` | the text of `INFO`, and the figures of a section |
//! | [`figures`] | what a row of figures is, and how `INFO` writes it |
//! | `row`, `rows` | how rows are made, and all of them |
//! | [`stats`], [`rates`] | what is counted, and how much of it happens per second |
//! | [`shards`] | how much each shard is used and waited for |
//! | [`slowlog`], [`latency`] | commands and moments that took long |
//! | [`hot_keys`] | keys and shards on which most is spent |
//! | `stages` | where the time of a turn goes |

pub mod figures;
pub mod hot_keys;
mod info;
pub mod latency;
pub mod rates;
mod row;
mod rows;
pub mod shards;
pub mod slowlog;
pub(crate) mod stages;
pub mod stats;

pub use info::{section, text};
pub use row::{Reading, Row};
pub use rows::{SECTIONS, Section, clients_memory};

use hot_keys::HotKeys;
use latency::LatencyMonitor;
use rates::Rates;
use shards::Shards;
use slowlog::SlowLog;
use stats::Stats;
use std::sync::Arc;

/// Everything that the engine counts and measures.
pub struct Observe {
    /// Counters.
    pub stats: Stats,
    /// Slow commands.
    pub slowlog: SlowLog,
    /// Keys on which most is spent (`HOTKEYS`).
    pub hot_keys: HotKeys,
    /// Slow events (`LATENCY`).
    pub latency: Arc<LatencyMonitor>,
    /// Rates per second.
    pub rates: Rates,
    /// The load of shards.
    pub shards: Shards,
}

impl Observe {
    /// Nothing counted yet, of this number of commands.
    pub(crate) fn new(commands: usize) -> Self {
        Observe {
            stats: Stats::new(commands),
            slowlog: SlowLog::default(),
            hot_keys: HotKeys::default(),
            latency: Arc::default(),
            rates: Rates::default(),
            shards: Shards::default(),
        }
    }
}
