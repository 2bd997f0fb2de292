//! Deletes what dropped values and cleared databases left behind, in bounded slices.
//!
//! Garbage cannot be reached any more (its version or physical database is never used again), so
//! cleaning needs no shard lock. The garbage record is deleted last, so after a crash some work is
//! repeated.

use super::backend::OrderedBackend;
use super::codec;
use super::keys;
use super::kv::{Batch, Space};
use std::sync::atomic::Ordering;
use storage::{Error, Result};

/// Records deleted per slice.
const SLICE_RECORDS: usize = 512;

/// The progress of cleaning: the garbage record in work, and the next key below it. Both are
/// remembered only so that an engine with tombstones does not visit them each time.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    record: Option<Garbage>,
    from: Vec<u8>,
    searched: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Garbage {
    key: Vec<u8>,
    space: Space,
    lo: Vec<u8>,
    hi: Vec<u8>,
    /// Whether deleted records may refer to more garbage.
    nested: bool,
}

impl Garbage {
    fn parse(key: &[u8], flag: &[u8]) -> Result<Self> {
        let damaged = || Error::corrupt("a garbage record");
        let (space, lo, nested) = match key {
            [b'v', version @ ..] => (keys::ELEMENTS, version, flag == [1]),
            [b'd', physical @ ..] => (keys::META, physical, true),
            _ => return Err(damaged()),
        };
        // Neither number reaches its maximum, so adding one to the last byte carries somewhere.
        let mut hi = lo.to_vec();
        for byte in hi.iter_mut().rev() {
            *byte = byte.wrapping_add(1);
            if *byte != 0 {
                break;
            }
        }
        if lo.len() != if space == keys::META { 4 } else { 8 } {
            return Err(damaged());
        }
        Ok(Garbage { key: key.to_vec(), space, lo: lo.to_vec(), hi, nested })
    }
}

impl OrderedBackend {
    /// Cleans one slice. Returns true if there is more to do. Pauses while a snapshot copies the
    /// records that writes replace, because the snapshot may still need garbage.
    pub(super) fn clean_slice(&self) -> Result<bool> {
        if !self.garbage.load(Ordering::Acquire) {
            return Ok(false);
        }
        let Some(mut cleaner) = self.cleaner.try_lock() else { return Ok(true) };
        if self.copying.read().is_some() {
            return Ok(false);
        }
        // Cleared before checking, so that garbage added meanwhile sets it again.
        self.garbage.store(false, Ordering::Release);
        let worked = self.clean_next(&mut cleaner).inspect_err(|_| *cleaner = Cleaner::default());
        if !matches!(worked, Ok(false)) {
            self.garbage.store(true, Ordering::Release);
        }
        worked
    }

    fn clean_next(&self, cleaner: &mut Cleaner) -> Result<bool> {
        let garbage = match cleaner.record.take() {
            Some(garbage) => garbage,
            None => match self.find_garbage(cleaner)? {
                Some(garbage) => {
                    cleaner.from = garbage.lo.clone();
                    garbage
                }
                None => return Ok(false),
            },
        };
        let mut batch = Batch::default();
        let next = self.clean_records(&garbage, &cleaner.from, &mut batch)?;
        if next.is_none() {
            batch.delete(keys::GARBAGE, garbage.key.clone());
        }
        self.kv.write(batch)?;
        if let Some(next) = next {
            cleaner.from = next;
            cleaner.record = Some(garbage);
        }
        Ok(true)
    }

    /// The next garbage record, going round.
    fn find_garbage(&self, cleaner: &mut Cleaner) -> Result<Option<Garbage>> {
        for lo in [std::mem::take(&mut cleaner.searched), Vec::new()] {
            let mut found = None;
            self.kv.scan(keys::GARBAGE, &lo, &[], false, &mut |key, flag| {
                found = Some(Garbage::parse(key, flag));
                false
            })?;
            if let Some(garbage) = found.transpose()? {
                cleaner.searched = garbage.key.clone();
                return Ok(Some(garbage));
            }
        }
        Ok(None)
    }

    /// Deletes a slice of records from `from` on; where to go on, if there is more.
    fn clean_records(
        &self,
        garbage: &Garbage,
        from: &[u8],
        batch: &mut Batch,
    ) -> Result<Option<Vec<u8>>> {
        let (mut seen, mut next) = (0, None);
        self.kv.scan(garbage.space, from, &garbage.hi, false, &mut |key, record| {
            if seen == SLICE_RECORDS {
                next = Some(key.to_vec());
                return false;
            }
            seen += 1;
            if garbage.nested {
                self.leave_nested(garbage.space, key, record, batch);
            }
            batch.delete(garbage.space, key.to_vec());
            true
        })?;
        self.cleaned.fetch_add(seen as u64, Ordering::Relaxed);
        Ok(next)
    }

    /// Records what a record to be deleted refers to. A damaged record refers to nothing.
    fn leave_nested(&self, space: Space, key: &[u8], record: &[u8], batch: &mut Batch) {
        if space == keys::ELEMENTS {
            if let Ok((codec::ElementHead { chunks: Some((version, _)), .. }, ..)) =
                codec::decode_element(record)
            {
                batch.put(keys::GARBAGE, keys::garbage_version(version), vec![0]);
            }
            return;
        }
        let Ok((head, ..)) = codec::decode_meta(record) else { return };
        if let Some((version, nested)) = head.body.version() {
            batch.put(keys::GARBAGE, keys::garbage_version(version), vec![u8::from(nested)]);
        }
        if let (due @ 1.., Some(hash)) = (head.due_ms(), keys::meta_hash(key)) {
            use storage::Backend as _;
            batch.delete(keys::EXPIRY, keys::expiry(self.shard_of(hash), due, key));
        }
    }
}
