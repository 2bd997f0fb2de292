//! [`OrderedKv`]: the interface that a disk engine must implement to carry every data type.
//!
//! Adding an engine is one file implementing this trait, one line in [`super::Engine`] and one line
//! that runs the suite on it.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use storage::{Error, Result};

/// A keyspace (column family): an independent ordering of keys. The number indexes the names that
/// the engine was opened with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space(pub u8);

/// The largest number of keyspaces of an engine.
pub const SPACES_MAX: usize = 8;

/// Longest key a caller may use, bytes (fjall's limit is 65,535).
pub const KEY_BYTES_MAX: usize = 60_000;

/// The callback of [`Read::scan`]: key and value; returning false stops.
pub type VisitRecord<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// Reading records: an engine, a snapshot of one, or a transaction's view.
pub trait Read {
    /// The value of a key.
    ///
    /// # Errors
    /// Fails with the engine's error, as [`Error::Backend`].
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the records with `lo <= key < hi` in ascending order, or in descending order if
    /// `reverse`. An empty `hi` means no upper bound. Finding the first takes O(log n). A record is
    /// visited with its value at the time when the scan reaches it; records that are not written
    /// meanwhile are visited exactly once.
    ///
    /// # Errors
    /// Fails with the engine's error, as [`Error::Backend`].
    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()>;
}

/// An ordered key-value engine.
///
/// Promises: the keys of a space are ordered as bytes. Any number of threads may call at the same
/// time. After [`OrderedKv::write`] has returned, every later read sees what it wrote. After a
/// crash, the data are those of a prefix of the batches in the order in which they were written,
/// each complete or not at all. After [`OrderedKv::flush`] has returned, that prefix contains
/// everything written before the call, even after a power failure. Failures are errors, never
/// panics.
pub trait OrderedKv: Read + Send + Sync {
    /// The engine's name on the command line.
    fn name(&self) -> &'static str;

    /// The size in bytes above which values are split: the largest that the engine stores without
    /// special treatment. It is part of the format, so it must never change for an engine of this
    /// name.
    fn chunk_bytes(&self) -> usize;

    /// Applies a batch: after a crash all of it is there or nothing. Threads that read its keys
    /// before this returns may see a part, so the caller keeps them locked.
    ///
    /// # Errors
    /// None of it is then visible; an engine that cannot take back a part refuses everything from
    /// then on. After a failing disk, whether it is there after a restart is open, but not in part.
    fn write(&self, batch: Batch) -> Result<()>;

    /// Makes every batch written before the call survive power loss.
    ///
    /// # Errors
    /// If it fails, nothing may be assumed to be durable.
    fn flush(&self) -> Result<()>;

    /// A frozen view of everything, where the engine keeps old versions by itself.
    fn snapshot(&self) -> Option<Box<dyn Frozen>> {
        None
    }

    /// Approximate bytes on disk.
    fn disk_bytes(&self) -> u64;

    /// Engine-specific figures, name and value.
    fn details(&self) -> Vec<(&'static str, String)>;
}

/// A view that does not change, and can be handed to another thread.
pub trait Frozen: Read + Send {}
impl<T: Read + Send> Frozen for T {}

/// Changes per key of one space: `None` deletes.
pub type SpaceChanges = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Changes to apply atomically; also the overlay that a transaction reads its own writes from.
#[derive(Debug, Default)]
pub struct Batch {
    spaces: [SpaceChanges; SPACES_MAX],
}

impl Batch {
    /// Sets a key.
    pub fn put(&mut self, space: Space, key: Vec<u8>, value: Vec<u8>) {
        self.spaces[usize::from(space.0)].insert(key, Some(value));
    }

    /// Deletes a key, present or not.
    pub fn delete(&mut self, space: Space, key: Vec<u8>) {
        self.spaces[usize::from(space.0)].insert(key, None);
    }

    /// Removes a key from the batch, for keys that exist nowhere else.
    pub fn forget(&mut self, space: Space, key: &[u8]) {
        self.spaces[usize::from(space.0)].remove(key);
    }

    /// Returns the batch's change of a key, if it has one.
    pub fn get(&self, space: Space, key: &[u8]) -> Option<Option<&[u8]>> {
        self.spaces[usize::from(space.0)].get(key).map(Option::as_deref)
    }

    /// The changes of one space.
    pub fn space(&self, space: Space) -> &SpaceChanges {
        &self.spaces[usize::from(space.0)]
    }

    /// Number of changes.
    pub fn len(&self) -> usize {
        self.spaces.iter().map(BTreeMap::len).sum()
    }

    /// Bytes of keys and values.
    pub fn bytes(&self) -> u64 {
        let changes = self.spaces.iter().flatten();
        changes.map(|(key, value)| (key.len() + value.as_ref().map_or(0, Vec::len)) as u64).sum()
    }

    /// Whether there are no changes.
    pub fn is_empty(&self) -> bool {
        self.spaces.iter().all(BTreeMap::is_empty)
    }

    /// All changes, by space and key.
    pub fn into_changes(self) -> impl Iterator<Item = (Space, Vec<u8>, Option<Vec<u8>>)> {
        self.spaces.into_iter().zip(0u8..).flat_map(|(changes, number)| {
            changes.into_iter().map(move |(key, value)| (Space(number), key, value))
        })
    }
}

/// The bounds of a range of keys.
pub type Bounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// The bounds `lo..hi` for a map, `None` when nothing can be in between.
pub fn bounds<'a>(lo: &'a [u8], hi: &'a [u8]) -> Option<Bounds<'a>> {
    match hi {
        [] => Some((Bound::Included(lo), Bound::Unbounded)),
        hi if lo < hi => Some((Bound::Included(lo), Bound::Excluded(hi))),
        _ => None,
    }
}

/// Visits the records of `base` as changed by `changes`.
pub fn scan_merged(
    base: &dyn Read,
    changes: &SpaceChanges,
    space: Space,
    (lo, hi): (&[u8], &[u8]),
    reverse: bool,
    visit: VisitRecord<'_>,
) -> Result<()> {
    let Some(bounds) = bounds(lo, hi) else { return Ok(()) };
    let range = changes.range::<[u8], _>(bounds);
    if range.clone().next().is_none() {
        return base.scan(space, lo, hi, reverse, visit);
    }
    let mut forward = range.clone();
    let mut backward = range.rev();
    let next: &mut dyn Iterator<Item = (&Vec<u8>, &Option<Vec<u8>>)> =
        if reverse { &mut backward } else { &mut forward };
    let mut next = next.peekable();
    let mut stopped = false;
    base.scan(space, lo, hi, reverse, &mut |key, value| {
        while let Some((changed, to)) = next.peek() {
            let order = changed.as_slice().cmp(key);
            let order = if reverse { order.reverse() } else { order };
            if order.is_gt() {
                break;
            }
            if let Some(to) = to {
                stopped |= !visit(changed, to);
            }
            next.next();
            if stopped || order.is_eq() {
                return !stopped;
            }
        }
        stopped |= !visit(key, value);
        !stopped
    })?;
    for (key, value) in next {
        match value {
            Some(value) if !stopped => stopped |= !visit(key, value),
            _ => {}
        }
    }
    Ok(())
}

/// Calls into an engine, turning a panic inside it into an error: both engines panic on states they
/// believe impossible, a failed background thread among them.
pub fn guarded<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let cause = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("unknown cause");
        Err(Error::backend(format_args!("the engine panicked in {what}: {cause}")))
    })
}
