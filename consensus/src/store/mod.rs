//! `LogStore`: where the logs of a node's groups are kept, all in one, with one sync.

mod codec;
mod files;
mod memory;
mod replay;
mod segments;
mod snapshots;

pub use files::{FileError, Files, Reading};
pub use memory::MemoryStore;
pub use segments::SegmentStore;
pub use snapshots::{SnapshotReader, Snapshots, Torn};

use crate::message::{Base, Entry, GroupId, HardState};
use crate::raft::Recovered;
use std::collections::BTreeMap;

/// Why a store does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The files failed. After a failed write or sync nobody knows what is on the disk, so that the
    /// store refuses everything until it is opened again.
    #[error(transparent)]
    Files(#[from] FileError),
    /// What was synced is not there any more, or not as it was written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// The logs of all groups of one node.
///
/// Writes are kept in the order they were made: after a crash there is a prefix of them, and
/// everything before the last sync that succeeded is in it.
pub trait LogStore {
    /// What is kept, by group.
    fn recovered(&self) -> BTreeMap<GroupId, Recovered>;
    /// Adds entries. One of another term than what is at its index replaces that and all behind it.
    fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError>;
    /// Keeps term and vote.
    fn set_hard_state(&mut self, group: GroupId, state: HardState) -> Result<(), StoreError>;
    /// A snapshot up to `base` is kept. Entries behind it stay if the log has an entry of that index
    /// and term, and go otherwise: then the snapshot replaces the log.
    fn set_base(&mut self, group: GroupId, base: &Base) -> Result<(), StoreError>;
    /// Forgets a group.
    fn remove(&mut self, group: GroupId) -> Result<(), StoreError>;
    /// Everything written so far survives from now on.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// What a store's calls come to: the same for every store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(pub BTreeMap<GroupId, Recovered>);

/// One call of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Entry(Entry),
    HardState(HardState),
    /// The log goes on behind a snapshot of itself.
    Base(Base),
    /// The log begins anew behind a snapshot of another one.
    Reset(Base),
    Removed,
}

impl Logs {
    /// Applies a call; `false` if it leaves a gap.
    pub fn apply(&mut self, group: GroupId, record: Record) -> bool {
        if record == Record::Removed {
            self.0.remove(&group);
            return true;
        }
        let log = self.0.entry(group).or_default();
        match record {
            Record::Entry(entry) => {
                // Below the base: written again by a leader that did not know of the snapshot.
                let Some(at) = entry.index.checked_sub(log.base.index + 1) else { return true };
                if at as usize > log.entries.len() {
                    return false;
                }
                // Of the same term, it is the same entry, and nothing behind it is wrong.
                if log.entries.get(at as usize).is_none_or(|old| old.term != entry.term) {
                    log.entries.truncate(at as usize);
                    log.entries.push(entry);
                }
            }
            Record::HardState(state) => log.hard_state = state,
            Record::Base(base) => {
                if let Some(gone) = base.index.checked_sub(log.base.index) {
                    log.entries.drain(..log.entries.len().min(gone as usize));
                    log.base = base;
                }
            }
            Record::Reset(base) => {
                log.entries.clear();
                log.base = base;
            }
            Record::Removed => {}
        }
        true
    }

    /// See [`LogStore::set_base`]: what it comes to. `None` if the log begins further on.
    pub fn base_record(&self, group: GroupId, base: &Base) -> Option<Record> {
        let Some(log) = self.0.get(&group) else { return Some(Record::Reset(base.clone())) };
        let gone = base.index.checked_sub(log.base.index)? as usize;
        let last = gone.checked_sub(1).map(|at| log.entries.get(at).map(|entry| entry.term));
        match last {
            Some(term) if term != Some(base.term) => Some(Record::Reset(base.clone())),
            _ => Some(Record::Base(base.clone())),
        }
    }
}
