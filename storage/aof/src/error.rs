//! The reason why a log could not be opened, as one line that names the file and the offset.

use std::fmt;
use std::path::{Path, PathBuf};

/// The reason why a log could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The file, or the directory.
    pub path: PathBuf,
    /// The offset of the error in the file, in bytes, if it has one.
    pub offset: Option<u64>,
    /// The reason.
    pub cause: String,
}

impl LoadError {
    pub(super) fn of(path: &Path, cause: impl fmt::Display) -> Self {
        LoadError { path: path.to_owned(), offset: None, cause: cause.to_string() }
    }

    pub(super) fn at(path: &Path, offset: u64, cause: impl fmt::Display) -> Self {
        LoadError { offset: Some(offset), ..LoadError::of(path, cause) }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "append-only file {}", self.path.display())?;
        if let Some(offset) = self.offset {
            write!(f, ", offset {offset}")?;
        }
        write!(f, ": {}", self.cause)
    }
}

impl std::error::Error for LoadError {}
