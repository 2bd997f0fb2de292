//! The probe: one command after another, each timed, with a batch of writes sent before it.
//!
//! One thread sends both, so that nothing but the server comes between a command and its reply. The writes
//! are what a server has to do beside; a write that takes long makes the probe's command wait, and counts as it.

use super::cases::{Case, set};
use super::results::{Measured, STEP};
use anyhow::{Context, Result, bail};
use capture::lab::Client;
use hdrhistogram::Histogram;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use storage::random::mix;

/// Writes sent before each command of the probe.
const BATCH: u64 = 32;
/// The command that begins a case is sent so long after the first probe.
const BEFORE: Duration = Duration::from_millis(100);
/// Between two looks whether a case has ended.
const LOOK: Duration = Duration::from_millis(25);
/// A reply that takes longer does not come, and neither does the end of a case.
const SILENCE_MAX: Duration = Duration::from_secs(120);

/// How long a case lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// Until what happens is done.
    Done,
    /// So long: on the echo server nothing happens.
    Time(Duration),
}

/// A connection that requests are queued for.
pub struct Line {
    stream: TcpStream,
    out: Vec<u8>,
    /// Received bytes of replies that are not complete, or not yet taken.
    received: Vec<u8>,
}

impl Line {
    fn connect(addr: SocketAddr) -> Result<Line> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        Ok(Line { stream, out: Vec::new(), received: Vec::new() })
    }

    /// Queues a request.
    pub fn ask(&mut self, words: &[&str]) {
        resp::encode_command(words, &mut self.out);
    }

    /// Sends what is queued.
    ///
    /// # Errors
    /// Fails if the server has closed the connection.
    pub fn send(&mut self) -> Result<()> {
        self.stream.write_all(&self.out)?;
        self.out.clear();
        Ok(())
    }

    /// Waits for so many replies.
    ///
    /// # Errors
    /// Fails for an error reply, and if none comes for two minutes.
    pub fn replies(&mut self, count: usize) -> Result<()> {
        for _ in 0..count {
            while !self.take_reply()? {
                self.receive()?;
            }
        }
        Ok(())
    }

    /// Whether a reply is there, which is taken.
    fn has_reply(&mut self) -> Result<bool> {
        self.stream.set_nonblocking(true)?;
        let received = self.receive();
        self.stream.set_nonblocking(false)?;
        match received {
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.take_reply(),
            Err(error) => Err(error.into()),
            Ok(()) => self.take_reply(),
        }
    }

    fn receive(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 16 << 10];
        let count = self.stream.read(&mut chunk)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.received.extend_from_slice(&chunk[..count]);
        Ok(())
    }

    fn take_reply(&mut self) -> Result<bool> {
        let Some(length) = resp::skip_reply(&self.received) else { return Ok(false) };
        if self.received.first() == Some(&b'-') {
            bail!("{}", String::from_utf8_lossy(&self.received[..length]).trim_end());
        }
        self.received.drain(..length);
        Ok(true)
    }
}

/// The latencies found so far.
struct Found {
    began: Instant,
    latencies: Histogram<u64>,
    /// The longest latency of each step of time, microseconds.
    strip: Vec<u32>,
}

impl Found {
    fn new() -> Result<Found> {
        let latencies = Histogram::new_with_bounds(1, SILENCE_MAX.as_nanos() as u64, 3)?;
        Ok(Found { began: Instant::now(), latencies, strip: Vec::new() })
    }

    /// A command that was sent at `sent` and has just been answered.
    fn note(&mut self, sent: Instant) -> Result<()> {
        let latency = sent.elapsed();
        self.latencies.record((latency.as_nanos() as u64).max(1))?;
        let step = (sent - self.began).as_micros() / STEP.as_micros();
        let step = step as usize;
        if self.strip.len() <= step {
            self.strip.resize(step + 1, 0);
        }
        self.strip[step] = self.strip[step].max(latency.as_micros() as u32);
        Ok(())
    }

    fn measured(&self) -> Measured {
        let micros = |ns: u64| ns as f64 / 1000.0;
        Measured {
            round: 0,
            case: String::new(),
            server: String::new(),
            seconds: self.began.elapsed().as_secs_f64(),
            probes: self.latencies.len(),
            p50_us: micros(self.latencies.value_at_quantile(0.5)),
            p999_us: micros(self.latencies.value_at_quantile(0.999)),
            worst_us: micros(self.latencies.max()),
            strip_us: self.strip.clone(),
        }
    }
}

/// The connections of a case.
struct Probe {
    writes: Line,
    probe: Line,
    written: u64,
    keys: u64,
}

impl Probe {
    /// Sends a batch of writes, and a command behind it, which is timed.
    fn step(&mut self, found: &mut Found) -> Result<()> {
        for _ in 0..BATCH {
            // Growing, every key is new; else any of those that there are.
            let key =
                if self.keys == u64::MAX { self.written } else { mix(self.written) % self.keys };
            set(&mut self.writes, key);
            self.written += 1;
        }
        self.probe.ask(&["GET", "probe"]);
        self.writes.send()?;
        let sent = Instant::now();
        self.probe.send()?;
        self.probe.replies(1)?;
        found.note(sent)?;
        self.writes.replies(BATCH as usize)
    }
}

/// Runs a case against the server at `addr`.
///
/// # Errors
/// Fails if the server refuses a command, or the case does not end.
pub fn measure(addr: SocketAddr, case: Case, scale: f64, until: Until) -> Result<Measured> {
    let mut writes = Line::connect(addr)?;
    if until == Until::Done {
        case.load(&mut writes, scale)?;
    }
    let mut trigger = Line::connect(addr)?;
    let mut client = Client::connect(addr)?;
    client.call(&["SET", "probe", &"p".repeat(64)])?;
    let mut probe =
        Probe { writes, probe: Line::connect(addr)?, written: 0, keys: case.keys(scale) };
    let mut found = Found::new()?;
    while found.began.elapsed() < BEFORE {
        probe.step(&mut found)?;
    }
    let begun = Instant::now();
    let mut asked = case.trigger().is_some();
    if let Some(words) = case.trigger() {
        trigger.ask(words);
        trigger.send()?;
    }
    let mut looked = Instant::now();
    loop {
        probe.step(&mut found)?;
        if looked.elapsed() < LOOK {
            continue;
        }
        looked = Instant::now();
        asked = asked && !trigger.has_reply().context("the command that begins it")?;
        let is_over = match until {
            Until::Time(time) => found.began.elapsed() >= time,
            Until::Done => {
                !asked && case.is_over(&mut client, probe.written, begun.elapsed(), scale)?
            }
        };
        if is_over {
            return Ok(found.measured());
        }
        if begun.elapsed() > SILENCE_MAX {
            bail!("not over after {} s", SILENCE_MAX.as_secs());
        }
    }
}
