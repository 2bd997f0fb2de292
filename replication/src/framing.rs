//! [`Framing`]: finds the beginning and the end of the RDB file of a full synchronization in the
//! bytes that a master sends.

use std::fmt;

/// Length of the mark behind a file whose size was not known before.
const MARK_LEN: usize = 40;
/// Longest header line.
const LINE_MAX: usize = 256;

/// The reason why the received bytes are not a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FramingError {
    /// The master says that it failed.
    Refused(String),
    /// Something else than a header.
    NoHeader(String),
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FramingError::Refused(text) => {
                write!(f, "the master gave up the synchronization: {text}")
            }
            FramingError::NoHeader(text) => write!(f, "expected a file's length, got '{text}'"),
        }
    }
}

impl std::error::Error for FramingError {}

/// Finds the bytes of the file: `$<length>` in front of it, or `$EOF:<mark>` in front and the mark
/// behind. Empty lines in front are signs of life.
#[derive(Debug, Default)]
pub struct Framing {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Header,
    Line(Vec<u8>),
    Counted(u64),
    /// The mark, and the last bytes received, which may be its beginning.
    Marked {
        mark: [u8; MARK_LEN],
        tail: Vec<u8>,
    },
    Done,
}

impl Framing {
    /// Before the header.
    pub fn new() -> Self {
        Framing::default()
    }

    /// Whether the file's end was found.
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The number of bytes of the file that are missing, if that is known.
    pub fn left(&self) -> Option<u64> {
        match self.state {
            State::Counted(left) => Some(left),
            _ => None,
        }
    }

    /// Whether the file ends with a mark: its receiver then says when it is ready for the stream.
    pub fn is_marked(&self) -> bool {
        matches!(self.state, State::Marked { .. })
    }

    /// Takes received bytes, and appends those of the file to `out`. Returns how many bytes were
    /// used. If not all were, the file has ended, and the stream follows.
    ///
    /// # Errors
    /// See [`FramingError`].
    pub fn take(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FramingError> {
        let mut used = 0;
        while used < bytes.len() && !self.is_done() {
            used += self.step(&bytes[used..], out)?;
        }
        Ok(used)
    }

    fn step(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<usize, FramingError> {
        match &mut self.state {
            State::Header => {
                if bytes[0] != b'\n' && bytes[0] != b'\r' {
                    self.state = State::Line(Vec::new());
                    return Ok(0);
                }
                Ok(1)
            }
            State::Line(line) => {
                let end = bytes.iter().position(|b| *b == b'\n');
                line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                if end.is_none() && line.len() <= LINE_MAX {
                    return Ok(bytes.len());
                }
                self.state = header(line.trim_ascii_end())?;
                Ok(end.map_or(bytes.len(), |end| end + 1))
            }
            State::Counted(left) => {
                let now = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                out.extend_from_slice(&bytes[..now]);
                *left -= now as u64;
                if *left == 0 {
                    self.state = State::Done;
                }
                Ok(now)
            }
            State::Marked { mark, tail } => {
                let before = tail.len();
                tail.extend_from_slice(bytes);
                if let Some(at) = find(tail, mark) {
                    out.extend_from_slice(&tail[..at]);
                    self.state = State::Done;
                    return Ok(at + MARK_LEN - before);
                }
                let sure = tail.len().saturating_sub(MARK_LEN - 1);
                out.extend(tail.drain(..sure));
                Ok(bytes.len())
            }
            State::Done => Ok(0),
        }
    }
}

/// The position of `mark` in `bytes`.
fn find(bytes: &[u8], mark: &[u8; MARK_LEN]) -> Option<usize> {
    let last = bytes.len().checked_sub(MARK_LEN)?;
    let mut at = 0;
    while at <= last {
        at += bytes[at..=last].iter().position(|b| *b == mark[0])?;
        if bytes[at..at + MARK_LEN] == *mark {
            return Some(at);
        }
        at += 1;
    }
    None
}

fn header(line: &[u8]) -> Result<State, FramingError> {
    let text = || String::from_utf8_lossy(line).into_owned();
    if line.first() == Some(&b'-') {
        return Err(FramingError::Refused(text()[1..].to_owned()));
    }
    if let Some(mark) = line.strip_prefix(b"$EOF:").and_then(|mark| mark.try_into().ok()) {
        return Ok(State::Marked { mark, tail: Vec::new() });
    }
    let length = line.strip_prefix(b"$").and_then(resp::parse_i64);
    match length.and_then(|length| u64::try_from(length).ok()) {
        Some(0) => Ok(State::Done),
        Some(length) => Ok(State::Counted(length)),
        None => Err(FramingError::NoHeader(text())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` to the framing in pieces of at most `piece` bytes; returns the file's bytes
    /// and the bytes left over after it.
    fn take(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u8>) {
        let (mut framing, mut file, mut left) = (Framing::new(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            let used = framing.take(piece, &mut file).unwrap();
            left.extend_from_slice(&piece[used..]);
        }
        assert!(framing.is_done());
        (file, left)
    }

    #[test]
    fn files_are_found_however_they_are_cut() {
        let mark = "0123456789abcdef0123456789abcdef01234567";
        let marked = format!("\n\n$EOF:{mark}\r\nREDIS0123456789abcdef data 0123{mark}*1\r\n");
        let counted = "\n$9\r\nREDISdata*1\r\n".to_owned();
        for piece in 1..marked.len() {
            assert_eq!(
                take(counted.as_bytes(), piece),
                (b"REDISdata".to_vec(), b"*1\r\n".to_vec())
            );
            let (file, left) = take(marked.as_bytes(), piece);
            assert_eq!(file, b"REDIS0123456789abcdef data 0123");
            assert_eq!(left, b"*1\r\n");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let refusal = |bytes: &[u8]| Framing::new().take(bytes, &mut Vec::new()).unwrap_err();
        assert_eq!(refusal(b"-ERR no\r\n"), FramingError::Refused("ERR no".into()));
        assert_eq!(refusal(b"$-5\r\n"), FramingError::NoHeader("$-5".into()));
        assert!(matches!(refusal(&[b'x'; 1000]), FramingError::NoHeader(_)));
    }
}
