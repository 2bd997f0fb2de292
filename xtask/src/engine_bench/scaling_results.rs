//! The results of `bench engine`: rows for a table or a report, and the JSON file.

use super::EngineArgs;
use super::scaling::Share;
use crate::bench::report::Grid;
use crate::bench::stats::Spread;
use anyhow::{Context, Result};
use serde::Serialize;
use std::path::Path;

/// Changes whenever a field changes its meaning or goes away.
const SCHEMA: u32 = 1;

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

    /// Operations per second beside `one`, round by round.
    fn beside(&self, one: &Measured) -> Option<Spread> {
        let pairs = self.samples.iter().zip(&one.samples);
        Spread::of(pairs.map(|(many, one)| many.per_second / one.per_second.max(1e-9)).collect())
    }
}

impl Scaling {
    /// A run that has not measured anything.
    pub fn new(args: &EngineArgs, cores: usize) -> Scaling {
        Scaling {
            schema: SCHEMA,
            cores,
            connections: args.connections,
            pipeline: args.pipeline,
            keys: args.key_count,
            seconds: args.seconds,
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
            "sleeps per 1M ops",
            "disturbed",
        ];
        let mut grid = Grid::new(title, &header);
        for row in &self.measured {
            let one =
                self.measured.iter().find(|one| one.threads == 1 && one.same_but_threads(row));
            let median = |what| row.spread(what).map_or(0.0, |spread| spread.median);
            let ratio = one.and_then(|one| row.beside(one)).map_or_else(String::new, |ratio| {
                format!("{:.2} ({:.2}–{:.2})", ratio.median, ratio.low, ratio.high)
            });
            grid.rows.push(vec![
                format!("{}, {}, {}", row.storage, row.workload, row.keys),
                row.threads.to_string(),
                format!("{:.0}", median(|sample| sample.per_second) / 1000.0),
                ratio,
                format!("{:.0}", median(|sample| sample.waits_per_million)),
                format!("{:.0} %", median(|sample| sample.disturbed) * 100.0),
            ]);
        }
        grid
    }

    /// An explanation of the columns.
    pub fn notes(&self) -> String {
        "medians of the rounds; `beside one` divides each round by its own, with the extremes; \
         `hot` sends everything to one key; making the requests is part of every figure; \
         `disturbed`: the share of the time in which something else had a thread's core"
            .to_owned()
    }

    /// Writes the JSON file.
    pub fn save(&self, path: &Path) -> Result<()> {
        std::fs::write(path, serde_json::to_string_pretty(self)? + "\n")
            .with_context(|| path.display().to_string())
    }
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
            samples: rates.iter().enumerate().map(sample).collect(),
        }
    }

    #[test]
    fn ratios_pair_the_rounds() {
        // The second round ran at half speed; that it did so for both must not show.
        let (one, two) = (measured(1, &[1000.0, 500.0]), measured(2, &[950.0, 475.0]));
        let ratio = two.beside(&one).unwrap();
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
