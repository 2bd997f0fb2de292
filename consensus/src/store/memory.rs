//! A log store in memory that knows what a crash would leave of it.

use super::{LogStore, Logs, Record, StoreError};
use crate::message::{Base, Entry, GroupId, HardState};
use crate::raft::Recovered;
use std::collections::BTreeMap;

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    /// What was synced.
    kept: Logs,
    /// What was written since, in order.
    unsynced: Vec<(GroupId, Record)>,
    /// Both.
    all: Logs,
}

impl MemoryStore {
    /// A crash, of which the first `kept` records of those not yet synced survive.
    pub fn crash(&mut self, kept: usize) {
        for (group, record) in std::mem::take(&mut self.unsynced).into_iter().take(kept) {
            self.kept.apply(group, record);
        }
        self.all = self.kept.clone();
    }

    /// How many records are not synced.
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
