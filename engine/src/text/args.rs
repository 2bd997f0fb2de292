//! Owned requests, a cursor over arguments, and numbers in them.

use crate::failure::{Failure, NOT_FLOAT, NOT_INTEGER, SYNTAX, failure};
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

    /// Bytes of the arguments.
    pub fn argument_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.bytes.capacity() + self.ranges.capacity() * size_of::<Range>()
    }
}

/// A cursor over the arguments of a request, for options in any order: each is tried in turn, and
/// what fits is passed.
///
/// ```
/// # use engine::text::args::{Args, OwnedRequest};
/// # use engine::failure::{Failure, SYNTAX};
/// # fn main() -> Result<(), Failure> {
/// let request = OwnedRequest::new([&b"COPY"[..], b"a", b"b", b"db", b"1", b"REPLACE"]);
/// let (mut args, mut db, mut replace) = (Args::new(request.view(), 3), None, false);
/// while !args.is_empty() {
///     if args.keyword("REPLACE") {
///         replace = true;
///     } else if let Some(value) = args.option("DB") {
///         db = Some(value);
///     } else {
///         return Err(SYNTAX);
///     }
/// }
/// assert_eq!((db, replace), (Some(&b"1"[..]), true));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy)]
pub struct Args<'r> {
    request: Request<'r>,
    at: usize,
}

impl<'r> Args<'r> {
    /// A cursor that stands before argument `at`.
    #[inline]
    pub fn new(request: Request<'r>, at: usize) -> Self {
        Args { request, at }
    }

    /// The index of the next argument.
    #[inline]
    pub fn at(&self) -> usize {
        self.at
    }

    /// The number of arguments that are left.
    #[inline]
    pub fn left(&self) -> usize {
        self.request.len().saturating_sub(self.at)
    }

    /// Whether none is.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.left() == 0
    }

    /// The next argument, which is not passed.
    #[inline]
    pub fn peek(&self) -> Option<&'r [u8]> {
        self.request.get(self.at)
    }

    /// Whether the next argument is `word`, ignoring case; it is passed then.
    #[inline]
    pub fn keyword(&mut self, word: &str) -> bool {
        self.keyword_before(word, 0)
    }

    /// [`Args::keyword`] with `values` arguments or more behind it. The word is passed, they are not.
    #[inline]
    pub fn keyword_before(&mut self, word: &str, values: usize) -> bool {
        let found = self.left() > values && self.peek().is_some_and(|arg| is_word(arg, word));
        self.at += usize::from(found);
        found
    }

    /// The argument behind the next, if that is `word` and there is one; both are passed.
    #[inline]
    pub fn option(&mut self, word: &str) -> Option<&'r [u8]> {
        if self.keyword_before(word, 1) { self.next() } else { None }
    }

    /// The next argument.
    ///
    /// # Errors
    /// A syntax error when there is none.
    #[inline]
    pub fn expect(&mut self) -> Result<&'r [u8], Failure> {
        self.next().ok_or(SYNTAX)
    }
}

/// The arguments that are left, each of which is passed.
impl<'r> Iterator for Args<'r> {
    type Item = &'r [u8];

    #[inline]
    fn next(&mut self) -> Option<&'r [u8]> {
        let arg = self.peek()?;
        self.at += 1;
        Some(arg)
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

/// Integers of at most this many bytes are doubles exactly.
const EXACT_LEN_MAX: usize = 15;

/// A floating-point number as Redis's `getDoubleFromObject` takes it: what C's `strtod` reads,
/// but no NaN, nothing around it, and nothing beyond the range of doubles.
pub fn parse_f64(bytes: &[u8]) -> Option<f64> {
    if bytes.len() <= EXACT_LEN_MAX
        && let Some(integer) = parse_i64(bytes)
    {
        return Some(integer as f64);
    }
    let value = read_f64(bytes)?;
    let spelled_out = bytes.iter().any(|b| matches!(b, b'n' | b'N'));
    let overflow = value.is_infinite() && !spelled_out;
    let underflow = value == 0.0 && has_nonzero_digit(bytes);
    (!overflow && !underflow).then_some(value)
}

/// Parses a floating-point number as `strtod` alone does, which Redis uses without checks for
/// ranges of scores: leading space is skipped, an empty text is 0, and a number that is too large
/// is infinite.
pub fn parse_f64_lenient(bytes: &[u8]) -> Option<f64> {
    match bytes.trim_ascii_start() {
        b"" if bytes.is_empty() => Some(0.0),
        number => read_f64(number),
    }
}

fn read_f64(bytes: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let value = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => read_hex(digits)?,
        None if digits.starts_with(['-', '+']) => return None,
        None => digits.parse().ok()?,
    };
    let value: f64 = if negative { -value } else { value };
    (!value.is_nan()).then_some(value)
}

/// Hexadecimal digits with a point and a binary exponent, both optional.
fn read_hex(text: &str) -> Option<f64> {
    let (digits, exponent) = match text.split_once(['p', 'P']) {
        Some((digits, exponent)) => (digits, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut value = 0.0;
    for digit in whole.chars().chain(fraction.chars()) {
        value = value * 16.0 + f64::from(digit.to_digit(16)?);
    }
    let places = i32::try_from(fraction.len()).ok()?.checked_mul(4)?;
    Some(value * 2f64.powi(exponent.saturating_sub(places)))
}

/// Whether the digits before an exponent say anything but zero.
fn has_nonzero_digit(bytes: &[u8]) -> bool {
    let mantissa = bytes.iter().take_while(|b| !matches!(b, b'e' | b'E' | b'p' | b'P'));
    mantissa.into_iter().any(|b| matches!(b, b'1'..=b'9'))
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

#[cfg(test)]
mod tests {
    use super::{Args, OwnedRequest, parse_f64, parse_f64_lenient};

    #[test]
    fn a_cursor_passes_what_fits_and_nothing_else() {
        let request = OwnedRequest::new([&b"X"[..], b"flag", b"one", b"1", b"ONE"]);
        let mut args = Args::new(request.view(), 1);
        assert!(!args.keyword("ONE") && args.keyword("FLAG") && args.at() == 2);
        assert!(!args.keyword_before("one", 3) && args.left() == 3);
        assert_eq!(args.option("One"), Some(&b"1"[..]));
        // There is nothing behind the last word: it is no option, and stays.
        assert_eq!((args.option("ONE"), args.peek()), (None, Some(&b"ONE"[..])));
        assert_eq!((args.expect().ok(), args.is_empty()), (Some(&b"ONE"[..]), true));
        assert!(args.expect().is_err() && args.next().is_none());
    }

    #[test]
    fn doubles_as_strtod_reads_them() {
        let good = [
            ("1", 1.0),
            ("-17", -17.0),
            ("+1.5", 1.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("0x10", 16.0),
            ("-0x1.8p1", -3.0),
            ("0e400", 0.0),
            ("9007199254740993", 9007199254740992.0),
        ];
        for (text, value) in good {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text}");
        }
        let wrong = [
            "", "nan", " 1", "1 ", "1e400", "-1e400", "1e-400", "--1", "+-1", "0x", "1e", "x", ".",
        ];
        for text in wrong {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn unchecked_doubles() {
        assert_eq!(parse_f64_lenient(b""), Some(0.0));
        assert_eq!(parse_f64_lenient(b" 1"), Some(1.0));
        assert_eq!(parse_f64_lenient(b"1e400"), Some(f64::INFINITY));
        assert_eq!(parse_f64_lenient(b"nan"), None);
        assert_eq!(parse_f64_lenient(b"1 "), None);
    }
}
