//! The payload of `DUMP` and `RESTORE`: a value, then the RDB version (two bytes) and the CRC64
//! of all before it, both little endian.

use std::fmt;

use super::codes::{opcodes, types};
use super::crc::crc64;
use super::decode;
use super::error::RdbError;
use super::input::Input;
use super::value::Object;
use super::write_value::{Options, ValueWriter, WriteError, put_string};
use super::{RDB_VERSION_DEFAULT, RDB_VERSION_MAX};

const CHECKSUM: usize = 8;
const VERSION: usize = 2;

/// The reason why a payload was refused. Displays as the text `RESTORE` answers with.
#[derive(Debug)]
pub enum PayloadError {
    /// Too short, of a version not known here, or damaged.
    VersionOrChecksum,
    /// The checksum is right, but the value is none.
    BadData(RdbError),
}

impl fmt::Display for PayloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PayloadError::VersionOrChecksum => "DUMP payload version or checksum are wrong",
            PayloadError::BadData(_) => "Bad data format",
        })
    }
}

impl std::error::Error for PayloadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PayloadError::VersionOrChecksum => None,
            PayloadError::BadData(error) => Some(error),
        }
    }
}

/// Whether a checksum is compared when reading.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// It must be right.
    #[default]
    Compared,
    /// It is passed over: for fuzzers, whose data has none (`DEBUG SET-SKIP-CHECKSUM-VALIDATION`).
    Ignored,
}

/// Checks a payload and decodes its value.
///
/// # Errors
/// See [`PayloadError`]. An empty collection is bad data here.
pub fn decode_payload(payload: &[u8]) -> Result<Object, PayloadError> {
    decode_payload_with(payload, Checksum::Compared)
}

/// [`decode_payload`] with or without looking at the checksum.
///
/// # Errors
/// Fails like [`decode_payload`].
pub fn decode_payload_with(payload: &[u8], checksum: Checksum) -> Result<Object, PayloadError> {
    let value = verify(payload, checksum).ok_or(PayloadError::VersionOrChecksum)?;
    let mut input = Input::new(value);
    let kind = input.byte().map_err(PayloadError::BadData)?;
    decode::object(&mut input, kind).map_err(PayloadError::BadData)
}

/// The value of a payload whose version and checksum are right.
fn verify(payload: &[u8], compared: Checksum) -> Option<&[u8]> {
    let (body, checksum) = payload.split_last_chunk::<CHECKSUM>()?;
    let (value, version) = body.split_last_chunk::<VERSION>()?;
    let known = u16::from_le_bytes(*version) <= RDB_VERSION_MAX;
    let right = || compared == Checksum::Ignored || crc64(body) == u64::from_le_bytes(*checksum);
    (known && right()).then_some(value)
}

/// Encodes a value as a payload.
///
/// # Errors
/// A stream that cannot be encoded.
pub fn encode_payload(object: &Object, options: Options) -> Result<Vec<u8>, WriteError> {
    let mut out = Vec::new();
    ValueWriter::new(&mut out, options).object(object)?;
    seal_payload(&mut out);
    Ok(out)
}

/// The reason why a payload of libraries was refused. Displays as the text `FUNCTION RESTORE`
/// answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LibrariesError {
    /// Too short, of a version not known here, or damaged.
    VersionOrChecksum,
    /// It holds something else.
    NotAFunction,
    /// A text is cut off.
    Truncated,
}

impl fmt::Display for LibrariesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LibrariesError::VersionOrChecksum => "DUMP payload version or checksum are wrong",
            LibrariesError::NotAFunction => "given type is not a function",
            LibrariesError::Truncated => "Failed loading library data",
        })
    }
}

impl std::error::Error for LibrariesError {}

/// Function libraries as the payload of `FUNCTION DUMP`.
pub fn encode_libraries(texts: &[Vec<u8>]) -> Vec<u8> {
    let mut out = Vec::new();
    for text in texts {
        out.push(opcodes::FUNCTION2);
        put_string(&mut out, text, true);
    }
    seal_payload(&mut out);
    out
}

/// The texts in a payload of [`encode_libraries`].
///
/// # Errors
/// See [`LibrariesError`].
pub fn decode_libraries(
    payload: &[u8],
    checksum: Checksum,
) -> Result<Vec<Vec<u8>>, LibrariesError> {
    let body = verify(payload, checksum).ok_or(LibrariesError::VersionOrChecksum)?;
    let mut input = Input::new(body);
    let mut texts = Vec::new();
    while input.offset() < body.len() as u64 {
        match input.byte() {
            Ok(opcodes::FUNCTION2) => {}
            _ => return Err(LibrariesError::NotAFunction),
        }
        texts.push(input.string().map_err(|_| LibrariesError::Truncated)?);
    }
    Ok(texts)
}

/// A payload that was decoded, with the right checksum.
pub fn seal_payload_again(payload: &[u8]) -> Vec<u8> {
    let mut again = payload[..payload.len().saturating_sub(CHECKSUM)].to_vec();
    again.extend_from_slice(&crc64(&again).to_le_bytes());
    again
}

/// Makes a payload of an encoded value: appends the oldest version that has its encoding, and the
/// checksum. `value` holds nothing but the value.
pub fn seal_payload(value: &mut Vec<u8>) {
    let version = match value.first() {
        Some(&(types::HASH_METADATA_PRE_GA..=types::HASH_LISTPACK_EX)) => 12,
        Some(&(types::SET_LISTPACK | types::STREAM_LISTPACKS_3)) => 11,
        _ => RDB_VERSION_DEFAULT,
    };
    value.extend_from_slice(&version.to_le_bytes());
    value.extend_from_slice(&crc64(value).to_le_bytes());
}
