//! One connection of the load generator: what is still to be sent, and since when each request
//! that has no reply yet is being waited for.

use super::reply::Tally;
use super::request::Generator;
use anyhow::{Result, bail};
use mio::net::TcpStream;
use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};

/// Longest reply that is waited for, bytes: twice Redis's limit of a bulk string.
const REPLY_MAX: usize = 1 << 30;

/// Requests sent as one: when waiting for them began (ns on the driver's clock), how many.
type Batch = (u64, u32);

/// See the module.
pub(super) struct Connection {
    stream: TcpStream,
    out: Vec<u8>,
    written: usize,
    waiting: VecDeque<Batch>,
    /// Requests without a reply: the sum over `waiting`.
    outstanding: usize,
    /// The beginning of a reply whose end has not come.
    partial: Vec<u8>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let (out, partial) = (Vec::new(), Vec::new());
        let waiting = VecDeque::with_capacity(64);
        Connection { stream, out, written: 0, waiting, outstanding: 0, partial }
    }

    pub(super) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// Queues `count` requests whose latency counts from `since`; [`Connection::flush`] sends.
    pub(super) fn ask(&mut self, generator: &mut Generator, count: usize, since: u64) {
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        }
        generator.fill(&mut self.out, count);
        self.waiting.push_back((since, count as u32));
        self.outstanding += count;
    }

    /// Writes what the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(0) => bail!("the server takes no more"),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(())
    }

    /// Reads until the socket is drained, through `buffer` (shared by all connections, so that
    /// it stays in the cache); counts replies into `tally` and tells `answered` about them as
    /// (since, how many).
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        tally: &mut Tally,
        mut answered: impl FnMut(u64, u64),
    ) -> Result<()> {
        loop {
            let kept = self.partial.len();
            if kept > REPLY_MAX {
                bail!("a reply longer than {REPLY_MAX} bytes");
            }
            if buffer.len() < kept * 2 {
                buffer.resize(kept * 2, 0);
            }
            buffer[..kept].copy_from_slice(&self.partial);
            let room = buffer.len() - kept;
            let got = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => bail!("the server closed a connection"),
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(e.into()),
            };
            let before = tally.replies;
            let taken = tally.count(&buffer[..kept + got])?;
            self.partial.clear();
            self.partial.extend_from_slice(&buffer[taken..kept + got]);
            self.settle(tally.replies - before, &mut answered)?;
            if got < room {
                return Ok(());
            }
        }
    }

    fn settle(&mut self, mut replies: u64, answered: &mut impl FnMut(u64, u64)) -> Result<()> {
        while replies > 0 {
            let Some((since, count)) = self.waiting.front_mut() else {
                bail!("the server sent more replies than it was asked for");
            };
            let n = replies.min(u64::from(*count));
            answered(*since, n);
            *count -= n as u32;
            replies -= n;
            self.outstanding -= n as usize;
            if *count == 0 {
                self.waiting.pop_front();
            }
        }
        Ok(())
    }
}
