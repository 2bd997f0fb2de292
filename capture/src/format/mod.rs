//! The capture file.
//!
//! ```text
//! file    = "VARVECAP" version:u16 0:u16 length:u32 header crc:u32  block*  end
//! header  = lines `name=value`; unknown names are passed over
//! block   = length:u32 records:u32 crc-of-payload:u32 crc-of-these-12-bytes:u32  payload
//! end     = a block of 0xFFFFFFFF records, whose payload is total:u64, the number of all records
//! payload = record*
//! record  = tag:u8 time:zigzag connection:varint …
//!           0 open     db:varint resp:varint
//!           1 close
//!           2 request  db:varint arguments:varint argument*
//!           3 lost     count:varint     (its connection is 0)
//! argument = varint n: n even, n/2 bytes follow; n odd, it was n/2 bytes and is filler now
//! ```
//!
//! Fixed numbers are little endian, checksums CRC-32/ISCSI, varints LEB128. Times are microseconds
//! since the capture began, each as the difference from the one before (the first of a block: from
//! zero, so that a block can be read alone); records of different connections may be slightly out
//! of order.
//!
//! Bounds: a header has at most 64 KiB, a block at most 64 MiB of payload. Nothing is allocated for
//! a length before its bytes have arrived. An argument longer than 1 MiB is stored as filler, and
//! so is any part that would make a request exceed 16 MiB. A file that ends inside a block, or
//! without an end, was cut off: its complete part is read, and [`Reader::tail`] says how much was
//! lost. A wrong checksum is an error with its position.

mod read;
mod varint;
mod write;

pub use read::{Reader, Tail};
pub use write::Writer;

use std::borrow::Cow;
use std::io;

/// The first bytes of every file.
const MAGIC: &[u8; 8] = b"VARVECAP";

/// Changes when an older program could misread a file.
const VERSION: u16 = 1;

/// Longest header, bytes.
const HEADER_MAX: usize = 64 << 10;

/// Longest payload of a block, bytes.
const BLOCK_MAX: usize = 64 << 20;

/// Payload after which a block is written, bytes.
const BLOCK_TARGET: usize = 256 << 10;

/// Arguments longer than this become filler, bytes.
const ARG_MAX: usize = 1 << 20;

/// The most bytes of arguments kept of one request; the rest becomes filler.
const REQUEST_MAX: usize = 16 << 20;

/// Arguments of one request that are kept; a server takes more.
const ARGS_MAX: usize = 1 << 20;

/// Instead of a block's number of records: this is the end.
const END: u32 = u32::MAX;

/// One argument of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arg<'a> {
    /// As it was sent.
    Bytes(Cow<'a, [u8]>),
    /// Bytes that were not stored; this is their number.
    Filler(u64),
}

impl Arg<'_> {
    /// The bytes; none of filler.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Arg::Bytes(bytes) => bytes,
            Arg::Filler(_) => &[],
        }
    }
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record<'a> {
    /// A connection is there.
    Open {
        /// Its number.
        connection: u64,
        /// Its database.
        db: u32,
        /// Its protocol, 2 or 3.
        resp: u8,
    },
    /// A connection is gone.
    Close {
        /// Its number.
        connection: u64,
    },
    /// A request.
    Request {
        /// The connection that sent it.
        connection: u64,
        /// The database it runs in.
        db: u32,
        /// Its name and arguments.
        args: Vec<Arg<'a>>,
    },
    /// The recorder was too slow for this many records.
    Lost {
        /// How many.
        count: u64,
    },
}

/// The facts about a capture as a whole.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// `CAPTURE` or `MONITOR`.
    pub method: String,
    /// The server's address.
    pub source: String,
    /// The name and version that it reported.
    pub server: String,
    /// The time at which the capture began, in Unix milliseconds.
    pub started_ms: u64,
    /// Keys are hashed.
    pub keys_hashed: bool,
    /// Values are filler, and members, fields and channels hashed.
    pub values_scrubbed: bool,
    /// Keys the server held, in all databases.
    pub keys: Option<u64>,
    /// The memory of its data as it reported it, in bytes.
    pub used_memory: Option<u64>,
}

impl Header {
    fn to_text(&self) -> String {
        let clean = |text: &str| text.replace(['\n', '\r'], " ");
        let mut text = format!(
            "method={}\nsource={}\nserver={}\nstarted-ms={}\nkeys-hashed={}\nvalues-scrubbed={}\n",
            clean(&self.method),
            clean(&self.source),
            clean(&self.server),
            self.started_ms,
            self.keys_hashed,
            self.values_scrubbed,
        );
        for (name, value) in [("keys", self.keys), ("used-memory", self.used_memory)] {
            if let Some(value) = value {
                text += &format!("{name}={value}\n");
            }
        }
        text
    }

    fn from_text(text: &str) -> Header {
        let mut header = Header::default();
        for (name, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match name {
                "method" => header.method = value.to_string(),
                "source" => header.source = value.to_string(),
                "server" => header.server = value.to_string(),
                "started-ms" => header.started_ms = value.parse().unwrap_or(0),
                "keys-hashed" => header.keys_hashed = value == "true",
                "values-scrubbed" => header.values_scrubbed = value == "true",
                "keys" => header.keys = value.parse().ok(),
                "used-memory" => header.used_memory = value.parse().ok(),
                _ => {}
            }
        }
        header
    }
}

/// The reason why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The system's reason.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin as one.
    #[error("this is no capture file")]
    NotACapture,
    /// It was written by a later program.
    #[error("a capture file of version {0}, but this program reads version {VERSION}")]
    Version(u16),
    /// Its bytes are not those that were written.
    #[error("the capture file is damaged at byte {at}: {what}")]
    Damaged {
        /// Offset of the block.
        at: u64,
        /// The part that does not fit.
        what: &'static str,
    },
}

fn crc(bytes: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, bytes) as u32
}

#[cfg(test)]
mod tests;
