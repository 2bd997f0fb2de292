//! `LogStore`: keeps the logs of all groups of a node, with one sync for all.

mod codec;
mod files;
mod memory;
mod replay;
mod segments;
mod snapshots;

pub use files::{FileError, Files, Reading};
pub use memory::MemoryStore;
pub use segments::SegmentStore;
pub use snapshots::{SnapshotReader, SnapshotWriter, Snapshots, Torn};

use crate::message::{Base, Entry, GroupId, HardState};
use crate::raft::Recovered;
use std::collections::BTreeMap;

/// The reason why a store cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A file operation failed. After a failed write or sync nobody knows what is on the disk, so
    /// the store refuses every call until it is opened again.
    #[error(transparent)]
    Files(#[from] FileError),
    /// Records that were synced are missing, or are not as they were written.
    #[error("the log is damaged: {0}")]
    Damaged(String),
}

/// The logs of all groups of one node.
///
/// Calls take effect in order. After a crash the store has a prefix of them, which includes all
/// calls before the last successful sync.
pub trait LogStore {
    /// The contents of the logs, by group.
    fn recovered(&self) -> BTreeMap<GroupId, Recovered>;
    /// Appends entries. An entry whose term differs from that of the entry at its index replaces
    /// that one and all behind it.
    fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError>;
    /// Writes term, vote and commit index.
    fn set_hard_state(&mut self, group: GroupId, state: HardState) -> Result<(), StoreError>;
    /// Records that a snapshot up to `base` is kept. If the log has an entry of that index and
    /// term, the entries behind it stay; otherwise all go, and the snapshot replaces the log.
    fn set_base(&mut self, group: GroupId, base: &Base) -> Result<(), StoreError>;
    /// Removes a group and its log.
    fn remove(&mut self, group: GroupId) -> Result<(), StoreError>;
    /// Syncs: everything written so far survives a crash.
    fn sync(&mut self) -> Result<(), StoreError>;
}

/// The logs after a sequence of calls. The logic is the same for every store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Logs(pub BTreeMap<GroupId, Recovered>);

/// A call to a store, as it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    Entry(Entry),
    HardState(HardState),
    /// The log continues behind a snapshot of itself.
    Base(Base),
    /// The log starts anew behind a snapshot of another log.
    Reset(Base),
    Removed,
}

impl Logs {
    /// Applies a call. Returns false if it would leave a gap.
    pub fn apply(&mut self, group: GroupId, record: Record) -> bool {
        if record == Record::Removed {
            self.0.remove(&group);
            return true;
        }
        let log = self.0.entry(group).or_default();
        match record {
            Record::Entry(entry) => {
                // An entry below the base was written again by a leader that did not know of the
                // snapshot.
                let Some(at) = entry.index.checked_sub(log.base.index + 1) else { return true };
                if at as usize > log.entries.len() {
                    return false;
                }
                // An entry of the same term is the same entry, and those behind it stay valid.
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

    /// The record to which [`LogStore::set_base`] amounts; `None` if the log begins behind `base`
    /// already.
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
