//! The load generator. It sends as many requests as a server takes (closed loop) or as a schedule
//! demands (open loop), from one thread per core, and measures the latency of each.
//!
//! It must cost less than what it measures: requests are patched templates, replies are counted and
//! not parsed, the clock is read once per event, and nothing is allocated per request.

mod channel;
mod connection;
mod driver;
pub mod idle;
pub mod keys;
pub mod messages;
pub mod reply;
pub mod request;
pub mod rng;
pub mod speed;
#[cfg(test)]
mod tests;
mod wire;
pub mod workload;

use anyhow::{Context, Result, anyhow};
use capture::lab::cpu;
pub use channel::Endpoint;
use driver::LoadThread;
use hdrhistogram::Histogram;
use reply::Tally;
use request::Generator;
use std::sync::Barrier;
use std::time::Duration;

/// How requests are paced.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// The next batch leaves when the last one is answered.
    Closed,
    /// Requests are due at a fixed rate.
    Open {
        /// Requests per second over all connections.
        per_second: f64,
    },
}

/// When a run ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Stop {
    /// After so long.
    After(Duration),
    /// After this many requests.
    Requests(u64),
}

/// One run against one server.
#[derive(Debug, Clone)]
pub struct RunConfig {
    /// The server.
    pub server: Endpoint,
    /// Connections over all threads, at least 1.
    pub connections: usize,
    /// Requests a connection has under way: exactly (closed loop) or at most (open loop).
    pub pipeline: usize,
    /// Closed or open loop.
    pub pacing: Pacing,
    /// Not measured, before the window.
    pub warmup: Duration,
    /// The window's end.
    pub stop: Stop,
    /// Cores to pin to, one thread each; none means one thread, pinned nowhere.
    pub cores: Vec<usize>,
    /// Numbers the runs, so that each inserts keys of its own.
    pub run: u64,
}

/// The two ends of the measured window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// Warm-up is over; the counters start.
    Start,
    /// The window is over; later replies are not counted.
    End,
}

/// The measurements of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Replies inside the window, errors and nulls among them.
    pub tally: Tally,
    /// Latencies of these, µs.
    pub latencies: Histogram<u64>,
    /// Length of the window.
    pub elapsed: Duration,
    /// Requests sent from first to last, warm-up included.
    pub sent: u64,
}

impl Report {
    /// The latency that `percent` of the replies stayed within, µs.
    pub fn latency_us(&self, percent: f64) -> f64 {
        self.latencies.value_at_percentile(percent) as f64
    }

    fn merge(&mut self, other: Report) -> Result<()> {
        self.tally.merge(other.tally);
        self.latencies.add(other.latencies).context("histograms differ")?;
        self.elapsed = self.elapsed.max(other.elapsed);
        self.sent += other.sent;
        Ok(())
    }
}

/// Runs `config`, with requests from `generator`. `edge` is called at both ends of the window, on a
/// load thread, so that the server's counters can be read at the right moment.
pub fn run(
    config: &RunConfig,
    generator: &Generator,
    edge: &mut (dyn FnMut(Edge) + Send),
) -> Result<Report> {
    let threads = config.cores.len().clamp(1, config.connections.max(1));
    let ready = Barrier::new(threads);
    std::thread::scope(|scope| {
        let mut edge = Some(edge);
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                let (edge, ready) = (edge.take(), &ready);
                scope.spawn(move || one_thread(config, generator, index, threads, ready, edge))
            })
            .collect();
        let reports = handles.into_iter().map(|handle| match handle.join() {
            Ok(report) => report,
            Err(_) => Err(anyhow!("a load thread panicked")),
        });
        reports
            .reduce(|sum, report| {
                let (mut sum, report) = (sum?, report?);
                sum.merge(report)?;
                Ok(sum)
            })
            .unwrap_or_else(|| Err(anyhow!("no load thread")))
    })
}

fn one_thread(
    config: &RunConfig,
    generator: &Generator,
    index: usize,
    threads: usize,
    ready: &Barrier,
    mut edge: Option<&mut (dyn FnMut(Edge) + Send)>,
) -> Result<Report> {
    let share = (index as u64, threads as u64);
    let connections =
        config.connections / threads + usize::from(index < config.connections % threads);
    let pinned = config.cores.get(index).map_or(Ok(()), |&core| cpu::pin(&[core]));
    let driver = pinned.and_then(|()| {
        let generator = generator.share(share.0, share.1, config.run);
        LoadThread::connect(config, generator, connections.max(1), share)
    });
    // Wait even when connecting failed: the other threads count on it.
    ready.wait();
    driver?.run(&mut |at| {
        if let Some(edge) = &mut edge {
            edge(at);
        }
    })
}
