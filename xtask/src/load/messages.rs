//! Messages through a server, from senders to receivers: publish and subscribe, or a queue with
//! consumers that block. The arrival is measured, not the sender's reply.
//!
//! Every message contains the time when it was due; both ends are on one thread, so there is one
//! clock. A sender has at most a pipeline's worth of messages on the way, so a receiver that falls
//! behind slows the sender down instead of filling the server's output buffer.

use super::driver::{BUFFER, SILENCE_MAX, histogram};
use super::reply::Tally;
use super::wire::Wire;
use super::{Edge, Pacing, Report, RunConfig, Stop};
use anyhow::{Result, bail};
use capture::lab::cpu;
use hdrhistogram::Histogram;
use mio::{Events, Poll, Token};
use serde::Deserialize;
use std::time::{Duration, Instant};

/// Bytes of a message that say who sent it and when; the rest is padding.
const STAMP: usize = 24;

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pattern {
    /// `PUBLISH`: every subscriber of the channel gets each message.
    FanOut,
    /// `LPUSH` to consumers waiting in `BLPOP`: one of them gets it.
    Queue,
}

/// The `[messages]` table of a workload file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Messages {
    /// `fan-out` or `queue`.
    pub pattern: Pattern,
    /// Publishers, or producers.
    pub senders: usize,
    /// Subscribers, or consumers.
    pub receivers: usize,
    /// Channels, or lists; senders and receivers take turns over them.
    #[serde(default = "one")]
    pub channels: usize,
    /// Bytes of a message.
    #[serde(default = "size")]
    pub size: usize,
}

fn one() -> usize {
    1
}
fn size() -> usize {
    64
}

impl Messages {
    /// Connections it needs.
    pub fn connections(&self) -> usize {
        self.senders + self.receivers
    }

    /// The name of the counted operation.
    pub fn operation(&self) -> &'static str {
        match self.pattern {
            Pattern::FanOut => "delivery",
            Pattern::Queue => "hand-over",
        }
    }

    /// Refuses a workload that cannot be run.
    pub fn check(&self) -> Result<()> {
        let counts = [self.senders, self.receivers, self.channels];
        if counts.iter().any(|n| !(1..=10_000).contains(n)) {
            bail!("senders, receivers and channels go from 1 to 10000");
        }
        if self.channels > self.senders.min(self.receivers) {
            bail!("every channel needs a sender and a receiver");
        }
        if !(STAMP..=1 << 20).contains(&self.size) {
            bail!("the size of a message goes from {STAMP} bytes to 1 MiB");
        }
        Ok(())
    }

    /// The number of clients that receive a message sent to `channel`.
    fn fan(&self, channel: usize) -> usize {
        match self.pattern {
            Pattern::FanOut => (self.receivers - channel).div_ceil(self.channels),
            Pattern::Queue => 1,
        }
    }
}

/// One sender's side of the bookkeeping.
struct Sender {
    channel: usize,
    /// The number of its messages that have not arrived yet.
    due: usize,
}

/// Runs `config` with messages instead of requests, on one thread. The pipeline is how many
/// messages of a sender are on the way at most; its `connections` are not looked at.
pub fn run(
    config: &RunConfig,
    messages: &Messages,
    edge: &mut (dyn FnMut(Edge) + Send),
) -> Result<Report> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            if let Some(&core) = config.cores.first() {
                cpu::pin(&[core])?;
            }
            Exchange::connect(config, messages)?.run(edge)
        });
        thread.join().unwrap_or_else(|_| Err(anyhow::anyhow!("the load thread panicked")))
    })
}

struct Exchange<'a> {
    config: &'a RunConfig,
    messages: &'a Messages,
    /// Senders first, then receivers.
    wires: Vec<Wire>,
    senders: Vec<Sender>,
    poll: Poll,
    buffer: Vec<u8>,
    clock: Instant,
    tally: Tally,
    latencies: Histogram<u64>,
    /// Messages sent, and arrivals of them.
    sent: u64,
    arrived: u64,
    interval_ns: f64,
    next: usize,
}

impl<'a> Exchange<'a> {
    fn connect(config: &'a RunConfig, messages: &'a Messages) -> Result<Self> {
        let poll = Poll::new()?;
        let open = |token| Wire::open(&config.server, &poll, Token(token));
        let wires = (0..messages.connections()).map(open).collect::<Result<Vec<_>>>()?;
        let channels = messages.channels;
        let senders =
            (0..messages.senders).map(|i| Sender { channel: i % channels, due: 0 }).collect();
        let interval_ns = match config.pacing {
            Pacing::Open { per_second } => 1e9 / per_second,
            Pacing::Closed => 0.0,
        };
        let (tally, latencies, buffer) = (Tally::default(), histogram(), vec![0; BUFFER]);
        let (clock, sent, arrived, next) = (Instant::now(), 0, 0, 0);
        Ok(Exchange {
            config,
            messages,
            wires,
            senders,
            poll,
            buffer,
            clock,
            tally,
            latencies,
            sent,
            arrived,
            interval_ns,
            next,
        })
    }

    fn run(mut self, edge: &mut dyn FnMut(Edge)) -> Result<Report> {
        let Stop::After(window) = self.config.stop else {
            bail!("messages are measured over a time, not over a number of requests");
        };
        self.prepare()?;
        self.clock = Instant::now();
        self.phase(self.config.warmup.as_nanos() as u64)?;
        edge(Edge::Start);
        let start = self.now();
        self.tally = Tally::default();
        self.latencies.clear();
        self.phase(start + window.as_nanos() as u64)?;
        let elapsed = Duration::from_nanos(self.now() - start);
        edge(Edge::End);
        let (tally, latencies) = (self.tally.clone(), self.latencies.clone());
        self.drain()?;
        Ok(Report { tally, latencies, elapsed, sent: self.arrived })
    }

    fn now(&self) -> u64 {
        self.clock.elapsed().as_nanos() as u64
    }

    /// Empties the lists of earlier runs; then subscribes, or begins to wait.
    fn prepare(&mut self) -> Result<()> {
        if self.messages.pattern == Pattern::Queue {
            for channel in 0..self.messages.channels {
                resp::encode_command(&["DEL", &name(channel)], self.wires[0].out());
            }
            self.ask_and_wait(0, self.messages.channels)?;
        }
        for receiver in 0..self.messages.receivers {
            let token = self.messages.senders + receiver;
            self.receive(token);
            if self.messages.pattern == Pattern::FanOut {
                self.ask_and_wait(token, 1)?;
            }
        }
        Ok(())
    }

    /// Sends what is queued on one connection, and waits for `count` replies there. An error reply
    /// is an error.
    fn ask_and_wait(&mut self, token: usize, count: usize) -> Result<()> {
        let mut tally = Tally::default();
        let started = Instant::now();
        while tally.replies < count as u64 {
            self.wires[token].flush()?;
            self.wires[token].read(&mut self.buffer, |bytes| tally.count(bytes))?;
            if let Some(error) = tally.first_error {
                bail!("{error}");
            }
            if started.elapsed() > SILENCE_MAX {
                bail!("no reply for {} s", SILENCE_MAX.as_secs());
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        Ok(())
    }

    /// Asks for the next message (queue), or for all of them (fan-out).
    fn receive(&mut self, token: usize) {
        let channel = name((token - self.messages.senders) % self.messages.channels);
        let out = self.wires[token].out();
        match self.messages.pattern {
            Pattern::FanOut => resp::encode_command(&["SUBSCRIBE", &channel], out),
            Pattern::Queue => resp::encode_command(&["BLPOP", &channel, "0"], out),
        }
    }

    fn phase(&mut self, end: u64) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let (mut now, mut last_message) = (self.now(), self.now());
        for token in 0..self.wires.len() {
            self.wires[token].flush()?;
        }
        while now < end {
            self.send(now)?;
            let before = self.arrived;
            self.turn(&mut events)?;
            now = self.now();
            if self.arrived > before || self.due() == 0 {
                last_message = now;
            } else if Duration::from_nanos(now - last_message) > SILENCE_MAX {
                bail!("messages were sent, and none arrived for {} s", SILENCE_MAX.as_secs());
            }
        }
        Ok(())
    }

    fn drain(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        let started = Instant::now();
        while self.due() > 0 {
            self.turn(&mut events)?;
            if started.elapsed() > SILENCE_MAX {
                bail!("{} messages never arrived", self.due());
            }
        }
        Ok(())
    }

    fn due(&self) -> usize {
        self.senders.iter().map(|sender| sender.due).sum()
    }

    fn send(&mut self, now: u64) -> Result<()> {
        if self.interval_ns == 0.0 {
            for index in 0..self.senders.len() {
                let mut any = false;
                while self.has_room(index) {
                    self.post(index, now);
                    any = true;
                }
                if any {
                    self.wires[index].flush()?;
                }
            }
            return Ok(());
        }
        let due = (now as f64 / self.interval_ns) as u64;
        while self.sent < due {
            let count = self.senders.len();
            let turn = (0..count).map(|i| (self.next + i) % count);
            let Some(index) = turn.into_iter().find(|&i| self.has_room(i)) else { break };
            self.next = (index + 1) % count;
            let scheduled = (self.sent as f64 * self.interval_ns) as u64;
            self.post(index, scheduled);
            self.wires[index].flush()?;
        }
        Ok(())
    }

    fn has_room(&self, index: usize) -> bool {
        let sender = &self.senders[index];
        let fan = self.messages.fan(sender.channel);
        sender.due + fan <= self.config.pipeline * fan
    }

    fn post(&mut self, index: usize, stamp: u64) {
        let sender = &mut self.senders[index];
        sender.due += self.messages.fan(sender.channel);
        self.sent += 1;
        let mut message = format!("{index:06}{stamp:018}");
        message.extend(std::iter::repeat_n('x', self.messages.size - STAMP));
        let verb = match self.messages.pattern {
            Pattern::FanOut => "PUBLISH",
            Pattern::Queue => "LPUSH",
        };
        resp::encode_command(&[verb, &name(sender.channel), &message], self.wires[index].out());
    }

    fn turn(&mut self, events: &mut Events) -> Result<()> {
        let wait = if self.interval_ns > 0.0 { 0 } else { 100 };
        match self.poll.poll(events, Some(Duration::from_millis(wait))) {
            Err(e) if e.kind() != std::io::ErrorKind::Interrupted => return Err(e.into()),
            _ => {}
        }
        for event in &*events {
            let token = event.token().0;
            if event.is_readable() || event.is_read_closed() {
                if token < self.senders.len() {
                    self.replies(token)?
                } else {
                    self.arrivals(token)?
                }
            }
            self.wires[token].flush()?;
        }
        Ok(())
    }

    /// Reads the replies to a publisher, of which only errors matter.
    fn replies(&mut self, token: usize) -> Result<()> {
        let mut tally = Tally::default();
        self.wires[token].read(&mut self.buffer, |bytes| tally.count(bytes))?;
        match tally.first_error {
            Some(error) => bail!("{error}"),
            None => Ok(()),
        }
    }

    fn arrivals(&mut self, token: usize) -> Result<()> {
        let now = self.now();
        let (senders, size) = (&mut self.senders, self.messages.size);
        let (tally, latencies) = (&mut self.tally, &mut self.latencies);
        let mut count = 0;
        self.wires[token].read(&mut self.buffer, |bytes| {
            let mut at = 0;
            while let Some(length) = resp::skip_reply(&bytes[at..]) {
                let (index, since) = stamp(&bytes[at..at + length], size)?;
                let Some(sender) = senders.get_mut(index).filter(|sender| sender.due > 0) else {
                    bail!("a message arrived that was not sent");
                };
                sender.due -= 1;
                latencies.saturating_record(now.saturating_sub(since) / 1000);
                tally.replies += 1;
                count += 1;
                at += length;
            }
            Ok(at)
        })?;
        self.arrived += count as u64;
        if self.messages.pattern == Pattern::Queue {
            (0..count).for_each(|_| self.receive(token));
        }
        Ok(())
    }
}

fn name(channel: usize) -> String {
    format!("bench:{channel}")
}

/// Sender and time of a message: it is the last element of what arrived.
fn stamp(reply: &[u8], size: usize) -> Result<(usize, u64)> {
    let message = reply.len().checked_sub(size + 2).and_then(|at| reply.get(at..at + STAMP));
    let text = message.and_then(|bytes| std::str::from_utf8(bytes).ok());
    let parts = text.and_then(|text| Some((text[..6].parse().ok()?, text[6..].parse().ok()?)));
    match parts {
        Some(parts) if reply[0] == b'*' || reply[0] == b'>' => Ok(parts),
        _ => {
            let text = String::from_utf8_lossy(&reply[..reply.len().min(200)]);
            bail!("instead of a message came {}", text.trim_end());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_found_in_what_carries_it() {
        let message = format!("{:06}{:018}{}", 7, 123_456_789, "x".repeat(8));
        let mut reply = Vec::new();
        resp::encode_command(&["message", "bench:0", &message], &mut reply);
        assert_eq!(stamp(&reply, 32).unwrap(), (7, 123_456_789));
        assert!(stamp(b"-ERR unknown command\r\n", 32).is_err());
        assert!(stamp(b"*-1\r\n", 32).is_err());
    }

    #[test]
    fn receivers_are_dealt_out_to_channels() {
        let text = "pattern = \"fan-out\"\nsenders = 3\nreceivers = 10\nchannels = 3\n";
        let messages: Messages = toml::from_str(text).unwrap();
        messages.check().unwrap();
        let fans: Vec<usize> = (0..3).map(|channel| messages.fan(channel)).collect();
        assert_eq!(fans, [4, 3, 3]);
        assert!(Messages { channels: 4, ..messages.clone() }.check().is_err());
        assert!(Messages { size: 3, ..messages }.check().is_err());
    }
}
