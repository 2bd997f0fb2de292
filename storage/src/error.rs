//! [`Error`]: the reasons why a storage refuses.

use std::fmt;
use std::sync::Arc;

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a storage operation failed. The transaction it happened in can go on; what the operation
/// was to change is unchanged.
#[derive(Clone, Debug)]
pub enum Error {
    /// The key holds another type than the one asked for.
    WrongType,
    /// The backend failed: a full disk, a damaged file. Text for operators.
    Backend(Arc<str>),
    /// A stored record could not be decoded: the data is damaged, and is not served.
    Corrupt(Arc<str>),
    /// A script that runs for too long has the shard.
    Busy,
    /// A value would exceed what the backend can hold (bytes).
    TooLarge,
}

impl Error {
    /// A [`Error::Backend`] from anything printable.
    pub fn backend(cause: impl fmt::Display) -> Self {
        Error::Backend(cause.to_string().into())
    }

    /// A [`Error::Corrupt`] from anything printable.
    pub fn corrupt(cause: impl fmt::Display) -> Self {
        Error::Corrupt(cause.to_string().into())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::WrongType => f.write_str("the key holds another type"),
            Error::Backend(cause) => write!(f, "storage: {cause}"),
            Error::Corrupt(cause) => write!(f, "damaged data: {cause}"),
            Error::Busy => f.write_str("a script is running"),
            Error::TooLarge => f.write_str("value too large"),
        }
    }
}

impl std::error::Error for Error {}
