//! Point-in-time snapshots, written while the data change.
//!
//! fjall keeps old versions, so its own snapshot is used. With an engine that does not, every
//! commit first saves the records that it is about to change ([`CopyOnWrite`]). The writer of the
//! snapshot reads the engine first and the saved records second, so it finds a saved record for
//! every change in between. Elements of versions created after the cut need not be saved, because
//! nothing in the snapshot refers to them.

use super::backend::OrderedBackend;
use super::copying::CopyOnWrite;
use super::kv::{Frozen, OrderedKv, Read, Space, SpaceChanges, VisitRecord, scan_merged};
use super::{codec, keys, value};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use storage::{Db, Error, Locks, Result, Snapshot, SnapshotSink};

/// Records read from the engine at a time.
const SLICE_RECORDS: usize = 256;

/// The state at the cut, made of the engine's current state and the saved records.
struct SavedView {
    backend: Arc<OrderedBackend>,
    copying: Arc<CopyOnWrite>,
}

impl Read for SavedView {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let now = self.backend.kv.get(space, key)?;
        match self.copying.saved()[usize::from(space.0)].get(key) {
            Some(saved) => Ok(saved.clone()),
            None => Ok(now),
        }
    }

    /// Ascending only, which is all a snapshot needs. Slice by slice: the engine first, then the
    /// saved records of the same stretch.
    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        debug_assert!(!reverse, "snapshots are read forwards");
        let (mut lo, mut stopped) = (lo.to_vec(), false);
        while !stopped {
            let slice = Slice::read(&*self.backend.kv, space, &lo, hi)?;
            let to = slice.next.clone().unwrap_or_else(|| hi.to_vec());
            let saved = self.saved_in(space, &lo, &to);
            scan_merged(&slice, &saved, space, (&lo, &to), false, &mut |key, value| {
                stopped = !visit(key, value);
                !stopped
            })?;
            match slice.next {
                Some(next) => lo = next,
                None => break,
            }
        }
        Ok(())
    }
}

impl SavedView {
    fn saved_in(&self, space: Space, lo: &[u8], hi: &[u8]) -> SpaceChanges {
        let Some(bounds) = super::kv::bounds(lo, hi) else { return SpaceChanges::new() };
        let saved = self.copying.saved();
        let range = saved[usize::from(space.0)].range::<[u8], _>(bounds);
        range.map(|(key, value)| (key.clone(), value.clone())).collect()
    }
}

/// A stretch of records copied from the engine.
struct Slice {
    records: Vec<(Vec<u8>, Vec<u8>)>,
    /// The beginning of the next stretch, if there is one.
    next: Option<Vec<u8>>,
}

impl Slice {
    fn read(from: &dyn OrderedKv, space: Space, lo: &[u8], hi: &[u8]) -> Result<Self> {
        let mut slice = Slice { records: Vec::new(), next: None };
        from.scan(space, lo, hi, false, &mut |key, value| {
            if slice.records.len() == SLICE_RECORDS {
                slice.next = Some(key.to_vec());
                return false;
            }
            slice.records.push((key.to_vec(), value.to_vec()));
            true
        })?;
        Ok(slice)
    }
}

impl Read for Slice {
    fn get(&self, _: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let at = self.records.binary_search_by(|(at, _)| at.as_slice().cmp(key));
        Ok(at.ok().map(|at| self.records[at].1.clone()))
    }

    fn scan(&self, _: Space, _: &[u8], _: &[u8], _: bool, visit: VisitRecord<'_>) -> Result<()> {
        self.records.iter().all(|(key, value)| visit(key, value));
        Ok(())
    }
}

/// A snapshot under way.
pub(super) struct SnapshotRun {
    backend: Arc<OrderedBackend>,
    view: Box<dyn Frozen>,
    /// Logical databases, and their physical ones at the cut.
    databases: Vec<(Db, u32)>,
}

impl SnapshotRun {
    /// Locks everything, cuts, unlocks.
    pub(super) fn begin(backend: Arc<OrderedBackend>, at_cut: &mut dyn FnMut()) -> Result<Self> {
        if backend.snapshotting.swap(true, Ordering::AcqRel) {
            return Err(Error::backend("a snapshot is already being written"));
        }
        let locked = backend.lock(Locks::All);
        // The cleaner works without shard locks; it must not be in the middle of a slice.
        let cleaner = backend.cleaner.lock();
        at_cut();
        let view = match backend.kv.snapshot() {
            Some(view) => view,
            None => {
                let copying = Arc::new(CopyOnWrite::since(backend.versions.upcoming()));
                *backend.copying.write() = Some(copying.clone());
                Box::new(SavedView { backend: backend.clone(), copying })
            }
        };
        let physical = backend.physical.iter().map(|at| at.load(Ordering::Relaxed));
        let databases = (0..).zip(physical).collect();
        drop(cleaner);
        drop(locked);
        Ok(SnapshotRun { backend, view, databases })
    }

    fn write_db(&self, db: Db, physical: u32, sink: &mut dyn SnapshotSink) -> Result<()> {
        let (lo, hi) = (keys::meta_from(physical, 0), keys::meta_past(physical, u64::MAX));
        let mut result = Ok(());
        self.view.scan(keys::META, &lo, &hi, false, &mut |key, record| {
            result = self.write_key(db, key, record, sink);
            result.is_ok()
        })?;
        result
    }

    fn write_key(
        &self,
        db: Db,
        key: &[u8],
        record: &[u8],
        sink: &mut dyn SnapshotSink,
    ) -> Result<()> {
        let (head, name_at, value_at) = codec::decode_meta(record)?;
        let tagged = key.get(keys::NAME_AT..).unwrap_or_default();
        let name = keys::whole_name(tagged).unwrap_or(&record[name_at..value_at]);
        let mut out = Vec::new();
        let chunk_bytes = self.backend.kv.chunk_bytes();
        value::encode(&*self.view, &head, &record[value_at..], chunk_bytes, &mut out)?;
        sink.entry(db, name, (head.expiry_ms != 0).then_some(head.expiry_ms), &out)
    }
}

impl Snapshot for SnapshotRun {
    fn write(self: Box<Self>, sink: &mut dyn SnapshotSink) -> Result<()> {
        self.databases.iter().try_for_each(|&(db, physical)| self.write_db(db, physical, sink))
    }
}

impl Drop for SnapshotRun {
    fn drop(&mut self) {
        *self.backend.copying.write() = None;
        self.backend.snapshotting.store(false, Ordering::Release);
        // Cleaning rested meanwhile.
        self.backend.garbage.store(true, Ordering::Release);
    }
}
