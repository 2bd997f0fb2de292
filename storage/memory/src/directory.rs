//! The directory of a table, which finds the segment for a prefix of the hash.
//!
//! A directory of depth `d` has `2^d` slots, indexed by the top `d` bits of the hash. A segment of
//! local depth `l ≤ d` fills `2^(d-l)` neighbouring slots. Slots are atomics so that
//! [`storage::Backend::prefetch`] may read them without the shard's lock. It may read outdated
//! slots, but their memory must be readable. So directories of the keyspace are never returned to
//! the allocator while the backend lives; a [`Pool`] keeps them for the next table that grows to
//! that size. Segments of the keyspace are freed once every prefetch that may have found them has
//! ended.

use super::segment::Bucket;
use crossbeam_epoch as epoch;
use parking_lot::Mutex;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, Ordering::Relaxed};

/// Directories do not grow beyond `2^MAX_DEPTH` slots; segments do then instead.
pub const MAX_DEPTH: u32 = 22;

const ALIGN: usize = 64;
const DEPTH_MASK: usize = ALIGN - 1;

/// One slot: a segment, its local depth and its number of buckets, in one word, so that a reader
/// without the lock never combines one segment with another's size.
///
/// Segments are aligned to cache lines, which leaves the low six bits of an address for the depth;
/// addresses have 48 bits, which leaves the high sixteen for the number of buckets.
#[derive(Debug)]
pub struct Slot(AtomicPtr<Bucket>);

const BUCKETS_SHIFT: u32 = 48;
const ADDRESS_MASK: usize = (1 << BUCKETS_SHIFT) - 1 - DEPTH_MASK;

/// The most buckets that a slot can say.
pub const BUCKETS_MAX: u32 = u16::MAX as u32;

/// A segment as a slot describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRef {
    /// Its header line; the buckets follow. Null once swept.
    pub base: *mut Bucket,
    /// Its number of buckets.
    pub buckets: u32,
    /// The number of top bits of the hash that all its entries share.
    pub depth: u32,
}

impl SegmentRef {
    /// The bucket where an entry with this hash belongs: monotone in the hash.
    #[inline]
    pub fn home(self, hash: u64) -> usize {
        let within = (hash << self.depth) >> (64 - HOME_BITS);
        ((within * u64::from(self.buckets)) >> HOME_BITS) as usize
    }

    /// The smallest hash prefix bits (after the depth) that belong to `bucket`, as [`HOME_BITS`].
    pub fn home_start(self, bucket: usize) -> u64 {
        ((bucket as u64) << HOME_BITS).div_ceil(u64::from(self.buckets))
    }
}

/// The number of bits of the hash, below the depth, that choose the bucket.
pub const HOME_BITS: u32 = 18;

/// A pointer to a directory, with its depth in the low bits. Copied freely: who frees it is up to
/// [`super::table::Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Directory(NonNull<Slot>);

// SAFETY: a plain address; access is governed by the table that owns it, and slots are atomics.
unsafe impl Send for Directory {}

impl Directory {
    /// A directory of `2^depth` empty slots.
    fn allocate(depth: u32) -> Self {
        let layout = Self::layout(depth);
        // SAFETY: the layout is not empty: it has at least one slot.
        let raw = unsafe { alloc_zeroed(layout) }.cast::<Slot>();
        if raw.is_null() {
            handle_alloc_error(layout);
        }
        Self::tagged(raw, depth)
    }

    fn tagged(raw: *mut Slot, depth: u32) -> Self {
        let tagged = raw.map_addr(|addr| addr | depth as usize);
        // The address is not zero, so neither is it with bits added.
        NonNull::new(tagged).map_or_else(|| unreachable!("tagging null"), Directory)
    }

    fn layout(depth: u32) -> Layout {
        let bytes = size_of::<Slot>() << depth.min(MAX_DEPTH);
        Layout::from_size_align(bytes, ALIGN).unwrap_or(Layout::new::<Slot>())
    }

    /// The depth: `2^depth` slots.
    #[inline]
    pub fn depth(self) -> u32 {
        (self.0.as_ptr().addr() & DEPTH_MASK) as u32
    }

    /// The number of slots.
    pub fn len(self) -> usize {
        1 << self.depth()
    }

    /// The slot for a hash.
    #[inline]
    pub fn index(self, hash: u64) -> usize {
        // Two shifts, because shifting by 64 is undefined at depth 0.
        ((hash >> 1) >> (63 - self.depth())) as usize
    }

    /// The tagged address, to be published to prefetchers.
    pub fn as_ptr(self) -> *mut Slot {
        self.0.as_ptr()
    }

    /// The pointer that [`Directory::as_ptr`] returned, if not null.
    #[inline]
    pub fn from_ptr(tagged: *mut Slot) -> Option<Self> {
        NonNull::new(tagged).map(Directory)
    }

    /// # Safety
    /// The directory has not been freed, and `index < self.len()`.
    #[inline]
    unsafe fn slot<'a>(self, index: usize) -> &'a Slot {
        let slots = self.0.as_ptr().map_addr(|addr| addr & !DEPTH_MASK);
        // SAFETY: the caller's promise; slots are initialised (zeroed at least).
        unsafe { &*slots.add(index) }
    }

    /// Reads a slot.
    ///
    /// # Safety
    /// The directory has not been freed, and `index < self.len()`.
    #[inline]
    pub unsafe fn get(self, index: usize) -> SegmentRef {
        // SAFETY: the caller's promise.
        let word = unsafe { self.slot(index) }.0.load(Relaxed);
        SegmentRef {
            base: word.map_addr(|addr| addr & ADDRESS_MASK),
            buckets: (word.addr() >> BUCKETS_SHIFT) as u32,
            depth: (word.addr() & DEPTH_MASK) as u32,
        }
    }

    /// Writes a slot.
    ///
    /// # Safety
    /// As [`Directory::get`]; and the caller holds the table.
    #[inline]
    pub unsafe fn set(self, index: usize, segment: SegmentRef) {
        // SAFETY: the caller's promise.
        let slot = unsafe { self.slot(index) };
        let shape = (segment.buckets as usize) << BUCKETS_SHIFT | segment.depth as usize;
        slot.0.store(segment.base.map_addr(|addr| addr | shape), Relaxed);
    }
}

/// Keeps directories for reuse, so that a stale pointer to one stays readable.
#[derive(Debug, Default)]
pub struct Pool {
    free: Mutex<Vec<Directory>>,
}

impl Pool {
    /// A directory of this depth; its slots are the caller's to fill.
    fn take(&self, depth: u32) -> Directory {
        let mut free = self.free.lock();
        match free.iter().position(|directory| directory.depth() == depth) {
            Some(at) => free.swap_remove(at),
            None => Directory::allocate(depth),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        for directory in self.free.get_mut().drain(..) {
            free_now(directory);
        }
    }
}

fn free_now(directory: Directory) {
    let slots = directory.0.as_ptr().map_addr(|addr| addr & !DEPTH_MASK);
    // SAFETY: allocated in `allocate` with this layout; the callers own it and let go of it here.
    unsafe { dealloc(slots.cast(), Directory::layout(directory.depth())) }
}

/// A segment on its way to the allocator, from whatever thread gets to it.
struct Retired(SegmentRef);

// SAFETY: plain memory without any other owner.
unsafe impl Send for Retired {}

impl Retired {
    /// # Safety
    /// As [`SegmentRef::free`].
    unsafe fn free(self) {
        // SAFETY: the caller's promise.
        unsafe { self.0.free() }
    }
}

/// The place where a table's directories are allocated, and to which their memory returns.
#[derive(Clone, Debug)]
pub enum Source {
    /// The allocator: only the table's owner reads them.
    Heap,
    /// A pool: prefetchers may hold stale pointers.
    Pool(Arc<Pool>),
}

impl Source {
    /// A directory of `2^depth` slots, contents unspecified (but initialised).
    pub fn allocate(&self, depth: u32) -> Directory {
        match self {
            Source::Heap => Directory::allocate(depth),
            Source::Pool(pool) => pool.take(depth),
        }
    }

    /// Gives back the memory of a segment without dropping entries; to be called once no directory
    /// names it.
    ///
    /// # Safety
    /// It came from [`SegmentRef::allocate`], and the caller uses it no more.
    pub unsafe fn retire(&self, segment: SegmentRef) {
        match self {
            // SAFETY: the caller's promise.
            Source::Heap => unsafe { segment.free() },
            Source::Pool(_) => {
                let segment = Retired(segment);
                let guard = epoch::pin();
                // SAFETY: freed once, when no thread is left that began to read before it was
                // retired; threads that begin later do not find it.
                unsafe { guard.defer_unchecked(move || segment.free()) };
                // A segment is large, and one in hundreds of insertions retires one: none is to
                // wait for others.
                guard.flush();
            }
        }
    }

    /// Takes back a directory that nothing points to but prefetchers.
    ///
    /// # Safety
    /// It came from [`Source::allocate`] of this source, and the caller uses it no more.
    pub unsafe fn free(&self, directory: Directory) {
        match self {
            Source::Heap => free_now(directory),
            Source::Pool(pool) => {
                // Prefetchers shall not follow segments that are about to be freed for long.
                for index in 0..directory.len() {
                    let none = SegmentRef { base: ptr::null_mut(), buckets: 1, depth: 0 };
                    // SAFETY: allocated, within its length, and the caller owned it.
                    unsafe { directory.set(index, none) };
                }
                pool.free.lock().push(directory);
            }
        }
    }
}
