//! The log in memory, as the crate reads it: everything behind the last snapshot.
//!
//! etcd does the same. A log is compacted by snapshots, so its length is bounded by who decides
//! when to take one; reading never waits for a disk, and undoing what a deposed leader executed
//! needs nobody else.

use super::convert::{base_in, entry_in, hard_state_in, members_in};
use crate::message::{Base, HardState};
use crate::raft::Recovered;
use raft::prelude as pb;
use raft::{Error, GetEntriesContext, RaftState, Result, StorageError};
use std::cell::Cell;

/// See the module.
pub struct Mirror {
    /// Where the log begins.
    pub base: Base,
    /// As it was at start.
    hard_state: HardState,
    /// The entries behind the base, without gaps.
    entries: Vec<pb::Entry>,
    /// Somebody needs a snapshot, and the last one is too old for it: it would refuse one that does not
    /// name it as a member.
    pub wanted: Cell<bool>,
}

impl Mirror {
    /// The log that was found at start.
    pub fn new(found: Recovered) -> Mirror {
        let entries = found.entries.into_iter().map(entry_in).collect();
        Mirror { base: found.base, hard_state: found.hard_state, entries, wanted: Cell::new(false) }
    }

    /// The index of the last entry.
    pub fn last(&self) -> u64 {
        self.base.index + self.entries.len() as u64
    }

    /// Entries behind `index`.
    pub fn behind(&self, index: u64) -> &[pb::Entry] {
        let from = index.saturating_sub(self.base.index) as usize;
        self.entries.get(from..).unwrap_or_default()
    }

    /// Adds entries, over those that are there.
    pub fn append(&mut self, entries: &[pb::Entry]) {
        let Some(first) = entries.first() else { return };
        let keep = first.index.saturating_sub(self.base.index + 1) as usize;
        self.entries.truncate(keep);
        self.entries.extend_from_slice(entries);
    }

    /// Forgets what a snapshot holds.
    pub fn compact(&mut self, base: Base) {
        let gone = base.index.saturating_sub(self.base.index) as usize;
        self.entries.drain(..gone.min(self.entries.len()));
        self.wanted.set(false);
        self.base = base;
    }

    /// Begins anew behind a snapshot.
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
