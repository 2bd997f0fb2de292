//! [`RdbError`]: the reason why an RDB file was refused, and the offset.

use std::{fmt, io};

use super::packed::PackedError;

/// An error and the place it was found at.
#[derive(Debug)]
pub struct RdbError {
    /// Bytes from the start of the file or payload.
    pub offset: u64,
    /// The reason.
    pub kind: RdbErrorKind,
}

/// The reasons why a file is refused.
#[derive(Debug)]
pub enum RdbErrorKind {
    /// Reading failed.
    Io(io::Error),
    /// The input ends inside something.
    UnexpectedEof,
    /// The input does not begin with `REDIS` and four digits.
    BadMagic,
    /// A version newer than [`super::RDB_VERSION_MAX`], or zero.
    UnsupportedVersion(u32),
    /// A byte that is neither an opcode nor a value type known here.
    UnknownType(u8),
    /// A value of a module type; Varve loads no modules. The name of the module type.
    ModuleType(String),
    /// A length or a value that cannot be. Says which.
    Corrupt(&'static str),
    /// Damage inside a listpack, ziplist, intset or zipmap; the offset is that of the packed bytes.
    Packed(PackedError),
    /// A collection without elements: Redis never keeps one. The reader skips it in files.
    EmptyKey,
    /// The bytes do not have the checksum that the file says.
    Checksum {
        /// As stored in the file.
        stored: u64,
        /// As computed from the bytes before it.
        computed: u64,
    },
}

impl RdbError {
    pub(crate) fn new(offset: u64, kind: RdbErrorKind) -> Self {
        RdbError { offset, kind }
    }
}

impl fmt::Display for RdbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RDB byte {}: ", self.offset)?;
        match &self.kind {
            RdbErrorKind::Io(error) => write!(f, "{error}"),
            RdbErrorKind::UnexpectedEof => f.write_str("the file ends here, in the middle"),
            RdbErrorKind::BadMagic => f.write_str("not an RDB file: it does not start with REDIS"),
            RdbErrorKind::UnsupportedVersion(v) => write!(f, "can't handle RDB version {v}"),
            RdbErrorKind::UnknownType(byte) => write!(f, "unknown type or opcode {byte}"),
            RdbErrorKind::ModuleType(name) => {
                write!(f, "a value of module type '{name}', and no module is loaded here")
            }
            RdbErrorKind::Corrupt(what) => f.write_str(what),
            RdbErrorKind::Packed(inner) => write!(f, "{inner}"),
            RdbErrorKind::EmptyKey => f.write_str("a collection without elements"),
            RdbErrorKind::Checksum { stored, computed } => {
                write!(f, "checksum is {stored:016x}, but the bytes have {computed:016x}")
            }
        }
    }
}

impl std::error::Error for RdbError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            RdbErrorKind::Io(error) => Some(error),
            RdbErrorKind::Packed(error) => Some(error),
            _ => None,
        }
    }
}
