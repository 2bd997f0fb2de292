//! [`Error`]: the reasons why a storage operation fails.

use std::fmt;
use std::sync::Arc;

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The reason why a storage operation failed. The transaction can go on; the operation has changed
/// nothing.
#[derive(Clone, Debug)]
pub enum Error {
    /// The key holds another type than the one asked for.
    WrongType,
    /// The backend failed: a full disk, a damaged file. The text is for operators.
    Backend(Arc<str>),
    /// A stored record cannot be decoded: the data are damaged, and are not returned.
    Corrupt(Arc<str>),
    /// A script that runs for too long holds the shard.
    Busy,
    /// A value would exceed the backend's largest size, in bytes.
    TooLarge,
}

impl Error {
    /// An [`Error::Backend`] with the text of `cause`.
    pub fn backend(cause: impl fmt::Display) -> Self {
        Error::Backend(cause.to_string().into())
    }

    /// An [`Error::Corrupt`] with the text of `cause`.
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
