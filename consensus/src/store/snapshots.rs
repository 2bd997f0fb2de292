//! Snapshots as files beside the logs, named by group, index and term.

use super::codec::{CRC32C, decode_members, encode_members};
use super::{FileError, Files};
use crate::message::{Base, GroupId};
use crc::{Digest, Table};
use std::io::Read;

/// A snapshot that is not there, or not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the snapshot {0} is missing or damaged")]
pub struct Torn(pub String);

/// The snapshots in `files`.
#[derive(Debug)]
pub struct Snapshots<'a, F>(pub &'a mut F);

const SUFFIX: &str = ".snapshot";

fn name(group: GroupId, base: &Base) -> String {
    format!("{group:x}-{:016x}-{:x}{SUFFIX}", base.index, base.term)
}

impl<F: Files> Snapshots<'_, F> {
    /// Keeps a snapshot: synced when this returns. The log may be compacted afterwards, not before. Of one that could
    /// not be written whole nothing stays.
    pub fn keep(&mut self, group: GroupId, base: &Base, data: &[u8]) -> Result<(), FileError> {
        let name = name(group, base);
        if self.0.list()?.contains(&name) {
            // Of an attempt that did not end, or the same once more.
            self.0.remove(&name)?;
        }
        let members = encode_members(&base.members);
        let head = [&(members.len() as u32).to_le_bytes(), &members[..]].concat();
        let mut sum = CRC32C.digest();
        [&head, data].into_iter().for_each(|part| sum.update(part));
        let sum = sum.finalize().to_le_bytes();
        let mut parts = [&head, data, &sum].into_iter();
        let kept = parts.try_for_each(|part| self.0.append(&name, part));
        let kept = kept.and_then(|()| self.0.sync(&name));
        if kept.is_err() {
            // It may not have been made at all.
            let _ = self.0.remove(&name);
        }
        kept
    }

    /// Opens the snapshot that a log's base speaks of, to be read elsewhere, piece by piece.
    pub fn open(&self, group: GroupId, base: &Base) -> Result<SnapshotReader, Torn> {
        let name = name(group, base);
        let open = || {
            let file = self.0.open(&name).ok()?;
            SnapshotReader::open(name.clone(), file.length, file.bytes)
        };
        let reader = open().filter(|(_, members)| *members == base.members);
        reader.map(|(reader, _)| reader).ok_or(Torn(name.clone()))
    }

    /// Removes a snapshot that is not needed.
    pub fn remove(&mut self, group: GroupId, base: &Base) -> Result<(), FileError> {
        self.0.remove(&name(group, base))
    }

    /// The snapshot that a log's base speaks of.
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

/// A snapshot that is read piece by piece. The last piece is given out only once the whole has been checked: what is
/// damaged is never complete.
pub struct SnapshotReader {
    name: String,
    bytes: Box<dyn Read + Send>,
    /// Bytes of the state.
    length: u64,
    /// Those that were not read.
    left: u64,
    /// Of what was read; none once everything was.
    sum: Option<Digest<'static, u32, Table<16>>>,
}

impl SnapshotReader {
    /// With the members that it names; `None` if its beginning cannot be.
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

    /// Bytes of the state.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The next bytes of it, so many unless fewer are left; none at its end.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub fn piece(&mut self, most: usize) -> Result<Option<Vec<u8>>, Torn> {
        let torn = || Torn(self.name.clone());
        let Some(mut sum) = self.sum.take() else { return Ok(None) };
        let mut piece = vec![0; self.left.min(most as u64) as usize];
        self.bytes.read_exact(&mut piece).map_err(|_| torn())?;
        sum.update(&piece);
        self.left -= piece.len() as u64;
        if self.left > 0 {
            self.sum = Some(sum);
            return Ok(Some(piece));
        }
        let mut written = [0; 4];
        self.bytes.read_exact(&mut written).map_err(|_| torn())?;
        match sum.finalize() == u32::from_le_bytes(written) {
            true => Ok(Some(piece).filter(|piece| !piece.is_empty())),
            false => Err(torn()),
        }
    }
}
