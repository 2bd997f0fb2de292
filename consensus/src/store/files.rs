//! `Files`: the few things that a store wants of a disk.

/// A file operation that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Nothing was written, or a part of it.
    #[error("no space left on the device")]
    Full,
    /// Anything else. After a failed sync, what was written before may be lost.
    #[error("input/output error: {0}")]
    Failed(String),
}

/// A file that is read from its beginning, whatever becomes of its name meanwhile.
pub struct Reading {
    /// Its bytes when it was opened.
    pub length: u64,
    /// What is in it. May be read from another thread than the folder's.
    pub bytes: Box<dyn std::io::Read + Send>,
}

/// A folder of files, written at their ends.
///
/// What was written survives a crash once it was synced; before that, any part of it may.
pub trait Files {
    /// Their names, in ascending order.
    fn list(&self) -> Result<Vec<String>, FileError>;
    /// All of a file.
    fn read(&self, name: &str) -> Result<Vec<u8>, FileError>;
    /// Opens a file to be read piece by piece.
    fn open(&self, name: &str) -> Result<Reading, FileError>;
    /// Writes at the end of a file, which is made if it is not there.
    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError>;
    /// Cuts a file off at `length`, and syncs it.
    fn cut(&mut self, name: &str, length: usize) -> Result<(), FileError>;
    /// Everything written to the file, and its name, survives from now on.
    fn sync(&mut self, name: &str) -> Result<(), FileError>;
    /// Removes a file, so that no crash brings it back: of several, a later one must not survive an
    /// earlier one's removal alone.
    fn remove(&mut self, name: &str) -> Result<(), FileError>;
}
