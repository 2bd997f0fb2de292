//! One allocation for header, expiry, key and value: what the table's slots point to.
//!
//! ```text
//! offset 0   header, 8 bytes: kind, flags, key length, value length, access clock, frequency
//!        8   expiry, Unix ms            if EXPIRY
//!            value, `Value`             if BOXED
//!            key length, 8 bytes        if LONG_KEY
//!            key
//!            value bytes                unless BOXED
//! ```
//!
//! The allocation is rounded up to the allocator's size class, so that a value can be overwritten
//! in place as long as the class stays the same, and its size can be computed from the header
//! alone. Keys of the keyspace, fields of large hashes, and members of large sets and sorted sets
//! are all entries, so one kind of table serves them all.

use super::size::size_class;
use super::value::Value;
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};
use storage::tx::Kind;

/// Strings from this length on live outside the entry, shared with replies.
pub const INLINE_MAX: usize = (1 << 14) - 1;
const KEY_INLINE_MAX: usize = (1 << 12) - 1;

const KIND_MASK: u64 = 0b111;
/// Four flags from here on include all that decide where the key is.
const LAYOUT_SHIFT: u32 = 3;
const EXPIRY: u64 = 1 << 3;
const EPOCH: u64 = 1 << 4;
const BOXED: u64 = 1 << 5;
const LONG_KEY: u64 = 1 << 6;
const RAW: u64 = 1 << 7;
const KEY_LEN_SHIFT: u32 = 8;
const VALUE_LEN_SHIFT: u32 = 20;
const CLOCK_SHIFT: u32 = 34;
const FREQ_SHIFT: u32 = 56;
const KEY_LEN_MASK: u64 = 0xfff << KEY_LEN_SHIFT;
const VALUE_LEN_MASK: u64 = 0x3fff << VALUE_LEN_SHIFT;
/// The access clock counts seconds in 22 bits: it wraps after 48 days.
const CLOCK_MASK: u64 = 0x3f_ffff;
/// A new key starts here so that it is not the first to be evicted; Redis's `LFU_INIT_VAL`.
const FREQ_INIT: u64 = 5;

/// The value that an entry is made from.
pub enum Payload<'a> {
    /// A short string, or a member's raw bytes.
    Inline(&'a [u8]),
    /// A large string or a collection.
    Boxed(Value),
}

/// An owned key and value. As large as a pointer; never null, so `Option<Entry>` is a slot.
#[repr(transparent)]
pub struct Entry(NonNull<u64>);

// SAFETY: an entry owns its allocation and everything in it exclusively, and `Value` is `Send`.
unsafe impl Send for Entry {}

impl Entry {
    /// A new entry. `expiry` reserves the expiry field when it is given.
    pub fn new(kind: Kind, key: &[u8], payload: Payload<'_>, expiry: Option<u64>) -> Self {
        let mut header = kind as u64 | FREQ_INIT << FREQ_SHIFT;
        if expiry.is_some() {
            header |= EXPIRY;
        }
        // A zero (1970) would read as "none"; one millisecond later it is just as expired.
        Self::assemble(header, expiry.map_or(0, |at_ms| at_ms.max(1)), key, payload)
    }

    /// Allocates and fills an entry. The header's lengths and layout flags are set here; `expiry`
    /// (0 for none) is stored when the header has room for it.
    fn assemble(mut header: u64, expiry: u64, key: &[u8], payload: Payload<'_>) -> Self {
        header &= !(BOXED | LONG_KEY | KEY_LEN_MASK | VALUE_LEN_MASK);
        match &payload {
            Payload::Boxed(_) => header |= BOXED,
            Payload::Inline(value) => {
                assert!(value.len() <= INLINE_MAX, "inline values are bounded by the header");
                header |= (value.len() as u64) << VALUE_LEN_SHIFT;
            }
        }
        if key.len() > KEY_INLINE_MAX {
            header |= LONG_KEY;
        } else {
            header |= (key.len() as u64) << KEY_LEN_SHIFT;
        }
        let value_len = if let Payload::Inline(value) = &payload { value.len() } else { 0 };
        let size = size_class(key_offset(header) + key.len() + value_len);
        let layout = layout(size);
        // SAFETY: the layout has a non-zero size, since it holds at least the header.
        let raw = unsafe { alloc(layout) };
        let Some(base) = NonNull::new(raw.cast::<u64>()) else { handle_alloc_error(layout) };
        // SAFETY: the allocation is `size` bytes, aligned to 8; every offset written lies below
        // `key_offset + key.len() + value.len() <= size`, and the fixed fields are multiples of 8.
        unsafe {
            base.write(header);
            if header & EXPIRY != 0 {
                base.add(1).write(expiry);
            }
            let key_at = raw.add(key_offset(header));
            if header & LONG_KEY != 0 {
                key_at.cast::<u64>().sub(1).write(key.len() as u64);
            }
            ptr::copy_nonoverlapping(key.as_ptr(), key_at, key.len());
            match payload {
                Payload::Inline(value) => {
                    ptr::copy_nonoverlapping(value.as_ptr(), key_at.add(key.len()), value.len());
                }
                Payload::Boxed(value) => raw.add(value_offset(header)).cast::<Value>().write(value),
            }
        }
        Entry(base)
    }

    #[inline]
    fn header(&self) -> u64 {
        // SAFETY: the pointer is to a live entry, whose first 8 bytes are the header.
        unsafe { self.0.read() }
    }

    #[inline]
    fn set_header(&mut self, header: u64) {
        // SAFETY: as in `header`; `&mut self` makes the access exclusive.
        unsafe { self.0.write(header) }
    }

    #[inline]
    fn base(&self) -> *mut u8 {
        self.0.as_ptr().cast()
    }

    /// The address, for prefetching.
    #[inline]
    pub fn address(&self) -> *const u8 {
        self.base()
    }

    /// A reference that does not borrow.
    #[inline]
    pub fn by_reference(&self) -> EntryRef {
        EntryRef(self.0)
    }

    #[inline]
    fn key_len(&self, header: u64) -> usize {
        if header & LONG_KEY == 0 {
            return ((header & KEY_LEN_MASK) >> KEY_LEN_SHIFT) as usize;
        }
        // SAFETY: with LONG_KEY the 8 bytes before the key hold its length.
        unsafe { self.base().add(key_offset(header)).cast::<u64>().sub(1).read() as usize }
    }

    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let header = self.header();
        let len = self.key_len(header);
        // SAFETY: `assemble` initialised `len` bytes there; they live as long as the entry.
        unsafe { std::slice::from_raw_parts(self.base().add(key_offset(header)), len) }
    }

    /// The type.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self.header() & KIND_MASK {
            0 => Kind::String,
            1 => Kind::List,
            2 => Kind::Set,
            3 => Kind::Hash,
            4 => Kind::SortedSet,
            _ => Kind::Stream,
        }
    }

    /// The value's bytes when it lies in the entry.
    #[inline]
    pub fn inline(&self) -> Option<&[u8]> {
        let header = self.header();
        if header & BOXED != 0 {
            return None;
        }
        let start = key_offset(header) + self.key_len(header);
        // SAFETY: without BOXED, `value_len` initialised bytes follow the key.
        Some(unsafe { std::slice::from_raw_parts(self.base().add(start), value_len(header)) })
    }

    /// The value's bytes when it lies in the entry, to write to.
    #[inline]
    pub fn inline_mut(&mut self) -> Option<&mut [u8]> {
        let header = self.header();
        if header & BOXED != 0 {
            return None;
        }
        let start = key_offset(header) + self.key_len(header);
        // SAFETY: as in `inline`, and `&mut self` makes the access exclusive.
        Some(unsafe { std::slice::from_raw_parts_mut(self.base().add(start), value_len(header)) })
    }

    /// The value when it lies outside.
    #[inline]
    pub fn boxed(&self) -> Option<&Value> {
        let header = self.header();
        // SAFETY: with BOXED, `assemble` wrote a `Value` there, 8-aligned.
        (header & BOXED != 0)
            .then(|| unsafe { &*self.base().add(value_offset(header)).cast::<Value>() })
    }

    /// The value when it lies outside, to change.
    #[inline]
    pub fn boxed_mut(&mut self) -> Option<&mut Value> {
        let header = self.header();
        // SAFETY: as in `boxed`, and `&mut self` makes the access exclusive.
        (header & BOXED != 0)
            .then(|| unsafe { &mut *self.base().add(value_offset(header)).cast::<Value>() })
    }

    /// The expiry field; zero when there is none, or no room for one.
    #[inline]
    fn expiry_or_zero(&self) -> u64 {
        if self.header() & EXPIRY == 0 {
            return 0;
        }
        // SAFETY: with EXPIRY the second word is the expiry.
        unsafe { self.0.add(1).read() }
    }

    /// The expiry, Unix milliseconds.
    #[inline]
    pub fn expiry(&self) -> Option<u64> {
        match self.expiry_or_zero() {
            0 => None,
            at_ms => Some(at_ms),
        }
    }

    /// Whether time alone may end it, or a part of it: it has an expiry, or is something with
    /// parts.
    #[inline(always)]
    pub fn is_mortal(&self) -> bool {
        self.header() & (EXPIRY | BOXED) != 0
    }

    /// Whether the expiry has passed.
    #[inline]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expiry().is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// The earliest expiry of a field, if this is a hash with such fields.
    #[inline]
    pub fn fields_due(&self) -> Option<u64> {
        match self.boxed() {
            Some(Value::Hash(hash)) => hash.next_due(),
            _ => None,
        }
    }

    /// Sets or clears the expiry. The entry moves when it had no room for one.
    pub fn set_expiry(&mut self, at_ms: Option<u64>) {
        let header = self.header();
        let at_ms = at_ms.map_or(0, |at_ms| at_ms.max(1));
        if header & EXPIRY != 0 {
            // SAFETY: with EXPIRY the second word is the expiry; zero says none. The room stays.
            unsafe { self.0.add(1).write(at_ms) }
        } else if at_ms != 0 {
            let payload = match self.take_boxed() {
                Some(value) => Payload::Boxed(value),
                None => Payload::Inline(self.inline().unwrap_or_default()),
            };
            *self = Self::assemble(header | EXPIRY, at_ms, self.key(), payload);
        }
    }

    /// Takes the boxed value out; the entry is only good for its key and for being dropped then.
    pub fn take_boxed(&mut self) -> Option<Value> {
        let header = self.header();
        if header & BOXED == 0 {
            return None;
        }
        // SAFETY: the value is initialised; `Value::Taken` in its place needs no drop and keeps
        // the layout as it was, so nothing is read or dropped twice.
        Some(unsafe { self.base().add(value_offset(header)).cast::<Value>().replace(Value::Taken) })
    }

    /// Allocated bytes, without those outside the entry that a boxed value owns.
    #[inline]
    pub fn allocated(&self) -> usize {
        let header = self.header();
        size_class(key_offset(header) + self.key_len(header) + value_len(header))
    }

    /// Allocated bytes, all in all.
    pub fn bytes(&self) -> usize {
        self.allocated() + self.boxed().map_or(0, Value::bytes)
    }

    /// Overwrites a short string in place, if `value` fits the allocation's size class; false, and
    /// nothing is changed, when it does not, or when the value lies outside. One look at the
    /// header, because every `SET` of an existing key comes here.
    #[inline(always)]
    pub fn overwrite(&mut self, value: &[u8]) -> bool {
        let header = self.header();
        let fixed = key_offset(header) + self.key_len(header);
        let old = value_len(header);
        let fits = value.len() == old
            || (value.len() <= INLINE_MAX
                && size_class(fixed + value.len()) == size_class(fixed + old));
        if header & BOXED != 0 || !fits {
            return false;
        }
        // No BOXED, so this is a string already: the kind needs no change.
        let header = header & !(VALUE_LEN_MASK | RAW) | (value.len() as u64) << VALUE_LEN_SHIFT;
        self.set_header(header);
        // SAFETY: the allocation is `size_class(fixed + value.len())` bytes; `value` is no part
        // of it, since `&mut self` is exclusive.
        unsafe {
            ptr::copy_nonoverlapping(value.as_ptr(), self.base().add(fixed), value.len());
        }
        true
    }

    /// Makes the inline value `len` bytes long and returns it. If `keep`, existing bytes are kept
    /// up to `len`, and new ones are zero; otherwise the contents are unspecified. The entry moves
    /// if the size class changes. A boxed value is dropped.
    #[inline]
    pub fn resize_inline(&mut self, len: usize, keep: bool) -> &mut [u8] {
        assert!(len <= INLINE_MAX, "inline values are bounded by the header");
        let header = self.header();
        let fixed = key_offset(header) + self.key_len(header);
        let old = value_len(header);
        if header & BOXED != 0 || size_class(fixed + len) != size_class(fixed + old) {
            return self.resize_moving(len, keep);
        }
        self.set_header(header & !VALUE_LEN_MASK | (len as u64) << VALUE_LEN_SHIFT);
        // SAFETY: the allocation is `size_class(fixed + len)` bytes. The bytes between the old
        // and the new length may never have been written, so they are zeroed before a slice over
        // them exists.
        unsafe {
            let value = self.base().add(fixed);
            if len > old {
                ptr::write_bytes(value.add(old), 0, len - old);
            }
            std::slice::from_raw_parts_mut(value, len)
        }
    }

    #[cold]
    fn resize_moving(&mut self, len: usize, keep: bool) -> &mut [u8] {
        let mut value = smallvec::SmallVec::<[u8; 256]>::new();
        if keep {
            let old = self.inline().unwrap_or_default();
            value.extend_from_slice(&old[..old.len().min(len)]);
        }
        value.resize(len, 0);
        *self = Self::assemble(
            self.header(),
            self.expiry_or_zero(),
            self.key(),
            Payload::Inline(&value),
        );
        self.inline_mut().unwrap_or_default()
    }

    /// Replaces kind and value, keeping expiry, access history and epoch.
    pub fn set_boxed(&mut self, kind: Kind, value: Value) {
        self.set_kind(kind);
        if let Some(old) = self.boxed_mut() {
            *old = value;
            return;
        }
        let expiry = self.expiry_or_zero();
        *self = Self::assemble(self.header(), expiry, self.key(), Payload::Boxed(value));
    }

    /// Changes the type without touching the value.
    #[inline]
    pub fn set_kind(&mut self, kind: Kind) {
        self.set_header(self.header() & !KIND_MASK | kind as u64);
    }

    /// The same value under another name; expiry and access history go along.
    pub fn renamed(mut self, key: &[u8]) -> Self {
        let payload = match self.take_boxed() {
            Some(value) => Payload::Boxed(value),
            None => Payload::Inline(self.inline().unwrap_or_default()),
        };
        Self::assemble(self.header(), self.expiry_or_zero(), key, payload)
    }

    /// Whether the string was built by `APPEND` or `SETRANGE`, which Redis reports as `raw`.
    pub fn is_raw(&self) -> bool {
        self.header() & RAW != 0
    }

    /// Sets what [`Entry::is_raw`] says.
    #[inline]
    pub fn set_raw(&mut self, raw: bool) {
        let header = self.header();
        self.set_header(if raw { header | RAW } else { header & !RAW });
    }

    /// The snapshot epoch (one bit) the entry was last written or saved in.
    #[inline]
    pub fn epoch(&self) -> bool {
        self.header() & EPOCH != 0
    }

    /// Sets what [`Entry::epoch`] says.
    #[inline]
    pub fn set_epoch(&mut self, epoch: bool) {
        let header = self.header();
        self.set_header(if epoch { header | EPOCH } else { header & !EPOCH });
    }

    /// Marks as accessed at `now_ms`. `random` decides whether the logarithmic counter moves.
    #[inline]
    pub fn touch(&mut self, now_ms: u64, random: &mut u64, frequency: &Frequency) {
        let header = self.header();
        let now_s = (now_ms / 1000) & CLOCK_MASK;
        let then_s = (header >> CLOCK_SHIFT) & CLOCK_MASK;
        let mut freq = header >> FREQ_SHIFT;
        let grows = frequency.grows(freq, random);
        // A counter that neither decays nor grows in an unchanged second needs no write.
        if now_s != then_s || grows {
            freq = (frequency.decayed(freq, then_s, now_s) + u64::from(grows)).min(255);
            let rest = header & ((1 << CLOCK_SHIFT) - 1);
            self.set_header(rest | now_s << CLOCK_SHIFT | freq << FREQ_SHIFT);
        }
    }

    /// Sets the clock of a new entry.
    pub fn start_clock(&mut self, now_ms: u64) {
        let header = self.header() & !(CLOCK_MASK << CLOCK_SHIFT);
        self.set_header(header | ((now_ms / 1000) & CLOCK_MASK) << CLOCK_SHIFT);
    }

    /// Milliseconds since the last access, to the second.
    pub fn idle_ms(&self, now_ms: u64) -> u64 {
        let then_s = (self.header() >> CLOCK_SHIFT) & CLOCK_MASK;
        ((now_ms / 1000).wrapping_sub(then_s) & CLOCK_MASK) * 1000
    }

    /// The access counter, decayed to `now_ms`.
    pub fn freq(&self, now_ms: u64, frequency: &Frequency) -> u8 {
        let header = self.header();
        let (then_s, now_s) = ((header >> CLOCK_SHIFT) & CLOCK_MASK, (now_ms / 1000) & CLOCK_MASK);
        frequency.decayed(header >> FREQ_SHIFT, then_s, now_s) as u8
    }

    /// Sets the access counter.
    pub fn set_freq(&mut self, freq: u8) {
        let rest = self.header() & ((1 << FREQ_SHIFT) - 1);
        self.set_header(rest | u64::from(freq) << FREQ_SHIFT);
    }
}

/// The parameters of the access counters: `lfu-log-factor` and `lfu-decay-time`. Read by every
/// access, hardly ever written.
#[derive(Debug)]
pub struct Frequency {
    log_factor: AtomicU32,
    decay_min: AtomicU32,
}

impl Default for Frequency {
    fn default() -> Self {
        Frequency { log_factor: AtomicU32::new(10), decay_min: AtomicU32::new(1) }
    }
}

/// From one random number of the access counters to the next: 2^64 divided by the golden ratio, an odd number.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// The number that `STEP` must be multiplied by to give 1, modulo 2^64: each round doubles the bits that are right.
const STEP_INVERSE: u64 = {
    let mut inverse = STEP;
    let mut bits = 3;
    while bits < u64::BITS {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(STEP.wrapping_mul(inverse)));
        bits *= 2;
    }
    inverse
};

/// How many numbers were drawn between two of the access counters' random numbers.
pub fn numbers_between(began: u64, now: u64) -> u64 {
    now.wrapping_sub(began).wrapping_mul(STEP_INVERSE)
}

impl Frequency {
    /// Sets both.
    pub fn set(&self, log_factor: u32, decay_min: u32) {
        self.log_factor.store(log_factor, Ordering::Relaxed);
        self.decay_min.store(decay_min, Ordering::Relaxed);
    }

    /// Whether the logarithmic counter moves with one more access: Redis's `LFULogIncr`.
    #[inline(always)]
    fn grows(&self, freq: u64, random: &mut u64) -> bool {
        // A Weyl sequence: quality does not matter here, a nanosecond does.
        *random = random.wrapping_add(STEP);
        let factor = u64::from(self.log_factor.load(Ordering::Relaxed));
        let odds = (freq.saturating_sub(FREQ_INIT) * factor + 1).min(1 << 31);
        (*random >> 32) * odds < 1 << 32
    }

    /// The value of a counter now. It loses one for every `decay_min` ends of minutes that have passed.
    #[inline]
    fn decayed(&self, freq: u64, then_s: u64, now_s: u64) -> u64 {
        let now_s = if now_s < then_s { now_s + CLOCK_MASK + 1 } else { now_s };
        let minutes = now_s / 60 - then_s / 60;
        let lost = minutes.checked_div(u64::from(self.decay_min.load(Ordering::Relaxed)));
        freq.saturating_sub(lost.unwrap_or(0))
    }
}

#[inline]
fn value_offset(header: u64) -> usize {
    if header & EXPIRY != 0 { 16 } else { 8 }
}

/// By the flags that decide it, as they lie in the header: a key is looked at in every command.
static KEY_OFFSETS: [u8; 16] = {
    let mut offsets = [0; 16];
    let mut flags = 0;
    while flags < 16 {
        let header = (flags as u64) << LAYOUT_SHIFT;
        offsets[flags] = (if header & EXPIRY != 0 { 16 } else { 8 })
            + (if header & BOXED != 0 { size_of::<Value>() as u8 } else { 0 })
            + (if header & LONG_KEY != 0 { 8 } else { 0 });
        flags += 1;
    }
    offsets
};

#[inline(always)]
fn key_offset(header: u64) -> usize {
    usize::from(KEY_OFFSETS[(header >> LAYOUT_SHIFT) as usize & 15])
}

#[inline]
fn value_len(header: u64) -> usize {
    ((header & VALUE_LEN_MASK) >> VALUE_LEN_SHIFT) as usize
}

fn layout(size: usize) -> Layout {
    // Sizes come from lengths of live slices, far below `isize::MAX`.
    Layout::from_size_align(size, 8).unwrap_or(Layout::new::<u64>())
}

/// A reference to an entry that is owned elsewhere, and which it must not outlive.
#[derive(Clone, Copy)]
pub struct EntryRef(NonNull<u64>);

// SAFETY: as for `Entry`; the holder of the reference also holds the owner.
unsafe impl Send for EntryRef {}

impl std::fmt::Debug for EntryRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntryRef")
    }
}

impl EntryRef {
    /// The key.
    ///
    /// # Safety
    /// The entry has not been dropped or moved to another allocation, and is not while the key is
    /// used.
    #[inline]
    pub unsafe fn key<'a>(self) -> &'a [u8] {
        let entry = std::mem::ManuallyDrop::new(Entry(self.0));
        let key: *const [u8] = entry.key();
        // SAFETY: the key lies in the entry's allocation, which the caller keeps alive.
        unsafe { &*key }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let layout = layout(self.allocated());
        if let Some(value) = self.boxed_mut() {
            // SAFETY: the value is initialised and is not used again.
            unsafe { ptr::drop_in_place(value) }
        }
        // SAFETY: allocated in `assemble` with this very layout: every change of a length that
        // would change the size class moves the entry.
        unsafe { dealloc(self.base(), layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sixteen_byte_key_and_a_sixty_four_byte_value_with_expiry_take_ninety_six_bytes() {
        let payload = Payload::Inline(&[7; 64]);
        let entry = Entry::new(Kind::String, &[1; 16], payload, Some(5));
        assert_eq!(entry.allocated(), 96);
    }

    #[test]
    fn expiry_comes_and_goes() {
        let mut entry = Entry::new(Kind::String, b"key", Payload::Inline(b"value"), None);
        assert_eq!(entry.expiry(), None);
        entry.set_expiry(Some(99));
        assert_eq!(
            (entry.expiry(), entry.key(), entry.inline()),
            (Some(99), &b"key"[..], Some(&b"value"[..]))
        );
        assert!(entry.is_expired(99) && !entry.is_expired(98));
        entry.set_expiry(None);
        assert_eq!(entry.expiry(), None);
    }

    #[test]
    fn values_resize_in_place_and_by_moving() {
        let mut entry = Entry::new(Kind::String, b"key", Payload::Inline(b"value"), None);
        entry.resize_inline(3, true);
        assert_eq!(entry.inline(), Some(&b"val"[..]));
        entry.resize_inline(5, true);
        assert_eq!(entry.inline(), Some(&b"val\0\0"[..]), "shrunk bytes do not come back");
        entry.resize_inline(1000, true);
        assert_eq!(&entry.inline().unwrap()[..4], b"val\0");
        assert_eq!(entry.key(), b"key");
    }

    #[test]
    fn long_keys_keep_their_length() {
        let key = vec![9; 70_000];
        let entry = Entry::new(Kind::String, &key, Payload::Inline(b"v"), Some(1));
        assert_eq!((entry.key(), entry.inline()), (&key[..], Some(&b"v"[..])));
        assert_eq!(entry.renamed(b"k").key(), b"k");
    }

    #[test]
    fn idle_time_and_frequency() {
        let frequency = Frequency::default();
        let mut entry = Entry::new(Kind::String, b"k", Payload::Inline(b""), None);
        entry.start_clock(1_000_000);
        assert_eq!(entry.idle_ms(1_005_000), 5000);
        let mut random = 1;
        for _ in 0..1000 {
            entry.touch(1_005_000, &mut random, &frequency);
        }
        assert_eq!(entry.idle_ms(1_005_999), 0);
        let freq = entry.freq(1_005_000, &frequency);
        assert!((10..60).contains(&freq), "a thousand hits count about 20, not {freq}");
        assert_eq!(entry.freq(1_005_000 + 120_000, &frequency), freq - 2);
        frequency.set(10, 2);
        assert_eq!(entry.freq(1_005_000 + 240_000, &frequency), freq - 2);
        frequency.set(10, 0);
        assert_eq!(entry.freq(1_005_000 + 240_000, &frequency), freq);
    }
}
