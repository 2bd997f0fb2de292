//! One chunk of a list: packed elements that can be walked from both ends.
//!
//! An element is `length, bytes, length reversed`: the length as a variable-length number (seven
//! bits per byte, the top bit says that more follow), and again behind the bytes with its bytes in
//! reverse, so that the end of an element tells where it began. An element too large for a chunk
//! of the usual size has a chunk of its own.

use super::packed::{Scratch, put_number};
use super::size::size_class;
use crate::types::End;
use std::ops::Range;

/// When a chunk is full: `list-max-listpack-size`.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    entries: usize,
    bytes: usize,
}

impl Limit {
    /// From the directive: entries when positive, size class −1…−5 (4 to 64 KiB) when negative.
    pub fn new(list_size: i64) -> Self {
        match list_size {
            // With a limit on entries Redis still keeps chunks below 8 KiB.
            1.. => Limit { entries: list_size as usize, bytes: 8 << 10 },
            0 => Limit { entries: 1, bytes: 8 << 10 },
            _ => Limit { entries: usize::MAX, bytes: (2 << 10) << list_size.unsigned_abs().min(5) },
        }
    }
}

/// Packed elements.
#[derive(Debug, Default)]
pub struct Chunk {
    bytes: Vec<u8>,
    len: u32,
}

impl Chunk {
    /// No elements.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Allocated bytes.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether another element of so many bytes fits.
    pub fn has_room(&self, limit: Limit, element: usize) -> bool {
        self.len() < limit.entries && self.bytes.len() + element + 2 <= limit.bytes
    }

    /// The element that begins at byte `at`: its bytes, and where the next begins.
    fn forward(&self, at: usize) -> Option<(Range<usize>, usize)> {
        let (mut len, mut shift, mut start) = (0usize, 0, at);
        loop {
            let byte = *self.bytes.get(start)?;
            len |= usize::from(byte & 0x7f) << shift;
            (start, shift) = (start + 1, shift + 7);
            if byte < 0x80 {
                return Some((start..start + len, start + len + (start - at)));
            }
        }
    }

    /// The element that ends before byte `end`: its bytes, and where it begins.
    fn backward(&self, end: usize) -> Option<(Range<usize>, usize)> {
        let (mut len, mut shift, mut at) = (0usize, 0, end);
        loop {
            at = at.checked_sub(1)?;
            let byte = self.bytes[at];
            len |= usize::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                let start = at - len;
                return Some((start..at, start - (end - at)));
            }
        }
    }

    /// Where the element at `index` begins (the end for `index == len`).
    fn offset(&self, index: usize) -> usize {
        if index <= self.len() / 2 {
            (0..index).fold(0, |at, _| self.forward(at).map_or(at, |(_, next)| next))
        } else {
            (index..self.len())
                .fold(self.bytes.len(), |at, _| self.backward(at).map_or(at, |(_, start)| start))
        }
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len() {
            return None;
        }
        let (range, _) = self.forward(self.offset(index))?;
        Some(&self.bytes[range])
    }

    fn splice(&mut self, range: Range<usize>, new: &[u8]) {
        let old_len = self.bytes.len();
        let new_len = old_len - range.len() + new.len();
        if new_len > self.bytes.capacity() {
            // A chunk is filled again and again: grow in larger steps than one class, but not past
            // a power of two, which is where the usual limits leave it.
            let room = size_class(new_len + new_len / 4).min(new_len.next_power_of_two());
            self.bytes.reserve_exact(room - old_len);
        }
        if new_len > old_len {
            self.bytes.resize(new_len, 0);
        }
        self.bytes.copy_within(range.end..old_len, range.start + new.len());
        self.bytes.truncate(new_len);
        self.bytes[range.start..range.start + new.len()].copy_from_slice(new);
        if self.bytes.capacity() > 256 && new_len * 4 < self.bytes.capacity() {
            self.bytes.shrink_to(size_class(new_len * 2));
        }
    }

    /// Adds at the end.
    pub fn push_back(&mut self, element: &[u8]) {
        let end = self.bytes.len();
        self.splice(end..end, &encoded(element));
        self.len += 1;
    }

    /// Inserts before the element at `index`.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let at = self.offset(index);
        self.splice(at..at, &encoded(element));
        self.len += 1;
    }

    /// Replaces the element at `index`.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        let at = self.offset(index);
        if let Some((_, next)) = self.forward(at) {
            self.splice(at..next, &encoded(element));
        }
    }

    /// Removes `count` elements from `index` on.
    pub fn remove(&mut self, index: usize, count: usize) {
        let start = self.offset(index);
        let end = (0..count).fold(start, |at, _| self.forward(at).map_or(at, |(_, next)| next));
        self.splice(start..end, &[]);
        self.len -= count as u32;
    }

    /// Removes up to `limit` elements equal to `element`; how many.
    pub fn remove_equal(&mut self, element: &[u8], limit: u64, from: End) -> u64 {
        let mut removed = 0;
        let mut at = if from == End::Head { 0 } else { self.bytes.len() };
        while removed < limit {
            let step = if from == End::Head { self.forward(at) } else { self.backward(at) };
            let Some((range, other)) = step else { break };
            let equal = &self.bytes[range] == element;
            if equal {
                self.splice(at.min(other)..at.max(other), &[]);
                self.len -= 1;
                removed += 1;
            }
            // Forwards, what follows has moved to `at`; backwards, what precedes is where it was.
            if !(equal && from == End::Head) {
                at = other;
            }
        }
        removed
    }

    /// Takes off everything from `index` on.
    pub fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.offset(index);
        let rest = Chunk { bytes: self.bytes[at..].to_vec(), len: self.len - index as u32 };
        self.splice(at..self.bytes.len(), &[]);
        self.len = index as u32;
        rest
    }

    /// Visits `count` elements from `index` on in a direction; false when `visit` stopped it.
    pub fn visit(
        &self,
        index: usize,
        count: usize,
        from: End,
        visit: &mut dyn FnMut(&[u8]) -> bool,
    ) -> bool {
        let mut at = self.offset(if from == End::Head { index } else { index + 1 });
        for _ in 0..count {
            let step = if from == End::Head { self.forward(at) } else { self.backward(at) };
            let Some((range, other)) = step else { return true };
            if !visit(&self.bytes[range]) {
                return false;
            }
            at = other;
        }
        true
    }
}

fn encoded(element: &[u8]) -> Scratch {
    let mut length = smallvec::SmallVec::<[u8; 10]>::new();
    put_number(&mut length, element.len() as u64);
    let mut out = Scratch::with_capacity(element.len() + 2 * length.len());
    out.extend_from_slice(&length);
    out.extend_from_slice(element);
    length.reverse();
    out.extend_from_slice(&length);
    out
}
