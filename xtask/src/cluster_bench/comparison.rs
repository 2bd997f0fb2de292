//! Servers side by side: windows of load on one and on another in turn, so that a ratio is one
//! of neighbours in time. All share this machine's cores with each other and with the load; those that
//! have nothing to do are not frozen, because a cluster that stood still would elect again.

use super::nodes::ask;
use crate::bench::report::Grid;
use crate::bench::stats::{Ratio, Spread};
use crate::load::keys::{Distribution, Keys};
use crate::load::request::Generator;
use crate::load::{self, Pacing, RunConfig, Stop};
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use std::net::SocketAddr;
use std::time::Duration;

/// The time before a window, in which nothing is measured.
const WARMUP: Duration = Duration::from_millis(300);

/// The pipeline with which keys are written before anything is measured.
const LOAD_PIPELINE: usize = 64;

/// The request that writes.
pub const SET: &str = "SET {key} {value}";

/// The request that reads.
pub const GET: &str = "GET {key}";

/// How long, how often, and what is asked.
#[derive(Debug, Clone, Args)]
pub struct Windows {
    /// Rounds; in each, everything runs once
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Length of a window, seconds
    #[arg(long, default_value_t = 3.0)]
    pub seconds: f64,
    /// Connections
    #[arg(long, default_value_t = 50)]
    pub connections: usize,
    /// Keys
    #[arg(long, default_value_t = 100_000)]
    pub keys: u64,
    /// Size of values, bytes
    #[arg(long, default_value_t = 64)]
    pub value_size: usize,
}

impl Windows {
    /// Fails if nothing could be measured.
    pub fn check(&self) -> Result<()> {
        ensure!(self.rounds > 0 && self.seconds > 0.0, "rounds and seconds must be positive");
        ensure!((1..=4_096).contains(&self.connections), "connections go from 1 to 4096");
        Ok(())
    }
}

/// Something that is measured: a server that gets the load, and how it is asked.
pub struct Subject {
    /// The name shown.
    pub name: &'static str,
    /// The server.
    pub addr: SocketAddr,
    /// The first request of each connection; empty for none.
    pub opening: &'static [&'static str],
    /// The request behind each batch of writes; empty for none.
    pub closing: &'static [&'static str],
    /// The request behind each window, which is answered once the server's replicas have done their
    /// part of it, so that it is not done in another's window; empty for none.
    pub settling: &'static [&'static str],
}

impl Subject {
    /// A server that is asked nothing but the load.
    pub fn new(name: &'static str, addr: SocketAddr) -> Subject {
        Subject { name, addr, opening: &[], closing: &[], settling: &[] }
    }
}

/// A comparison.
pub struct Line {
    /// The name shown.
    pub name: &'static str,
    /// [`SET`] or [`GET`].
    pub request: &'static str,
    /// Connections.
    pub connections: usize,
    /// Requests in one batch per connection.
    pub pipeline: usize,
    /// The positions of the subject, and of the one beside it.
    pub pair: (usize, usize),
    /// The wanted ratio.
    pub wanted: &'static str,
}

impl Line {
    /// `load` is the number of connections, and the pipeline.
    pub fn new(
        name: &'static str,
        request: &'static str,
        load: (usize, usize),
        pair: (usize, usize),
        wanted: &'static str,
    ) -> Line {
        Line { name, request, connections: load.0, pipeline: load.1, pair, wanted }
    }
}

/// A round's operations per second: of the subject, and of the one beside it.
type Pair = (f64, f64);

/// Writes all keys to `subject`, the one at position `at`.
pub fn fill(subject: &Subject, windows: &Windows, at: usize) -> Result<()> {
    let line = Line::new("loading", SET, (1, LOAD_PIPELINE), (at, at), "");
    let keys = Keys::new(Distribution::Sequential, windows.keys, at as u64);
    run(subject, &line, windows, keys, Stop::Requests(windows.keys), 0).map(drop)
}

/// Measures all `lines`, those of which a subject is not there left out, and makes the table.
pub fn measure(lines: &[Line], subjects: &[Subject], windows: &Windows) -> Result<Grid> {
    let there = |line: &&Line| line.pair.0.max(line.pair.1) < subjects.len();
    let mut measured: Vec<(&Line, Vec<Pair>)> =
        lines.iter().filter(there).map(|line| (line, Vec::new())).collect();
    for round in 0..windows.rounds {
        for (line, pairs) in &mut measured {
            pairs.push(pair(line, subjects, windows, round)?);
        }
    }
    let title = format!(
        "Operations per second, {} connections, {} rounds of {} s, values of {} bytes",
        windows.connections, windows.rounds, windows.seconds, windows.value_size
    );
    let mut grid = Grid::new(title, &["", "ops/s", "beside", "ops/s", "ratio", "wanted"]);
    grid.rows = measured.iter().filter_map(|(line, pairs)| row(line, subjects, pairs)).collect();
    Ok(grid)
}

fn row(line: &Line, subjects: &[Subject], pairs: &[Pair]) -> Option<Vec<String>> {
    let median = |of: fn(&Pair) -> f64| Spread::of(pairs.iter().map(of).collect());
    let (one, other) = (median(|pair| pair.0)?, median(|pair| pair.1)?);
    let ratio = Ratio(Spread::of(pairs.iter().map(|(one, other)| one / other).collect())?);
    let (subject, beside) = (subjects.get(line.pair.0)?, subjects.get(line.pair.1)?);
    let shown = |spread: Spread| format!("{:.0}", spread.median);
    Some(vec![
        format!("{}, {}", line.name, subject.name),
        shown(one),
        beside.name.into(),
        shown(other),
        ratio.to_string(),
        line.wanted.into(),
    ])
}

/// One window of each of a line's two subjects, of which each begins every other round.
fn pair(line: &Line, subjects: &[Subject], windows: &Windows, round: u32) -> Result<Pair> {
    let window = |at: usize| window(&subjects[at], line, windows, round);
    let (one, other) = line.pair;
    if round.is_multiple_of(2) {
        let first = window(one)?;
        return Ok((first, window(other)?));
    }
    let first = window(other)?;
    Ok((window(one)?, first))
}

/// The operations per second of `subject` in one window, the number of which is `round`.
pub fn window(subject: &Subject, line: &Line, windows: &Windows, round: u32) -> Result<f64> {
    let keys = Keys::new(Distribution::Uniform, windows.keys, u64::from(round));
    let stop = Stop::After(Duration::from_secs_f64(windows.seconds));
    let done = run(subject, line, windows, keys, stop, u64::from(round))?;
    if line.request == SET && !subject.settling.is_empty() {
        ask(subject.addr, subject.settling)?;
    }
    Ok(done)
}

/// One window; its operations per second.
fn run(
    subject: &Subject,
    line: &Line,
    windows: &Windows,
    keys: Keys,
    stop: Stop,
    number: u64,
) -> Result<f64> {
    let closing = if line.request == SET { subject.closing } else { &[] };
    let requests = [(line.request.to_owned(), 1.0)];
    let generator = Generator::weighted(&requests, &[windows.value_size], 1, keys)?;
    let plan = RunConfig {
        server: subject.addr.into(),
        connections: line.connections,
        pipeline: line.pipeline,
        pacing: Pacing::Closed,
        warmup: if number == 0 { Duration::ZERO } else { WARMUP },
        stop,
        cores: Vec::new(),
        run: number,
    };
    let generator = generator.within(subject.opening, closing);
    let of = || format!("{}, {}", line.name, subject.name);
    let report = load::run(&plan, &generator, &mut |_| {}).with_context(of)?;
    if let Some(error) = report.tally.first_error {
        bail!("{}: {error}", of());
    }
    let of_batch = line.pipeline + usize::from(!closing.is_empty());
    let done = report.tally.replies as f64 * line.pipeline as f64 / of_batch as f64;
    Ok(done / report.elapsed.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_medians_and_the_ratio_of_neighbours() {
        let addr = ([127, 0, 0, 1], 1).into();
        let subjects = [Subject::new("one", addr), Subject::new("two", addr)];
        let line = Line::new("SET p1", SET, (50, 1), (0, 1), "≥ 1.0");
        let shown = row(&line, &subjects, &[(10.0, 5.0), (30.0, 10.0), (20.0, 8.0)]).unwrap();
        assert_eq!(shown, ["SET p1, one", "20", "two", "8", "2.50 (2.00–3.00)", "≥ 1.0"]);
    }
}
