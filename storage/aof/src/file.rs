//! Files as the log sees them: append, sync, cut. A trait, so that tests can make them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// An open file that only grows at its end.
pub trait LogFile: Send + Sync {
    /// Appends some of `bytes`; how many.
    ///
    /// # Errors
    /// Fails like write(2).
    fn write(&self, bytes: &[u8]) -> io::Result<usize>;

    /// Returns once everything written will survive a power failure.
    ///
    /// # Errors
    /// Fails like fdatasync(2). After an error, everything written since the last sync may be lost,
    /// whatever a later call returns.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file back to `len` bytes.
    ///
    /// # Errors
    /// Fails like ftruncate(2).
    fn truncate(&self, len: u64) -> io::Result<()>;
}

/// Opens files.
pub trait Files: Send + Sync {
    /// Opens a file for appending, creating it when needed.
    ///
    /// # Errors
    /// Fails like open(2).
    fn append_to(&self, path: &Path) -> io::Result<Arc<dyn LogFile>>;

    /// Makes creations, renames and deletions in a directory survive power loss.
    ///
    /// # Errors
    /// Fails like fsync(2).
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// The file system.
pub struct Disk;

impl Files for Disk {
    fn append_to(&self, path: &Path) -> io::Result<Arc<dyn LogFile>> {
        Ok(Arc::new(OpenOptions::new().append(true).create(true).open(path)?))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }
}

impl LogFile for File {
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        (&mut &*self).write(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }
}

/// A file being written front to back, as [`Write`]; syncs now and then so that the final sync has
/// little left to do and does not hold up other files (`aof-rewrite-incremental-fsync`).
pub(super) struct Sequential {
    file: Arc<dyn LogFile>,
    unsynced: usize,
}

/// Bytes between syncs; Redis's `REDIS_AUTOSYNC_BYTES`.
const SYNC_EVERY_BYTES: usize = 4 << 20;

impl Sequential {
    /// Starts a file over, whatever was there.
    pub(super) fn create(files: &dyn Files, path: &Path) -> io::Result<Self> {
        let file = files.append_to(path)?;
        file.truncate(0)?;
        Ok(Sequential { file, unsynced: 0 })
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }
}

impl Write for Sequential {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Replaces `path` with `text` so that at any moment, and after any crash, either the old or the
/// new text is there.
pub(super) fn replace(files: &dyn Files, dir: &Path, name: &str, text: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("temp-{name}"));
    let mut file = Sequential::create(files, &temporary)?;
    file.write_all(text)?;
    file.sync()?;
    fs::rename(&temporary, dir.join(name))?;
    files.sync_dir(dir)
}
