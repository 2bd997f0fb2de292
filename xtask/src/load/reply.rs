//! Counting replies without looking at them: only where the next one starts, and whether it says
//! that something went wrong.

use anyhow::{Result, bail};

/// The replies that came back, counted by kind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Complete replies, errors included.
    pub replies: u64,
    /// The number of these that are errors.
    pub errors: u64,
    /// The number of these that are nulls: a read workload with many of them reads keys that do not
    /// exist.
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
        let Some(length) = resp::skip_reply(bytes) else { return Ok(None) };
        match bytes[0] {
            b'-' | b'!' => self.error(&bytes[..length]),
            b'_' => self.nulls += 1,
            b'$' | b'*' => self.nulls += u64::from(bytes[1] == b'-'),
            b'+' | b':' | b',' | b'#' | b'(' | b'=' | b'~' | b'>' | b'%' | b'|' => {}
            other => bail!("a reply cannot start with {:?}", char::from(other)),
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
        assert!(Tally::default().count(b"$1\r\nabc\r\n+OK\r\n").is_err());
    }
}
