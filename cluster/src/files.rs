//! [`Folder`]: a folder of the file system, in which a node keeps its log and its snapshots.

use consensus::{FileError, Files, Reading};
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// The number of bytes of the disk that are left to the log: snapshots leave them free.
const RESERVE: u64 = 64 << 20;

/// A folder. One file at a time is kept open for writing.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// The file that was written last.
    open: Option<(String, File)>,
    /// The files whose names may not survive a crash, because the folder was not synced since they
    /// were created.
    unnamed: BTreeSet<String>,
}

impl Folder {
    /// Opens the folder at `path`, and creates it if it does not exist.
    ///
    /// # Errors
    /// Fails if the file system does.
    pub fn open(path: &Path) -> std::io::Result<Folder> {
        std::fs::create_dir_all(path)?;
        if let Some(parent) = path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(Folder::at(path))
    }

    /// The folder at `path`, which exists.
    pub fn at(path: &Path) -> Folder {
        Folder { path: path.to_owned(), open: None, unnamed: BTreeSet::new() }
    }

    fn file(&mut self, name: &str) -> Result<&mut File, FileError> {
        if self.open.as_ref().is_none_or(|(open, _)| open != name) {
            let path = self.path.join(name);
            if !path.exists() {
                self.unnamed.insert(name.to_owned());
            }
            let file = OpenOptions::new().append(true).create(true).open(path).map_err(failed)?;
            self.open = Some((name.to_owned(), file));
        }
        match &mut self.open {
            Some((_, file)) => Ok(file),
            None => Err(FileError::Failed(format!("{name} is not open"))),
        }
    }

    fn sync_names(&self) -> Result<(), FileError> {
        File::open(&self.path).and_then(|folder| folder.sync_all()).map_err(failed)
    }
}

fn failed(error: std::io::Error) -> FileError {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => FileError::Full,
        _ => FileError::Failed(error.to_string()),
    }
}

/// The same folder without an open file, for use by another thread on other files.
impl Clone for Folder {
    fn clone(&self) -> Folder {
        Folder::at(&self.path)
    }
}

impl Files for Folder {
    fn list(&self) -> Result<Vec<String>, FileError> {
        let entries = std::fs::read_dir(&self.path).map_err(failed)?;
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed)?;
            // Files whose names are not UTF-8 are not the node's.
            if let Ok(name) = entry.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        std::fs::read(self.path.join(name)).map_err(failed)
    }

    fn open(&self, name: &str) -> Result<Reading, FileError> {
        let file = File::open(self.path.join(name)).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        Ok(Reading { length, bytes: Box::new(BufReader::new(file)) })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        self.file(name)?.write_all(bytes).map_err(failed)
    }

    fn cut(&mut self, name: &str, length: usize) -> Result<(), FileError> {
        let file = self.file(name)?;
        file.set_len(length as u64).and_then(|()| file.sync_all()).map_err(failed)
    }

    fn sync(&mut self, name: &str) -> Result<(), FileError> {
        self.file(name)?.sync_data().map_err(failed)?;
        if self.unnamed.remove(name) {
            self.sync_names()?;
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), FileError> {
        self.open.take_if(|(open, _)| open == name);
        self.unnamed.remove(name);
        std::fs::remove_file(self.path.join(name)).map_err(failed)?;
        self.sync_names()
    }

    fn rename(&mut self, name: &str, to: &str) -> Result<(), FileError> {
        self.open.take_if(|(open, _)| open == name || open == to);
        std::fs::rename(self.path.join(name), self.path.join(to)).map_err(failed)?;
        self.sync_names()
    }

    fn room(&self) -> Result<u64, FileError> {
        let disk = rustix::fs::statvfs(&self.path).map_err(|error| failed(error.into()))?;
        Ok((disk.f_bavail * disk.f_frsize).saturating_sub(RESERVE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_what_was_removed_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        let mut folder = Folder::open(&path).unwrap();
        folder.append("2", b"two").unwrap();
        folder.append("1", b"one").unwrap();
        folder.append("2", b" and more").unwrap();
        folder.sync("2").unwrap();
        folder.sync("1").unwrap();
        let mut folder = Folder::open(&path).unwrap();
        assert_eq!(folder.list().unwrap(), ["1", "2"]);
        assert_eq!(folder.read("2").unwrap(), b"two and more");
        folder.cut("2", 3).unwrap();
        folder.append("2", b"!").unwrap();
        assert_eq!(folder.read("2").unwrap(), b"two!");
        folder.rename("2", "3").unwrap();
        assert_eq!(folder.list().unwrap(), ["1", "3"]);
        folder.append("2", b"another").unwrap();
        folder.rename("2", "3").unwrap();
        assert_eq!(folder.read("3").unwrap(), b"another");
        folder.remove("3").unwrap();
        assert_eq!(folder.list().unwrap(), ["1"]);
        assert!(folder.room().unwrap() > 0);
        assert!(matches!(folder.read("2"), Err(FileError::Failed(_))));
    }
}
