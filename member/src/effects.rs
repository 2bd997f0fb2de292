//! The format of effects in a batch: records of commands in RESP, each of which is applied as a
//! whole.
//!
//! A record is the length of its commands in bytes and their number (four bytes each,
//! little-endian), followed by the commands. A cluster has one database, so no database is named.

use resp::{Batch, Limits, Parser, Request};

/// The number of bytes before the commands.
const HEAD: usize = 8;

/// Begins a record of `commands` commands. Returns its position, for [`end`].
pub fn begin(commands: usize, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&(commands as u32).to_le_bytes());
    start
}

/// Ends the record that begins at `start`, by filling in its length.
pub fn end(start: usize, out: &mut [u8]) {
    let length = (out.len() - start - HEAD) as u32;
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// A parsed record.
pub struct Record<'b> {
    bytes: &'b [u8],
    batch: Batch,
}

impl Record<'_> {
    /// The commands of the record.
    pub fn requests(&self) -> impl Iterator<Item = Request<'_>> {
        self.batch.spans().map(|span| self.batch.view(span, self.bytes))
    }

    /// The units, as a bit mask, of which all keys are deleted by it; `None` if it does anything else.
    pub fn clears(&self) -> Option<u64> {
        let mut requests = self.requests();
        let first = requests.next().filter(|request| request.arg(0) == b"FLUSHALL")?;
        let units = first.get(1).map(std::str::from_utf8);
        let units = units.map_or(Some(u64::MAX), |units| units.ok()?.parse().ok());
        units.filter(|_| requests.next().is_none())
    }
}

/// Parses the records of a batch; `None` for bytes that are not records.
pub fn records(mut bytes: &[u8]) -> Option<Vec<Record<'_>>> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (count, rest) = rest.split_first_chunk::<4>()?;
        let (record, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
        let (mut batch, count) = (Batch::new(), u32::from_le_bytes(*count) as usize);
        let limits = Limits { bulk_len_max: u32::MAX as usize, ..Limits::default() };
        let progress = Parser::new().parse(record, usize::MAX, &limits, &mut batch);
        if progress.consumed != record.len() || batch.len() != count {
            return None;
        }
        records.push(Record { bytes: record, batch });
        bytes = rest;
    }
    Some(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(record: &Record<'_>) -> Vec<Vec<Vec<u8>>> {
        record.requests().map(|request| request.iter().map(<[u8]>::to_vec).collect()).collect()
    }

    #[test]
    fn records_come_back_as_written_and_garbage_does_not() {
        let mut out = Vec::new();
        let first = begin(1, &mut out);
        resp::encode_command([b"SET".as_slice(), b"k", b"\r\n"], &mut out);
        end(first, &mut out);
        let second = begin(2, &mut out);
        resp::encode_command([b"DEL", b"one"], &mut out);
        resp::encode_command([b"DEL", b"two"], &mut out);
        end(second, &mut out);
        let records_read = records(&out).unwrap();
        assert_eq!(words(&records_read[0]), [[b"SET".as_slice(), b"k", b"\r\n"]]);
        assert_eq!(words(&records_read[1]), [[b"DEL", b"one"], [b"DEL", b"two"]]);
        for cut in 1..out.len() {
            assert!(cut == second || records(&out[..cut]).is_none(), "cut at {cut}");
        }
        out[4] = 2;
        assert!(records(&out).is_none());
    }
}
