//! One connection of a replay: requests that are due and not sent, and requests that are sent and
//! not answered.

use super::Report;
use crate::plan::{Kind, Plan, Step};
use anyhow::{Result, bail};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

/// The most bytes encoded and not yet taken by the socket: beyond it, steps wait as numbers.
const OUT_MAX: usize = 1 << 20;

/// Longest reply that is waited for, bytes.
const REPLY_MAX: usize = 1 << 30;

/// A request without its answer.
struct Waiting {
    /// The time from which its latency is counted, in ns on the driver's clock.
    since: u64,
    kind: Kind,
}

/// The state of one connection of a replay.
#[derive(Default)]
pub(super) struct Connection {
    stream: Option<TcpStream>,
    out: Vec<u8>,
    written: usize,
    waiting: VecDeque<Waiting>,
    /// Steps that are due, with the time they were; by number.
    held: VecDeque<(u32, u64)>,
    /// A blocking request is sent and not answered.
    blocked: bool,
    /// Everything that arrives is a message.
    listens: bool,
    /// No request that was held back before this counts its latency from earlier, ns.
    released: u64,
    /// The time in the capture of the last request sent, in µs.
    last_at: u64,
    partial: Vec<u8>,
    resp: u8,
    db: u32,
}

/// The events that a connection waits for after [`Connection::pump`].
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Want {
    Nothing,
    Connect,
    Close,
}

impl Connection {
    /// Takes a new stream; whatever belonged to the old one is forgotten.
    pub(super) fn attach(&mut self, stream: TcpStream) {
        let held = std::mem::take(&mut self.held);
        let (released, resp, db) = (self.released, self.resp, self.db);
        *self = Connection { stream: Some(stream), held, released, resp, db, ..Self::default() };
    }

    /// Brings a connection made anew where the old one was.
    pub(super) fn restore(&mut self, now: u64) {
        for words in [
            (self.resp == 3).then(|| ["HELLO".to_string(), "3".to_string()]),
            (self.db != 0).then(|| ["SELECT".to_string(), self.db.to_string()]),
        ]
        .into_iter()
        .flatten()
        {
            resp::encode_command(&words, &mut self.out);
            self.waiting.push_back(Waiting { since: now, kind: Kind::Unmeasured });
        }
        self.released = now;
    }

    pub(super) fn detach(&mut self) -> Option<TcpStream> {
        self.stream.take()
    }

    /// A step is due.
    pub(super) fn due(&mut self, step: u32, since: u64) {
        self.held.push_back((step, since));
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    /// Requests that are sent and have to be answered.
    pub(super) fn unanswered(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.kind != Kind::Blocking).count()
    }

    /// The first step held back behind a blocking request has been waiting since then, ns.
    pub(super) fn stuck_since(&self) -> Option<u64> {
        self.held.front().filter(|_| self.blocked).map(|(_, since)| (*since).max(self.released))
    }

    /// Encodes the requests that may be sent. With `closed_loop`, only those that were sent
    /// together in the capture.
    pub(super) fn pump(
        &mut self,
        plan: &Plan,
        now: u64,
        closed_loop: bool,
        report: &mut Report,
    ) -> Want {
        while let Some(&(number, due)) = self.held.front() {
            let step = &plan.steps[number as usize];
            match step.kind {
                Kind::Open => {
                    self.held.pop_front();
                    return Want::Connect;
                }
                Kind::Close if self.unanswered() == 0 && self.written == self.out.len() => {
                    self.held.pop_front();
                    return Want::Close;
                }
                Kind::Close => return Want::Nothing,
                _ if !self.may_send(step, closed_loop) => return Want::Nothing,
                _ => {}
            }
            self.held.pop_front();
            let since = if closed_loop { now } else { due.max(self.released) };
            self.send(plan, step, since, report);
        }
        Want::Nothing
    }

    fn may_send(&self, step: &Step, closed_loop: bool) -> bool {
        let together = self.waiting.is_empty() || step.at_us == self.last_at;
        let room = self.out.len() - self.written < OUT_MAX;
        !self.blocked && room && (!closed_loop || together)
    }

    fn send(&mut self, plan: &Plan, step: &Step, since: u64, report: &mut Report) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        self.out.extend_from_slice(plan.bytes(step));
        (self.last_at, self.resp, self.db) = (step.at_us, step.resp, step.db);
        report.sent += 1;
        match step.kind {
            Kind::Listen => self.listens = true,
            kind => {
                self.blocked = kind == Kind::Blocking;
                self.waiting.push_back(Waiting { since, kind });
            }
        }
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        while self.written < self.out.len() {
            match stream.write(&self.out[self.written..]) {
                Ok(0) => bail!("the server takes no more"),
                Ok(n) => self.written += n,
                Err(error) => match error.kind() {
                    // Not connected yet; the poller reports when it is.
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => return Ok(()),
                    ErrorKind::Interrupted => {}
                    _ => return Err(error.into()),
                },
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained, and counts the replies. Returns false if the server
    /// closed the connection.
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        now: u64,
        report: &mut Report,
    ) -> Result<bool> {
        loop {
            let kept = self.partial.len();
            if kept > REPLY_MAX {
                bail!("a reply longer than {REPLY_MAX} bytes");
            }
            if buffer.len() < kept * 2 {
                buffer.resize(kept * 2, 0);
            }
            buffer[..kept].copy_from_slice(&self.partial);
            let Some(stream) = &mut self.stream else { return Ok(true) };
            let got = match stream.read(&mut buffer[kept..]) {
                Ok(0) => return Ok(false),
                Ok(n) => n,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::NotConnected => return Ok(true),
                    ErrorKind::Interrupted => continue,
                    ErrorKind::ConnectionReset => return Ok(false),
                    _ => return Err(error.into()),
                },
            };
            let bytes = &buffer[..kept + got];
            let mut at = 0;
            while let Some(length) = resp::skip_reply(&bytes[at..]) {
                self.reply(&bytes[at..at + length], now, report)?;
                at += length;
            }
            self.partial.clear();
            self.partial.extend_from_slice(&bytes[at..]);
        }
    }

    fn reply(&mut self, reply: &[u8], now: u64, report: &mut Report) -> Result<()> {
        let is_null = matches!(reply, [b'_', ..] | [b'$' | b'*', b'-', ..]);
        match reply[0] {
            b'>' => return message(report),
            _ if self.listens && self.waiting.is_empty() => return message(report),
            b'-' | b'!' => {
                report.errors += 1;
                report.first_error.get_or_insert_with(|| {
                    let text = String::from_utf8_lossy(&reply[1..]);
                    text.trim_end().chars().take(200).collect()
                });
            }
            b'+' | b':' | b'$' | b'*' | b',' | b'#' | b'(' | b'=' | b'~' | b'%' | b'|' | b'_' => {}
            other => bail!("a reply cannot start with {:?}", char::from(other)),
        }
        let Some(waiting) = self.waiting.pop_front() else {
            bail!("the server sent more replies than it was asked for");
        };
        report.replies += 1;
        report.nulls += u64::from(is_null);
        match waiting.kind {
            Kind::Measured => {
                let took = now.saturating_sub(waiting.since) / 1000;
                report.latencies.saturating_record(took);
            }
            Kind::Blocking => {
                self.blocked = false;
                self.released = now;
            }
            _ => {}
        }
        Ok(())
    }
}

fn message(report: &mut Report) -> Result<()> {
    report.messages += 1;
    Ok(())
}
