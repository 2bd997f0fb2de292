//! Buckets and segments: the cache lines in which entries are found.
//!
//! A bucket is one cache line: seven one-byte tags, one overflow counter, seven entries. An entry
//! whose home bucket is full goes to the next bucket of its segment with room; every full bucket
//! it passed counts it, so a search stops at the first bucket whose counter is zero.
//! A segment is one allocation: a header line, then its buckets.

use super::directory::SegmentRef;
use super::entry::Entry;
use super::prefetch;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};

/// Entries per bucket.
pub const WAYS: usize = 7;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const TAG_BITS: u64 = 0x0080_8080_8080_8080;

/// One cache line of a segment. The first line of a segment is its header, stored in the same
/// shape: `tags` then holds the number of entries.
#[repr(C, align(64))]
#[derive(Debug)]
pub struct Bucket {
    /// Seven tags from the low byte on (0: free), and the overflow counter in the top byte.
    tags: u64,
    slots: [Option<Entry>; WAYS],
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({:?})", self.kind())
    }
}

/// A bucket that is read for prefetching without locking the table, and the tag that is looked for.
///
/// The bytes may be changing, so the result is only a guess of what else to fetch.
#[derive(Clone, Copy)]
pub struct Probe {
    bucket: *const Bucket,
    tag: u8,
    /// Whether this is the last bucket.
    last: bool,
}

impl Probe {
    /// Nothing to look for.
    pub const NONE: Probe = Probe { bucket: std::ptr::null(), tag: 0, last: true };

    /// Sends for the bucket, and for the one behind: where entries go that find theirs full.
    #[inline(always)]
    pub fn prefetch_bucket(self) {
        prefetch::line(self.bucket.cast());
        prefetch::line(self.bucket.wrapping_add(1).cast());
    }

    /// Prefetches the entry that is probably meant.
    ///
    /// # Safety
    /// The segment's memory must stay readable meanwhile; other threads may change it.
    #[inline(always)]
    pub unsafe fn prefetch_entry(self) {
        // SAFETY: the caller's promise.
        if self.bucket.is_null() || unsafe { self.prefetch_match(self.bucket) } || self.last {
            return;
        }
        // One entry in five is not where it belongs, nearly always in the bucket behind.
        // SAFETY: the caller's promise, and there is a bucket behind.
        unsafe { self.prefetch_match(self.bucket.wrapping_add(1)) };
    }

    /// Sends for the first entry in `bucket` whose tag matches; false when there is none and
    /// looking further makes sense.
    ///
    /// # Safety
    /// `bucket` is readable.
    #[inline(always)]
    unsafe fn prefetch_match(self, bucket: *const Bucket) -> bool {
        // SAFETY: the caller's promise; a bucket begins with its tags.
        let tags = unsafe { prefetch::peek(bucket.cast()) };
        let Some(slot) = matches(tags, self.tag).next() else { return overflow(tags) == 0 };
        // SAFETY: as above: a slot of the same bucket, which holds an address or null.
        let entry = unsafe { prefetch::peek(bucket.cast::<u64>().wrapping_add(1 + slot)) };
        let entry = std::ptr::without_provenance::<u8>(entry as usize);
        prefetch::line(entry);
        prefetch::line(entry.wrapping_add(64));
        true
    }
}

/// Slots whose tag in `tags` equals `tag`, and now and then one that does not.
#[inline(always)]
fn matches(tags: u64, tag: u8) -> Matches {
    let differs = tags ^ (LOW_BITS * u64::from(tag));
    Matches(differs.wrapping_sub(LOW_BITS) & !differs & TAG_BITS)
}

/// The overflow counter in `tags`.
#[inline(always)]
fn overflow(tags: u64) -> u8 {
    (tags >> 56) as u8
}

/// The tag of a hash: bits that choose neither the shard nor the bucket; never zero.
#[inline]
pub fn tag(hash: u64) -> u8 {
    ((hash >> 12) as u8).max(1)
}

/// The set of slots whose tag may match, as bits 7, 15, …
#[derive(Clone, Copy)]
pub struct Matches(u64);

impl Iterator for Matches {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let slot = (self.0.trailing_zeros() / 8) as usize;
        self.0 &= self.0 - 1;
        Some(slot)
    }
}

/// Whether two keys are equal; those of 8 to 16 bytes, the usual ones, are compared in place.
#[inline(always)]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    match (a.first_chunk::<8>(), a.last_chunk::<8>(), b.first_chunk::<8>(), b.last_chunk::<8>()) {
        (Some(head), Some(tail), Some(other_head), Some(other_tail)) if a.len() <= 16 => {
            a.len() == b.len()
                && u64::from_ne_bytes(*head) == u64::from_ne_bytes(*other_head)
                && u64::from_ne_bytes(*tail) == u64::from_ne_bytes(*other_tail)
        }
        _ => a == b,
    }
}

impl Bucket {
    /// Slots whose tag equals `tag`, and now and then one that does not: compare keys.
    #[inline]
    pub fn matches(&self, tag: u8) -> Matches {
        matches(self.tags, tag)
    }

    /// Slots in use.
    #[inline]
    pub fn used(&self) -> Matches {
        // A byte is non-zero when its top bit is set or adding 0x7f to the rest carries into it.
        let low = (self.tags & !TAG_BITS & !(0xff << 56)) + (TAG_BITS - (TAG_BITS >> 7));
        Matches((low | self.tags) & TAG_BITS)
    }

    #[inline]
    fn free_slot(&self) -> Option<usize> {
        Matches(!self.used().0 & TAG_BITS).next()
    }

    /// The number of entries that passed this bucket because it was full (255: more than can be
    /// counted).
    #[inline]
    pub fn overflow(&self) -> u8 {
        overflow(self.tags)
    }

    /// The entry in a slot.
    #[inline]
    pub fn get(&self, slot: usize) -> Option<&Entry> {
        self.slots[slot].as_ref()
    }

    /// The entry in a slot, to change.
    #[inline]
    pub fn get_mut(&mut self, slot: usize) -> Option<&mut Entry> {
        self.slots[slot].as_mut()
    }

    /// The slot that holds `key`, among those whose tag matches.
    #[inline(always)]
    pub fn position(&self, tag: u8, key: &[u8]) -> Option<usize> {
        self.matches(tag)
            .find(|&slot| self.slots[slot].as_ref().is_some_and(|e| is_same(e.key(), key)))
    }

    fn put(&mut self, slot: usize, tag: u8, entry: Entry) {
        self.tags |= u64::from(tag) << (8 * slot);
        self.slots[slot] = Some(entry);
    }

    /// Empties a slot.
    pub fn take(&mut self, slot: usize) -> Option<Entry> {
        self.tags &= !(0xff << (8 * slot));
        self.slots[slot].take()
    }

    fn passed(&mut self) {
        if self.overflow() < u8::MAX {
            self.tags += 1 << 56;
        }
    }

    fn unpassed(&mut self) {
        // A counter that reached its limit has lost count and stays.
        if self.overflow() < u8::MAX {
            self.tags -= 1 << 56;
        }
    }
}

impl SegmentRef {
    fn layout(buckets: u32) -> Layout {
        let bytes = (buckets as usize + 1) * size_of::<Bucket>();
        Layout::from_size_align(bytes, align_of::<Bucket>()).unwrap_or(Layout::new::<Bucket>())
    }

    /// The size in bytes of an allocation with this number of buckets.
    pub fn bytes(self) -> usize {
        (self.buckets as usize + 1) * size_of::<Bucket>()
    }

    /// An empty segment.
    pub fn allocate(buckets: u32, depth: u32) -> Self {
        let layout = Self::layout(buckets);
        // SAFETY: the layout is not empty. Zero bytes are a valid `Bucket`: no tags, and `None`
        // in every slot (`Option<Entry>` has the null pointer as its niche).
        let base = unsafe { alloc_zeroed(layout) }.cast::<Bucket>();
        if base.is_null() {
            handle_alloc_error(layout);
        }
        SegmentRef { base, buckets, depth }
    }

    /// Gives the memory back without dropping entries.
    ///
    /// # Safety
    /// The segment came from [`SegmentRef::allocate`] and is used no more.
    pub unsafe fn free(self) {
        // SAFETY: the caller's promise; the layout follows from the number of buckets.
        unsafe { dealloc(self.base.cast(), Self::layout(self.buckets)) }
    }

    /// A bucket, for reading.
    ///
    /// # Safety
    /// The segment is live, `index < buckets`, and no thread changes that bucket while the returned
    /// reference is used.
    #[inline]
    pub unsafe fn bucket<'a>(self, index: usize) -> &'a Bucket {
        debug_assert!(index < self.buckets as usize);
        // SAFETY: the caller's promise; the header comes first.
        unsafe { &*self.base.add(1 + index) }
    }

    /// A bucket, to change.
    ///
    /// # Safety
    /// The segment is live, `index < buckets`, and nothing else refers to that bucket while the
    /// returned reference is used.
    #[inline]
    pub unsafe fn bucket_mut<'a>(self, index: usize) -> &'a mut Bucket {
        debug_assert!(index < self.buckets as usize);
        // SAFETY: the caller's promise; the header comes first.
        unsafe { &mut *self.base.add(1 + index) }
    }

    /// The place at which the entry of `hash` would be prefetched; no place if there is no segment.
    #[inline(always)]
    pub fn probe(self, hash: u64) -> Probe {
        let home = self.home(hash);
        let bucket = self.base.wrapping_add(1 + home);
        Probe { bucket, tag: tag(hash), last: home + 1 >= self.buckets as usize }
    }

    /// The number of entries.
    ///
    /// # Safety
    /// The segment is live, and no thread changes it meanwhile.
    #[inline]
    pub unsafe fn count(self) -> u64 {
        // SAFETY: the caller's promise; the header line was zeroed by `allocate`.
        unsafe { (*self.base).tags }
    }

    /// # Safety
    /// The segment is live and owned by the caller.
    #[inline]
    unsafe fn add_count(self, change: i64) {
        // SAFETY: the caller's promise.
        unsafe { (*self.base).tags = (*self.base).tags.wrapping_add_signed(change) }
    }

    /// The bucket and the slot of `key`.
    ///
    /// # Safety
    /// The segment is live and not being changed.
    #[inline(always)]
    pub unsafe fn find(self, hash: u64, key: &[u8]) -> Option<(usize, usize)> {
        let (tag, home) = (tag(hash), self.home(hash));
        let mut at = home;
        // Nearly always it is the first slot that may be it, in the home bucket or the one behind.
        for _ in 0..2 {
            // SAFETY: the caller's promise; `home` and `next` are below `buckets`.
            let bucket = unsafe { self.bucket(at) };
            if let Some(slot) = bucket.matches(tag).next() {
                if bucket.slots[slot].as_ref().is_some_and(|entry| is_same(entry.key(), key)) {
                    return Some((at, slot));
                }
                break;
            }
            if bucket.overflow() == 0 {
                return None;
            }
            at = self.next(at);
        }
        // SAFETY: the caller's promise.
        unsafe { self.find_further(tag, home, key) }
    }

    /// [`SegmentRef::find`] without shortcut, from bucket `at` on.
    ///
    /// # Safety
    /// As [`SegmentRef::find`], and `at < buckets`.
    #[inline(never)]
    unsafe fn find_further(self, tag: u8, mut at: usize, key: &[u8]) -> Option<(usize, usize)> {
        for _ in 0..self.buckets {
            // SAFETY: the caller's promise; `home` and `next` stay below `buckets`.
            let bucket = unsafe { self.bucket(at) };
            if let Some(slot) = bucket.position(tag, key) {
                return Some((at, slot));
            }
            if bucket.overflow() == 0 {
                return None;
            }
            at = self.next(at);
        }
        None
    }

    /// The bucket after `at`, around the end.
    #[inline]
    pub fn next(self, at: usize) -> usize {
        if at + 1 == self.buckets as usize { 0 } else { at + 1 }
    }

    /// Adds an entry that is not there; the bucket and slot it went to.
    ///
    /// # Safety
    /// The segment is live, owned by the caller, and has a free slot.
    pub unsafe fn insert(self, hash: u64, entry: Entry) -> (usize, usize) {
        let mut at = self.home(hash);
        loop {
            // SAFETY: the caller's promise; indices stay below `buckets`. The loop ends because
            // there is a free slot.
            let bucket = unsafe { self.bucket_mut(at) };
            if let Some(slot) = bucket.free_slot() {
                bucket.put(slot, tag(hash), entry);
                // SAFETY: as above, for the header, which is no bucket.
                unsafe { self.add_count(1) };
                return (at, slot);
            }
            bucket.passed();
            at = self.next(at);
        }
    }

    /// Removes the entry with this hash from where it was found.
    ///
    /// # Safety
    /// The segment is live, owned by the caller, and `(bucket, slot)` is where
    /// [`SegmentRef::find`] found an entry with this hash.
    pub unsafe fn remove(self, hash: u64, bucket: usize, slot: usize) -> Option<Entry> {
        let mut at = self.home(hash);
        while at != bucket {
            // SAFETY: the caller's promise; indices stay below `buckets`.
            unsafe { self.bucket_mut(at) }.unpassed();
            at = self.next(at);
        }
        // SAFETY: as above, and the header is no bucket.
        unsafe {
            self.add_count(-1);
            self.bucket_mut(bucket).take(slot)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Payload;
    use storage::tx::Kind;

    #[test]
    fn tags_in_use_and_matching() {
        let mut bucket = Bucket { tags: 0, slots: Default::default() };
        for (slot, tag) in [(0, 1), (2, 0x80), (5, 0xff), (6, 0x7f)] {
            bucket.put(slot, tag, Entry::new(Kind::String, b"k", Payload::Inline(b""), None));
        }
        bucket.passed();
        assert_eq!(bucket.used().collect::<Vec<_>>(), [0, 2, 5, 6]);
        assert!(bucket.matches(0x80).any(|slot| slot == 2));
        assert!(bucket.matches(0x7f).any(|slot| slot == 6));
        assert_eq!(bucket.matches(0x33).count(), 0);
        assert_eq!(bucket.free_slot(), Some(1));
        assert_eq!(bucket.overflow(), 1);
    }
}
