//! Replays a [`Plan`]: every connection of the capture, with its order, its timing and its waits.
//!
//! Requests are sent when they are due, whatever the server does, and their latency is measured
//! from then. So a stall of the server counts for every request that it delayed (coordinated
//! omission is corrected). If a server cannot keep up, the replay ends some time after its last
//! request was due, and reports how many were never answered.
//!
//! - Requests behind a blocking command wait for its reply, as the client did. If the reply does
//!   not come although the client continued in the capture, the connection is given up and
//!   replaced.
//! - Messages of pub/sub and invalidations are counted separately.
//! - At speed [`Speed::Max`] nothing waits for its time: each connection sends what it sent
//!   together, waits for the replies, and continues.

mod connection;
mod driver;
#[cfg(test)]
mod tests;

use crate::lab::cpu;
use crate::plan::Plan;
use anyhow::{Context, Result, anyhow, bail};
use driver::ReplayThread;
use hdrhistogram::Histogram;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::str::FromStr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// The longest latency that the histogram distinguishes, in µs.
const LATENCY_US_MAX: u64 = 60_000_000;

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Speed {
    /// This many times as fast as in the capture.
    Times(f64),
    /// As fast as the server answers.
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Speed::Max);
        }
        let times: Option<f64> = text.trim_end_matches(['x', 'X']).parse().ok();
        let sane = times.filter(|times| (1e-3..=1e6).contains(times));
        sane.map(Speed::Times).ok_or_else(|| format!("`{text}` is neither 2x nor max"))
    }
}

/// How a plan is replayed.
#[derive(Debug, Clone)]
pub struct Options {
    /// How fast.
    pub speed: Speed,
    /// Cores to pin to, one thread each; none means one thread, pinned nowhere.
    pub cores: Vec<usize>,
    /// After the last request is due, the server has so long.
    pub patience: Duration,
}

/// The two ends of the measured part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// All early connections are there.
    Start,
    /// Everything is answered, or given up.
    End,
}

/// The result of a replay.
#[derive(Debug, Clone)]
pub struct Report {
    /// Requests sent.
    pub sent: u64,
    /// Answers, errors and nulls among them.
    pub replies: u64,
    /// Error replies.
    pub errors: u64,
    /// Nulls.
    pub nulls: u64,
    /// Pushed messages, and everything that subscribers got.
    pub messages: u64,
    /// Blocking commands given up because their answer did not come.
    pub abandoned: u64,
    /// Requests whose answer did not come in time, and those never sent.
    pub unanswered: u64,
    /// The text of the first error.
    pub first_error: Option<String>,
    /// The latencies of the measured part, in µs.
    pub latencies: Histogram<u64>,
    /// The delays with which requests were sent, in µs. They are caused by this program, not by the
    /// server.
    pub lateness: Histogram<u64>,
    /// From the first to the last.
    pub elapsed: Duration,
}

impl Report {
    fn new() -> Report {
        let histogram =
            || Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are valid");
        Report {
            sent: 0,
            replies: 0,
            errors: 0,
            nulls: 0,
            messages: 0,
            abandoned: 0,
            unanswered: 0,
            first_error: None,
            latencies: histogram(),
            lateness: histogram(),
            elapsed: Duration::ZERO,
        }
    }

    /// The latency that `percent` of the answers stayed within, µs.
    pub fn latency_us(&self, percent: f64) -> f64 {
        self.latencies.value_at_quantile(percent / 100.0) as f64
    }

    fn merge(mut self, other: Report) -> Result<Report> {
        self.sent += other.sent;
        self.replies += other.replies;
        self.errors += other.errors;
        self.nulls += other.nulls;
        self.messages += other.messages;
        self.abandoned += other.abandoned;
        self.unanswered += other.unanswered;
        self.first_error = self.first_error.or(other.first_error);
        self.latencies.add(other.latencies).context("histograms differ")?;
        self.lateness.add(other.lateness).context("histograms differ")?;
        self.elapsed = self.elapsed.max(other.elapsed);
        Ok(self)
    }
}

/// Replays `plan` against the server at `addr`; `edge` is called at both ends, on a load thread.
///
/// # Errors
/// Fails if the server cannot be reached, ends, or sends something other than RESP.
pub fn run(
    plan: &Plan,
    addr: SocketAddr,
    options: &Options,
    edge: &mut (dyn FnMut(Edge) + Send),
) -> Result<Report> {
    let threads = options.cores.len().clamp(1, plan.connections.max(1) as usize);
    let ready = Barrier::new(threads);
    std::thread::scope(|scope| {
        let mut edge = Some(edge);
        let handles: Vec<_> = (0..threads)
            .map(|index| {
                let (edge, ready) = (edge.take(), &ready);
                scope.spawn(move || one_thread(plan, addr, options, (index, threads), ready, edge))
            })
            .collect();
        let reports = handles
            .into_iter()
            .map(|handle| handle.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked"))));
        reports.reduce(|sum, report| sum?.merge(report?)).unwrap_or_else(|| Ok(Report::new()))
    })
}

fn one_thread(
    plan: &Plan,
    addr: SocketAddr,
    options: &Options,
    share: (usize, usize),
    ready: &Barrier,
    mut edge: Option<&mut (dyn FnMut(Edge) + Send)>,
) -> Result<Report> {
    let pinned = options.cores.get(share.0).map_or(Ok(()), |&core| cpu::pin(&[core]));
    let driver = pinned.and_then(|()| ReplayThread::new(plan, addr, options, share));
    // Wait even when connecting failed: the other threads count on it.
    ready.wait();
    let mut driver = driver?;
    if let Some(edge) = &mut edge {
        edge(Edge::Start);
    }
    let report = driver.run();
    if let Some(edge) = &mut edge {
        edge(Edge::End);
    }
    report
}

/// Creates the keys that a plan needs. Returns how many requests were refused.
///
/// # Errors
/// Fails if the server cannot be reached, ends, or is silent for twenty seconds.
pub fn preload(plan: &Plan, addr: SocketAddr) -> Result<u64> {
    let mut errors = 0;
    for (db, wire) in &plan.preload.wire {
        let stream = TcpStream::connect_timeout(&addr, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        stream.set_write_timeout(Some(Duration::from_secs(20)))?;
        let mut select = Vec::new();
        resp::encode_command(["SELECT", &db.to_string()], &mut select);
        let requests = 1 + plan.preload.requests.get(db).copied().unwrap_or(0);
        // Answers are read while requests are written, or both sides would wait for each other.
        errors += std::thread::scope(|scope| {
            let mut writing = stream.try_clone()?;
            let writer = scope.spawn(move || {
                writing.write_all(&select)?;
                writing.write_all(wire)
            });
            let errors = count_replies(&stream, requests);
            writer.join().map_err(|_| anyhow!("a thread panicked"))??;
            errors
        })?;
    }
    Ok(errors)
}

fn count_replies(mut stream: &TcpStream, mut expected: u64) -> Result<u64> {
    let (mut errors, mut buffer, started) = (0, Vec::new(), Instant::now());
    let mut chunk = vec![0; 64 << 10];
    while expected > 0 {
        match stream.read(&mut chunk)? {
            0 => bail!("the server closed the connection while keys were created"),
            read => buffer.extend_from_slice(&chunk[..read]),
        }
        let mut at = 0;
        while let Some(length) = resp::skip_reply(&buffer[at..]) {
            errors += u64::from(buffer[at] == b'-');
            expected = expected.saturating_sub(1);
            at += length;
        }
        buffer.drain(..at);
        if started.elapsed() > Duration::from_secs(600) {
            bail!("creating keys takes more than ten minutes");
        }
    }
    Ok(errors)
}
