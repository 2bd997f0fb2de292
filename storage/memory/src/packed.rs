//! Packed bytes: how small collections are kept.
//!
//! A count (4 bytes), then items one after another. An item is its length (one byte up to 127,
//! more above) and its bytes. What items mean is the owner's: a set has one per record, a hash
//! two (field, value), a sorted set one and a score. Capacity follows the allocator's size
//! classes, so growth wastes nothing.

use super::size::size_class;
use std::ops::Range;

pub(crate) use storage::fields::put_number;

const COUNT_BYTES: usize = 4;

/// A sequence of records. The count is of records; the owner keeps it.
#[derive(Clone, Debug)]
pub struct Packed {
    bytes: Vec<u8>,
}

impl Packed {
    /// No records.
    pub fn new() -> Self {
        let mut bytes = Vec::with_capacity(size_class(COUNT_BYTES));
        bytes.extend_from_slice(&[0; COUNT_BYTES]);
        Packed { bytes }
    }

    /// The number of records.
    #[inline]
    pub fn count(&self) -> usize {
        self.bytes.first_chunk().map_or(0, |count| u32::from_le_bytes(*count) as usize)
    }

    /// Adds to the number of records.
    pub fn add_count(&mut self, change: isize) {
        let count = self.count().saturating_add_signed(change) as u32;
        self.bytes[..COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    }

    /// Where the first item begins.
    #[inline]
    pub fn start(&self) -> usize {
        COUNT_BYTES
    }

    /// Where the last item ends.
    #[inline]
    pub fn end(&self) -> usize {
        self.bytes.len()
    }

    /// The item at `at`, as a range of bytes, and where the next begins; `None` at the end.
    #[inline]
    pub fn item(&self, at: usize) -> Option<(Range<usize>, usize)> {
        let first = *self.bytes.get(at)?;
        let (len, start) = match first {
            0..=127 => (usize::from(first), at + 1),
            _ => {
                let (len, next) = self.number(at);
                (len as usize, next)
            }
        };
        Some((start..start + len, start + len))
    }

    /// The bytes of a range that [`Packed::item`] gave.
    #[inline]
    pub fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Whether the bytes of such a range are these. Names are often alike but for their end, and a
    /// call that compares costs most of a search: it is made when length and last byte agree.
    #[inline]
    pub fn equals(&self, range: &Range<usize>, bytes: &[u8]) -> bool {
        let found = &self.bytes[range.clone()];
        found.len() == bytes.len() && found.last() == bytes.last() && found == bytes
    }

    /// A variable-length number at `at`, and where it ends.
    pub fn number(&self, mut at: usize) -> (u64, usize) {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = self.bytes[at];
            value |= u64::from(byte & 0x7f) << shift;
            at += 1;
            shift += 7;
            if byte < 0x80 || shift >= 64 {
                return (value, at);
            }
        }
    }

    /// Replaces a range of bytes by `new`.
    pub fn splice(&mut self, range: Range<usize>, new: &[u8]) {
        let old_len = self.bytes.len();
        let new_len = old_len - range.len() + new.len();
        if new_len > self.bytes.capacity() {
            self.bytes.reserve_exact(size_class(new_len) - old_len);
        }
        if new_len > old_len {
            self.bytes.resize(new_len, 0);
        }
        self.bytes.copy_within(range.end..old_len, range.start + new.len());
        self.bytes.truncate(new_len);
        self.bytes[range.start..range.start + new.len()].copy_from_slice(new);
        self.give_back();
    }

    /// Shrinks an allocation that has become more than twice too large.
    fn give_back(&mut self) {
        if self.bytes.capacity() > 64 && self.bytes.len() * 2 < self.bytes.capacity() {
            self.bytes.shrink_to(size_class(self.bytes.len()));
        }
    }

    /// Allocated bytes.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Appends the encoding of an item.
pub fn put_item(out: &mut impl Extend<u8>, item: &[u8]) {
    put_number(out, item.len() as u64);
    out.extend(item.iter().copied());
}

/// A buffer for encoding one record before it is spliced in.
pub type Scratch = smallvec::SmallVec<[u8; 256]>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_of_every_length_come_back() {
        let mut packed = Packed::new();
        let items = [0, 1, 127, 128, 300, 20_000].map(|len| vec![b'x'; len]);
        for item in &items {
            let mut scratch = Scratch::new();
            put_item(&mut scratch, item);
            packed.splice(packed.end()..packed.end(), &scratch);
            packed.add_count(1);
        }
        let (mut at, mut seen) = (packed.start(), Vec::new());
        while let Some((range, next)) = packed.item(at) {
            seen.push(packed.get(range).to_vec());
            at = next;
        }
        assert_eq!(seen, items);
        assert_eq!(packed.count(), items.len());
    }

    #[test]
    fn splicing_grows_shrinks_and_gives_memory_back() {
        let mut packed = Packed::new();
        packed.splice(4..4, &[7; 1000]);
        packed.splice(4..1000, b"ab");
        assert_eq!(packed.get(4..10), b"ab\x07\x07\x07\x07");
        assert!(packed.allocated() < 100);
    }
}
