//! One load thread: its connections, its poller, and the loop that keeps requests coming.
//!
//! Closed loop: each connection sends a batch and waits for all of it. Open loop: requests are
//! due by a schedule, whatever the server does, and latency counts from when a request was due;
//! a stall is so seen by all the requests it delayed, not only by those that were under way.

use super::connection::Connection;
use super::reply::Tally;
use super::request::Generator;
use super::wire::Wire;
use super::{Edge, Pacing, Report, RunConfig, Stop};
use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use std::time::{Duration, Instant};

/// Read buffer of a thread, bytes; it grows only for replies longer than half of it.
pub(super) const BUFFER: usize = 128 * 1024;

/// A server that answers nothing for so long is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(20);

/// The longest latency that the histogram distinguishes, in µs.
const LATENCY_US_MAX: u64 = 60_000_000;

/// An empty histogram of latencies: 1 µs to 60 s, three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).expect("constant bounds are valid")
}

/// The state of one load thread.
pub(super) struct LoadThread<'a> {
    config: &'a RunConfig,
    generator: Generator,
    connections: Vec<Connection>,
    poll: Poll,
    buffer: Vec<u8>,
    clock: Instant,
    tally: Tally,
    latencies: Histogram<u64>,
    sent: u64,
    /// Requests this thread may still send, for [`Stop::Requests`].
    budget: u64,
    /// Open loop only: nanoseconds between two requests of this thread.
    interval_ns: f64,
    /// Open loop only: which connection the next request tries first.
    next: usize,
}

impl<'a> LoadThread<'a> {
    /// Connects `connections` times; `share` of `threads` is this thread's part of the load.
    pub(super) fn connect(
        config: &'a RunConfig,
        generator: Generator,
        connections: usize,
        (share, threads): (u64, u64),
    ) -> Result<Self> {
        let poll = Poll::new()?;
        let connections = (0..connections)
            .map(|token| Wire::open(&config.server, &poll, Token(token)).map(Connection::new))
            .collect::<Result<Vec<_>>>()?;
        let budget = match config.stop {
            Stop::Requests(all) => all / threads + u64::from(share < all % threads),
            Stop::After(_) => u64::MAX,
        };
        let interval_ns = match config.pacing {
            Pacing::Open { per_second } if per_second > 0.0 => 1e9 * threads as f64 / per_second,
            Pacing::Open { per_second } => bail!("a rate of {per_second} requests per second"),
            Pacing::Closed => 0.0,
        };
        let (tally, latencies) = (Tally::default(), histogram());
        let buffer = vec![0; BUFFER];
        let (clock, sent, next) = (Instant::now(), 0, 0);
        Ok(LoadThread {
            config,
            generator,
            connections,
            poll,
            buffer,
            clock,
            tally,
            latencies,
            sent,
            budget,
            interval_ns,
            next,
        })
    }

    /// Runs the load: warm-up, the measured window between the two edges, draining.
    pub(super) fn run(mut self, edge: &mut dyn FnMut(Edge)) -> Result<Report> {
        self.clock = Instant::now();
        let warmup = self.config.warmup.as_nanos() as u64;
        self.phase(warmup, false)?;
        edge(Edge::Start);
        let start = self.now();
        self.tally = Tally::default();
        self.latencies.clear();
        let end = match self.config.stop {
            Stop::After(time) => start + time.as_nanos() as u64,
            Stop::Requests(_) => u64::MAX,
        };
        self.phase(end, true)?;
        let elapsed = Duration::from_nanos(self.now() - start);
        edge(Edge::End);
        let report = Report {
            tally: self.tally.clone(),
            latencies: self.latencies.clone(),
            elapsed,
            sent: 0,
        };
        self.drain()?;
        Ok(Report { sent: self.sent, ..report })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Keeps requests coming until `end` (ns on the clock), or until the budget is answered.
    fn phase(&mut self, end: u64, measured: bool) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let mut now = self.now();
        let mut last_reply = now;
        while now < end && !(measured && self.budget == 0 && self.outstanding() == 0) {
            self.send(now)?;
            self.poll_events(&mut events)?;
            now = self.now();
            if events.is_empty() {
                self.check_silence(now, last_reply)?;
            } else {
                last_reply = now;
            }
            now = self.turn(&events, now, true)?;
        }
        Ok(())
    }

    /// Sends requests that are due without an event: the first batches, and all requests of an open
    /// loop.
    fn send(&mut self, now: u64) -> Result<()> {
        if self.interval_ns == 0.0 {
            if self.sent == 0 {
                for token in 0..self.connections.len() {
                    self.refill(token, now)?;
                }
            }
            return Ok(());
        }
        let due = (now as f64 / self.interval_ns) as u64;
        while self.sent < due && self.budget > 0 {
            let Some(token) = self.with_room() else { return Ok(()) };
            let scheduled = (self.sent as f64 * self.interval_ns) as u64;
            self.connections[token].ask(&mut self.generator, 1, scheduled);
            self.connections[token].flush()?;
            self.sent += 1;
            self.budget -= 1;
        }
        Ok(())
    }

    /// The next connection in turn with fewer requests under way than the pipeline is deep.
    fn with_room(&mut self) -> Option<usize> {
        let count = self.connections.len();
        let room = |i: &usize| self.connections[*i].outstanding() < self.config.pipeline;
        let token = (0..count).map(|i| (self.next + i) % count).find(room)?;
        self.next = (token + 1) % count;
        Some(token)
    }

    /// An open loop must not sleep past the next due time, which may be microseconds away.
    fn poll_events(&mut self, events: &mut Events) -> Result<()> {
        let wait = if self.interval_ns > 0.0 { 0 } else { 100 };
        match self.poll.poll(events, Some(Duration::from_millis(wait))) {
            Err(e) if e.kind() != std::io::ErrorKind::Interrupted => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Handles the events that the poller reported. Returns the time afterwards. One reading of the
    /// clock per event serves for all its replies.
    fn turn(&mut self, events: &Events, mut now: u64, more: bool) -> Result<u64> {
        for event in events {
            let token = event.token().0;
            let connection = &mut self.connections[token];
            if event.is_readable() || event.is_read_closed() {
                now = self.clock.elapsed().as_nanos() as u64;
                let latencies = &mut self.latencies;
                connection.read(&mut self.buffer, &mut self.tally, |since, count| {
                    latencies.saturating_record_n((now.saturating_sub(since)) / 1000, count);
                })?;
            }
            connection.flush()?;
            if more && self.interval_ns == 0.0 && connection.outstanding() == 0 {
                self.refill(token, now)?;
            }
        }
        Ok(now)
    }

    fn refill(&mut self, token: usize, now: u64) -> Result<()> {
        let count = (self.config.pipeline as u64).min(self.budget) as usize;
        if count == 0 {
            return Ok(());
        }
        self.budget -= count as u64;
        self.sent += count as u64;
        let connection = &mut self.connections[token];
        connection.ask(&mut self.generator, count, now);
        connection.flush()
    }

    /// Waits for the replies still under way, so that the next run finds the server idle.
    fn drain(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let started = self.now();
        while self.outstanding() > 0 {
            self.poll_events(&mut events)?;
            let now = self.now();
            self.check_silence(now, started)?;
            self.turn(&events, now, false)?;
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.connections.iter().map(Connection::outstanding).sum()
    }

    fn check_silence(&self, now: u64, since: u64) -> Result<()> {
        if Duration::from_nanos(now.saturating_sub(since)) > SILENCE_MAX && self.outstanding() > 0 {
            bail!("no reply for {} s", SILENCE_MAX.as_secs());
        }
        Ok(())
    }
}
