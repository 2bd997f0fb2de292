//! One connection of the load generator: its socket, and since when each request that has no
//! reply yet is being waited for.

use super::reply::Tally;
use super::request::Generator;
use super::wire::Wire;
use anyhow::{Result, bail};
use std::collections::VecDeque;

/// Requests sent as one: when waiting for them began (ns on the driver's clock), how many.
type Batch = (u64, u32);

/// One connection of the load generator.
pub(super) struct Connection {
    wire: Wire,
    asked: Asked,
    /// Whether anything was asked.
    begun: bool,
}

/// The requests under way.
struct Asked {
    waiting: VecDeque<Batch>,
    /// Requests without a reply: the sum over `waiting`.
    outstanding: usize,
}

impl Connection {
    pub(super) fn new(wire: Wire) -> Self {
        let waiting = VecDeque::with_capacity(64);
        Connection { wire, asked: Asked { waiting, outstanding: 0 }, begun: false }
    }

    pub(super) fn outstanding(&self) -> usize {
        self.asked.outstanding
    }

    /// Queues `count` requests whose latency counts from `since`, with those that the generator puts
    /// around them; [`Connection::flush`] sends.
    pub(super) fn ask(&mut self, generator: &mut Generator, count: usize, since: u64) {
        let out = self.wire.out();
        let first = if self.begun { 0 } else { generator.open(out) };
        self.begun = true;
        generator.fill(out, count);
        let count = first + count + generator.close(out);
        self.asked.waiting.push_back((since, count as u32));
        self.asked.outstanding += count;
    }

    /// Writes as much as the socket takes.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.wire.flush()
    }

    /// Reads until the socket is drained. Counts replies in `tally`, and passes them to `answered`
    /// as (since, how many).
    pub(super) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        tally: &mut Tally,
        mut answered: impl FnMut(u64, u64),
    ) -> Result<()> {
        let asked = &mut self.asked;
        self.wire.read(buffer, |bytes| {
            let before = tally.replies;
            let taken = tally.count(bytes)?;
            asked.settle(tally.replies - before, &mut answered)?;
            Ok(taken)
        })
    }
}

impl Asked {
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
