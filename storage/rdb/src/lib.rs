//! The RDB format: bytes ⇄ neutral values. Reads what every Redis up to 7.4 writes, writes what
//! Redis 7.0 and later read.
//!
//! Must not know: a backend, a socket, a clock. A pure codec below `storage`, whose traits take and give its
//! values.
//!
//! * [`Reader`] turns a file (or any [`std::io::BufRead`]) into a stream of [`Item`]s and checks
//!   the checksum at the end; [`decode_payload`] does the same for what `DUMP` returned.
//! * [`ValueWriter`] encodes one value, fed by a backend one element at a time. [`Writer`] makes a
//!   file of such values, [`seal_payload`] a `DUMP` payload of one.
//!
//! Input is hostile until proved otherwise: every length is checked against the bytes that are
//! really there, so a file can make the reader allocate only in proportion to its own size.
//!
//! Duplicate hash fields, set members and sorted-set members are *not* checked here. A backend
//! inserts them into a map anyway and detects duplicates at no cost.

//!
//! | module | what |
//! | --- | --- |
//! | `read`, `decode`, `decode_stream`, `input` | a file as items, a value as an object; numbers and texts off the input |
//! | `write`, `write_value`, `write_stream` | a file, a value, a stream, encoded |
//! | `payload` | what `DUMP`, `RESTORE` and `FUNCTION DUMP` exchange |
//! | `value` | the neutral values |
//! | [`packed`], [`lzf`], `codes`, `crc` | listpacks and their elders, compression, constants, checksums |
//! | [`fields`] | a stream entry's fields as storages keep them |
//! | `error` | what is wrong with a file, and where |

mod codes;
mod crc;
mod decode;
mod decode_stream;
mod error;
pub mod fields;
mod input;
pub mod lzf;
pub mod packed;
mod payload;
mod read;
mod value;
mod write;
mod write_stream;
mod write_value;

pub use error::{RdbError, RdbErrorKind};
pub use payload::{
    Checksum, LibrariesError, PayloadError, decode_libraries, decode_payload, decode_payload_with,
    encode_libraries, encode_payload, seal_payload, seal_payload_again,
};
pub use read::{Item, KeyValue, Reader};
pub use value::{
    HashField, Object, PendingEntry, StreamConsumer, StreamEntry, StreamGroup, StreamId,
    StreamMeta, StreamObject,
};
pub use write::Writer;
pub use write_stream::StreamWriter;
pub use write_value::{Elements, Fields, Members, Options, ValueWriter, WriteError};

/// Newest RDB version the reader and `RESTORE` accept: Redis 7.4's.
pub const RDB_VERSION_MAX: u16 = 12;

/// Version written unless asked otherwise. Redis 7.0 reads at most 10, 7.2 at most 11, and all we
/// write by default exists since 10, so the oldest version that says the truth reaches furthest.
pub const RDB_VERSION_DEFAULT: u16 = 10;
