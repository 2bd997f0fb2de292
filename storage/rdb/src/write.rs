//! A whole file, written.

use std::io::{self, Write};

use super::codes::opcodes;
use super::crc::Crc64;
use super::write_value::{Options, ValueWriter, WriteError, put_length, put_string};

/// Bytes collected before they are checksummed and handed on.
const BUFFER_BYTES: usize = 64 << 10;

/// Writes a file: [`Writer::new`], remarks, then databases with their entries, then
/// [`Writer::finish`]. Buffers itself; syncing and renaming are the caller's.
pub struct Writer<W> {
    out: W,
    options: Options,
    buffer: Vec<u8>,
    /// Values on their way, when they are not encoded yet.
    scratch: Vec<u8>,
    crc: Crc64,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(out: W, options: Options) -> Self {
        let buffer = format!("REDIS{:04}", options.version).into_bytes();
        Writer { out, options, buffer, scratch: Vec::new(), crc: Crc64::new(), written: 0 }
    }

    /// Bytes so far, those still buffered included.
    pub fn len(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// Never: a file has a header.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// A remark about the file (`redis-ver`, `ctime`, `aof-base` …); before the first database.
    ///
    /// # Errors
    /// Fails if the destination does. The same holds for all following methods.
    pub fn aux(&mut self, key: &[u8], value: &[u8]) -> io::Result<()> {
        self.buffer.push(opcodes::AUX);
        put_string(&mut self.buffer, key, false);
        put_string(&mut self.buffer, value, self.options.compress);
        self.flush_if_full()
    }

    /// The source code of a function library.
    ///
    /// # Errors
    /// See [`Writer::aux`].
    pub fn function(&mut self, code: &[u8]) -> io::Result<()> {
        self.buffer.push(opcodes::FUNCTION2);
        put_string(&mut self.buffer, code, self.options.compress);
        self.flush_if_full()
    }

    /// The entries that follow belong to this database.
    ///
    /// # Errors
    /// See [`Writer::aux`].
    pub fn select_db(&mut self, db: u64) -> io::Result<()> {
        self.buffer.push(opcodes::SELECTDB);
        put_length(&mut self.buffer, db);
        self.flush_if_full()
    }

    /// Hint: how many keys the database has, and how many of them expire. Need not be exact.
    ///
    /// # Errors
    /// See [`Writer::aux`].
    pub fn resize_db(&mut self, keys: u64, expires: u64) -> io::Result<()> {
        self.buffer.push(opcodes::RESIZEDB);
        put_length(&mut self.buffer, keys);
        put_length(&mut self.buffer, expires);
        self.flush_if_full()
    }

    /// A key and its value, which `write` encodes.
    ///
    /// # Errors
    /// `write` fails, and then nothing of the entry is in the file; or see [`Writer::aux`].
    pub fn entry(
        &mut self,
        key: &[u8],
        expiry_ms: Option<u64>,
        write: impl FnOnce(ValueWriter<'_>) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = write(ValueWriter::new(&mut scratch, self.options));
        let result = result.and_then(|()| self.encoded_entry(key, expiry_ms, &scratch));
        if scratch.capacity() <= BUFFER_BYTES {
            self.scratch = scratch; // one huge value must not stay in memory
        }
        result
    }

    /// A key and its value as a [`ValueWriter`] encoded it, type byte first.
    ///
    /// # Errors
    /// See [`Writer::aux`]; or `value` is empty.
    pub fn encoded_entry(
        &mut self,
        key: &[u8],
        expiry_ms: Option<u64>,
        value: &[u8],
    ) -> Result<(), WriteError> {
        let (&kind, value) = value.split_first().ok_or(WriteError::NoValue)?;
        if let Some(at) = expiry_ms {
            self.buffer.push(opcodes::EXPIRETIME_MS);
            self.buffer.extend_from_slice(&at.to_le_bytes());
        }
        self.buffer.push(kind);
        put_string(&mut self.buffer, key, self.options.compress);
        self.put(value)?;
        Ok(())
    }

    /// Ends the file with its checksum, and gives the destination back, flushed.
    ///
    /// # Errors
    /// Fails if the destination does.
    pub fn finish(mut self) -> io::Result<W> {
        self.buffer.push(opcodes::EOF);
        self.flush_buffer()?;
        let checksum = if self.options.checksum { self.crc.value() } else { 0 };
        self.out.write_all(&checksum.to_le_bytes())?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// Adds bytes; large ones do not pass through the buffer.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() < BUFFER_BYTES {
            self.buffer.extend_from_slice(bytes);
            return self.flush_if_full();
        }
        self.flush_buffer()?;
        self.hand_on(bytes)
    }

    fn flush_if_full(&mut self) -> io::Result<()> {
        if self.buffer.len() >= BUFFER_BYTES { self.flush_buffer() } else { Ok(()) }
    }

    fn flush_buffer(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let result = self.hand_on(&buffer);
        buffer.clear();
        self.buffer = buffer;
        result
    }

    fn hand_on(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.crc.update(bytes);
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }
}
