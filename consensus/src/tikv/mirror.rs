//! The log in memory, as the crate reads it: everything behind the last snapshot.
//!
//! etcd does the same. Its owner bounds the length of the log by taking snapshots. Reading never
//! waits for a disk, and undoing what a deposed leader executed needs no other node.

use super::convert::{base_in, entry_in, hard_state_in, members_in};
use crate::message::{Base, HardState};
use crate::raft::Recovered;
use raft::prelude as pb;
use raft::{Error, GetEntriesContext, RaftState, Result, StorageError};
use std::cell::Cell;

/// The log in memory.
pub struct Mirror {
    /// The point where the log begins.
    pub base: Base,
    /// The hard state as it was found at start.
    hard_state: HardState,
    /// The entries behind the base, without gaps.
    entries: Vec<pb::Entry>,
    /// Whether some member needs a newer snapshot than the last one. A member refuses a snapshot
    /// that does not name it.
    pub wanted: Cell<bool>,
}

impl Mirror {
    /// Takes over the log that was found at start.
    pub fn new(found: Recovered) -> Mirror {
        let entries = found.entries.into_iter().map(entry_in).collect();
        Mirror { base: found.base, hard_state: found.hard_state, entries, wanted: Cell::new(false) }
    }

    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    /// The entries behind `index`.
    pub fn behind(&self, index: u64) -> &[pb::Entry] {
        let from = index.saturating_sub(self.base.index) as usize;
        self.entries.get(from..).unwrap_or_default()
    }

    /// Appends entries. They replace those that are there from the first one's index on.
    pub fn append(&mut self, entries: &[pb::Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = first.index.saturating_sub(self.base.index + 1) as usize;
        self.entries.truncate(keep);
        self.entries.extend_from_slice(entries);
    }

    /// Drops the entries that a snapshot up to `base` holds.
    pub fn compact(&mut self, base: Base) {
        let gone = base.index.saturating_sub(self.base.index) as usize;
        self.entries.drain(..gone.min(self.entries.len()));
        self.wanted.set(false);
        self.base = base;
    }

    /// Replaces the log by one that begins behind a snapshot.
    pub fn restore(&mut self, base: Base) {
        self.entries.clear();
        self.base = base;
    }
}

impl raft::Storage for Mirror {
    fn initial_state(&self) -> Result<RaftState> {
        Ok(RaftState::new(hard_state_in(self.hard_state), members_in(&self.base.members)))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> Result<Vec<pb::Entry>> {
        if low <= self.base.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        if high > self.last() + 1 {
            return Err(Error::Store(StorageError::Unavailable));
        }
        let at = |index: u64| (index - self.base.index - 1) as usize;
        let mut entries = self.entries[at(low)..at(high)].to_vec();
        raft::util::limit_size(&mut entries, max_size.into());
        Ok(entries)
    }

    fn term(&self, index: u64) -> Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        if index < self.base.index {
            return Err(Error::Store(StorageError::Compacted));
        }
        let entry = self.entries.get((index - self.base.index - 1) as usize);
        entry.map(|entry| entry.term).ok_or(Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> Result<u64> {
        Ok(self.last())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> Result<pb::Snapshot> {
        let knows = self.base.members.all().contains(&to);
        if !knows || self.base.index < request_index {
            self.wanted.set(true);
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        Ok(base_in(&self.base))
    }
}
