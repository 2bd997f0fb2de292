//! Owned requests, and numbers in arguments.

use crate::failure::{Failure, NOT_FLOAT, NOT_INTEGER, failure};
use resp::{Range, Request};

pub use resp::parse_i64;

/// A request that outlives the buffer it came in: queued by `MULTI`, parked by `BLPOP`, or built
/// by a script.
#[derive(Clone, Debug, Default)]
pub struct OwnedRequest {
    bytes: Vec<u8>,
    ranges: Vec<Range>,
}

impl OwnedRequest {
    /// Copies arguments into one buffer.
    pub fn new<'a>(args: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut owned = OwnedRequest::default();
        args.into_iter().for_each(|arg| owned.push(arg));
        owned
    }

    /// Appends an argument.
    pub fn push(&mut self, arg: &[u8]) {
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(arg);
        self.ranges.push(Range { start, len: arg.len() as u32 });
    }

    /// The arguments.
    pub fn view(&self) -> Request<'_> {
        Request::new(&self.ranges, &self.bytes)
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<Range>()
    }
}

/// [`parse_i64`] with Redis's error.
pub fn integer(bytes: &[u8]) -> Result<i64, Failure> {
    parse_i64(bytes).ok_or(NOT_INTEGER)
}

/// A number that is not negative, with the error Redis gives for a count.
pub fn non_negative(bytes: &[u8], error: &'static str) -> Result<u64, Failure> {
    u64::try_from(integer(bytes)?).map_err(|_| failure(error))
}

/// A floating-point number as `strtod` takes it (decimal, exponent, `inf`, hexadecimal excluded),
/// refusing NaN and surrounding space.
pub fn parse_f64(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let value: f64 = text.parse().ok()?;
    (!value.is_nan()).then_some(value)
}

/// [`parse_f64`] with Redis's error.
pub fn float(bytes: &[u8]) -> Result<f64, Failure> {
    parse_f64(bytes).ok_or(NOT_FLOAT)
}

/// Whether an argument is this word, ignoring case.
#[inline]
pub fn is_word(arg: &[u8], word: &str) -> bool {
    arg.eq_ignore_ascii_case(word.as_bytes())
}
