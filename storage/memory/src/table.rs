//! The hash table: entries in cache-line buckets, buckets in segments, segments by hash prefix.
//!
//! Extendible hashing: a segment that fills up moves to the next larger size, and the largest
//! splits in two; both move at most [`LINES`]' last size worth of entries (under fourteen hundred),
//! so no insertion ever pays for more. Several sizes per doubling keep the load between 0.7 and
//! 0.87: about twelve bytes per entry beside the entry itself.
//!
//! Within and across segments, buckets are in the order of the hash. A scan walks the hash space,
//! so its cursor means the same whatever grew, shrank or split meanwhile.

use super::directory::{BUCKETS_MAX, Directory, HOME_BITS, MAX_DEPTH, SegmentRef, Source};
use super::entry::Entry;
use super::hashing::Hasher;
use super::prefetch;
use super::segment::WAYS;
use std::ptr::NonNull;
use storage::random::mix;

/// Cache lines per segment, header included: powers of two while a table is small, then four steps
/// per doubling, each a size class of the allocator. The segments of a large table all outgrow a
/// size at about the same time, and leave its slabs with a few live segments each. So those sizes
/// (two pages to three and a half) are such that a slab is one segment, or two.
const LINES: [u32; 16] = [2, 4, 8, 16, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224];
/// Segments of split tables start here.
const SPLIT_BUCKETS: u32 = 127;
/// The distance, in buckets, from the bucket being moved to the one whose entries are prefetched.
const MOVE_AHEAD: usize = 6;
const MAX_BUCKETS: u32 = LINES[LINES.len() - 1] - 1;

/// The number of top bits of a hash that a cursor keeps: enough to name every bucket of the deepest
/// table.
pub const CURSOR_BITS: u32 = MAX_DEPTH + HOME_BITS;

/// A set of entries with distinct keys. The caller brings the hashes.
#[derive(Debug)]
pub struct Table {
    directory: Directory,
    len: usize,
    /// Bytes of segments and directory.
    own_bytes: usize,
    /// Directory slots below this one have been swept: their segments are gone.
    swept: usize,
    source: Source,
}

/// An entry that was found, with the table held. Small, because it is handed through several
/// functions on the way of every command.
#[derive(Debug)]
pub struct Occupied<'t> {
    table: &'t mut Table,
    hash: u64,
    /// The slot, which is in use.
    entry: NonNull<Entry>,
}

impl<'t> Occupied<'t> {
    /// The entry.
    #[inline]
    pub fn get(&self) -> &Entry {
        // SAFETY: the slot was found in use in this table, which has been borrowed ever since.
        unsafe { self.entry.as_ref() }
    }

    /// The entry, to change; not its key.
    #[inline]
    pub fn get_mut(&mut self) -> &mut Entry {
        // SAFETY: as in `get`, and `&mut self` makes the access exclusive.
        unsafe { self.entry.as_mut() }
    }

    /// The entry, for as long as the table is borrowed.
    #[inline]
    pub fn into_mut(mut self) -> &'t mut Entry {
        // SAFETY: as in `get`; the exclusive borrow of the table moves into the result.
        unsafe { self.entry.as_mut() }
    }

    /// Takes the entry out.
    pub fn remove(self, hasher: &Hasher) -> Entry {
        let segment = self.table.segment(self.hash);
        // SAFETY: the segment is live and ours, and the entry, found in it, is still there.
        let entry = unsafe {
            let place = segment.find(self.hash, self.get().key());
            place.and_then(|(bucket, slot)| segment.remove(self.hash, bucket, slot))
        };
        self.table.len -= 1;
        self.table.shrink(hasher, self.hash);
        entry.unwrap_or_else(|| unreachable!("a found slot is in use"))
    }
}

impl Table {
    /// An empty table.
    pub fn new(source: Source) -> Self {
        let directory = source.allocate(0);
        let first = SegmentRef::allocate(LINES[0] - 1, 0);
        // SAFETY: just allocated, with one slot.
        unsafe { directory.set(0, first) };
        let own_bytes = first.bytes() + directory_bytes(directory);
        Table { directory, len: 0, own_bytes, swept: 0, source }
    }

    /// The number of entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Bytes of the table itself, entries not included.
    #[inline]
    pub fn own_bytes(&self) -> usize {
        self.own_bytes
    }

    /// The directory, to be published to prefetchers.
    #[inline]
    pub fn directory(&self) -> Directory {
        self.directory
    }

    #[inline]
    fn segment(&self, hash: u64) -> SegmentRef {
        // SAFETY: the table owns its directory, and an index of a hash is below its length.
        unsafe { self.directory.get(self.directory.index(hash)) }
    }

    /// The entry with this key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        let segment = self.segment(hash);
        // SAFETY: segments in the directory are live while the table is borrowed.
        unsafe {
            let (bucket, slot) = segment.find(hash, key)?;
            segment.bucket(bucket).get(slot)
        }
    }

    /// The entry with this key, to change or remove.
    #[inline(always)]
    pub fn find(&mut self, hash: u64, key: &[u8]) -> Option<Occupied<'_>> {
        let segment = self.segment(hash);
        // SAFETY: segments in the directory are live while the table is borrowed, and ours.
        let entry = unsafe {
            let (bucket, slot) = segment.find(hash, key)?;
            NonNull::from(segment.bucket_mut(bucket).get_mut(slot)?)
        };
        Some(Occupied { table: self, hash, entry })
    }

    /// Adds an entry whose key is not there yet.
    pub fn insert(&mut self, hasher: &Hasher, hash: u64, entry: Entry) -> &mut Entry {
        self.make_room(hasher, hash);
        let segment = self.segment(hash);
        // SAFETY: the segment is live and the table is ours; `make_room` left a free slot.
        let (bucket, slot) = unsafe { segment.insert(hash, entry) };
        self.len += 1;
        // SAFETY: just filled, and the table stays borrowed.
        let bucket = unsafe { segment.bucket_mut(bucket) };
        bucket.get_mut(slot).unwrap_or_else(|| unreachable!("a filled slot is in use"))
    }

    /// Grows or splits until the segment of `hash` is below its limit.
    fn make_room(&mut self, hasher: &Hasher, hash: u64) {
        loop {
            let segment = self.segment(hash);
            // SAFETY: the segment is live and the table is ours.
            if unsafe { segment.count() } < limit(segment.buckets) {
                return;
            }
            self.grow(hasher, hash, segment);
        }
    }

    #[cold]
    fn grow(&mut self, hasher: &Hasher, hash: u64, segment: SegmentRef) {
        let next = LINES.iter().map(|lines| lines - 1).find(|&n| n > segment.buckets);
        match next {
            Some(buckets) => self.resize(hasher, hash, segment, buckets),
            None if segment.depth < MAX_DEPTH => self.split(hasher, hash, segment),
            None => {
                // Three billion keys, or a keyed hash that sent a million of them one way.
                assert!(segment.buckets <= BUCKETS_MAX / 2, "a segment outgrew its slot");
                self.resize(hasher, hash, segment, segment.buckets * 2);
            }
        }
    }

    /// The slots a segment fills: first and number.
    fn slots_of(&self, hash: u64, depth: u32) -> (usize, usize) {
        let spare = self.directory.depth() - depth;
        (self.directory.index(hash) >> spare << spare, 1 << spare)
    }

    fn set_slots(&mut self, first: usize, count: usize, segment: SegmentRef) {
        for index in first..first + count {
            // SAFETY: the table owns its directory, and `slots_of` gives slots within it.
            unsafe { self.directory.set(index, segment) };
        }
    }

    fn resize(&mut self, hasher: &Hasher, hash: u64, old: SegmentRef, buckets: u32) {
        let new = SegmentRef::allocate(buckets, old.depth);
        self.own_bytes += new.bytes();
        let (first, count) = self.slots_of(hash, old.depth);
        self.set_slots(first, count, new);
        self.move_entries(hasher, old);
    }

    fn split(&mut self, hasher: &Hasher, hash: u64, old: SegmentRef) {
        if old.depth == self.directory.depth() {
            self.double();
        }
        let (first, count) = self.slots_of(hash, old.depth);
        for half in 0..2 {
            let new = SegmentRef::allocate(self.split_buckets(old), old.depth + 1);
            self.own_bytes += new.bytes();
            self.set_slots(first + half * (count / 2), count / 2, new);
        }
        self.move_entries(hasher, old);
    }

    /// The size each half of a split starts with: the usual one, unless a hash so skewed that one
    /// half gets nearly everything could fill it.
    fn split_buckets(&self, old: SegmentRef) -> u32 {
        if old.buckets > MAX_BUCKETS { old.buckets } else { SPLIT_BUCKETS }
    }

    fn double(&mut self) {
        let old = self.directory;
        let new = self.source.allocate(old.depth() + 1);
        for index in 0..old.len() {
            // SAFETY: both directories are ours, the new one twice as long.
            unsafe {
                let segment = old.get(index);
                new.set(2 * index, segment);
                new.set(2 * index + 1, segment);
            }
        }
        self.own_bytes += directory_bytes(new) - directory_bytes(old);
        self.directory = new;
        // SAFETY: it came from this source, and the table no longer uses it.
        unsafe { self.source.free(old) };
    }

    /// Moves all entries of a segment that the directory no longer names to where they belong
    /// now, and frees it.
    fn move_entries(&mut self, hasher: &Hasher, old: SegmentRef) {
        let buckets = old.buckets as usize;
        (0..MOVE_AHEAD.min(buckets)).for_each(|at| prefetch_entries(old, at));
        for at in 0..buckets {
            if at + MOVE_AHEAD < buckets {
                prefetch_entries(old, at + MOVE_AHEAD);
            }
            // SAFETY: the old segment is still live, and ours alone now.
            let bucket = unsafe { old.bucket_mut(at) };
            for slot in bucket.used() {
                let Some(entry) = bucket.take(slot) else { continue };
                let hash = hasher.hash(entry.key());
                self.make_free_slot(hasher, hash);
                // SAFETY: a live segment of ours, with a free slot.
                unsafe { self.segment(hash).insert(hash, entry) };
            }
        }
        self.own_bytes -= old.bytes();
        // SAFETY: allocated by `SegmentRef::allocate`, empty, and no slot refers to it.
        unsafe { self.source.retire(old) };
    }

    /// Moved entries go by the number of slots, not by the load limit; this grows only when a
    /// split was so uneven that a half is full.
    fn make_free_slot(&mut self, hasher: &Hasher, hash: u64) {
        let segment = self.segment(hash);
        // SAFETY: the segment is live and the table is ours.
        if unsafe { segment.count() } == u64::from(segment.buckets) * WAYS as u64 {
            self.grow(hasher, hash, segment);
        }
    }

    /// After a removal: gives memory back when the segment has become mostly empty.
    fn shrink(&mut self, hasher: &Hasher, hash: u64) {
        let segment = self.segment(hash);
        // SAFETY: the segment is live and the table is ours.
        let count = unsafe { segment.count() };
        if count * 4 >= limit(segment.buckets) || segment.buckets < LINES[1] {
            return;
        }
        if segment.buckets <= SPLIT_BUCKETS && segment.depth > 0 {
            self.merge(hasher, hash, segment, count);
        } else if let Some(buckets) = fitting(count).filter(|&n| n < segment.buckets) {
            let least = if segment.depth > 0 { SPLIT_BUCKETS } else { 1 };
            if buckets.max(least) < segment.buckets {
                self.resize(hasher, hash, segment, buckets.max(least));
            }
        }
    }

    /// Joins a nearly empty segment with its neighbour, if that is nearly empty, too.
    fn merge(&mut self, hasher: &Hasher, hash: u64, segment: SegmentRef, count: u64) {
        let buddy_hash = hash ^ (1 << (64 - segment.depth));
        let buddy = self.segment(buddy_hash);
        // SAFETY: the segment is live and the table is ours.
        let total = count + unsafe { buddy.count() };
        if buddy.depth != segment.depth || total * 2 > limit(SPLIT_BUCKETS) {
            return;
        }
        let new = SegmentRef::allocate(SPLIT_BUCKETS, segment.depth - 1);
        self.own_bytes += new.bytes();
        let (first, slots) = self.slots_of(hash, new.depth);
        self.set_slots(first, slots, new);
        self.move_entries(hasher, segment);
        self.move_entries(hasher, buddy);
    }

    // -- walking ---------------------------------------------------------------------------------

    /// Visits the entries of the bucket that hash position `at` belongs to, those before `at`
    /// left out; the position of the next bucket, or `None` at the end.
    pub fn visit_bucket(
        &self,
        hasher: &Hasher,
        at: u64,
        visit: &mut dyn FnMut(&Entry, u64),
    ) -> Option<u64> {
        let segment = self.segment(at);
        let home = segment.home(at);
        let mut index = home;
        for _ in 0..segment.buckets {
            // SAFETY: the segment is live while the table is borrowed; indices are below
            // `buckets`.
            let bucket = unsafe { segment.bucket(index) };
            for entry in bucket.used().filter_map(|slot| bucket.get(slot)) {
                let hash = hasher.hash(entry.key());
                if segment.home(hash) == home && hash >= at {
                    visit(entry, hash);
                }
            }
            if bucket.overflow() == 0 {
                break;
            }
            index = segment.next(index);
        }
        next_position(segment, at, home)
    }

    /// As [`Table::visit_bucket`], with entries to change (not their keys).
    pub fn visit_bucket_mut(
        &mut self,
        hasher: &Hasher,
        at: u64,
        visit: &mut dyn FnMut(&mut Entry),
    ) -> Option<u64> {
        let segment = self.segment(at);
        let home = segment.home(at);
        let mut index = home;
        for _ in 0..segment.buckets {
            // SAFETY: as in `visit_bucket`, and `&mut self` makes the access exclusive.
            let bucket = unsafe { segment.bucket_mut(index) };
            for slot in bucket.used() {
                let Some(entry) = bucket.get_mut(slot) else { continue };
                let hash = hasher.hash(entry.key());
                if segment.home(hash) == home && hash >= at {
                    visit(entry);
                }
            }
            if bucket.overflow() == 0 {
                break;
            }
            index = segment.next(index);
        }
        next_position(segment, at, home)
    }

    /// Visits about `count` entries from `cursor` on; the next cursor, 0 at the end. Entries that
    /// are there all the time between the first call and the last are visited.
    pub fn scan(
        &self,
        hasher: &Hasher,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&Entry),
    ) -> u64 {
        let mut at = cursor << (64 - CURSOR_BITS);
        let mut visited = 0;
        // A sparse table must not be walked to its end for a handful of entries.
        for _ in 0..count.saturating_mul(10).max(1) {
            let next = self.visit_bucket(hasher, at, &mut |entry, _| {
                visited += 1;
                visit(entry);
            });
            match next {
                None => return 0,
                Some(next) => at = next,
            }
            if visited >= count {
                break;
            }
        }
        at >> (64 - CURSOR_BITS)
    }

    /// Visits every entry until `visit` says false.
    pub fn for_each(&self, visit: &mut dyn FnMut(&Entry) -> bool) {
        let mut index = self.swept;
        while index < self.directory.len() {
            // SAFETY: the table owns its directory, and the index is below its length.
            let segment = unsafe { self.directory.get(index) };
            let mut going = true;
            for_each_entry(segment, |entry| going = going && visit(entry));
            if !going {
                return;
            }
            index += 1 << (self.directory.depth() - segment.depth);
        }
    }

    /// An entry chosen by `random`; every one is about equally likely.
    pub fn random(&self, mut random: u64) -> Option<&Entry> {
        if self.len == 0 {
            return None;
        }
        for _ in 0..256 {
            random = mix(random);
            let segment = self.segment(random);
            let slot = (random % WAYS as u64) as usize;
            // SAFETY: the segment is live while the table is borrowed; `home` is below `buckets`.
            let bucket = unsafe { segment.bucket(segment.home(random)) };
            if let Some(entry) = bucket.get(slot) {
                return Some(entry);
            }
        }
        self.first_from(random)
    }

    /// The first entry in the buckets from a hash on, around the end.
    fn first_from(&self, start: u64) -> Option<&Entry> {
        let slots = self.directory.len();
        let start = self.directory.index(start);
        (0..slots).find_map(|step| {
            // SAFETY: the table owns its directory, and the index is below its length.
            let segment = unsafe { self.directory.get((start + step) % slots) };
            (0..segment.buckets as usize).find_map(|at| {
                // SAFETY: the segment is live while the table is borrowed.
                let bucket = unsafe { segment.bucket(at) };
                bucket.used().next().and_then(|slot| bucket.get(slot))
            })
        })
    }

    /// Frees one segment of a table that is no longer needed, passing its entries to `take`.
    /// Returns false if nothing is left. After the first call nothing else may be done with the
    /// table.
    pub fn sweep(&mut self, take: &mut dyn FnMut(Entry)) -> bool {
        if self.swept >= self.directory.len() {
            return false;
        }
        // SAFETY: the table owns its directory, and the index is below its length.
        let segment = unsafe { self.directory.get(self.swept) };
        self.swept += 1 << (self.directory.depth() - segment.depth);
        for at in 0..segment.buckets as usize {
            // SAFETY: the segment is live and ours.
            let bucket = unsafe { segment.bucket_mut(at) };
            for slot in bucket.used() {
                if let Some(entry) = bucket.take(slot) {
                    self.len -= 1;
                    take(entry);
                }
            }
        }
        // SAFETY: empty now; the slots naming it lie below `swept` and are not read again.
        unsafe { self.source.retire(segment) };
        self.swept < self.directory.len()
    }
}

/// Sends for the entries of one bucket of a segment that the caller holds.
fn prefetch_entries(segment: SegmentRef, at: usize) {
    // SAFETY: callers hold the table, and with it the segment; `at` is below its `buckets`.
    let bucket = unsafe { segment.bucket(at) };
    bucket.used().filter_map(|slot| bucket.get(slot)).for_each(|e| prefetch::line(e.address()));
}

fn for_each_entry(segment: SegmentRef, mut visit: impl FnMut(&Entry)) {
    for at in 0..segment.buckets as usize {
        // SAFETY: callers hold the table, and with it the segment.
        let bucket = unsafe { segment.bucket(at) };
        for slot in bucket.used() {
            if let Some(entry) = bucket.get(slot) {
                visit(entry);
            }
        }
    }
}

/// The hash position where the bucket after `home` begins.
fn next_position(segment: SegmentRef, at: u64, home: usize) -> Option<u64> {
    let prefix = if segment.depth == 0 { 0 } else { at >> (64 - segment.depth) };
    let within = segment.home_start(home + 1);
    // `prefix` then `within`, as one number of `depth + HOME_BITS` bits.
    let position = (u128::from(prefix) << HOME_BITS) + u128::from(within);
    let position = position << (64 - HOME_BITS - segment.depth);
    u64::try_from(position).ok()
}

/// The number of entries that a segment holds before it grows: seven eighths of its slots.
fn limit(buckets: u32) -> u64 {
    u64::from(buckets) * WAYS as u64 * 7 / 8
}

/// The smallest usual number of buckets that `count` entries fill to at most two thirds.
fn fitting(count: u64) -> Option<u32> {
    LINES.iter().map(|lines| lines - 1).find(|&n| count * 3 <= u64::from(n) * WAYS as u64 * 2)
}

fn directory_bytes(directory: Directory) -> usize {
    directory.len() * 16
}

impl Drop for Table {
    fn drop(&mut self) {
        while self.sweep(&mut drop) {}
        // SAFETY: it came from this source, and the table ends here.
        unsafe { self.source.free(self.directory) };
    }
}
