//! `Files`: the file operations that a store needs.

/// A file operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// The device is full. Nothing was written, or a part of it.
    #[error("no space left on the device")]
    Full,
    /// Anything else. After a failed sync, what was written before may be lost.
    #[error("input/output error: {0}")]
    Failed(String),
}

/// A file opened for reading. It can be read to its end even if its name is removed meanwhile.
pub struct Reading {
    /// Its length in bytes when it was opened.
    pub length: u64,
    /// Its contents, from the beginning. They may be read on another thread than the store's.
    pub bytes: Box<dyn std::io::Read + Send>,
}

/// A folder of files that are only written at their ends.
///
/// Bytes that were written survive a crash once they are synced. Of bytes not yet synced, any part
/// may survive.
pub trait Files {
    /// The names of all files, in ascending order.
    fn list(&self) -> Result<Vec<String>, FileError>;
    /// The whole contents of a file.
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError>;
    /// Opens a file to be read in pieces.
    fn open(&self, name: &str) -> Result<Reading, FileError>;
    /// Appends to a file, which is created if it does not exist.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError>;
    /// Truncates a file to `length` bytes, and syncs it.
    fn cut(&mut self, name: &str, length: usize) -> Result<(), FileError>;
    /// Syncs the contents and the name of a file: they survive a crash from now on.
    fn sync(&mut self, name: &str) -> Result<(), FileError>;
    /// Removes a file durably: once this returns, no crash brings it back. So files that are
    /// removed one after the other are gone in that order.
    fn remove(&mut self, name: &str) -> Result<(), FileError>;
    /// Renames a synced file durably, and replaces the file of that name if there is one.
    fn rename(&mut self, name: &str, to: &str) -> Result<(), FileError>;
    /// The number of bytes that files which can wait may still take, such as snapshots. The log has
    /// room for some time when they have taken that.
    fn room(&self) -> Result<u64, FileError>;
}
