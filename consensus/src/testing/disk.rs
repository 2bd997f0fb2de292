//! A disk in memory that loses unsynced data, tears writes, fails and fills up as real disks do.

use crate::store::{FileError, Files, Reading};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

/// A file: its contents, and how many bytes of them are synced.
#[derive(Debug, Clone, Default)]
struct Content {
    bytes: Vec<u8>,
    synced: usize,
    /// Whether its name was synced.
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, Content>,
    free: Option<usize>,
    failing: bool,
}

/// A disk in memory. Clones share the same contents.
#[derive(Debug, Clone, Default)]
pub struct Disk(Rc<RefCell<State>>);

impl Disk {
    /// Makes every sync fail from now on, or no longer.
    pub fn fail_syncs(&self, failing: bool) {
        self.0.borrow_mut().failing = failing;
    }

    /// Sets the number of bytes that still fit; `None` for no limit.
    pub fn set_free(&self, free: Option<usize>) {
        self.0.borrow_mut().free = free;
    }

    /// The number of bytes that are written and not synced.
    pub fn unsynced(&self) -> usize {
        let state = self.0.borrow();
        state.files.values().map(|file| file.bytes.len() - file.synced).sum()
    }

    /// Simulates a power failure. Of every file the synced bytes survive, and some of the others:
    /// `choose` gets their number, and returns how many survive and whether the last of these is
    /// altered.
    pub fn crash(&self, mut choose: impl FnMut(usize) -> (usize, bool)) {
        let mut state = self.0.borrow_mut();
        (state.failing, state.free) = (false, None);
        state.files.retain(|_, file| {
            let (more, altered) = choose(file.bytes.len() - file.synced);
            file.bytes.truncate(file.synced + more);
            if altered && more > 0 {
                *file.bytes.last_mut().unwrap_or(&mut 0) ^= 0x55;
            }
            let survives = file.named || more > 0;
            (file.synced, file.named) = (file.bytes.len(), true);
            survives
        });
    }

    /// Removes everything, as if the disk had been exchanged.
    pub fn wipe(&self) {
        *self.0.borrow_mut() = State::default();
    }

    /// Alters a synced byte of a file.
    pub fn rot(&self, name: &str, at: usize) {
        if let Some(byte) =
            self.0.borrow_mut().files.get_mut(name).and_then(|f| f.bytes.get_mut(at))
        {
            *byte ^= 0x10;
        }
    }
}

fn missing(name: &str) -> FileError {
    FileError::Failed(format!("no such file: {name}"))
}

impl Files for Disk {
    fn list(&self) -> Result<Vec<String>, FileError> {
        Ok(self.0.borrow().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> Result<Vec<u8>, FileError> {
        let state = self.0.borrow();
        state.files.get(name).map(|file| file.bytes.clone()).ok_or_else(|| missing(name))
    }

    fn open(&self, name: &str) -> Result<Reading, FileError> {
        let bytes = self.read(name)?;
        let length = bytes.len() as u64;
        Ok(Reading { length, bytes: Box::new(std::io::Cursor::new(bytes)) })
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> Result<(), FileError> {
        let mut state = self.0.borrow_mut();
        let fits = state.free.unwrap_or(usize::MAX).min(bytes.len());
        state.free = state.free.map(|free| free - fits);
        let file = state.files.entry(name.to_string()).or_default();
        file.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() { Err(FileError::Full) } else { Ok(()) }
    }

    fn cut(&mut self, name: &str, length: usize) -> Result<(), FileError> {
        let mut state = self.0.borrow_mut();
        let file = state.files.get_mut(name).ok_or_else(|| missing(name))?;
        file.bytes.truncate(length);
        (file.synced, file.named) = (file.bytes.len(), true);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> Result<(), FileError> {
        let mut state = self.0.borrow_mut();
        if state.failing {
            return Err(FileError::Failed("the disk does not answer".into()));
        }
        let file = state.files.get_mut(name).ok_or_else(|| missing(name))?;
        (file.synced, file.named) = (file.bytes.len(), true);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<(), FileError> {
        let mut state = self.0.borrow_mut();
        let removed = state.files.remove(name).ok_or_else(|| missing(name))?;
        state.free = state.free.map(|free| free + removed.bytes.len());
        Ok(())
    }

    fn rename(&mut self, name: &str, to: &str) -> Result<(), FileError> {
        let mut state = self.0.borrow_mut();
        let file = state.files.remove(name).ok_or_else(|| missing(name))?;
        if let Some(replaced) = state.files.insert(to.to_owned(), file) {
            state.free = state.free.map(|free| free + replaced.bytes.len());
        }
        Ok(())
    }

    fn room(&self) -> Result<u64, FileError> {
        Ok(self.0.borrow().free.map_or(u64::MAX, |free| free as u64))
    }
}
