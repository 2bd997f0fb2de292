//! [`Asked`]: a question to a cluster how far it is, for which reads wait (`CLIENT CONSISTENCY … READS
//! INDEX`).
//!
//! The answer serves the request for which it was asked, and whatever had come behind that by then:
//! what was agreed on when the question was asked had been agreed on when those were sent. So a
//! pipeline of reads costs one question, not one for each.

use resp::Request;
use std::ops::Range;

/// A question, and the requests that its answer serves.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The number of the question.
    number: u64,
    /// The number of bytes of these requests.
    bytes: usize,
    /// While they are executed, the number of bytes that have come behind them.
    behind: usize,
    /// While they are executed, the addresses of these bytes.
    addresses: Range<usize>,
    /// Whether the next request is the one that waited.
    is_first: bool,
}

impl Asked {
    /// The number of the question, if its answer serves this request.
    pub fn serves(&mut self, request: Request<'_>) -> Option<u64> {
        let is_first = std::mem::take(&mut self.is_first);
        let last = request.get(request.len() - 1)?.as_ptr_range();
        let (start, end) = (last.start as usize, last.end as usize);
        let had_come = self.addresses.start <= start && end <= self.addresses.end;
        (is_first || had_come).then_some(self.number)
    }

    /// A request waits for the answer to this question.
    pub fn ask(&mut self, number: u64) {
        if self.number != number {
            *self = Asked { number, ..Asked::default() };
        }
    }

    /// A request waits for the answer; `bytes` wait with it, its own included. What comes while they
    /// wait is not served by the answer, nor is what had come so when it waited before.
    pub fn note_waiting(&mut self, bytes: usize) {
        self.bytes = bytes.saturating_sub(self.behind);
    }

    /// Notes that the bytes that wait, and those that came behind them, are about to be executed.
    pub fn begin(&mut self, waiting: &[u8]) {
        let bytes = self.bytes.min(waiting.len());
        self.behind = waiting.len() - bytes;
        let addresses = waiting[..bytes].as_ptr_range();
        self.addresses = addresses.start as usize..addresses.end as usize;
        self.is_first = true;
    }

    /// It was executed, as far as `waits` does not say that an answer is waited for.
    pub fn end(&mut self, waits: bool) {
        let (number, bytes) = if waits { (self.number, self.bytes) } else { (0, 0) };
        // The bytes may move before they are looked at again.
        *self = Asked { number, bytes, ..Asked::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use resp::{Batch, Limits, Parser};

    #[test]
    fn an_answer_serves_what_had_come_when_it_was_asked_for() {
        let mut bytes = Vec::new();
        (0..4).for_each(|_| resp::encode_command([b"GET".as_slice(), b"k"], &mut bytes));
        let one = bytes.len() / 4;
        let mut batch = Batch::new();
        let _ = Parser::new().parse(&bytes, 9, &Limits::default(), &mut batch);
        let served = |asked: &mut Asked| -> Vec<bool> {
            batch.iter(&bytes).map(|request| asked.serves(request) == Some(7)).collect()
        };
        let mut asked = Asked::default();
        asked.ask(7);
        // Two have come, and half of another one.
        asked.note_waiting(one * 5 / 2);
        asked.begin(&bytes);
        assert_eq!(served(&mut asked), [true, true, false, false]);
        // It waits still: those that came meanwhile are not served.
        asked.ask(7);
        asked.note_waiting(one * 4);
        asked.end(true);
        asked.begin(&bytes);
        assert_eq!(served(&mut asked), [true, true, false, false]);
        // The first was executed, and the second waits for the same answer: that serves no more than
        // before.
        asked.ask(7);
        asked.note_waiting(one * 3);
        asked.end(true);
        let (left, mut rest) = (&bytes[one..], Batch::new());
        let _ = Parser::new().parse(left, 9, &Limits::default(), &mut rest);
        asked.begin(left);
        let rest: Vec<_> = rest.iter(left).map(|request| asked.serves(request)).collect();
        assert_eq!(rest, [Some(7), None, None]);
        asked.end(false);
        asked.ask(8);
        asked.note_waiting(one * 4);
        asked.begin(&bytes);
        assert_eq!(served(&mut asked), [false; 4], "it is another question");
    }
}
