//! Snapshots as files beside the logs, named after group, index and term.

use super::codec::{CRC32C, decode_members, encode_members};
use super::{FileError, Files};
use crate::message::{Base, GroupId};
use crc::{Digest, Table};
use std::io::{self, Read};

/// A snapshot is missing, or is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot {0} is missing or damaged")]
pub struct Torn(pub String);

/// The snapshots in `files`.
#[derive(Debug)]
pub struct Snapshots<'a, F>(pub &'a mut F);

const SUFFIX: &str = ".snapshot";

/// The end of the names of snapshots that are being received.
const INCOMING: &str = ".incoming";

/// The number of bytes that are written before the room is looked at again.
const PIECE: usize = 1 << 20;

fn name(group: GroupId, base: &Base) -> String {
    format!("{group:x}-{:016x}-{:x}{SUFFIX}", base.index, base.term)
}

impl<F: Files> Snapshots<'_, F> {
    /// Writes and syncs a snapshot. The log may be compacted only after this has returned. If the
    /// snapshot cannot be written completely, nothing of it stays.
    pub fn keep(&mut self, group: GroupId, base: &Base, data: &[u8]) -> Result<(), FileError> {
        let name = name(group, base);
        if self.0.list()?.contains(&name) {
            // It is left from an attempt that was interrupted, or it is the same snapshot again.
            self.0.remove(&name)?;
        }
        let mut writer = SnapshotWriter::begin(self.0, name, base, data.len() as u64)?;
        writer.write(data)?;
        writer.finish().map(drop)
    }

    /// Begins to write a snapshot of `total` bytes that another node sends, under a name that
    /// `number` distinguishes from others. It counts once it is [adopted](Self::adopt).
    ///
    /// # Errors
    /// Fails at once if there is no room for it.
    pub fn receive(
        &mut self,
        number: u64,
        base: &Base,
        total: u64,
    ) -> Result<SnapshotWriter<'_, F>, FileError> {
        if self.0.room()? < total {
            return Err(FileError::Full);
        }
        SnapshotWriter::begin(self.0, format!("{number:x}{INCOMING}"), base, total)
    }

    /// Makes a snapshot that was received the one of this base.
    pub fn adopt(&mut self, group: GroupId, base: &Base, received: &str) -> Result<(), FileError> {
        self.0.rename(received, &name(group, base))
    }

    /// Removes what was received and never adopted, because the process ended.
    pub fn sweep(&mut self) -> Result<(), FileError> {
        let left = |name: &&String| name.ends_with(INCOMING);
        self.0.list()?.iter().filter(left).try_for_each(|name| self.0.remove(name))
    }

    /// Opens the snapshot of a log's base, to be read in pieces.
    pub fn open(&self, group: GroupId, base: &Base) -> Result<SnapshotReader, Torn> {
        let name = name(group, base);
        let open = || {
            let file = self.0.open(&name).ok()?;
            SnapshotReader::open(name.clone(), file.length, file.bytes)
        };
        let reader = open().filter(|(_, members)| *members == base.members);
        reader.map(|(reader, _)| reader).ok_or(Torn(name.clone()))
    }

    /// Removes a snapshot that is no longer needed.
    pub fn remove(&mut self, group: GroupId, base: &Base) -> Result<(), FileError> {
        self.0.remove(&name(group, base))
    }

    /// Reads the whole snapshot of a log's base.
    pub fn load(&self, group: GroupId, base: &Base) -> Result<Vec<u8>, Torn> {
        let name = name(group, base);
        let load = || -> Option<Vec<u8>> {
            let bytes = self.0.read(&name).ok()?;
            let (bytes, sum) = bytes.split_last_chunk::<4>()?;
            let (length, rest) = bytes.split_first_chunk::<4>()?;
            let (members, data) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            let checks = CRC32C.checksum(bytes) == u32::from_le_bytes(*sum);
            (checks && decode_members(members)? == base.members).then(|| data.to_vec())
        };
        load().ok_or(Torn(name.clone()))
    }

    /// Removes a group's snapshots older than `base`.
    pub fn remove_before(&mut self, group: GroupId, base: &Base) -> Result<(), FileError> {
        let (ours, keep) = (format!("{group:x}-"), name(group, base));
        let old = |name: &String| name.starts_with(&ours) && name.ends_with(SUFFIX) && *name < keep;
        self.0.list()?.iter().filter(|name| old(name)).try_for_each(|name| self.0.remove(name))
    }
}

/// A snapshot that is being written. If it is dropped before it is finished, nothing of it stays.
pub struct SnapshotWriter<'a, F: Files> {
    files: &'a mut F,
    name: String,
    /// The number of bytes of the state that are still to come.
    left: u64,
    /// The checksum of what was written; `None` once it is finished.
    sum: Option<Digest<'static, u32, Table<16>>>,
}

impl<'a, F: Files> SnapshotWriter<'a, F> {
    fn begin(
        files: &'a mut F,
        name: String,
        base: &Base,
        left: u64,
    ) -> Result<SnapshotWriter<'a, F>, FileError> {
        let members = encode_members(&base.members);
        let head = [&(members.len() as u32).to_le_bytes(), &members[..]].concat();
        let mut sum = CRC32C.digest();
        sum.update(&head);
        let mut writer = SnapshotWriter { files, name, left, sum: Some(sum) };
        writer.append(&head)?;
        Ok(writer)
    }

    /// Writes the next bytes of the state.
    ///
    /// # Errors
    /// Fails if there is no room, the disk fails, or there are more bytes than were announced.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        let left = self.left.checked_sub(bytes.len() as u64);
        self.left = left.ok_or_else(|| self.wrong("longer"))?;
        for piece in bytes.chunks(PIECE) {
            self.sum.iter_mut().for_each(|sum| sum.update(piece));
            self.append(piece)?;
        }
        Ok(())
    }

    /// Syncs the snapshot, and returns the name of its file.
    ///
    /// # Errors
    /// Fails if there is no room, the disk fails, or there are fewer bytes than were announced.
    pub fn finish(mut self) -> Result<String, FileError> {
        if self.left > 0 {
            return Err(self.wrong("shorter"));
        }
        let sum = self.sum.clone().map_or(0, |sum| sum.finalize()).to_le_bytes();
        self.append(&sum)?;
        self.files.sync(&self.name)?;
        self.sum = None;
        Ok(std::mem::take(&mut self.name))
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), FileError> {
        match self.files.room()? < bytes.len() as u64 {
            true => Err(FileError::Full),
            false => self.files.append(&self.name, bytes),
        }
    }

    fn wrong(&self, how: &str) -> FileError {
        FileError::Failed(format!("the snapshot {} is {how} than announced", self.name))
    }
}

impl<F: Files> Drop for SnapshotWriter<'_, F> {
    fn drop(&mut self) {
        if self.sum.is_some() {
            // It may not have been created at all.
            let _ = self.files.remove(&self.name);
        }
    }
}

/// A snapshot that is read in pieces. The last piece is returned only after the checksum has been
/// verified, so that a damaged snapshot is never complete.
pub struct SnapshotReader {
    name: String,
    bytes: Box<dyn Read + Send>,
    /// The size of the state in bytes.
    length: u64,
    /// The number of bytes not yet read.
    left: u64,
    /// The checksum of what was read; `None` once everything was.
    sum: Option<Digest<'static, u32, Table<16>>>,
}

impl SnapshotReader {
    /// Reads the beginning. Returns the reader and the members in the snapshot; `None` if the
    /// beginning is not valid.
    fn open(
        name: String,
        length: u64,
        mut bytes: Box<dyn Read + Send>,
    ) -> Option<(SnapshotReader, crate::message::Membership)> {
        let mut head = [0; 4];
        bytes.read_exact(&mut head).ok()?;
        let size = u32::from_le_bytes(head);
        let length = length.checked_sub(8 + u64::from(size))?;
        let mut members = vec![0; size as usize];
        bytes.read_exact(&mut members).ok()?;
        let mut sum = CRC32C.digest();
        sum.update(&head);
        sum.update(&members);
        let reader = SnapshotReader { name, bytes, length, left: length, sum: Some(sum) };
        Some((reader, decode_members(&members)?))
    }

    /// The size of the state in bytes.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the next `most` bytes of the state, or as many as are left; `None` at the end.
    ///
    /// # Errors
    /// Fails if the file cannot be read or its checksum is wrong.
    pub fn piece(&mut self, most: usize) -> Result<Option<Vec<u8>>, Torn> {
        let mut piece = vec![0; self.left.min(most as u64) as usize];
        let count = self.fill(&mut piece)?;
        Ok((count > 0).then_some(piece))
    }

    /// Reads the next bytes of the state into `buffer`. Returns their number: as many as fit or are
    /// left.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize, Torn> {
        let torn = || Torn(self.name.clone());
        let Some(mut sum) = self.sum.take() else { return Ok(0) };
        let count = self.left.min(buffer.len() as u64) as usize;
        let piece = &mut buffer[..count];
        self.bytes.read_exact(piece).map_err(|_| torn())?;
        sum.update(piece);
        self.left -= count as u64;
        if self.left > 0 {
            self.sum = Some(sum);
            return Ok(count);
        }
        let mut written = [0; 4];
        self.bytes.read_exact(&mut written).map_err(|_| torn())?;
        match sum.finalize() == u32::from_le_bytes(written) {
            true => Ok(count),
            false => Err(torn()),
        }
    }
}

impl Read for SnapshotReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match buffer.is_empty() {
            true => Ok(0),
            false => self.fill(buffer).map_err(io::Error::other),
        }
    }
}
