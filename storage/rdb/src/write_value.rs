//! One value, encoded from borrowed elements, the way every Redis since 7.0 reads it.
//!
//! The plain types (list, set, hash, sorted set as lengths and strings) rather than the packed
//! ones: they stream, they are the most widely read, and Redis packs small collections again while
//! loading. A plain element costs one byte beside its text where a listpack takes two.

use std::{fmt, io};

use resp::parse_i64;

use super::RDB_VERSION_DEFAULT;
use super::codes::{LEN_32BIT, LEN_64BIT, enc, types};
use super::lzf;
use super::value::{Object, StreamObject};
use super::write_stream::StreamWriter;

/// Strings up to here are not worth compressing (Redis's threshold).
const COMPRESS_ABOVE_BYTES: usize = 20;
/// The longest text of a 32-bit integer.
const INT_TEXT_MAX: usize = 11;

/// The options for writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// RDB version in the header; also decides how streams are encoded (the last success of a
    /// consumer is kept from 11 on).
    pub version: u16,
    /// Whether to compress strings longer than 20 bytes (`rdbcompression`).
    pub compress: bool,
    /// Whether files end with a checksum (`rdbchecksum`).
    pub checksum: bool,
}

impl Default for Options {
    fn default() -> Self {
        Options { version: RDB_VERSION_DEFAULT, compress: true, checksum: true }
    }
}

/// The reason why a value or a file could not be written.
#[derive(Debug)]
pub enum WriteError {
    /// The destination failed.
    Io(io::Error),
    /// A collection has not as many elements as it was begun with.
    Miscount {
        /// As announced.
        announced: u64,
        /// As written.
        written: u64,
    },
    /// A stream entry beyond what 32 bits can measure.
    TooLarge,
    /// A pending entry names a consumer that its group has not.
    UnknownConsumer,
    /// An encoded value without a type byte.
    NoValue,
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        WriteError::Io(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Io(error) => write!(f, "{error}"),
            WriteError::Miscount { announced, written } => {
                write!(f, "a collection of {announced} elements was written with {written}")
            }
            WriteError::TooLarge => f.write_str("a stream entry is too large for the RDB format"),
            WriteError::UnknownConsumer => f.write_str("a pending entry of an unknown consumer"),
            WriteError::NoValue => f.write_str("an encoded value is empty"),
        }
    }
}

impl std::error::Error for WriteError {}

/// Appends one value, its type byte first, to a buffer.
pub struct ValueWriter<'a> {
    out: &'a mut Vec<u8>,
    options: Options,
}

impl<'a> ValueWriter<'a> {
    /// Will append to `out`.
    pub fn new(out: &'a mut Vec<u8>, options: Options) -> Self {
        ValueWriter { out, options }
    }

    /// A string.
    pub fn string(self, value: &[u8]) {
        self.out.push(types::STRING);
        put_string(self.out, value, self.options.compress);
    }

    /// A list of `count` elements, head first.
    pub fn list(self, count: u64) -> Elements<'a> {
        Elements(self.begin(types::LIST, count))
    }

    /// A set of `count` members.
    pub fn set(self, count: u64) -> Elements<'a> {
        Elements(self.begin(types::SET, count))
    }

    /// A hash of `count` fields, none of which expires.
    pub fn hash(self, count: u64) -> Fields<'a> {
        Fields { counted: self.begin(types::HASH, count), earliest_ms: None }
    }

    /// A hash of `count` fields, some of which expire, none before `earliest_ms` (Unix
    /// milliseconds). Redis reads this encoding from 7.4 on, so use it only when some do.
    pub fn expiring_hash(self, count: u64, earliest_ms: u64) -> Fields<'a> {
        let ValueWriter { out, options } = self;
        out.push(types::HASH_METADATA);
        out.extend_from_slice(&earliest_ms.to_le_bytes());
        put_length(out, count);
        let counted = Counted { out, options, announced: count, written: 0 };
        Fields { counted, earliest_ms: Some(earliest_ms) }
    }

    /// A sorted set of `count` members.
    pub fn sorted_set(self, count: u64) -> Members<'a> {
        Members(self.begin(types::ZSET_2, count))
    }

    /// A stream.
    pub fn stream(self) -> StreamWriter<'a> {
        StreamWriter::new(self.out, self.options)
    }

    /// A value in the neutral model.
    ///
    /// # Errors
    /// A stream that cannot be encoded.
    pub fn object(self, object: &Object) -> Result<(), WriteError> {
        match object {
            Object::String(value) => self.string(value),
            Object::List(elements) => {
                let mut list = self.list(elements.len() as u64);
                elements.iter().for_each(|element| list.element(element));
            }
            Object::Set(members) => {
                let mut set = self.set(members.len() as u64);
                members.iter().for_each(|member| set.element(member));
            }
            Object::Hash(fields) => {
                let earliest = fields.iter().filter_map(|field| field.expiry_ms).min();
                let count = fields.len() as u64;
                let mut hash = match earliest {
                    Some(at) => self.expiring_hash(count, at),
                    None => self.hash(count),
                };
                fields.iter().for_each(|f| hash.expiring_field(&f.field, &f.value, f.expiry_ms));
            }
            Object::SortedSet(members) => {
                let mut zset = self.sorted_set(members.len() as u64);
                members.iter().for_each(|(member, score)| zset.member(member, *score));
            }
            Object::Stream(stream) => return self.stream_object(stream),
        }
        Ok(())
    }

    fn stream_object(self, stream: &StreamObject) -> Result<(), WriteError> {
        let mut writer = self.stream();
        stream.entries.iter().for_each(|entry| writer.entry(entry.id, &entry.fields));
        writer.finish(&stream.meta)
    }

    fn begin(self, kind: u8, count: u64) -> Counted<'a> {
        self.out.push(kind);
        put_length(self.out, count);
        Counted { out: self.out, options: self.options, announced: count, written: 0 }
    }
}

/// Checks, for every collection, that as many elements come as were announced.
struct Counted<'a> {
    out: &'a mut Vec<u8>,
    options: Options,
    announced: u64,
    written: u64,
}

impl Counted<'_> {
    fn string(&mut self, text: &[u8]) {
        put_string(self.out, text, self.options.compress);
    }

    fn finish(self) -> Result<(), WriteError> {
        let Counted { announced, written, .. } = self;
        match announced == written {
            true => Ok(()),
            false => Err(WriteError::Miscount { announced, written }),
        }
    }
}

/// Takes the elements of a list or the members of a set.
pub struct Elements<'a>(Counted<'a>);

impl Elements<'_> {
    /// The next one.
    pub fn element(&mut self, element: &[u8]) {
        self.0.string(element);
        self.0.written += 1;
    }

    /// Checks that as many elements were written as were announced.
    ///
    /// # Errors
    /// Fails if the numbers differ; what was appended must then be thrown away.
    pub fn finish(self) -> Result<(), WriteError> {
        self.0.finish()
    }
}

/// Takes the fields of a hash.
pub struct Fields<'a> {
    counted: Counted<'a>,
    /// Set when the encoding has room for expiries.
    earliest_ms: Option<u64>,
}

impl Fields<'_> {
    /// The next field; it does not expire.
    pub fn field(&mut self, field: &[u8], value: &[u8]) {
        self.expiring_field(field, value, None);
    }

    /// The next field, with its expiry. In a hash begun with [`ValueWriter::hash`] there is no room
    /// for expiries and it is left out.
    pub fn expiring_field(&mut self, field: &[u8], value: &[u8], expiry_ms: Option<u64>) {
        debug_assert!(self.earliest_ms.is_some() || expiry_ms.is_none(), "begun without expiries");
        if let Some(earliest) = self.earliest_ms {
            let relative = expiry_ms.map_or(0, |at| at.saturating_sub(earliest) + 1);
            put_length(self.counted.out, relative);
        }
        self.counted.string(field);
        self.counted.string(value);
        self.counted.written += 1;
    }

    /// Checks that as many elements were written as were announced.
    ///
    /// # Errors
    /// Fails if the numbers differ; what was appended must then be thrown away.
    pub fn finish(self) -> Result<(), WriteError> {
        self.counted.finish()
    }
}

/// Takes the members of a sorted set.
pub struct Members<'a>(Counted<'a>);

impl Members<'_> {
    /// The next member; its score is not NaN.
    pub fn member(&mut self, member: &[u8], score: f64) {
        self.0.string(member);
        self.0.out.extend_from_slice(&score.to_le_bytes());
        self.0.written += 1;
    }

    /// Checks that as many elements were written as were announced.
    ///
    /// # Errors
    /// Fails if the numbers differ; what was appended must then be thrown away.
    pub fn finish(self) -> Result<(), WriteError> {
        self.0.finish()
    }
}

/// Appends a length in its shortest form.
pub(crate) fn put_length(out: &mut Vec<u8>, length: u64) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&(length as u16 | 0x4000).to_be_bytes()),
        0x4000..=0xffff_ffff => {
            out.push(LEN_32BIT);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(LEN_64BIT);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a string: as an integer if it is the text of one, compressed if that pays, or as is.
pub(crate) fn put_string(out: &mut Vec<u8>, text: &[u8], compress: bool) {
    if text.len() <= INT_TEXT_MAX
        && let Some(n) = parse_i64(text).and_then(|n| i32::try_from(n).ok())
    {
        return put_int(out, n);
    }
    if compress
        && text.len() > COMPRESS_ABOVE_BYTES
        && let Some(packed) = lzf::compress(text)
    {
        out.push(0xc0 | enc::LZF);
        put_length(out, packed.len() as u64);
        put_length(out, text.len() as u64);
        return out.extend_from_slice(&packed);
    }
    put_length(out, text.len() as u64);
    out.extend_from_slice(text);
}

fn put_int(out: &mut Vec<u8>, n: i32) {
    if let Ok(n) = i8::try_from(n) {
        out.extend_from_slice(&[0xc0 | enc::INT8, n as u8]);
    } else if let Ok(n) = i16::try_from(n) {
        out.push(0xc0 | enc::INT16);
        out.extend_from_slice(&n.to_le_bytes());
    } else {
        out.push(0xc0 | enc::INT32);
        out.extend_from_slice(&n.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_count_is_noticed() {
        let mut out = Vec::new();
        let mut list = ValueWriter::new(&mut out, Options::default()).list(2);
        list.element(b"only one");
        assert!(matches!(list.finish(), Err(WriteError::Miscount { announced: 2, written: 1 })));
    }

    #[test]
    fn strings_take_their_shortest_form() {
        let form = |text: &[u8]| {
            let mut out = Vec::new();
            put_string(&mut out, text, true);
            out
        };
        assert_eq!(form(b"12"), [0xc0, 12]);
        assert_eq!(form(b"-129"), [0xc1, 0x7f, 0xff]);
        assert_eq!(form(b"2147483647"), [0xc2, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(form(b"2147483648"), b"\x0a2147483648");
        assert_eq!(form(b"007"), b"\x03007");
        assert_eq!(form(&[b'a'; 100])[0], 0xc3);
        assert!(form(&[b'a'; 100]).len() < 12);
        assert_eq!(form(&[b'a'; 20])[0], 20, "too short to compress");
    }
}
