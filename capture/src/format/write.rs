//! [`Writer`]: records into blocks.

use super::{
    ARG_MAX, ARGS_MAX, Arg, BLOCK_TARGET, END, FormatError, HEADER_MAX, Header, MAGIC, REQUEST_MAX,
    Record, VERSION, crc, varint,
};
use std::io::Write;

/// Writes a capture file.
pub struct Writer<W: Write> {
    out: W,
    block: Vec<u8>,
    records: u32,
    total: u64,
    /// The time of the previous record in this block.
    time_us: u64,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Fails if `out` does not take the header.
    pub fn new(mut out: W, header: &Header) -> Result<Self, FormatError> {
        let mut text = header.to_text();
        while text.len() > HEADER_MAX {
            text.pop();
        }
        let mut start = MAGIC.to_vec();
        start.extend(VERSION.to_le_bytes());
        start.extend(0u16.to_le_bytes());
        start.extend((text.len() as u32).to_le_bytes());
        start.extend(text.as_bytes());
        start.extend(crc(&start).to_le_bytes());
        out.write_all(&start)?;
        let written = start.len() as u64;
        Ok(Writer { out, block: Vec::new(), records: 0, total: 0, time_us: 0, written })
    }

    /// Adds a record that happened `time_us` microseconds after the capture began.
    ///
    /// # Errors
    /// Fails if `out` does not take a block.
    pub fn record(&mut self, time_us: u64, record: &Record<'_>) -> Result<(), FormatError> {
        let (tag, connection) = match record {
            Record::Open { connection, .. } => (0, *connection),
            Record::Close { connection } => (1, *connection),
            Record::Request { connection, .. } => (2, *connection),
            Record::Lost { .. } => (3, 0),
        };
        self.block.push(tag);
        varint::put_signed(&mut self.block, time_us.wrapping_sub(self.time_us) as i64);
        varint::put(&mut self.block, connection);
        match record {
            Record::Open { db, resp, .. } => {
                varint::put(&mut self.block, u64::from(*db));
                varint::put(&mut self.block, u64::from(*resp));
            }
            Record::Close { .. } => {}
            Record::Request { db, args, .. } => {
                varint::put(&mut self.block, u64::from(*db));
                arguments(&mut self.block, args);
            }
            Record::Lost { count } => varint::put(&mut self.block, *count),
        }
        self.time_us = time_us;
        self.records += 1;
        self.total += 1;
        if self.block.len() >= BLOCK_TARGET { self.flush() } else { Ok(()) }
    }

    /// Bytes written so far, and still to be written.
    pub fn len(&self) -> u64 {
        self.written + self.block.len() as u64
    }

    /// Whether there are no records yet.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// Writes the block begun, so that a crash loses nothing up to here.
    ///
    /// # Errors
    /// Fails if `out` does not take it.
    pub fn flush(&mut self) -> Result<(), FormatError> {
        if self.records > 0 {
            let block = std::mem::take(&mut self.block);
            self.put(&block, self.records)?;
            self.block = block;
            self.block.clear();
            (self.records, self.time_us) = (0, 0);
        }
        Ok(self.out.flush()?)
    }

    /// Writes the end.
    ///
    /// # Errors
    /// Fails if `out` does not take it.
    pub fn finish(mut self) -> Result<W, FormatError> {
        self.flush()?;
        let total = self.total.to_le_bytes();
        self.put(&total, END)?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, payload: &[u8], records: u32) -> Result<(), FormatError> {
        let mut head = (payload.len() as u32).to_le_bytes().to_vec();
        head.extend(records.to_le_bytes());
        head.extend(crc(payload).to_le_bytes());
        head.extend(crc(&head).to_le_bytes());
        self.out.write_all(&head)?;
        self.out.write_all(payload)?;
        self.written += (head.len() + payload.len()) as u64;
        Ok(())
    }
}

fn arguments(block: &mut Vec<u8>, args: &[Arg<'_>]) {
    let args = &args[..args.len().min(ARGS_MAX)];
    varint::put(block, args.len() as u64);
    let limit = block.len() + REQUEST_MAX;
    for arg in args {
        match arg {
            Arg::Bytes(bytes) if bytes.len() <= ARG_MAX && block.len() + bytes.len() <= limit => {
                varint::put(block, (bytes.len() as u64) << 1);
                block.extend_from_slice(bytes);
            }
            Arg::Bytes(bytes) => varint::put(block, (bytes.len() as u64) << 1 | 1),
            Arg::Filler(length) => varint::put(block, length.min(&(u64::MAX >> 1)) << 1 | 1),
        }
    }
}
