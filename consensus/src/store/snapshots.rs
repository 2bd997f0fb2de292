//! Snapshots as files beside the logs, named by group, index and term.

use super::codec::{CRC32C, decode_members, encode_members};
use super::{FileError, Files};
use crate::message::{Base, GroupId};

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
    /// Keeps a snapshot: synced when this returns. The log may be compacted afterwards, not before.
    pub fn keep(&mut self, group: GroupId, base: &Base, data: &[u8]) -> Result<(), FileError> {
        let name = name(group, base);
        if self.0.list()?.contains(&name) {
            // Of an attempt that did not end, or the same once more.
            self.0.remove(&name)?;
        }
        let members = encode_members(&base.members);
        let mut bytes = (members.len() as u32).to_le_bytes().to_vec();
        bytes.extend_from_slice(&members);
        bytes.extend_from_slice(data);
        let sum = CRC32C.checksum(&bytes);
        bytes.extend_from_slice(&sum.to_le_bytes());
        self.0.append(&name, &bytes)?;
        self.0.sync(&name)
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
