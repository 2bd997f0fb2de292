//! One chunk of a list: packed elements that can be walked from both ends.
//!
//! An element is `length, bytes, length reversed`. The length is a variable-length number (seven
//! bits per byte; the top bit says that more follow). Behind the bytes it is repeated with its
//! bytes in reverse, so that the beginning of an element can be found from its end. An element that
//! is too large for a chunk of the usual size has a chunk of its own.
//!
//! The elements may begin behind a gap, so that pushing and popping at the front move no elements,
//! as at the back. Offsets are from the beginning of the allocation, gap included.

use super::size::size_class;
use std::ops::Range;
use storage::types::End;

/// The limit from which a chunk is full (`list-max-listpack-size`).
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
    /// The gap, then the elements.
    bytes: Vec<u8>,
    /// Length of the gap.
    start: u32,
    len: u32,
}

/// Most bytes of a length as a variable-length number.
const LENGTH_BYTES: usize = 10;

/// A length as a variable-length number: its bytes, and how many of them count.
fn length_bytes(mut len: usize) -> ([u8; LENGTH_BYTES], usize) {
    let (mut bytes, mut at) = ([0; LENGTH_BYTES], 0);
    while len >= 0x80 {
        bytes[at] = len as u8 | 0x80;
        (len, at) = (len >> 7, at + 1);
    }
    bytes[at] = len as u8;
    (bytes, at + 1)
}

/// Returns the capacity of a chunk that has to hold `len` bytes. It is filled again and again: larger steps
/// than one class, but not past a power of two, which is where the usual limits leave it.
fn roomy(len: usize) -> usize {
    size_class(len + len / 4).min(len.next_power_of_two())
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

    /// Whether another element of this many bytes fits.
    pub fn has_room(&self, limit: Limit, element: usize) -> bool {
        self.len() < limit.entries && self.used() + element + 2 <= limit.bytes
    }

    /// Where the first element begins.
    fn start(&self) -> usize {
        self.start as usize
    }

    /// Bytes of the elements.
    fn used(&self) -> usize {
        self.bytes.len() - self.start()
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
            at = at.checked_sub(1).filter(|&at| at >= self.start())?;
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
            (0..index).fold(self.start(), |at, _| self.forward(at).map_or(at, |(_, next)| next))
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

    /// Moves the elements into an allocation of their own size and more: a gap of `front` bytes
    /// before them, and `capacity` bytes in all.
    fn reallocate(&mut self, front: usize, capacity: usize) {
        let mut bytes = Vec::with_capacity(capacity);
        bytes.resize(front, 0);
        bytes.extend_from_slice(&self.bytes[self.start()..]);
        self.bytes = bytes;
        self.start = front as u32;
    }

    /// Makes the gap at least `room` bytes long. Uses the free space at the end if there is enough
    /// of it for several such requests; otherwise the allocation grows.
    fn widen_gap(&mut self, room: usize) {
        let (used, free) = (self.used(), self.bytes.capacity() - self.used());
        if free >= room && free * 2 >= used {
            let old = self.start()..self.bytes.len();
            self.bytes.resize(self.bytes.capacity(), 0);
            self.bytes.copy_within(old, free);
            self.start = free as u32;
        } else {
            let capacity = roomy(used + room);
            self.reallocate(capacity - used, capacity);
        }
    }

    /// Makes `room` bytes fit behind the end, by the same rule.
    fn widen_end(&mut self, room: usize) {
        let (used, gap) = (self.used(), self.start());
        if self.bytes.capacity() >= used + room && gap * 2 >= used {
            self.bytes.copy_within(gap.., 0);
            self.bytes.truncate(used);
            self.start = 0;
        } else {
            self.reallocate(0, roomy(used + room));
        }
    }

    /// Replaces a range by `room` bytes that the caller writes, moving whichever side is shorter.
    fn open(&mut self, range: Range<usize>, room: usize) -> &mut [u8] {
        let before = range.start - self.start();
        let removed = range.len();
        let grown = room.saturating_sub(removed);
        // A gap that does not fit its counter, behind gigabytes removed, is not made.
        let small = self.bytes.len() < u32::MAX as usize;
        if before < self.bytes.len() - range.end && small {
            if grown > self.start() {
                self.widen_gap(grown);
            }
            let old = self.start();
            self.start = (old + removed - room) as u32;
            self.bytes.copy_within(old..old + before, self.start as usize);
        } else {
            if self.bytes.len() + grown > self.bytes.capacity() {
                self.widen_end(grown);
            }
            let tail = self.start() + before + removed;
            let old_len = self.bytes.len();
            if grown > 0 {
                self.bytes.resize(old_len + grown, 0);
            }
            self.bytes.copy_within(tail..old_len, tail - removed + room);
            self.bytes.truncate(old_len - removed + room);
        }
        let at = self.start() + before;
        &mut self.bytes[at..at + room]
    }

    /// Replaces a range by an element.
    fn put(&mut self, range: Range<usize>, element: &[u8]) {
        let replaces = !range.is_empty();
        let (length, digits) = length_bytes(element.len());
        let out = self.open(range, element.len() + 2 * digits);
        out[..digits].copy_from_slice(&length[..digits]);
        out[digits..digits + element.len()].copy_from_slice(element);
        for (out, byte) in out[digits + element.len()..].iter_mut().rev().zip(length) {
            *out = byte;
        }
        if replaces {
            self.give_back();
        }
    }

    /// Removes a range.
    fn cut(&mut self, range: Range<usize>) {
        self.open(range, 0);
        self.give_back();
    }

    /// Gives memory back when less than a quarter is used.
    fn give_back(&mut self) {
        if self.bytes.capacity() > 256 && self.used() * 4 < self.bytes.capacity() {
            self.reallocate(0, size_class(self.used() * 2));
        }
    }

    /// Adds at the end.
    pub fn push_back(&mut self, element: &[u8]) {
        let end = self.bytes.len();
        self.put(end..end, element);
        self.len += 1;
    }

    /// Inserts before the element at `index`.
    pub fn insert(&mut self, index: usize, element: &[u8]) {
        let at = self.offset(index);
        self.put(at..at, element);
        self.len += 1;
    }

    /// Replaces the element at `index`.
    pub fn replace(&mut self, index: usize, element: &[u8]) {
        let at = self.offset(index);
        if let Some((_, next)) = self.forward(at) {
            self.put(at..next, element);
        }
    }

    /// Removes `count` elements from `index` on.
    pub fn remove(&mut self, index: usize, count: usize) {
        let start = self.offset(index);
        let end = (0..count).fold(start, |at, _| self.forward(at).map_or(at, |(_, next)| next));
        self.cut(start..end);
        self.len -= count as u32;
    }

    /// Removes up to `limit` elements equal to `element`; how many.
    pub fn remove_equal(&mut self, element: &[u8], limit: u64, from: End) -> u64 {
        let mut removed = 0;
        let mut at = if from == End::Head { self.start() } else { self.bytes.len() };
        while removed < limit {
            let step = if from == End::Head { self.forward(at) } else { self.backward(at) };
            let Some((range, other)) = step else { break };
            if &self.bytes[range] != element {
                at = other;
                continue;
            }
            // Either side may move: the place is kept as what lies behind it, or before it.
            let (behind, before) = (self.bytes.len() - other, other.wrapping_sub(self.start()));
            self.cut(at.min(other)..at.max(other));
            self.len -= 1;
            removed += 1;
            at = match from {
                End::Head => self.bytes.len() - behind,
                End::Tail => self.start() + before,
            };
        }
        removed
    }

    /// Takes off everything from `index` on.
    pub fn split_off(&mut self, index: usize) -> Chunk {
        let at = self.offset(index);
        let rest =
            Chunk { bytes: self.bytes[at..].to_vec(), start: 0, len: self.len - index as u32 };
        self.cut(at..self.bytes.len());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(chunk: &Chunk) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        chunk.visit(0, chunk.len(), End::Head, &mut |element| {
            out.push(element.to_vec());
            true
        });
        out
    }

    /// Pseudo-random numbers below the argument, determined by the seed.
    fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
        let mut random = storage::testing::Random::new(seed);
        move |below| random.below(below as u64) as usize
    }

    #[test]
    fn a_chunk_behaves_as_a_vector_of_elements() {
        let mut draw = numbers(7);
        for _ in 0..20 {
            let (mut chunk, mut model) = (Chunk::new(), Vec::<Vec<u8>>::new());
            for step in 0..400 {
                let element = vec![b'a' + (step % 3) as u8; [3, 3, 20, 127, 128, 300][draw(6)]];
                let index = draw(model.len() + 1);
                match draw(7) {
                    0 => {
                        chunk.push_back(&element);
                        model.push(element);
                    }
                    1 => {
                        chunk.insert(0, &element);
                        model.insert(0, element);
                    }
                    2 => {
                        chunk.insert(index, &element);
                        model.insert(index, element);
                    }
                    3 if index < model.len() => {
                        chunk.replace(index, &element);
                        model[index] = element;
                    }
                    4 => {
                        let count = draw(4).min(model.len() - index);
                        chunk.remove(index, count);
                        model.drain(index..index + count);
                    }
                    5 => {
                        let from = if draw(2) == 0 { End::Head } else { End::Tail };
                        let removed = chunk.remove_equal(&element, 2, from);
                        assert_eq!(removed, remove_equal(&mut model, &element, 2, from));
                    }
                    6 if draw(20) == 0 => {
                        let rest = chunk.split_off(index);
                        assert_eq!(contents(&rest), model.split_off(index));
                    }
                    _ => {}
                }
                assert_eq!(contents(&chunk), model);
                assert_eq!(chunk.get(index), model.get(index).map(Vec::as_slice));
                assert!(chunk.allocated() <= 256 || chunk.allocated() <= 4 * chunk.used());
            }
        }
    }

    fn remove_equal(model: &mut Vec<Vec<u8>>, element: &[u8], limit: u64, from: End) -> u64 {
        let mut removed = 0;
        while removed < limit {
            let mut equal = model.iter().enumerate().filter(|(_, other)| *other == element);
            let found = if from == End::Head { equal.next() } else { equal.next_back() };
            let Some((at, _)) = found else { break };
            model.remove(at);
            removed += 1;
        }
        removed
    }

    #[test]
    fn a_queue_through_a_chunk_keeps_its_size() {
        let mut chunk = Chunk::new();
        for _ in 0..20 {
            chunk.push_back(&[7; 64]);
        }
        let mut most = 0;
        for step in 0..10_000 {
            match step / 100 % 2 {
                0 => chunk.push_back(&[7; 64]),
                _ => chunk.insert(0, &[7; 64]),
            }
            chunk.remove(if step / 100 % 2 == 0 { 0 } else { chunk.len() - 1 }, 1);
            most = most.max(chunk.allocated());
        }
        assert!(most <= 4096, "20 elements of 66 bytes took {most} bytes");
    }
}
