//! The client's side: writes commands and reads replies. For tests, load generators and
//! comparisons; the server itself reads no replies.

use crate::number::{length, parse_i64};
use crate::reply::header;
use memchr::memchr;
use std::fmt;

/// The deepest nesting that [`decode`] follows.
const DEPTH_MAX: usize = 128;

/// The longest string that [`decode`] accepts, in bytes.
const STRING_LEN_MAX: i64 = 1 << 30;

/// The highest number of elements of an aggregate that [`decode`] accepts.
const ELEMENTS_MAX: i64 = u32::MAX as i64;

/// The length of the shortest reply,
/// `_\r `, which bounds how many elements the available bytes can contain.
const REPLY_LEN_MIN: usize = 3;

/// One reply, in either protocol version.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// `+`: a status.
    Simple(Vec<u8>),
    /// `-`: an error, without the sigil.
    Error(Vec<u8>),
    /// `!`: an error of any bytes.
    BulkError(Vec<u8>),
    /// `:`.
    Integer(i64),
    /// `$`: a string.
    Bulk(Vec<u8>),
    /// `$-1` or `_`.
    Null,
    /// `*-1`.
    NullArray,
    /// `*`.
    Array(Vec<Value>),
    /// `~`: elements in the order they came.
    Set(Vec<Value>),
    /// `>`: data that no request asked for.
    Push(Vec<Value>),
    /// `%`: pairs in the order they came.
    Map(Vec<(Value, Value)>),
    /// `,`.
    Double(f64),
    /// `#`.
    Boolean(bool),
    /// `(`: its digits.
    BigNumber(Vec<u8>),
    /// `=`: a kind of three bytes, and text.
    Verbatim([u8; 3], Vec<u8>),
    /// `|`: attributes, and the value to which they belong.
    Attributed(Vec<(Value, Value)>, Box<Value>),
}

impl Value {
    /// The bytes of a string of any kind.
    pub fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Value::Simple(b) | Value::Bulk(b) | Value::BigNumber(b) | Value::Verbatim(_, b) => {
                Some(b)
            }
            _ => None,
        }
    }

    /// The integer, if it is one.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The text of an error.
    pub fn as_error(&self) -> Option<&[u8]> {
        match self {
            Value::Error(text) | Value::BulkError(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of an array, set or push.
    pub fn as_slice(&self) -> Option<&[Value]> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => Some(items),
            _ => None,
        }
    }
}

impl fmt::Debug for Value {
    /// Like a derived implementation, with strings as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = |name: &str, bytes: &[u8]| write!(f, "{name}(\"{}\")", bytes.escape_ascii());
        match self {
            Value::Simple(bytes) => text("Simple", bytes),
            Value::Error(bytes) => text("Error", bytes),
            Value::BulkError(bytes) => text("BulkError", bytes),
            Value::Bulk(bytes) => text("Bulk", bytes),
            Value::BigNumber(bytes) => text("BigNumber", bytes),
            Value::Verbatim(ext, bytes) => text(&format!("Verbatim {}", ext.escape_ascii()), bytes),
            Value::Null => f.write_str("Null"),
            Value::NullArray => f.write_str("NullArray"),
            Value::Integer(value) => write!(f, "Integer({value})"),
            Value::Double(value) => write!(f, "Double({value:?})"),
            Value::Boolean(value) => write!(f, "Boolean({value})"),
            Value::Array(items) => f.debug_tuple("Array").field(items).finish(),
            Value::Set(items) => f.debug_tuple("Set").field(items).finish(),
            Value::Push(items) => f.debug_tuple("Push").field(items).finish(),
            Value::Map(pairs) => f.debug_tuple("Map").field(pairs).finish(),
            Value::Attributed(pairs, value) => {
                f.debug_tuple("Attributed").field(pairs).field(value).finish()
            }
        }
    }
}

/// The reason why bytes are not a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecodeError {
    /// No type starts with this byte.
    UnknownType(u8),
    /// A length or value is not a number.
    InvalidNumber,
    /// A string or aggregate is too large.
    TooLong,
    /// Aggregates nested too deeply.
    TooDeep,
    /// Another byte where
    /// `\r ` should be.
    ExpectedLineEnd,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::UnknownType(byte) => {
                write!(f, "no reply starts with '{}'", byte.escape_ascii())
            }
            DecodeError::InvalidNumber => f.write_str("invalid number in reply"),
            DecodeError::TooLong => f.write_str("string or aggregate too long"),
            DecodeError::TooDeep => f.write_str("aggregates nested too deeply"),
            DecodeError::ExpectedLineEnd => f.write_str("line end missing in reply"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Decodes the first reply in `bytes` and returns it with its length; `None` if it is incomplete.
///
/// Every call starts at the beginning. For long replies that arrive in pieces, call [`skip_reply`]
/// first.
///
/// # Errors
/// Fails if `bytes` cannot become a valid reply, or exceed the bounds of nesting (128), of a string
/// (1 GiB) or of an aggregate (2^32 elements). No memory is reserved for elements that have not
/// arrived.
pub fn decode(bytes: &[u8]) -> Result<Option<(Value, usize)>, DecodeError> {
    let mut decoder = Decoder { bytes, at: 0 };
    match decoder.value(0) {
        Ok(value) => Ok(Some((value, decoder.at))),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Wrong(error)) => Err(error),
    }
}

enum Stop {
    Incomplete,
    Wrong(DecodeError),
}

impl From<DecodeError> for Stop {
    fn from(error: DecodeError) -> Self {
        Stop::Wrong(error)
    }
}

struct Decoder<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Decoder<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        let sigil = *self.bytes.get(self.at).ok_or(Stop::Incomplete)?;
        if !b"+-:$*_#,(!=~>%|".contains(&sigil) {
            return Err(DecodeError::UnknownType(sigil).into());
        }
        let line = self.line()?;
        match sigil {
            b'+' => Ok(Value::Simple(line.to_vec())),
            b'-' => Ok(Value::Error(line.to_vec())),
            b'(' => big_number(line),
            b'_' if line.is_empty() => Ok(Value::Null),
            b':' => Ok(Value::Integer(integer(line)?)),
            b',' => double(line),
            b'#' => boolean(line),
            b'$' | b'!' | b'=' => self.string(sigil, count_of(line)?),
            b'*' | b'~' | b'>' | b'%' | b'|' => self.aggregate(sigil, count_of(line)?, depth + 1),
            _ => Err(DecodeError::InvalidNumber.into()),
        }
    }

    /// Reads a line; returns it without type byte and line end.
    fn line(&mut self) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at + 1..];
        let cr = memchr(b'\r', rest).ok_or(Stop::Incomplete)?;
        match rest.get(cr + 1) {
            Some(b'\n') => self.at += cr + 3,
            Some(_) => return Err(DecodeError::ExpectedLineEnd.into()),
            None => return Err(Stop::Incomplete),
        }
        Ok(&rest[..cr])
    }

    fn string(&mut self, sigil: u8, len: i64) -> Result<Value, Stop> {
        if len == -1 && sigil == b'$' {
            return Ok(Value::Null);
        }
        let len = bounded(len, STRING_LEN_MAX)?;
        let rest = &self.bytes[self.at..];
        let body = rest.get(..len).ok_or(Stop::Incomplete)?.to_vec();
        match rest[len..] {
            [b'\r', b'\n', ..] => self.at += len + 2,
            [] | [b'\r'] => return Err(Stop::Incomplete),
            _ => return Err(DecodeError::ExpectedLineEnd.into()),
        }
        match (sigil, &body[..]) {
            (b'!', _) => Ok(Value::BulkError(body)),
            (b'=', &[a, b, c, b':', ref text @ ..]) => Ok(Value::Verbatim([a, b, c], text.into())),
            (b'=', _) => Err(DecodeError::InvalidNumber.into()),
            _ => Ok(Value::Bulk(body)),
        }
    }

    fn aggregate(&mut self, sigil: u8, len: i64, depth: usize) -> Result<Value, Stop> {
        if len == -1 && sigil == b'*' {
            return Ok(Value::NullArray);
        }
        if depth > DEPTH_MAX {
            return Err(DecodeError::TooDeep.into());
        }
        let len = bounded(len, ELEMENTS_MAX)?;
        Ok(match sigil {
            b'~' => Value::Set(self.values(len, depth)?),
            b'>' => Value::Push(self.values(len, depth)?),
            b'%' => Value::Map(self.pairs(len, depth)?),
            b'|' => Value::Attributed(self.pairs(len, depth)?, Box::new(self.value(depth)?)),
            _ => Value::Array(self.values(len, depth)?),
        })
    }

    /// The number of elements, at most `len`, that the remaining bytes can hold.
    fn plausible(&self, len: usize) -> usize {
        len.min((self.bytes.len() - self.at) / REPLY_LEN_MIN)
    }

    fn values(&mut self, len: usize, depth: usize) -> Result<Vec<Value>, Stop> {
        if self.plausible(len) < len {
            return self.wait_for(len, depth);
        }
        (0..len).map(|_| self.value(depth)).collect()
    }

    fn pairs(&mut self, len: usize, depth: usize) -> Result<Vec<(Value, Value)>, Stop> {
        if self.plausible(len.saturating_mul(2)) < len.saturating_mul(2) {
            return self.wait_for(len.saturating_mul(2), depth);
        }
        (0..len).map(|_| Ok((self.value(depth)?, self.value(depth)?))).collect()
    }

    /// There are too few bytes for so many elements. Nothing is kept, but those that have arrived
    /// may be invalid.
    fn wait_for<T>(&mut self, len: usize, depth: usize) -> Result<T, Stop> {
        for _ in 0..len {
            self.value(depth)?;
        }
        Err(Stop::Incomplete)
    }
}

fn count_of(line: &[u8]) -> Result<i64, Stop> {
    parse_i64(line).ok_or_else(|| DecodeError::InvalidNumber.into())
}

/// RESP3 allows a `+` in an integer, but not in a length.
fn integer(line: &[u8]) -> Result<i64, Stop> {
    count_of(line.strip_prefix(b"+").unwrap_or(line))
}

fn bounded(len: i64, max: i64) -> Result<usize, Stop> {
    match len {
        ..0 => Err(DecodeError::InvalidNumber.into()),
        _ if len > max => Err(DecodeError::TooLong.into()),
        _ => Ok(len as usize),
    }
}

fn big_number(line: &[u8]) -> Result<Value, Stop> {
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(DecodeError::InvalidNumber.into());
    }
    Ok(Value::BigNumber(line.to_vec()))
}

fn double(line: &[u8]) -> Result<Value, Stop> {
    let text = std::str::from_utf8(line).map_err(|_| DecodeError::InvalidNumber)?;
    text.parse().map(Value::Double).map_err(|_| DecodeError::InvalidNumber.into())
}

fn boolean(line: &[u8]) -> Result<Value, Stop> {
    match line {
        b"t" => Ok(Value::Boolean(true)),
        b"f" => Ok(Value::Boolean(false)),
        _ => Err(DecodeError::InvalidNumber.into()),
    }
}

/// The length of the first reply in `bytes`; `None` if it is incomplete. Allocates nothing and
/// looks only at lengths and line ends; a line of an unknown type counts as a reply.
#[inline]
pub fn skip_reply(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut pending: usize = 1;
    while pending > 0 {
        pending -= 1;
        match *bytes.get(at)? {
            b'$' | b'!' | b'=' => {
                let (len, body) = count(bytes, at)?;
                // A null has no body at all.
                at = len.map_or(body, |len| body.saturating_add(len).saturating_add(2));
                if at > bytes.len() {
                    return None;
                }
            }
            sigil @ (b'*' | b'~' | b'>' | b'%' | b'|') => {
                let (len, body) = count(bytes, at)?;
                let replies = match sigil {
                    b'%' => len.unwrap_or(0).saturating_mul(2),
                    b'|' => len.unwrap_or(0).saturating_mul(2).saturating_add(1),
                    _ => len.unwrap_or(0),
                };
                pending = pending.saturating_add(replies);
                at = body;
            }
            _ => at = line_end(bytes, at)?,
        }
    }
    Some(at)
}

/// The number in the header at `at`, `None` if it is negative or invalid, and the offset behind the
/// header.
#[inline]
fn count(bytes: &[u8], at: usize) -> Option<(Option<usize>, usize)> {
    if let Some((len, body)) = length(bytes, at) {
        return Some((Some(len as usize), body));
    }
    let end = line_end(bytes, at)?;
    let len = parse_i64(&bytes[at + 1..end - 2]).and_then(|len| usize::try_from(len).ok());
    Some((len, end))
}

/// Like [`decode`], but decodes a reply only once it is complete. One that arrives in parts is
/// skipped until then.
///
/// # Errors
/// Fails like [`decode`].
pub fn decode_whole(bytes: &[u8]) -> Result<Option<(Value, usize)>, DecodeError> {
    match skip_reply(bytes) {
        Some(_) => decode(bytes),
        None => Ok(None),
    }
}

/// The end of the line at `at`, which begins with its type byte: the offset behind its first `\r`
/// and one more byte.
#[inline]
fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    let end = at + 1 + memchr(b'\r', bytes.get(at + 1..)?)? + 2;
    (end <= bytes.len()).then_some(end)
}

/// Appends a command as a client sends it: an array of bulk strings.
pub fn encode_command<I>(args: I, out: &mut Vec<u8>)
where
    I: IntoIterator<Item: AsRef<[u8]>, IntoIter: ExactSizeIterator>,
{
    let args = args.into_iter();
    header(out, b'*', args.len() as u64);
    for arg in args {
        let arg = arg.as_ref();
        header(out, b'$', arg.len() as u64);
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}
