//! Logs in segments: files that are written at the end and removed from the front.
//!
//! A segment begins with the base and the hard state of every group, so that a segment can be
//! removed as soon as no group needs an entry in it. A group that rarely writes would keep old
//! segments alive; once there are more than [`SEGMENTS_MAX`], its entries are copied into the
//! newest.

use super::codec::{self, Read};
use super::replay::replay;
use super::{FileError, Files, LogStore, Logs, Record, StoreError};
use crate::message::{Base, Entry, GroupId, HardState};
use crate::raft::Recovered;
use std::collections::{BTreeMap, VecDeque};

/// The number of segments above which the entries of the oldest one are copied.
const SEGMENTS_MAX: usize = 8;

/// The suffix of segments' names. Files with other names are left alone.
const SUFFIX: &str = ".log";

/// One segment.
#[derive(Debug)]
struct Segment {
    name: String,
    /// By group, the highest index of an entry in this segment.
    last: BTreeMap<GroupId, u64>,
}

/// A log store in segments.
#[derive(Debug)]
pub struct SegmentStore<F> {
    files: F,
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Bytes in the last segment.
    written: usize,
    /// The size in bytes at which a new segment begins.
    segment_bytes: usize,
    /// Whether something was written since the last sync.
    dirty: bool,
    /// Whether everything is synced and no mark says so yet.
    unmarked: bool,
    logs: Logs,
    /// The error after which every call is refused.
    broken: Option<StoreError>,
}

impl<F: Files> SegmentStore<F> {
    /// Opens the logs in `files`. An incomplete write at the end, left by a crash, is cut off.
    ///
    /// # Errors
    /// Fails if a file cannot be used, or if a record that was synced is damaged or missing.
    pub fn open(files: F, segment_bytes: usize) -> Result<Self, StoreError> {
        let names = files.list()?.into_iter().filter(|name| name.ends_with(SUFFIX)).collect();
        let mut store = SegmentStore {
            files,
            segments: VecDeque::new(),
            written: 0,
            segment_bytes,
            dirty: false,
            unmarked: false,
            logs: Logs::default(),
            broken: None,
        };
        store.load(names)?;
        store.begin_segment()?;
        Ok(store)
    }

    fn load(&mut self, names: Vec<String>) -> Result<(), StoreError> {
        let count = names.len();
        let mut records = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let bytes = self.files.read(&name)?;
            let mut segment = Segment { name, last: BTreeMap::new() };
            let mut from = 0;
            while let Some((read, length)) = codec::read(&bytes[from..]) {
                from += length;
                if let Read::Call(group, record) = read {
                    segment.note(group, &record);
                    records.push((group, record));
                }
            }
            if from < bytes.len() {
                if at + 1 < count || codec::has_mark(&bytes[from..]) {
                    let what = format!("{} at byte {from}", segment.name);
                    return Err(StoreError::Damaged(what));
                }
                self.files.cut(&segment.name, from)?;
            }
            self.segments.push_back(segment);
        }
        self.logs = replay(records)?;
        Ok(())
    }

    /// The files below, for snapshots that are kept beside the logs.
    pub fn files(&mut self) -> &mut F {
        &mut self.files
    }

    /// The number of segments.
    pub fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Ends the last segment and begins another with the base and the hard state of every group.
    fn begin_segment(&mut self) -> Result<(), StoreError> {
        if let Some(last) = self.segments.back() {
            // The next start takes this segment for complete.
            self.files.sync(&last.name)?;
        }
        let number = self.segments.back().and_then(|last| last.number()).unwrap_or(0) + 1;
        let name = format!("{number:016x}{SUFFIX}");
        let mut bytes = Vec::new();
        for (group, log) in &self.logs.0 {
            codec::write(*group, &Record::Base(log.base.clone()), &mut bytes);
            codec::write(*group, &Record::HardState(log.hard_state), &mut bytes);
        }
        self.files.append(&name, &bytes)?;
        self.files.sync(&name)?;
        self.segments.push_back(Segment { name, last: BTreeMap::new() });
        (self.written, self.dirty, self.unmarked) = (bytes.len(), false, false);
        Ok(())
    }

    fn write(&mut self, group: GroupId, records: Vec<Record>) -> Result<(), StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let mut bytes = Vec::new();
        if std::mem::take(&mut self.unmarked) {
            codec::write_mark(&mut bytes);
        }
        for record in records {
            codec::write(group, &record, &mut bytes);
            if let Some(last) = self.segments.back_mut() {
                last.note(group, &record);
            }
            if !self.logs.apply(group, record) {
                return self.fail(StoreError::Damaged(format!("group {group} would have a gap")));
            }
        }
        let name = self.segments.back().map(|last| last.name.clone()).unwrap_or_default();
        self.dirty = true;
        self.written += bytes.len();
        self.files.append(&name, &bytes).or_else(|error| self.fail(error.into()))
    }

    fn fail(&mut self, error: StoreError) -> Result<(), StoreError> {
        self.broken = Some(error.clone());
        Err(error)
    }

    /// After a sync: begins another segment if this one is full, and removes those that no group
    /// needs.
    fn tidy(&mut self) -> Result<(), StoreError> {
        if self.written < self.segment_bytes {
            return Ok(());
        }
        self.begin_segment()?;
        self.remove_unneeded()?;
        if self.segments.len() > SEGMENTS_MAX {
            self.carry()?;
            self.remove_unneeded()?;
        }
        Ok(())
    }

    fn remove_unneeded(&mut self) -> Result<(), FileError> {
        while self.segments.len() > 1 && !self.is_needed(&self.segments[0]) {
            let Some(segment) = self.segments.pop_front() else { break };
            self.files.remove(&segment.name)?;
        }
        Ok(())
    }

    fn is_needed(&self, segment: &Segment) -> bool {
        let base =
            |group| self.logs.0.get(group).map_or(u64::MAX, |log: &Recovered| log.base.index);
        segment.last.iter().any(|(group, last)| *last > base(group))
    }

    /// Copies the entries of the oldest segment's groups into the newest.
    fn carry(&mut self) -> Result<(), StoreError> {
        let groups: Vec<GroupId> = self.segments[0].last.keys().copied().collect();
        for group in groups {
            let Some(log) = self.logs.0.get(&group) else { continue };
            let again = log.entries.iter().cloned().map(Record::Entry).collect();
            self.write(group, again)?;
            let count = self.segments.len() - 1;
            self.segments.iter_mut().take(count).for_each(|segment| {
                segment.last.remove(&group);
            });
        }
        self.sync_last()
    }

    fn sync_last(&mut self) -> Result<(), StoreError> {
        let name = self.segments.back().map(|last| last.name.clone()).unwrap_or_default();
        self.files.sync(&name)?;
        (self.dirty, self.unmarked) = (false, true);
        Ok(())
    }
}

impl Segment {
    fn number(&self) -> Option<u64> {
        u64::from_str_radix(self.name.strip_suffix(SUFFIX)?, 16).ok()
    }

    fn note(&mut self, group: GroupId, record: &Record) {
        if let Record::Entry(entry) = record {
            let last = self.last.entry(group).or_default();
            *last = entry.index.max(*last);
        }
    }
}

impl<F: Files> LogStore for SegmentStore<F> {
    fn recovered(&self) -> BTreeMap<GroupId, Recovered> {
        self.logs.0.clone()
    }

    fn append(&mut self, group: GroupId, entries: &[Entry]) -> Result<(), StoreError> {
        self.write(group, entries.iter().cloned().map(Record::Entry).collect())
    }

    fn set_hard_state(&mut self, group: GroupId, state: HardState) -> Result<(), StoreError> {
        self.write(group, vec![Record::HardState(state)])
    }

    fn set_base(&mut self, group: GroupId, base: &Base) -> Result<(), StoreError> {
        match self.logs.base_record(group, base) {
            Some(record) => self.write(group, vec![record]),
            None => Ok(()),
        }
    }

    fn remove(&mut self, group: GroupId) -> Result<(), StoreError> {
        self.write(group, vec![Record::Removed])
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let done = match self.dirty {
            true => self.sync_last().and_then(|()| self.tidy()),
            false => Ok(()),
        };
        done.or_else(|error| self.fail(error))
    }
}
