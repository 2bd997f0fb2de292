//! The data folder: created when missing, checked, and locked against a second server.

use crate::StartError;
use crate::system::writable;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The name of the lock file inside the folder.
const LOCK_FILE: &str = "varve.lock";

/// A data folder that is ours until this is dropped. The lock goes with the process, however that
/// ends, so a killed server leaves nothing to clean up.
#[derive(Debug)]
pub(crate) struct DataDir {
    /// Absolute.
    pub path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the folder if it is missing, and locks it.
    pub fn open(path: &Path) -> Result<Self, StartError> {
        let absolute = std::path::absolute(path)
            .map_err(|error| StartError::file("find the data folder", path, error))?;
        std::fs::create_dir_all(&absolute)
            .map_err(|error| StartError::file("create the data folder", &absolute, error))?;
        let path = absolute.canonicalize().unwrap_or(absolute);
        let _lock = lock(&path)?;
        Ok(DataDir { path, _lock })
    }
}

/// Whether a server could write to the data folder and to `log`, a folder inside it, as far as this shows without doing
/// it. Another server may have locked it: the one that is to be replaced.
///
/// # Errors
/// Fails for the first that could not be written to.
pub(crate) fn check(path: &Path, log: Option<&str>) -> Result<(), StartError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |error| StartError::file(action, &path, error)
    };
    writable::check(path).map_err(failed("write to the data folder", path))?;
    let log = log.map(|log| path.join(log));
    log.map_or(Ok(()), |log| {
        writable::check(&log).map_err(failed("write to the log's folder", &log))
    })
}

fn lock(dir: &Path) -> Result<File, StartError> {
    let unwritable = |error| StartError::file("write to the data folder", dir, error);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(dir.join(LOCK_FILE)).map_err(unwritable)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // Only a hint: without it the message is less precise.
            let _ = file.read_to_string(&mut text);
            let pid = text.trim().parse().ok();
            return Err(StartError::DirInUse { path: dir.to_owned(), pid });
        }
        Err(TryLockError::Error(error)) => {
            return Err(StartError::file("lock the data folder", dir, error));
        }
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unwritable)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_serves_one_server_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/b");
        let first = DataDir::open(&path).unwrap();
        assert!(first.path.is_absolute());
        let error = DataDir::open(&path).unwrap_err().to_string();
        let owner = format!("in use by process {}", std::process::id());
        assert!(error.contains(&owner), "{error}");
        drop(first);
        DataDir::open(&path).unwrap();
    }

    #[test]
    fn unusable_folders_are_named() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        std::fs::write(&file, "").unwrap();
        let error = DataDir::open(&file.join("x")).unwrap_err().to_string();
        assert!(error.starts_with("can't create the data folder"), "{error}");
        assert!(error.ends_with("Not a directory"), "{error}");
    }
}
