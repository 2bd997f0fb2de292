//! IDs in arguments and replies: `ms-seq`, `ms`, `-`, `+`, `(ms-seq`, `ms-*`.

use engine::failure::{Failure, failure};
use smallvec::SmallVec;
use storage::stream::StreamId;

const INVALID: Failure = failure("ERR Invalid stream ID specified as stream command argument");
/// Longer arguments are no IDs.
const ID_BYTES_MAX: usize = 127;

/// The text of an ID.
pub(super) type IdText = SmallVec<[u8; 64]>;

/// An ID as text.
pub(super) fn id_text(id: StreamId) -> IdText {
    let mut text = IdText::new();
    text.extend_from_slice(itoa::Buffer::new().format(id.ms).as_bytes());
    text.push(b'-');
    text.extend_from_slice(itoa::Buffer::new().format(id.seq).as_bytes());
    text
}

/// Parses an unsigned number like C's `strtoull`, which Redis uses when the plain form fails:
/// leading space, sign and zeros are permitted, and a negative number wraps around.
fn number(text: &[u8]) -> Option<u64> {
    if let Some(plain) = resp::parse_i64(text) {
        return u64::try_from(plain).ok();
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !blank(byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = digit.checked_sub(b'0').filter(|digit| *digit <= 9)?;
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(if negative { value.wrapping_neg() } else { value })
}

/// The two parts of `ms` or `ms-seq`.
fn parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), Failure> {
    if text.len() > ID_BYTES_MAX {
        return Err(INVALID);
    }
    // Redis reads a C string.
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    let (ms, seq) = match text.iter().position(|byte| *byte == b'-') {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    Ok((number(ms).ok_or(INVALID)?, seq))
}

/// Parses an ID; `missing` is the sequence number for an ID without one.
///
/// # Errors
/// Fails if it is not an ID; `-` and `+` are not.
pub(super) fn strict_id(text: &[u8], missing: u64) -> Result<StreamId, Failure> {
    let (ms, seq) = parts(text)?;
    let seq = seq.map_or(Some(missing), number).ok_or(INVALID)?;
    Ok(StreamId { ms, seq })
}

/// As [`strict_id`], or `-` or `+`.
pub(super) fn id(text: &[u8], missing: u64) -> Result<StreamId, Failure> {
    match text {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => strict_id(text, missing),
    }
}

/// The ID that `XADD` asks for: given, partly given, or generated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NewId {
    /// `*`
    Auto,
    /// `ms-*`
    Sequence(u64),
    /// An ID.
    Exact(StreamId),
}

/// The ID argument of `XADD`.
pub(super) fn new_id(text: &[u8]) -> Result<NewId, Failure> {
    match parts(text)? {
        (ms, Some(b"*")) => Ok(NewId::Sequence(ms)),
        _ => strict_id(text, 0).map(NewId::Exact),
    }
}

/// One end of an interval, and whether it is outside.
fn bound(text: &[u8], missing: u64) -> Result<(StreamId, bool), Failure> {
    match text {
        [b'(', inner @ ..] if !inner.is_empty() => Ok((strict_id(inner, missing)?, true)),
        _ => Ok((id(text, missing)?, false)),
    }
}

/// The first ID of an interval that begins with this argument.
pub(super) fn first_id(text: &[u8]) -> Result<StreamId, Failure> {
    match bound(text, 0)? {
        (id, false) => Ok(id),
        (id, true) => id.next().ok_or(failure("ERR invalid start ID for the interval")),
    }
}

/// The last ID of an interval that ends with this argument.
pub(super) fn last_id(text: &[u8]) -> Result<StreamId, Failure> {
    match bound(text, u64::MAX)? {
        (id, false) => Ok(id),
        (id, true) => id.previous().ok_or(failure("ERR invalid end ID for the interval")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(text: &str, ms: u64, seq: u64) {
        assert_eq!(strict_id(text.as_bytes(), 9), Ok(StreamId { ms, seq }), "{text}");
    }

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        is("1-2", 1, 2);
        is("1", 1, 9);
        is("18446744073709551615-18446744073709551615", u64::MAX, u64::MAX);
        is("007- 8", 7, 8);
        is("+3-+4", 3, 4);
        is("1--02", 1, u64::MAX - 1);
        is("1\0x-3", 1, 9);
        let long = "1".repeat(128);
        for text in [
            "",
            "-",
            "+",
            "x",
            "1-",
            "-1",
            "1-x",
            "1--2",
            "1-2-3",
            "1 ",
            "18446744073709551616",
            "(1-1",
            &long,
        ] {
            assert_eq!(strict_id(text.as_bytes(), 0), Err(INVALID), "{text}");
        }
    }

    #[test]
    fn intervals_leave_their_ends_out() {
        assert_eq!(first_id(b"(1-18446744073709551615"), Ok(StreamId { ms: 2, seq: 0 }));
        assert_eq!(last_id(b"(2-0"), Ok(StreamId { ms: 1, seq: u64::MAX }));
        assert_eq!(last_id(b"(2"), Ok(StreamId { ms: 2, seq: u64::MAX - 1 }));
        assert!(first_id(b"(18446744073709551615-18446744073709551615").is_err());
        assert!(last_id(b"(0-0").is_err() && first_id(b"(-").is_err() && first_id(b"(").is_err());
    }

    #[test]
    fn ids_to_be_made() {
        assert_eq!(new_id(b"5-*"), Ok(NewId::Sequence(5)));
        assert_eq!(new_id(b"5"), Ok(NewId::Exact(StreamId { ms: 5, seq: 0 })));
        assert!(new_id(b"*-5").is_err() && new_id(b"5-**").is_err() && new_id(b"-").is_err());
        assert_eq!(&id_text(StreamId { ms: 12, seq: 345 })[..], b"12-345");
    }
}
