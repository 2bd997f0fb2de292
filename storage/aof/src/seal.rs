//! Marks in the log that only this server can have written. They decide how a damaged file is read,
//! so that nothing that a client wrote can.
//!
//! When a file ends within a record, there are two possible causes. The write may have been
//! incomplete, as a crash leaves it; then the rest is cut off. Or a length may be damaged, so that
//! the record seems to include everything behind it; then the rest must not be cut off. The bytes
//! alone do not tell these cases apart, because a value may contain bytes that look like records.
//! Therefore the log has annotations, which Redis's tools ignore:
//!
//! - `#varve-log:1:KEY:TOKEN`, once, where this server began to write the file. The key is random,
//!   and no client ever sees the file.
//! - `#varve:TOKENSUM`, every few KiB and when the log pauses. The token is a checksum of the
//!   line's offset and the key, so a copy of the line at another offset is not a mark. The sum is a
//!   checksum of the key and all bytes since the last mark.
//!
//! A mark at the beginning of a line must be genuine and have the right sum, or the file is
//! refused. In the incomplete rest at the end only tokens count: if there is one, the log continued
//! there.
//!
//! A file without the first line is read as Redis reads it. So a file that was edited by hand loads
//! once that line is removed.

use crc_fast::{CrcAlgorithm, Digest, checksum};
use std::collections::hash_map::RandomState;
use std::fs::File;
use std::hash::BuildHasher;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The number of bytes after which a mark is due; marks take about a hundredth of the file.
pub(super) const MARK_EVERY: u64 = 4096;

const HEADER: &[u8] = b"#varve-log:1:";
const MARK: &[u8] = b"#varve:";
const LINE_END: &[u8] = b"\r\n";
/// The number of hexadecimal digits of a token or a sum.
const DIGITS: usize = 16;

const ALGORITHM: CrcAlgorithm = CrcAlgorithm::Crc64Nvme;

/// The random key of a file.
type Key = [u8; 16];

/// The marks of a file: its key, and the sum since the last one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seal {
    key: Key,
    /// Offset behind the last mark.
    since: u64,
    digest: Digest,
}

impl Seal {
    fn behind(key: Key, since: u64) -> Self {
        let mut digest = Digest::new(ALGORITHM);
        digest.update(&key);
        digest.update(&since.to_be_bytes());
        Seal { key, since, digest }
    }

    /// Appends the first line to `out`, for `offset` of the file.
    pub fn begin(offset: u64, out: &mut Vec<u8>) -> Self {
        // The standard library's randomness, seeded by the system. It only has to be unpredictable.
        let random = || RandomState::new().hash_one(offset).to_be_bytes();
        let mut key = Key::default();
        key[..8].copy_from_slice(&random());
        key[8..].copy_from_slice(&random());
        let before = out.len();
        out.extend_from_slice(HEADER);
        key.iter().for_each(|byte| out.extend_from_slice(&hex::<2>(u64::from(*byte))));
        out.push(b':');
        out.extend_from_slice(&hex::<DIGITS>(token(&key, offset)));
        out.extend_from_slice(LINE_END);
        Seal::behind(key, offset + (out.len() - before) as u64)
    }

    /// Adds bytes that follow those before.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// Appends a mark to `out`, for `offset` of the file, when all bytes in front of it were added.
    pub fn mark(&mut self, offset: u64, out: &mut Vec<u8>) {
        let before = out.len();
        out.extend_from_slice(MARK);
        out.extend_from_slice(&hex::<DIGITS>(token(&self.key, offset)));
        out.extend_from_slice(&hex::<DIGITS>(self.digest.finalize()));
        out.extend_from_slice(LINE_END);
        *self = Seal::behind(self.key, offset + (out.len() - before) as u64);
    }

    /// Offset behind the last mark.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// The seal for continuing a file that ends at `len`. Reads the bytes behind the last mark.
    ///
    /// # Errors
    /// Fails if the disk does.
    pub fn resume(&self, path: &Path, len: u64) -> io::Result<Self> {
        let mut seal = Seal::behind(self.key, self.since);
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(self.since))?;
        let mut file = file.take(len.saturating_sub(self.since));
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(seal),
                count => seal.update(&buffer[..count]),
            }
        }
    }

    /// The offset in `tail`, which begins at `offset` of the file, of the first mark.
    pub fn find(&self, offset: u64, tail: &[u8]) -> Option<usize> {
        memchr::memmem::find_iter(tail, MARK).find(|at| {
            let line = &tail[at + MARK.len()..];
            number(line) == Some(token(&self.key, offset + *at as u64))
        })
    }

    fn check(&self, offset: u64, digits: &[u8]) -> Result<(), Wrong> {
        let (tokens, sums) = digits.split_at(digits.len().min(DIGITS));
        let genuine = number(tokens) == Some(token(&self.key, offset));
        match genuine && sums.len() == DIGITS && number(sums) == Some(self.digest.finalize()) {
            true => Ok(()),
            false => Err(Wrong),
        }
    }
}

/// A mark does not agree with the file's contents, so the file was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// Takes an annotation, a whole line, that stands at `offset`, when all bytes in front of it were
/// added; true when it is a mark.
///
/// # Errors
/// Fails if it should be a mark and is not.
pub(super) fn read(seal: &mut Option<Seal>, offset: u64, line: &[u8]) -> Result<bool, Wrong> {
    let text = line.strip_suffix(LINE_END).unwrap_or(line);
    let behind = offset + line.len() as u64;
    if let Some(rest) = text.strip_prefix(HEADER) {
        let key = key(rest).filter(|key| {
            let digits = rest.get(2 * key.len() + 1..).unwrap_or_default();
            digits.len() == DIGITS && number(digits) == Some(token(key, offset))
        });
        // A second one is nothing that this server writes.
        let key = key.filter(|_| seal.is_none() && text.len() < line.len()).ok_or(Wrong)?;
        *seal = Some(Seal::behind(key, behind));
        return Ok(true);
    }
    let (Some(seal), Some(digits)) = (seal, text.strip_prefix(MARK)) else { return Ok(false) };
    seal.check(offset, digits)?;
    *seal = Seal::behind(seal.key, behind);
    Ok(true)
}

fn token(key: &Key, offset: u64) -> u64 {
    let mut bytes = [0; 24];
    bytes[..8].copy_from_slice(&offset.to_be_bytes());
    bytes[8..].copy_from_slice(key);
    checksum(ALGORITHM, &bytes)
}

/// The last `N` hexadecimal digits of a number.
fn hex<const N: usize>(number: u64) -> [u8; N] {
    std::array::from_fn(|at| b"0123456789abcdef"[(number >> (4 * (N - 1 - at)) & 15) as usize])
}

/// The number in the first digits of `text`.
fn number(text: &[u8]) -> Option<u64> {
    parse(text.get(..DIGITS)?)
}

fn key(text: &[u8]) -> Option<Key> {
    let mut key = Key::default();
    for (byte, digits) in key.iter_mut().zip(text.get(..32)?.chunks_exact(2)) {
        *byte = parse(digits)? as u8;
    }
    Some(key)
}

fn parse(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0u64, |number, digit| {
        let digit = char::from(*digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
        Some(number << 4 | u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_where_they_were_written_and_nowhere_else() {
        let mut file = b"*1\r\n$4\r\nPING\r\n".to_vec();
        let at = file.len() as u64;
        let mut seal = Seal::begin(at, &mut file);
        let header = file[at as usize..].to_vec();
        assert_eq!(seal.since(), file.len() as u64);
        let (start, record) = (file.len(), b"*1\r\n$4\r\nQUIT\r\n");
        file.extend_from_slice(record);
        seal.update(record);
        let mark_at = file.len();
        seal.mark(mark_at as u64, &mut file);
        let mark = file[mark_at..].to_vec();

        let mut found = None;
        assert_eq!(read(&mut found, at, &header), Ok(true));
        assert_eq!(read(&mut found.clone(), at, &header), Err(Wrong), "a second one");
        assert_eq!(read(&mut None, at + 1, &header), Err(Wrong), "elsewhere");
        assert_eq!(read(&mut None, at, &mark), Ok(false), "without a key it says nothing");
        assert_eq!(read(&mut found, at, b"#TS:1700000000\r\n"), Ok(false));
        let mut early = found;
        assert_eq!(read(&mut early, mark_at as u64, &mark), Err(Wrong), "bytes are missing");
        if let Some(seal) = &mut found {
            seal.update(&file[start..mark_at]);
        }
        assert_eq!(read(&mut found.clone(), mark_at as u64 + 1, &mark), Err(Wrong), "elsewhere");
        assert_eq!(read(&mut found, mark_at as u64, &mark), Ok(true));
        assert_eq!(found.map(|seal| seal.since()), Some(file.len() as u64));
        for at in 0..mark.len() - 2 {
            let mut changed = mark.clone();
            changed[at] ^= 1;
            let outcome = read(&mut early.clone(), mark_at as u64, &changed);
            assert!(outcome != Ok(true), "byte {at}");
        }
        assert_eq!(seal.find(start as u64, &file[start..]), Some(mark_at - start));
        assert_eq!(seal.find(start as u64 + 1, &file[start..]), None);
    }

    #[test]
    fn no_two_files_have_one_key() {
        let mut lines = [Vec::new(), Vec::new()];
        for line in &mut lines {
            Seal::begin(0, line);
        }
        assert_ne!(lines[0], lines[1]);
    }
}
