//! Builds the logs from the records of all segments.
//!
//! The oldest segments are missing: they held only entries that snapshots hold by now, or that were
//! written again later. So each log is read as if it had always begun at its final base, and
//! entries with a gap before them are skipped until the first missing one appears again.

use super::{Logs, Record, StoreError};
use crate::message::{Base, Entry, GroupId};
use std::collections::BTreeMap;

/// The position from which on a group's records count, and its final base.
#[derive(Debug, Default, Clone)]
struct Begin {
    at: usize,
    base: Option<Base>,
}

/// Builds the logs from `records`, which are in the order in which they were written.
///
/// # Errors
/// Fails if entries are missing in a log.
pub fn replay(records: Vec<(GroupId, Record)>) -> Result<Logs, StoreError> {
    let begins = begins(&records);
    let mut replay = Replay::default();
    for (group, begin) in &begins {
        if let Some(base) = &begin.base {
            replay.logs.apply(*group, Record::Reset(base.clone()));
        }
    }
    for (at, (group, record)) in records.into_iter().enumerate() {
        let begin = begins.get(&group).cloned().unwrap_or_default();
        let first = begin.base.map_or(0, |base| base.index) + 1;
        match record {
            _ if at < begin.at => {}
            Record::Base(_) | Record::Removed => {}
            Record::Reset(_) => replay.clear(group),
            Record::Entry(entry) => replay.entry(group, entry, first),
            Record::HardState(_) => drop(replay.logs.apply(group, record)),
        }
    }
    match replay.gaps.first_key_value() {
        None => Ok(replay.logs),
        Some((group, at)) => {
            let what = format!("entries before {at} of group {group} are missing");
            Err(StoreError::Damaged(what))
        }
    }
}

/// The state of reading.
#[derive(Default)]
struct Replay {
    logs: Logs,
    before: Before,
    /// By group, the index of an entry before which others are missing.
    gaps: BTreeMap<GroupId, u64>,
}

impl Replay {
    /// Removes all entries of a group's log.
    fn clear(&mut self, group: GroupId) {
        self.gaps.remove(&group);
        self.logs.0.entry(group).or_default().entries.clear();
    }

    /// Reads an entry. `first` is the index of the first entry behind the log's final base.
    fn entry(&mut self, group: GroupId, entry: Entry, first: u64) {
        let index = entry.index;
        if index < first {
            if self.before.is_replaced(group, index, entry.term) {
                self.clear(group);
            }
            return;
        }
        if self.gaps.contains_key(&group) && index != first {
            return;
        }
        self.gaps.remove(&group);
        if !self.logs.apply(group, Record::Entry(entry)) {
            self.clear(group);
            self.gaps.insert(group, index);
        }
    }
}

/// The terms of entries before the base. They decide which later entries were replaced.
#[derive(Debug, Default)]
struct Before(BTreeMap<(GroupId, u64), u64>);

impl Before {
    /// Whether an entry of another term was at this index. If so, all entries behind that one are
    /// gone as well.
    fn is_replaced(&mut self, group: GroupId, index: u64, term: u64) -> bool {
        let replaced = self.0.insert((group, index), term).is_some_and(|old| old != term);
        if replaced {
            self.0.retain(|(of, at), _| *of != group || *at <= index);
        }
        replaced
    }
}

/// Finds for each group the position of its last removal, and the furthest base from there on.
fn begins(records: &[(GroupId, Record)]) -> BTreeMap<GroupId, Begin> {
    let mut begins: BTreeMap<GroupId, Begin> = BTreeMap::new();
    for (at, (group, record)) in records.iter().enumerate() {
        match record {
            Record::Removed => drop(begins.insert(*group, Begin { at, base: None })),
            Record::Base(base) | Record::Reset(base) => {
                let begin = begins.entry(*group).or_default();
                if begin.base.as_ref().is_none_or(|known| known.index <= base.index) {
                    begin.base = Some(base.clone());
                }
            }
            Record::Entry(_) | Record::HardState(_) => {}
        }
    }
    begins
}
