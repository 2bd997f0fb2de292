//! [`Reader`]: records out of blocks, one block in memory at a time.

use super::{
    ARGS_MAX, Arg, BLOCK_MAX, END, FormatError, HEADER_MAX, Header, MAGIC, Record, VERSION, crc,
    varint,
};
use std::borrow::Cow;
use std::io::{self, Read};

/// The way in which a file ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// With its end.
    Complete,
    /// The file was cut off; some bytes of a last, partial block were left out.
    Torn {
        /// Bytes left out.
        bytes: u64,
    },
}

/// Reads a capture file.
pub struct Reader<R: Read> {
    input: R,
    header: Header,
    block: Vec<u8>,
    /// The offset of the next record in `block`.
    next: usize,
    /// Records left in `block`.
    left: u32,
    time_us: u64,
    /// The offsets in the file of `block` and of the next block.
    block_at: u64,
    at: u64,
    total: u64,
    tail: Option<Tail>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// Fails if this is no capture file, one of a later version, or a damaged one.
    pub fn new(mut input: R) -> Result<Self, FormatError> {
        let mut start = Vec::new();
        fill(&mut input, &mut start, 16)?;
        if start.len() < 16 || &start[..8] != MAGIC {
            return Err(FormatError::NotACapture);
        }
        let version = u16::from_le_bytes([start[8], start[9]]);
        if version != VERSION {
            return Err(FormatError::Version(version));
        }
        let length = number(&start[12..]) as usize;
        if length > HEADER_MAX {
            return Err(FormatError::Damaged { at: 0, what: "the header's length" });
        }
        fill(&mut input, &mut start, length + 4)?;
        if start.len() != 16 + length + 4 {
            return Err(FormatError::Damaged { at: 0, what: "the header is cut off" });
        }
        let (text, sum) = start.split_at(16 + length);
        if crc(text) != number(sum) {
            return Err(FormatError::Damaged { at: 0, what: "the header's checksum" });
        }
        let header = Header::from_text(&String::from_utf8_lossy(&text[16..]));
        let at = start.len() as u64;
        let (block, tail) = (Vec::new(), None);
        let (next, left, time_us, block_at, total) = (0, 0, 0, at, 0);
        Ok(Reader { input, header, block, next, left, time_us, block_at, at, total, tail })
    }

    /// The facts about the capture as a whole.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The way in which the file ended, once [`Reader::next`] has returned `None`.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// The next record and its time, microseconds since the capture began.
    ///
    /// # Errors
    /// Fails if the file is damaged, or cannot be read.
    #[allow(clippy::should_implement_trait, reason = "the record borrows the reader")]
    pub fn next(&mut self) -> Result<Option<(u64, Record<'_>)>, FormatError> {
        while self.left == 0 {
            if self.tail.is_some() {
                return Ok(None);
            }
            self.read_block()?;
        }
        self.left -= 1;
        let mut rest = &self.block[self.next..];
        let before = rest.len();
        let damaged = FormatError::Damaged { at: self.block_at, what: "a record" };
        let Some((delta, record)) = parse(&mut rest) else { return Err(damaged) };
        let (used, is_last) = (before - rest.len(), rest.is_empty());
        if (self.left == 0) != is_last {
            return Err(damaged);
        }
        self.next += used;
        self.time_us = self.time_us.wrapping_add(delta as u64);
        Ok(Some((self.time_us, record)))
    }

    fn read_block(&mut self) -> Result<(), FormatError> {
        self.block_at = self.at;
        let damaged = |what| FormatError::Damaged { at: self.at, what };
        let mut head = Vec::new();
        fill(&mut self.input, &mut head, 16)?;
        if head.len() < 16 {
            self.tail = Some(Tail::Torn { bytes: head.len() as u64 });
            return Ok(());
        }
        if crc(&head[..12]) != number(&head[12..]) {
            return Err(damaged("a block's head"));
        }
        let (length, records) = (number(&head) as usize, number(&head[4..]));
        if length > BLOCK_MAX {
            return Err(damaged("a block's length"));
        }
        self.block.clear();
        fill(&mut self.input, &mut self.block, length)?;
        if self.block.len() < length {
            self.tail = Some(Tail::Torn { bytes: (16 + self.block.len()) as u64 });
            return Ok(());
        }
        if crc(&self.block) != number(&head[8..]) {
            return Err(damaged("a block's checksum"));
        }
        if records == END {
            return self.end();
        }
        if records == 0 {
            return Err(damaged("an empty block"));
        }
        (self.next, self.left, self.time_us) = (0, records, 0);
        self.total += u64::from(records);
        self.at += (16 + length) as u64;
        Ok(())
    }

    fn end(&mut self) -> Result<(), FormatError> {
        let told = <[u8; 8]>::try_from(&self.block[..]).ok().map(u64::from_le_bytes);
        if told != Some(self.total) {
            return Err(FormatError::Damaged { at: self.at, what: "the number of records" });
        }
        self.tail = Some(Tail::Complete);
        Ok(())
    }
}

/// Appends up to `count` bytes, fewer at the end of the input; memory grows with what arrives.
fn fill(input: &mut impl Read, out: &mut Vec<u8>, count: usize) -> io::Result<()> {
    input.by_ref().take(count as u64).read_to_end(out).map(drop)
}

/// The first four bytes as a number; callers have checked that they are there.
fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// Takes a record off the front: the time since the one before, and the record.
fn parse<'a>(rest: &mut &'a [u8]) -> Option<(i64, Record<'a>)> {
    let (&tag, after) = rest.split_first()?;
    *rest = after;
    let delta = varint::get_signed(rest)?;
    let connection = varint::get(rest)?;
    let record = match tag {
        0 => {
            let db = small(rest)?;
            let resp = u8::try_from(varint::get(rest)?).ok()?;
            Record::Open { connection, db, resp }
        }
        1 => Record::Close { connection },
        2 => Record::Request { connection, db: small(rest)?, args: arguments(rest)? },
        3 => Record::Lost { count: varint::get(rest)? },
        _ => return None,
    };
    Some((delta, record))
}

fn small(rest: &mut &[u8]) -> Option<u32> {
    u32::try_from(varint::get(rest)?).ok()
}

fn arguments<'a>(rest: &mut &'a [u8]) -> Option<Vec<Arg<'a>>> {
    let count = usize::try_from(varint::get(rest)?).ok()?;
    // Every argument takes a byte at least: no claim can reserve more than the block holds.
    if count > ARGS_MAX || count > rest.len() {
        return None;
    }
    let mut args = Vec::with_capacity(count);
    for _ in 0..count {
        let code = varint::get(rest)?;
        if code & 1 == 1 {
            args.push(Arg::Filler(code >> 1));
            continue;
        }
        let length = usize::try_from(code >> 1).ok()?;
        let (bytes, after) = rest.split_at_checked(length)?;
        *rest = after;
        args.push(Arg::Bytes(Cow::Borrowed(bytes)));
    }
    Some(args)
}
