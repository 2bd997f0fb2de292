//! One load thread of a replay: its share of the connections, its poller, and the schedule.

use super::connection::{Connection, Want};
use super::{Options, Report, Speed};
use crate::plan::{Kind, Plan};
use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Read buffer, bytes.
const BUFFER: usize = 128 << 10;

/// The time that a blocking command may stay unanswered once its client went on in the capture.
const GRACE: Duration = Duration::from_millis(200);

/// The interval at which connections without events are examined.
const ROUND: Duration = Duration::from_millis(20);

/// Closer to the next request than this, the poller is asked without waiting: it is not exact.
const SPIN: Duration = Duration::from_millis(2);

/// The state of one load thread of a replay.
pub(super) struct ReplayThread<'a> {
    plan: &'a Plan,
    addr: SocketAddr,
    closed_loop: bool,
    /// Nanoseconds of replay per microsecond of capture.
    scale: f64,
    patience: Duration,
    /// This thread's steps, by number.
    steps: Vec<u32>,
    next: usize,
    /// Every thread has all of them; those of others stay empty.
    connections: Vec<Connection>,
    /// The connections of this thread.
    mine: Vec<u32>,
    poll: Poll,
    buffer: Vec<u8>,
    clock: Instant,
    report: Report,
    looked: u64,
}

impl<'a> ReplayThread<'a> {
    /// Takes the connections `share.0`, `share.0 + share.1`, …, and makes those that are there from
    /// the start.
    pub(super) fn new(
        plan: &'a Plan,
        addr: SocketAddr,
        options: &Options,
        share: (usize, usize),
    ) -> Result<Self> {
        let is_mine = |connection: u32| connection as usize % share.1 == share.0;
        let numbered = plan.steps.iter().enumerate();
        let steps = numbered.filter(|(_, step)| is_mine(step.connection)).map(|(i, _)| i as u32);
        let mut driver = ReplayThread {
            plan,
            addr,
            closed_loop: options.speed == Speed::Max,
            scale: match options.speed {
                Speed::Times(times) => 1000.0 / times,
                Speed::Max => 0.0,
            },
            patience: options.patience,
            steps: steps.collect(),
            next: 0,
            connections: (0..plan.connections).map(|_| Connection::default()).collect(),
            mine: (0..plan.connections).filter(|number| is_mine(*number)).collect(),
            poll: Poll::new()?,
            buffer: vec![0; BUFFER],
            clock: Instant::now(),
            report: Report::new(),
            looked: 0,
        };
        driver.connect_early()?;
        Ok(driver)
    }

    /// Connects what opens before the first request of all.
    fn connect_early(&mut self) -> Result<()> {
        while let Some(&number) = self.steps.get(self.next) {
            let step = &self.plan.steps[number as usize];
            match step.kind {
                Kind::Open => self.connect(step.connection)?,
                // Our own requests to an early connection can wait for the start.
                Kind::Unmeasured => self.connections[step.connection as usize].due(number, 0),
                _ => break,
            }
            self.next += 1;
        }
        Ok(())
    }

    fn connect(&mut self, number: u32) -> Result<()> {
        let mut stream = TcpStream::connect(self.addr)
            .with_context(|| format!("connection {number} to {}", self.addr))?;
        let _ = stream.set_nodelay(true);
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(number as usize), interest)?;
        self.connections[number as usize].attach(stream);
        Ok(())
    }

    fn disconnect(&mut self, number: u32) {
        if let Some(mut stream) = self.connections[number as usize].detach() {
            // It is closed right after: nothing is lost if the poller does not know it.
            let _ = self.poll.registry().deregister(&mut stream);
        }
    }

    pub(super) fn run(&mut self) -> Result<Report> {
        self.clock = Instant::now();
        let mut events = Events::with_capacity(1024);
        let end = (self.plan.length_us as f64 * self.scale) as u64;
        let end = if self.closed_loop { u64::MAX } else { end + self.patience.as_nanos() as u64 };
        let mut last_reply = 0;
        let mine = self.mine.clone();
        mine.iter().try_for_each(|number| self.pump(*number))?;
        loop {
            let now = self.now();
            self.take_due(now)?;
            self.look(now)?;
            if self.is_done() || now > end {
                break;
            }
            let wait = self.wait(now);
            match self.poll.poll(&mut events, Some(wait)) {
                Err(error) if error.kind() != std::io::ErrorKind::Interrupted => {
                    return Err(error.into());
                }
                _ => {}
            }
            self.turn(&events)?;
            if events.is_empty() {
                let silent = Duration::from_nanos(self.now().saturating_sub(last_reply));
                if self.closed_loop && silent > self.patience.max(Duration::from_secs(1)) {
                    break;
                }
            } else {
                last_reply = self.now();
            }
        }
        self.finish()
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    fn due_ns(&self, number: u32) -> u64 {
        (self.plan.steps[number as usize].at_us as f64 * self.scale) as u64
    }

    /// Hands over the steps whose time has come.
    fn take_due(&mut self, now: u64) -> Result<()> {
        let first = self.next;
        while let Some(&number) = self.steps.get(self.next) {
            let due = self.due_ns(number);
            if due > now {
                break;
            }
            if !self.closed_loop {
                self.report.lateness.saturating_record((now - due) / 1000);
            }
            let connection = self.plan.steps[number as usize].connection;
            self.connections[connection as usize].due(number, due);
            self.next += 1;
            // Answers must not wait for a whole backlog to be sent.
            if self.next - first >= 256 && !self.closed_loop {
                break;
            }
        }
        for index in first..self.next {
            let connection = self.plan.steps[self.steps[index] as usize].connection;
            self.pump(connection)?;
        }
        Ok(())
    }

    /// Sends the requests of a connection that may be sent now.
    fn pump(&mut self, number: u32) -> Result<()> {
        loop {
            let now = self.now();
            let connection = &mut self.connections[number as usize];
            match connection.pump(self.plan, now, self.closed_loop, &mut self.report) {
                Want::Nothing => return connection.flush(),
                Want::Connect => self.connect(number)?,
                Want::Close => self.disconnect(number),
            }
        }
    }

    /// Gives up blocking commands that are not answered although their clients went on.
    fn look(&mut self, now: u64) -> Result<()> {
        if now - self.looked < ROUND.as_nanos() as u64 {
            return Ok(());
        }
        self.looked = now;
        for index in 0..self.mine.len() {
            let number = self.mine[index];
            let since = self.connections[number as usize].stuck_since();
            let grace = GRACE.as_nanos() as u64;
            if since.is_some_and(|since| now.saturating_sub(since) > grace) {
                self.report.abandoned += 1;
                self.disconnect(number);
                self.connect(number)?;
                self.connections[number as usize].restore(now);
                self.pump(number)?;
            }
        }
        Ok(())
    }

    /// The time that the poller may wait.
    fn wait(&self, now: u64) -> Duration {
        match self.steps.get(self.next) {
            Some(&number) => {
                let left = Duration::from_nanos(self.due_ns(number).saturating_sub(now));
                left.saturating_sub(SPIN).min(ROUND)
            }
            None => ROUND,
        }
    }

    fn turn(&mut self, events: &Events) -> Result<()> {
        for event in events {
            let number = event.token().0 as u32;
            if event.is_readable() || event.is_read_closed() {
                let now = self.now();
                let connection = &mut self.connections[number as usize];
                if !connection.read(&mut self.buffer, now, &mut self.report)? {
                    self.lost(number)?;
                }
            }
            self.pump(number)?;
        }
        Ok(())
    }

    /// The server closed a connection: an error unless nothing was expected from it any more.
    fn lost(&mut self, number: u32) -> Result<()> {
        let connection = &mut self.connections[number as usize];
        if connection.unanswered() > 0 || connection.held() > 1 {
            bail!("the server closed connection {number} while it had requests to answer");
        }
        self.disconnect(number);
        Ok(())
    }

    /// Whether everything is sent and answered. A client that still waits for other clients does
    /// not count.
    fn is_done(&self) -> bool {
        self.next == self.steps.len()
            && self.mine.iter().all(|number| {
                let connection = &self.connections[*number as usize];
                connection.held() == 0 && connection.unanswered() == 0
            })
    }

    fn finish(&mut self) -> Result<Report> {
        self.report.elapsed = self.clock.elapsed();
        let mut left = (self.steps.len() - self.next) as u64;
        for number in self.mine.clone() {
            let connection = &self.connections[number as usize];
            left += (connection.unanswered() + connection.held()) as u64;
            self.disconnect(number);
        }
        self.report.unanswered = left;
        Ok(std::mem::replace(&mut self.report, Report::new()))
    }
}
