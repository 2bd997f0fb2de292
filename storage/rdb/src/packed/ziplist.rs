//! Ziplist, the small encoding before Redis 7:
//! `bytes u32 · offset of the last entry u32 · count u16 · entries · 0xFF`, little endian. Each
//! entry begins with the size of the one before.

use super::{PackedError, Value, array, int_le, u16_le, u32_le};

const HEADER: usize = 10;
const END: u8 = 0xff;
const COUNT_UNKNOWN: usize = 0xffff;
/// Marks a previous size of four bytes; sizes below it are one byte.
const BIG_PREVIOUS: u8 = 0xfe;

/// The entries of a ziplist, first to last. Ends after the first error.
pub struct Ziplist<'a> {
    bytes: &'a [u8],
    at: usize,
    previous_size: usize,
    tail: usize,
    left: Option<usize>,
}

impl<'a> Ziplist<'a> {
    /// Checks the header and the end mark; entries are checked as they come.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let short = error(0, "shorter than its header");
        let total = u32_le(bytes, 0).ok_or(short)?;
        let tail = u32_le(bytes, 4).ok_or(short)?;
        let count = u16_le(bytes, 8).ok_or(short)?;
        if total != bytes.len() {
            return Err(error(0, "its length is not that of the bytes"));
        }
        if bytes.len() <= HEADER || bytes[bytes.len() - 1] != END {
            return Err(error(bytes.len() - 1, "no end mark"));
        }
        let left = (count != COUNT_UNKNOWN).then_some(count);
        Ok(Ziplist { bytes, at: HEADER, previous_size: 0, tail, left })
    }

    fn entry(&mut self) -> Result<Option<Value<'a>>, PackedError> {
        let end = self.bytes.len() - 1;
        if self.at == end {
            return self.check_end();
        }
        self.left = match self.left {
            Some(0) => return Err(error(8, "more entries than its header says")),
            left => left.map(|n| n - 1),
        };
        let (start, body) = (self.at, &self.bytes[..end]);
        let past_end = error(start, "an entry past the end");
        let (previous, width) = previous_size(body, start).ok_or(past_end)?;
        if previous != self.previous_size {
            return Err(error(start, "a wrong size of the entry before"));
        }
        let (value, size) = parse(body, start + width).ok_or(past_end)?;
        self.previous_size = width + size;
        self.at = start + self.previous_size;
        Ok(Some(value))
    }

    fn check_end(&self) -> Result<Option<Value<'a>>, PackedError> {
        if self.left.is_some_and(|n| n > 0) {
            return Err(error(8, "fewer entries than its header says"));
        }
        if self.tail != self.at - self.previous_size {
            return Err(error(4, "the last entry is not where its header says"));
        }
        Ok(None)
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Value<'a>, PackedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.entry().transpose();
        if let Some(Err(_)) = result {
            (self.at, self.left) = (self.bytes.len() - 1, None);
            self.tail = self.at - self.previous_size;
        }
        result
    }
}

fn error(at: usize, what: &'static str) -> PackedError {
    PackedError { encoding: "ziplist", at, what }
}

/// The size of the entry before, and how many bytes say it.
fn previous_size(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        BIG_PREVIOUS => Some((u32_le(bytes, at + 1)?, 5)),
        small => Some((usize::from(small), 1)),
    }
}

/// The value at `at` and its size with its encoding; `None` when it is not all there.
fn parse(bytes: &[u8], at: usize) -> Option<(Value<'_>, usize)> {
    let first = *bytes.get(at)?;
    let string = |header: usize, length: usize| {
        let from = at + header;
        let text = bytes.get(from..from.checked_add(length)?)?;
        Some((Value::Bytes(text), header + length))
    };
    let int = |width| Some((Value::Int(int_le(bytes, at + 1, width)?), 1 + width));
    match first {
        0x00..=0x3f => string(1, usize::from(first)),
        0x40..=0x7f => string(2, usize::from(u16::from_be_bytes(array(bytes, at)?) & 0x3fff)),
        0x80 => string(5, u32::from_be_bytes(array(bytes, at + 1)?) as usize),
        0xc0 => int(2),
        0xd0 => int(4),
        0xe0 => int(8),
        0xf0 => int(3),
        0xfe => int(1),
        0xf1..=0xfd => Some((Value::Int(i64::from(first & 0x0f) - 1), 1)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Lays entries (each from its encoding byte on) out as a ziplist.
    fn ziplist(entries: &[Vec<u8>]) -> Vec<u8> {
        let mut body = Vec::new();
        let (mut previous, mut tail) = (0usize, HEADER);
        for entry in entries {
            tail = HEADER + body.len();
            if previous < 254 {
                body.push(previous as u8);
            } else {
                body.push(BIG_PREVIOUS);
                body.extend_from_slice(&(previous as u32).to_le_bytes());
            }
            body.extend_from_slice(entry);
            previous = HEADER + body.len() - tail;
        }
        body.push(END);
        let mut bytes = ((HEADER + body.len()) as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(tail as u32).to_le_bytes());
        bytes.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes
    }

    fn texts(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackedError> {
        Ziplist::new(bytes)?.map(|v| v.map(Value::to_vec)).collect()
    }

    #[test]
    fn every_encoding() {
        let with = |head: &[u8], body: &[u8]| [head, body].concat();
        let bytes = ziplist(&[
            with(&[3], b"abc"),
            with(&[0x40 | 1, 44], &[b'm'; 300]),
            with(&[0x80, 0, 0, 0, 2], b"hi"),
            vec![0xc0, 0x00, 0x80],
            vec![0xd0, 1, 0, 0, 0x80],
            vec![0xe0, 0, 0, 0, 0, 0, 0, 0, 0x80],
            vec![0xf0, 0xff, 0xff, 0x7f],
            vec![0xfe, 0x80],
            vec![0xf1],
            vec![0xfd],
        ]);
        let big = "m".repeat(300);
        let expected = [
            "abc",
            &big,
            "hi",
            "-32768",
            "-2147483647",
            "-9223372036854775808",
            "8388607",
            "-128",
            "0",
            "12",
        ];
        assert_eq!(texts(&bytes).unwrap(), expected.map(|t| t.as_bytes().to_vec()));
    }

    #[test]
    fn damage_is_named() {
        let good = ziplist(&[vec![1, b'a'], vec![1, b'b']]);
        let damaged = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            texts(&bytes).unwrap_err().what
        };
        assert_eq!(damaged(4, 10), "the last entry is not where its header says");
        assert_eq!(damaged(8, 1), "more entries than its header says");
        assert_eq!(damaged(8, 3), "fewer entries than its header says");
        assert_eq!(damaged(13, 9), "a wrong size of the entry before");
        assert_eq!(damaged(14, 50), "an entry past the end");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(body: Vec<u8>, tail: u32, count: u16) {
            let mut bytes = ((HEADER + body.len() + 1) as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(&tail.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&body);
            bytes.push(END);
            if let Ok(entries) = texts(&bytes) {
                prop_assert!(entries.len() <= bytes.len());
            }
        }
    }
}
