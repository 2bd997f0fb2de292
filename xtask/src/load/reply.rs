//! Counting replies without looking at them: only where the next one starts, and whether it says
//! that something went wrong.

use anyhow::{Result, bail};

/// Aggregates nest at most this deep in a reply that is believed.
const PENDING_MAX: u64 = 1 << 32;

/// What came back.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Complete replies, errors included.
    pub replies: u64,
    /// Of these, error replies.
    pub errors: u64,
    /// Of these, nulls: a read workload with many of them reads keys that do not exist.
    pub nulls: u64,
    /// The text of the first error.
    pub first_error: Option<String>,
}

impl Tally {
    /// Counts the complete replies at the front of `bytes`; returns how many bytes they take.
    #[inline]
    pub fn count(&mut self, bytes: &[u8]) -> Result<usize> {
        let mut at = 0;
        while let Some(length) = self.one(&bytes[at..])? {
            at += length;
            self.replies += 1;
        }
        Ok(at)
    }

    #[inline]
    fn one(&mut self, bytes: &[u8]) -> Result<Option<usize>> {
        if bytes.starts_with(b"+OK\r\n") {
            return Ok(Some(5));
        }
        let Some(length) = skip(bytes)? else { return Ok(None) };
        match bytes[0] {
            b'-' | b'!' => self.error(&bytes[..length]),
            b'_' => self.nulls += 1,
            b'$' | b'*' if bytes[1] == b'-' => self.nulls += 1,
            _ => {}
        }
        Ok(Some(length))
    }

    #[cold]
    fn error(&mut self, reply: &[u8]) {
        self.errors += 1;
        if self.first_error.is_none() {
            let text = String::from_utf8_lossy(&reply[1..]);
            self.first_error = Some(text.trim_end().chars().take(200).collect());
        }
    }

    /// Adds what another thread counted.
    pub fn merge(&mut self, other: Tally) {
        self.replies += other.replies;
        self.errors += other.errors;
        self.nulls += other.nulls;
        self.first_error = self.first_error.take().or(other.first_error);
    }
}

/// Bytes the first reply takes, or `None` when it is not complete yet.
///
/// An error means that what the peer sends is not RESP.
#[inline]
pub fn skip(bytes: &[u8]) -> Result<Option<usize>> {
    let mut at = 0;
    let mut pending = 1u64;
    while pending > 0 {
        pending -= 1;
        let Some((kind, number, after)) = header(&bytes[at..])? else { return Ok(None) };
        at += after;
        match kind {
            b'$' | b'=' | b'!' if number >= 0 => at += number as usize + 2,
            b'*' | b'~' | b'>' => pending += number.max(0) as u64,
            // An attribute comes before the reply it speaks of: it does not count as one.
            b'|' => pending += 2 * number.max(0) as u64 + 1,
            b'%' => pending += 2 * number.max(0) as u64,
            _ => {}
        }
        if at > bytes.len() {
            return Ok(None);
        }
        if pending > PENDING_MAX {
            bail!("a reply announces {pending} elements");
        }
    }
    Ok(Some(at))
}

/// Type, number (0 for a line without one) and length of the first line.
#[inline]
fn header(bytes: &[u8]) -> Result<Option<(u8, i64, usize)>> {
    let Some(&kind) = bytes.first() else { return Ok(None) };
    let Some(end) = bytes.iter().position(|&b| b == b'\n') else {
        return if bytes.len() > 64 * 1024 { bail!("a reply's line never ends") } else { Ok(None) };
    };
    let number = match kind {
        b'$' | b'*' | b'~' | b'>' | b'%' | b'|' | b'=' | b'!' => {
            number(&bytes[1..end.saturating_sub(1).max(1)])?
        }
        b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => 0,
        other => bail!("a reply cannot start with {:?}", char::from(other)),
    };
    Ok(Some((kind, number, end + 1)))
}

#[inline]
fn number(text: &[u8]) -> Result<i64> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > 10 || !digits.iter().all(u8::is_ascii_digit) {
        bail!("a reply's length is {:?}", String::from_utf8_lossy(text));
    }
    let value = digits.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &[u8] = b"+OK\r\n+PONG\r\n:12\r\n$3\r\na\nb\r\n$-1\r\n*2\r\n$1\r\nx\r\n*1\r\n:1\r\n\
        -ERR no\r\n_\r\n%1\r\n+a\r\n,1.5\r\n*-1\r\n#t\r\n";

    #[test]
    fn every_kind_is_counted_once() {
        let mut tally = Tally::default();
        assert_eq!(tally.count(ALL).unwrap(), ALL.len());
        assert_eq!((tally.replies, tally.errors, tally.nulls), (11, 1, 3));
        assert_eq!(tally.first_error.as_deref(), Some("ERR no"));
    }

    #[test]
    fn any_split_counts_the_same() {
        for cut in 0..ALL.len() {
            let mut tally = Tally::default();
            let taken = tally.count(&ALL[..cut]).unwrap();
            let rest = tally.count(&ALL[taken..]).unwrap();
            assert_eq!((taken + rest, tally.replies), (ALL.len(), 11), "cut at {cut}");
        }
    }

    #[test]
    fn what_is_not_resp_is_refused() {
        assert!(Tally::default().count(b"HTTP/1.1 400\r\n").is_err());
        assert!(Tally::default().count(b"$x\r\n").is_err());
        assert!(Tally::default().count(b"$\r\n").is_err());
    }
}
