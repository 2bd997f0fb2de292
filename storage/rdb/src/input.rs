//! The primitives of the format, read: counted and checksummed bytes, lengths, strings.

use std::io::{self, BufRead, ErrorKind};

use super::codes::{LEN_32BIT, LEN_64BIT, enc, module};
use super::crc::Crc64;
use super::error::{RdbError, RdbErrorKind};
use super::lzf;
use super::packed::PackedError;

/// The largest initial capacity of a string's buffer, in bytes; beyond it, buffers grow as bytes really arrive.
const RESERVE_BYTES_MAX: u64 = 64 << 10;
/// The same for collections, in elements.
const RESERVE_ELEMENTS_MAX: u64 = 256;

/// A length, or the special value that marks an encoded string.
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// Bytes from a [`BufRead`], counted, and checksummed a buffer at a time.
///
/// Bytes are handed to the checksum and taken out of `inner` only when its buffer is used up, so
/// a one-byte read costs neither. Nothing behind the last byte read is taken out.
pub(crate) struct Input<R> {
    inner: R,
    /// Bytes of `inner`'s buffer already read here.
    pos: usize,
    /// Offset of the first byte of that buffer.
    base: u64,
    crc: Crc64,
}

/// `inner`'s buffer; empty at the end of the input.
fn fill<R: BufRead>(inner: &mut R) -> io::Result<&[u8]> {
    while let Err(error) = inner.fill_buf() {
        if error.kind() != ErrorKind::Interrupted {
            return Err(error);
        }
    }
    inner.fill_buf()
}

impl<R: BufRead> Input<R> {
    pub fn new(inner: R) -> Self {
        Input { inner, pos: 0, base: 0, crc: Crc64::new() }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.base + self.pos as u64
    }

    /// Checksum of the bytes read so far.
    pub fn checksum(&mut self) -> Result<u64, RdbError> {
        self.settle()?;
        Ok(self.crc.value())
    }

    /// The source, standing right behind the last byte read.
    pub fn into_inner(mut self) -> Result<R, RdbError> {
        self.settle()?;
        Ok(self.inner)
    }

    pub fn corrupt(&self, what: &'static str) -> RdbError {
        self.error(RdbErrorKind::Corrupt(what))
    }

    pub fn error(&self, kind: RdbErrorKind) -> RdbError {
        RdbError::new(self.offset(), kind)
    }

    /// Accounts for the bytes read from the current buffer, and lets go of them.
    fn settle(&mut self) -> Result<(), RdbError> {
        let offset = self.offset();
        let io_error = |error| RdbError::new(offset, RdbErrorKind::Io(error));
        let read = fill(&mut self.inner).map_err(io_error)?.get(..self.pos);
        // A source whose buffer shrinks breaks the promise of `BufRead`; say so, do not panic.
        let read = read.ok_or_else(|| io_error(io::Error::other("the buffer changed")))?;
        self.crc.update(read);
        self.inner.consume(self.pos);
        (self.base, self.pos) = (offset, 0);
        Ok(())
    }

    /// Passes the bytes that are buffered and not read yet to `take`, never none; it returns how
    /// many it used.
    fn with_buffered<T>(&mut self, take: impl FnOnce(&[u8]) -> (T, usize)) -> Result<T, RdbError> {
        if self.unread()?.is_empty() {
            self.settle()?;
        }
        let unread = self.unread()?;
        if unread.is_empty() {
            return Err(self.error(RdbErrorKind::UnexpectedEof));
        }
        let (result, used) = take(unread);
        self.pos += used;
        Ok(result)
    }

    /// The part of the current buffer that was not read yet.
    fn unread(&mut self) -> Result<&[u8], RdbError> {
        let offset = self.offset();
        let buffer = fill(&mut self.inner)
            .map_err(|error| RdbError::new(offset, RdbErrorKind::Io(error)))?;
        Ok(buffer.get(self.pos..).unwrap_or_default())
    }

    pub fn byte(&mut self) -> Result<u8, RdbError> {
        self.with_buffered(|unread| (unread[0], 1))
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let mut out = [0; N];
        let mut done = 0;
        while done < N {
            done += self.with_buffered(|unread| {
                let n = unread.len().min(N - done);
                out[done..done + n].copy_from_slice(&unread[..n]);
                (n, n)
            })?;
        }
        Ok(out)
    }

    /// Reads `length` bytes. The buffer grows as they arrive, so a false length costs no more
    /// memory than there are bytes.
    pub fn bytes(&mut self, length: u64) -> Result<Vec<u8>, RdbError> {
        let mut out = Vec::with_capacity(length.min(RESERVE_BYTES_MAX) as usize);
        let mut left = length;
        while left > 0 {
            left -= self.with_buffered(|unread| {
                let n = usize::try_from(left).unwrap_or(usize::MAX).min(unread.len());
                out.extend_from_slice(&unread[..n]);
                (n as u64, n)
            })?;
        }
        if out.capacity() > out.len() + out.len() / 4 {
            out.shrink_to_fit();
        }
        Ok(out)
    }

    /// A length where no encoded string may stand.
    pub fn length(&mut self) -> Result<u64, RdbError> {
        let at = self.offset();
        match self.length_or_encoding()? {
            Length::Plain(length) => Ok(length),
            Length::Encoded(_) => Err(RdbError::new(
                at,
                RdbErrorKind::Corrupt("a string encoding where a length was due"),
            )),
        }
    }

    fn length_or_encoding(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        Ok(Length::Plain(match first >> 6 {
            0 => u64::from(first),
            1 => u64::from(first & 0x3f) << 8 | u64::from(self.byte()?),
            3 => return Ok(Length::Encoded(first & 0x3f)),
            _ if first == LEN_32BIT => u64::from(u32::from_be_bytes(self.array()?)),
            _ if first == LEN_64BIT => u64::from_be_bytes(self.array()?),
            _ => return Err(self.corrupt("unknown form of length")),
        }))
    }

    /// A string in any of its encodings.
    pub fn string(&mut self) -> Result<Vec<u8>, RdbError> {
        match self.length_or_encoding()? {
            Length::Plain(length) => self.bytes(length),
            Length::Encoded(enc::INT8) => Ok(text(i64::from(self.byte()? as i8))),
            Length::Encoded(enc::INT16) => Ok(text(i64::from(i16::from_le_bytes(self.array()?)))),
            Length::Encoded(enc::INT32) => Ok(text(i64::from(i32::from_le_bytes(self.array()?)))),
            Length::Encoded(enc::LZF) => self.compressed(),
            Length::Encoded(_) => Err(self.corrupt("unknown string encoding")),
        }
    }

    fn compressed(&mut self) -> Result<Vec<u8>, RdbError> {
        let compressed = self.length()?;
        let length = self.length()?;
        let at = self.offset();
        let bytes = self.bytes(compressed)?;
        lzf::decompress(&bytes, length).ok_or_else(|| {
            RdbError::new(at, RdbErrorKind::Corrupt("invalid LZF compressed string"))
        })
    }

    /// Milliseconds in eight little-endian bytes. −1 means "none"; a time before 1970 is read as
    /// 1970 (both are long past).
    pub fn millis(&mut self) -> Result<Option<u64>, RdbError> {
        let signed = i64::from_le_bytes(self.array()?);
        Ok((signed != -1).then_some(signed.max(0) as u64))
    }

    /// Reads the number of elements that follow. Zero is an error: Redis keeps no empty collection.
    pub fn count(&mut self) -> Result<u64, RdbError> {
        match self.length()? {
            0 => Err(self.error(RdbErrorKind::EmptyKey)),
            count => Ok(count),
        }
    }

    /// Reads `count` elements of a collection.
    pub fn repeat<T>(
        &mut self,
        count: u64,
        mut read: impl FnMut(&mut Self) -> Result<T, RdbError>,
    ) -> Result<Vec<T>, RdbError> {
        let mut out = Vec::with_capacity(count.min(RESERVE_ELEMENTS_MAX) as usize);
        for _ in 0..count {
            out.push(read(self)?);
        }
        Ok(out)
    }

    /// Reads a string that holds a packed collection, and unpacks it.
    pub fn packed<T>(
        &mut self,
        unpack: impl FnOnce(&[u8]) -> Result<T, PackedError>,
    ) -> Result<T, RdbError> {
        let at = self.offset();
        let bytes = self.string()?;
        unpack(&bytes).map_err(|error| RdbError::new(at, RdbErrorKind::Packed(error)))
    }

    /// Skips the tagged values a module wrote, up to their end mark.
    pub fn skip_module_values(&mut self) -> Result<(), RdbError> {
        loop {
            match self.length()? {
                module::EOF => return Ok(()),
                module::SINT | module::UINT => drop(self.length()?),
                module::FLOAT => drop(self.array::<4>()?),
                module::DOUBLE => drop(self.array::<8>()?),
                module::STRING => drop(self.string()?),
                _ => return Err(self.corrupt("unknown tag in module data")),
            }
        }
    }
}

fn text(n: i64) -> Vec<u8> {
    itoa::Buffer::new().format(n).as_bytes().to_vec()
}

/// The nine characters of a module type's name, packed six bits each above a ten-bit version.
pub(crate) fn module_name(id: u64) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).map(|i| char::from(ALPHABET[(id >> (58 - 6 * i)) as usize & 63])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(bytes: &[u8]) -> Input<&[u8]> {
        Input::new(bytes)
    }

    #[test]
    fn lengths() {
        assert_eq!(input(&[0x3f]).length().unwrap(), 63);
        assert_eq!(input(&[0x7f, 0xff]).length().unwrap(), 16_383);
        assert_eq!(input(&[0x80, 0, 1, 0, 0]).length().unwrap(), 65_536);
        assert_eq!(input(&[0x81, 0, 0, 0, 1, 0, 0, 0, 0]).length().unwrap(), 1 << 32);
        assert!(matches!(input(&[0x82]).length().unwrap_err().kind, RdbErrorKind::Corrupt(_)));
        assert!(matches!(input(&[0xc0, 1]).length().unwrap_err().kind, RdbErrorKind::Corrupt(_)));
    }

    #[test]
    fn strings() {
        assert_eq!(input(b"\x03foo").string().unwrap(), b"foo");
        assert_eq!(input(&[0xc0, 0x85]).string().unwrap(), b"-123");
        assert_eq!(input(&[0xc1, 0xff, 0x7f]).string().unwrap(), b"32767");
        assert_eq!(input(&[0xc2, 0, 0, 0, 0x80]).string().unwrap(), b"-2147483648");
        assert_eq!(input(&[0xc3, 5, 10, 0, b'a', 0xe0, 0, 0]).string().unwrap(), b"aaaaaaaaaa");
    }

    #[test]
    fn a_length_that_lies_ends_at_the_end_of_the_input() {
        let mut input = input(&[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, b'x']);
        let error = input.string().unwrap_err();
        assert!(matches!(error.kind, RdbErrorKind::UnexpectedEof));
        assert_eq!(error.offset, 10);
    }

    #[test]
    fn small_buffers_change_nothing() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut input = Input::new(io::BufReader::with_capacity(3, bytes.as_slice()));
        assert_eq!(input.array::<5>().unwrap(), [0, 1, 2, 3, 4]);
        assert_eq!(input.bytes(100).unwrap(), bytes[5..105]);
        assert_eq!(input.checksum().unwrap(), crate::crc::crc64(&bytes[..105]));
        assert_eq!(input.offset(), 105);
        assert_eq!(input.byte().unwrap(), 105);
    }

    /// `hellotype`, the module type in Redis's `src/modules/hellotype.c`, is the usual example; the
    /// id is built here the way `moduleTypeEncodeId` describes it.
    #[test]
    fn names_of_module_types() {
        let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let id = b"hellotype"
            .iter()
            .fold(0u64, |id, c| (id << 6) | alphabet.iter().position(|a| a == c).unwrap() as u64);
        assert_eq!(module_name((id << 10) | 3), "hellotype");
    }
}
