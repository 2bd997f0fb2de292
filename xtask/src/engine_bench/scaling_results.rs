//! The results of `bench engine`: rows for a table or a report, and the JSON file.

use super::EngineArgs;
use super::ceiling::Speed;
use super::model::{Meetings, Model, SHOWN};
use super::scaling::Share;
use crate::bench::report::Grid;
use crate::bench::stats::Spread;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// Changes whenever a field changes its meaning or goes away.
const SCHEMA: u32 = 2;

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Scaling {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Cores the run could use.
    pub cores: usize,
    /// Connections per thread.
    pub connections: usize,
    /// Requests per batch.
    pub pipeline: usize,
    /// Keys.
    pub keys: u64,
    /// Length of a window, seconds.
    pub seconds: f64,
    /// Nanoseconds a cache line takes from one core to another; absent with one core.
    pub line_ns: Option<f64>,
    /// One entry per storage, workload, distribution of keys and number of threads.
    pub measured: Vec<Measured>,
}

/// One number of threads.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The storage.
    pub storage: String,
    /// The workload's name.
    pub workload: String,
    /// The distribution from which keys are drawn.
    pub keys: String,
    /// The number of threads.
    pub threads: usize,
    /// Shards of the storage.
    pub shards: u32,
    /// The odds that two of its commands have the same key.
    #[serde(skip)]
    pub meetings: Meetings,
    /// One per round.
    pub samples: Vec<Sample>,
}

/// One window.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Samples of the same round belong together.
    pub round: u32,
    /// Operations per second, all threads.
    pub per_second: f64,
    /// Times a thread went to sleep, for a million operations: it waited for a lock.
    pub waits_per_million: f64,
    /// Share of the time in which a thread could have run and something else had its core: what
    /// disturbed the measurement.
    pub disturbed: f64,
    /// The machine's own speed with as many threads.
    #[serde(flatten)]
    pub machine: Speed,
}

impl Sample {
    /// Adds the threads of one window up.
    pub fn of(round: u32, shares: Vec<Share>) -> Sample {
        let sum = |what: fn(&Share) -> f64| shares.iter().map(what).sum::<f64>();
        let operations = sum(|share| share.operations as f64).max(1.0);
        let seconds = sum(|share| share.seconds).max(1e-9);
        Sample {
            round,
            per_second: sum(|share| share.operations as f64 / share.seconds.max(1e-9)),
            waits_per_million: sum(|share| share.scheduled.waits as f64) * 1e6 / operations,
            disturbed: sum(|share| share.scheduled.queued_ns as f64) / 1e9 / seconds,
            machine: Speed::default(),
        }
    }
}

impl Measured {
    fn spread(&self, what: fn(&Sample) -> f64) -> Option<Spread> {
        Spread::of(self.samples.iter().map(what).collect())
    }

    fn same_but_threads(&self, other: &Measured) -> bool {
        (&self.storage, &self.workload, &self.keys)
            == (&other.storage, &other.workload, &other.keys)
    }

    /// A speed beside that of `one`, round by round.
    fn beside(&self, one: &Measured, speed: fn(&Sample) -> f64) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&one.samples);
        Spread::of(pairs.map(|(many, one)| speed(many) / speed(one).max(1e-9)).collect())
    }

    /// The model of what this is measured of, by what `one` thread does; `None` for a storage or a workload of which
    /// there is none.
    fn model(one: &Measured, line_ns: Option<f64>) -> Option<Model> {
        let rate = one.spread(|sample| sample.per_second)?.median;
        if one.storage != "memory" || !["get", "set"].contains(&one.workload.as_str()) {
            return None;
        }
        let alone_ns = 1e9 / rate.max(1e-9);
        Some(Model { alone_ns, line_ns: line_ns?, keys: one.meetings })
    }
}

impl Scaling {
    /// A run that has not measured anything.
    pub fn new(args: &EngineArgs, cores: usize, line_ns: Option<f64>) -> Scaling {
        Scaling {
            schema: SCHEMA,
            cores,
            connections: args.connections,
            pipeline: args.pipeline,
            keys: args.key_count,
            seconds: args.seconds,
            line_ns,
            measured: Vec::new(),
        }
    }

    /// The rows.
    pub fn table(&self) -> Grid {
        let title = format!(
            "engine and storage without sockets: {} connections a thread, pipeline {}, {} keys",
            self.connections, self.pipeline, self.keys
        );
        let header = [
            "storage, workload, keys",
            "threads",
            "kops/s",
            "beside one",
            "the machine's own",
            "predicted",
            "sleeps per 1M ops",
            "disturbed",
        ];
        let mut grid = Grid::new(title, &header);
        for row in &self.measured {
            let one = self.one(row);
            let median = |what| row.spread(what).map_or(0.0, |spread| spread.median);
            let ratio = one.and_then(|one| row.beside(one, |sample| sample.per_second));
            grid.rows.push(vec![
                format!("{}, {}, {}", row.storage, row.workload, row.keys),
                row.threads.to_string(),
                format!("{:.0}", median(|sample| sample.per_second) / 1000.0),
                ratio.map_or_else(String::new, |ratio| {
                    format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
                }),
                one.map_or_else(String::new, |one| machine(row, one)),
                self.predicted(row, ratio),
                format!("{:.0}", median(|sample| sample.waits_per_million)),
                format!("{:.0} %", median(|sample| sample.disturbed) * 100.0),
            ]);
        }
        grid
    }

    /// The same measurement with one thread.
    fn one(&self, row: &Measured) -> Option<&Measured> {
        self.measured.iter().find(|one| one.threads == 1 && one.same_but_threads(row))
    }

    /// The speedup that the model predicts for a row, and whether the measured one disagrees.
    fn predicted(&self, row: &Measured, measured: Option<Spread>) -> String {
        let model = self.one(row).and_then(|one| Measured::model(one, self.line_ns));
        let Some(model) = model else { return String::new() };
        let predicted = model.speedup(row.threads, row.shards);
        let differs = measured.is_some_and(|ratio| Model::disagrees(predicted, ratio.median));
        format!("{predicted:.2}{}", if differs { " (disagrees)" } else { "" })
    }

    /// The model's speedups for more threads, on a machine like this with as many cores.
    pub fn outlook(&self) -> Grid {
        let line = self.line_ns.unwrap_or(0.0);
        let title = format!(
            "predicted beside one thread, on as many cores: a cache line takes {line:.0} ns from core to core, \
             the core fetches it a batch ahead, {} shards per core up to {}; no limits of memory or clock",
            storage_memory::SHARDS_PER_CORE,
            storage_memory::SHARDS_MAX
        );
        let mut header = vec!["storage, workload, keys".to_owned()];
        header.extend(SHOWN.map(|threads| format!("{threads} threads")));
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        let mut grid = Grid::new(title, &header);
        for one in self.measured.iter().filter(|row| row.threads == 1) {
            let Some(model) = Measured::model(one, self.line_ns) else { continue };
            let mut row = vec![format!("{}, {}, {}", one.storage, one.workload, one.keys)];
            row.extend(SHOWN.map(|threads| {
                let shards = (threads * storage_memory::SHARDS_PER_CORE) as u32;
                format!("{:.1}", model.speedup(threads, shards.min(storage_memory::SHARDS_MAX)))
            }));
            grid.rows.push(row);
        }
        grid
    }

    /// An explanation of the columns.
    pub fn notes(&self) -> String {
        "medians of the rounds; `beside one` divides each round by its own, with the extremes; \
         `hot` sends everything to one key; making the requests is part of every figure; \
         `the machine's own`: a loop in registers and one that reads a table as large as the data at random, on as many \
         threads beside one; `predicted`: by the model in xtask/src/engine_bench/model.rs; \
         `disturbed`: the share of the time in which something else had a thread's core"
            .to_owned()
    }

    /// Writes the JSON file.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| path.display().to_string())
    }
}

/// The speed of the machine itself with as many threads as `row` has, beside one.
fn machine(row: &Measured, one: &Measured) -> String {
    let beside =
        |speed: fn(&Sample) -> f64| row.beside(one, speed).map_or(0.0, |spread| spread.median);
    let (registers, memory) = (|s: &Sample| s.machine.registers, |s: &Sample| s.machine.memory);
    format!("{:.2}, {:.2}", beside(registers), beside(memory))
}

#[cfg(test)]
mod tests {
    use super::super::scaling::Scheduled;
    use super::*;

    fn measured(threads: usize, rates: &[f64]) -> Measured {
        let share = |rate: f64| Share {
            operations: rate as u64,
            seconds: 1.0,
            scheduled: Scheduled { queued_ns: 100_000_000, waits: 5 },
        };
        let sample = |(round, rate): (usize, &f64)| {
            Sample::of(round as u32, (0..threads).map(|_| share(*rate)).collect())
        };
        let name = |text: &str| text.to_owned();
        Measured {
            storage: name("memory"),
            workload: name("get"),
            keys: name("uniform"),
            threads,
            shards: 64,
            meetings: Meetings::of("uniform", 1000, 1.0),
            samples: rates.iter().enumerate().map(sample).collect(),
        }
    }

    #[test]
    fn ratios_pair_the_rounds() {
        // The second round ran at half speed; that it did so for both must not show.
        let (one, two) = (measured(1, &[1000.0, 500.0]), measured(2, &[950.0, 475.0]));
        let ratio = two.beside(&one, |sample| sample.per_second).unwrap();
        assert!((ratio.low - 1.9).abs() < 1e-9 && (ratio.high - 1.9).abs() < 1e-9);
        assert!((two.samples[0].waits_per_million - 10.0 / 1900.0 * 1e6).abs() < 1e-6);
        assert!((two.samples[0].disturbed - 0.1).abs() < 1e-9);
    }

    #[test]
    fn only_the_same_measurement_is_compared() {
        let one = measured(1, &[1.0]);
        assert!(one.same_but_threads(&measured(2, &[1.0])));
        let other = Measured { keys: "zipf".into(), ..measured(2, &[1.0]) };
        assert!(!one.same_but_threads(&other));
    }
}
