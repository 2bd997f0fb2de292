//! Whether a folder can be written to, without writing to it.

use std::io::{self, ErrorKind};
use std::path::Path;

/// Whether files can be made in `folder`, or the folder can be made, as far as this shows without doing it: as the user
/// who asks, who may be another than the one who will write.
///
/// # Errors
/// Fails with the reason why not.
pub(crate) fn check(folder: &Path) -> io::Result<()> {
    let mut nearest = std::path::absolute(folder)?;
    loop {
        match std::fs::metadata(&nearest) {
            Ok(found) if found.is_dir() => return may_write(&nearest),
            Ok(_) => return Err(ErrorKind::NotADirectory.into()),
            Err(error) if error.kind() == ErrorKind::NotFound && nearest.pop() => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(unix)]
fn may_write(folder: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes())?;
    let how = libc::W_OK | libc::X_OK;
    // SAFETY: the path ends with a zero and lives during the call.
    match unsafe { libc::faccessat(libc::AT_FDCWD, path.as_ptr(), how, libc::AT_EACCESS) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(not(unix))]
fn may_write(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_check_says_what_writing_would() {
        let parent = tempfile::tempdir().unwrap();
        let (file, closed) = (parent.path().join("file"), parent.path().join("closed"));
        std::fs::write(&file, "").unwrap();
        std::fs::create_dir(&closed).unwrap();
        std::fs::set_permissions(&closed, PermissionsExt::from_mode(0o555)).unwrap();
        for folder in [parent.path().join("a/b"), file.join("a"), file, closed, "/".into()] {
            let said = check(&folder).map_err(|error| error.kind());
            let mark = folder.join("varve-writable-check");
            let done = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&mark, ""));
            let _ = std::fs::remove_file(&mark);
            assert_eq!(said.is_ok(), done.is_ok(), "{folder:?}: {said:?}, {done:?}");
        }
    }
}
