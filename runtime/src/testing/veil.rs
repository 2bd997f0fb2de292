//! A toy filter that needs everything a real one does: a beginning, records, a goodbye.
//!
//! Both sides begin with four bytes (`veil`, answered by `VEIL`). Then come records: a length in two
//! bytes, big-endian, and so many bytes, each combined with 0x5A by exclusive or. Length zero is the
//! goodbye; a length above [`RECORD_MAX`] is nonsense.

use super::filters::FilterPeer;
use crate::filter::{Broken, Filter, Inward};
use resp::Output;

/// The longest record's payload, in bytes.
pub const RECORD_MAX: usize = 4096;

/// The greeting that a client sends before its first record.
pub(super) const HELLO: &[u8] = b"veil";
const ANSWER: &[u8] = b"VEIL";
const HEADER: usize = 2;

/// The server's side.
#[derive(Default)]
pub struct Veil {
    begun: bool,
    /// The bytes of an incomplete record received so far.
    partial: Vec<u8>,
}

impl Filter for Veil {
    fn unwrap(
        &mut self,
        bytes: &[u8],
        plain: &mut dyn FnMut(&[u8]),
        wire: &mut Output,
    ) -> Result<Inward, Broken> {
        self.partial.extend_from_slice(bytes);
        if !self.begun {
            let Some((hello, rest)) = self.partial.split_at_checked(HELLO.len()) else {
                return Ok(Inward::Open);
            };
            if hello != HELLO {
                wire.extend(b"nonsense\n");
                return Err(Broken("no greeting".into()));
            }
            self.partial = rest.to_vec();
            self.begun = true;
            wire.extend(ANSWER);
        }
        let (taken, inward) = records(&self.partial, plain);
        self.partial.drain(..taken);
        inward
    }

    fn is_open(&self) -> bool {
        self.begun
    }

    fn wrap(&mut self, plain: &[u8], wire: &mut Output) {
        wire.extend(&veiled(plain));
    }

    fn close(&mut self, wire: &mut Output) {
        wire.extend(&[0, 0]);
    }

    fn held(&self) -> usize {
        self.partial.len()
    }
}

/// Hands over the whole records in `bytes`; says how many bytes those were.
fn records(bytes: &[u8], plain: &mut dyn FnMut(&[u8])) -> (usize, Result<Inward, Broken>) {
    let mut at = 0;
    while let Some((payload, end)) = next_record(bytes, at) {
        match payload {
            Err(broken) => return (at, Err(broken)),
            Ok([]) => return (end, Ok(Inward::Ended)),
            Ok(payload) => plain(&unveiled(payload)),
        }
        at = end;
    }
    (at, Ok(Inward::Open))
}

/// The record that begins at `at`, if it is whole, and where it ends.
fn next_record(bytes: &[u8], at: usize) -> Option<(Result<&[u8], Broken>, usize)> {
    let header = bytes.get(at..at + HEADER)?;
    let len = usize::from(u16::from_be_bytes([header[0], header[1]]));
    if len > RECORD_MAX {
        return Some((Err(Broken("a record too long".into())), at));
    }
    let begin = at + HEADER;
    Some((Ok(bytes.get(begin..begin + len)?), begin + len))
}

fn unveiled(payload: &[u8]) -> Vec<u8> {
    payload.iter().map(|byte| byte ^ 0x5A).collect()
}

/// `plain` in records, as either side sends it.
pub(super) fn veiled(plain: &[u8]) -> Vec<u8> {
    let mut wire = Vec::with_capacity(plain.len() + HEADER);
    for piece in plain.chunks(RECORD_MAX) {
        wire.extend_from_slice(&(piece.len() as u16).to_be_bytes());
        wire.extend(unveiled(piece));
    }
    wire
}

/// The client's side of what it reads: bytes of the wire in, plain ones out.
#[derive(Default)]
pub(super) struct Unveiling {
    wire: Vec<u8>,
    answered: bool,
    /// The server has said goodbye.
    pub ended: bool,
}

impl Unveiling {
    /// Takes what was read, and gives what it carries.
    ///
    /// # Panics
    /// The server does not keep to the veil's rules, or sends something after its goodbye.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        assert!(bytes.is_empty() || !self.ended, "bytes after the goodbye");
        self.wire.extend_from_slice(bytes);
        if !self.answered && self.wire.len() >= ANSWER.len() {
            assert!(self.wire.starts_with(ANSWER), "the veil's answer");
            self.wire.drain(..ANSWER.len());
            self.answered = true;
        }
        let mut plain = Vec::new();
        if self.answered {
            let (taken, inward) = records(&self.wire, &mut |piece| plain.extend_from_slice(piece));
            self.ended |= inward.expect("records of the veil") == Inward::Ended;
            self.wire.drain(..taken);
        }
        plain
    }
}

/// The client's side, in memory.
pub struct VeilPeer {
    outgoing: Vec<u8>,
    received: Unveiling,
}

impl Default for VeilPeer {
    fn default() -> Self {
        VeilPeer { outgoing: HELLO.to_vec(), received: Unveiling::default() }
    }
}

impl FilterPeer for VeilPeer {
    fn send(&mut self, plain: &[u8]) {
        self.outgoing.extend(veiled(plain));
    }

    fn finish(&mut self) {
        self.outgoing.extend([0, 0]);
    }

    fn outgoing(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.outgoing)
    }

    fn receive(&mut self, wire: &[u8]) -> Vec<u8> {
        self.received.take(wire)
    }

    fn saw_end(&self) -> bool {
        self.received.ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::filter_suite!(veil, || (Veil::default(), VeilPeer::default()));
}
