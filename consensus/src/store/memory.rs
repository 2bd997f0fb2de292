//! A log store in memory, which knows what a crash would leave of it. For tests and the simulator.

use super::{LogStore, Logs, Record, StoreError};
use crate::message::{Base, Entry, GroupId, HardState};
use crate::raft::Recovered;
use std::collections::BTreeMap;

/// A log store in memory.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    /// The logs as of the last sync.
    kept: Logs,
    /// The records written since, in order.
    unsynced: Vec<(GroupId, Record)>,
    /// The logs with both.
    all: Logs,
}

impl MemoryStore {
    /// Simulates a crash that the first `kept` unsynced records survive.
    pub fn crash(&mut self, kept: usize) {
        for (group, record) in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            self.kept.apply(group, record);
        }
        self.all = self.kept.clone();
    }

    /// The number of records that are not synced.
    pub fn unsynced(&self) -> usize {
        self.unsynced.len()
    }

    fn write(&mut self, group: GroupId, record: Record) -> Result<(), StoreError> {
        if !self.all.apply(group, record.clone()) {
            return Err(StoreError::Damaged(format!("group {group} would have a gap")));
        }
        self.unsynced.push((group, record));
        Ok(())
    }
}

impl LogStore for MemoryStore {
    fn recovered(&self) -> BTreeMap<GroupId, Recovered> {
        self.all.0.clone()
    }

    fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        entries.iter().try_for_each(|entry| self.write(group, Record::Entry(entry.clone())))
    }

    fn set_hard_state(&mut self, group: GroupId, state: HardState) -> Result<(), StoreError> {
        self.write(group, Record::HardState(state))
    }

    fn set_base(&mut self, group: GroupId, base: &Base) -> Result<(), StoreError> {
        match self.all.base_record(group, base) {
            Some(record) => self.write(group, record),
            None => Ok(()),
        }
    }

    fn remove(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.write(group, Record::Removed)
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        for (group, record) in std::mem::take(&mut self.unsynced) {
            self.kept.apply(group, record);
        }
        Ok(())
    }
}
