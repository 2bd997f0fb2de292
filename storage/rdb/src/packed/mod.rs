//! Redis's packed encodings of small collections: listpack, ziplist, intset, zipmap. Each decoder
//! takes the bytes as they stand in the file, checks every length against them, and borrows.

use std::fmt;

pub mod intset;
pub mod listpack;
pub mod ziplist;
pub mod zipmap;

/// Damage inside packed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackedError {
    /// Which encoding.
    pub encoding: &'static str,
    /// Bytes from the start of the packed bytes.
    pub at: usize,
    /// The reason, in words.
    pub what: &'static str,
}

impl fmt::Display for PackedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged {}, at its byte {}: {}", self.encoding, self.at, self.what)
    }
}

impl std::error::Error for PackedError {}

/// One element: packed encodings keep integers as integers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Bytes as they are.
    Bytes(&'a [u8]),
    /// An integer, which represents its decimal text.
    Int(i64),
}

impl Value<'_> {
    /// The bytes a client would see.
    pub fn to_vec(self) -> Vec<u8> {
        match self {
            Value::Bytes(bytes) => bytes.to_vec(),
            Value::Int(n) => itoa::Buffer::new().format(n).as_bytes().to_vec(),
        }
    }

    /// As an integer, if it is one or its text is.
    pub fn to_int(self) -> Option<i64> {
        match self {
            Value::Int(n) => Some(n),
            Value::Bytes(bytes) => resp::parse_i64(bytes),
        }
    }

    /// As a sorted set's score: a number, not NaN.
    pub fn to_score(self) -> Option<f64> {
        match self {
            Value::Int(n) => Some(n as f64),
            Value::Bytes(bytes) => parse_score(bytes),
        }
    }
}

/// A score in text, the way C prints a double (`inf`, `1e+20`); not NaN.
pub(crate) fn parse_score(text: &[u8]) -> Option<f64> {
    let score: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (!score.is_nan()).then_some(score)
}

/// The `N` bytes at `at`, if they are there.
fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// A little-endian 32-bit number as a size.
fn u32_le(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).map(|b| u32::from_le_bytes(b) as usize)
}

/// A little-endian 16-bit number as a size.
fn u16_le(bytes: &[u8], at: usize) -> Option<usize> {
    array(bytes, at).map(|b| usize::from(u16::from_le_bytes(b)))
}

/// A signed little-endian number of `width` bytes, 1 to 8.
fn int_le(bytes: &[u8], at: usize, width: usize) -> Option<i64> {
    let digits = bytes.get(at..at.checked_add(width)?)?;
    let mut wide = [if digits.last()? & 0x80 != 0 { 0xff } else { 0 }; 8];
    wide[..width].copy_from_slice(digits);
    Some(i64::from_le_bytes(wide))
}
