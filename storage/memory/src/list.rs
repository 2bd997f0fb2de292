//! Lists: a deque of chunks of packed elements.
//!
//! An element is its length, its bytes, and its length again read backwards, so that a chunk can be
//! walked from either end. An index is found by the chunks' counts, from the nearer end.

use super::chunk::{Chunk, Limit};
use std::collections::VecDeque;
use storage::EncodingLimits;
use storage::types::End;

/// A list.
#[derive(Debug, Default)]
pub struct ListValue {
    chunks: VecDeque<Chunk>,
    len: usize,
    chunk_bytes: usize,
}

impl ListValue {
    /// The empty list.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Allocated bytes, without the struct itself.
    pub fn bytes(&self) -> usize {
        self.chunk_bytes + self.chunks.capacity() * size_of::<Chunk>()
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        if self.chunks.len() <= 1 { "listpack" } else { "quicklist" }
    }

    /// Runs `change` on a chunk and keeps the totals right.
    fn on_chunk<T>(&mut self, at: usize, change: impl FnOnce(&mut Chunk) -> T) -> T {
        let chunk = &mut self.chunks[at];
        let (len, bytes) = (chunk.len(), chunk.allocated());
        let result = change(chunk);
        self.len = self.len - len + chunk.len();
        self.chunk_bytes = self.chunk_bytes - bytes + chunk.allocated();
        result
    }

    fn drop_if_empty(&mut self, at: usize) {
        if self.chunks[at].len() == 0
            && let Some(chunk) = self.chunks.remove(at)
        {
            self.chunk_bytes -= chunk.allocated();
        }
    }

    fn add_chunk(&mut self, at: usize, chunk: Chunk) {
        self.len += chunk.len();
        self.chunk_bytes += chunk.allocated();
        self.chunks.insert(at, chunk);
    }

    /// Adds one element at an end.
    pub fn push(&mut self, limits: &EncodingLimits, end: End, element: &[u8]) {
        let limit = Limit::new(limits.list_size);
        let outer = match end {
            End::Head => 0,
            End::Tail => self.chunks.len().saturating_sub(1),
        };
        if self.chunks.get(outer).is_some_and(|chunk| chunk.has_room(limit, element.len())) {
            self.on_chunk(outer, |chunk| match end {
                End::Head => chunk.insert(0, element),
                End::Tail => chunk.push_back(element),
            });
            return;
        }
        let mut chunk = Chunk::new();
        chunk.push_back(element);
        self.add_chunk(if end == End::Head { 0 } else { self.chunks.len() }, chunk);
    }

    /// Takes one element off an end.
    pub fn pop(&mut self, end: End) -> Option<Vec<u8>> {
        let outer = match end {
            End::Head => 0,
            End::Tail => self.chunks.len().checked_sub(1)?,
        };
        let index = match end {
            End::Head => 0,
            End::Tail => self.chunks.get(outer)?.len() - 1,
        };
        let element = self.chunks.get(outer)?.get(index)?.to_vec();
        self.on_chunk(outer, |chunk| chunk.remove(index, 1));
        self.drop_if_empty(outer);
        Some(element)
    }

    /// Takes up to `count` elements off an end, a chunk at a time, visiting each; how many.
    pub fn take(&mut self, end: End, count: u64, visit: &mut dyn FnMut(&[u8]) -> bool) -> u64 {
        let mut left = count.min(self.len as u64) as usize;
        let taken = left;
        while left > 0 {
            let outer = if end == End::Head { 0 } else { self.chunks.len() - 1 };
            let chunk = &self.chunks[outer];
            let here = left.min(chunk.len());
            let first = if end == End::Head { 0 } else { chunk.len() - 1 };
            chunk.visit(first, here, end, &mut |element| {
                visit(element);
                true
            });
            let start = if end == End::Head { 0 } else { chunk.len() - here };
            self.on_chunk(outer, |chunk| chunk.remove(start, here));
            self.drop_if_empty(outer);
            left -= here;
        }
        taken as u64
    }

    /// The chunk and the index in it of the element at `index`, which may be the length.
    fn locate(&self, index: usize) -> (usize, usize) {
        if index <= self.len / 2 {
            let mut left = index;
            for (at, chunk) in self.chunks.iter().enumerate() {
                if left < chunk.len() {
                    return (at, left);
                }
                left -= chunk.len();
            }
            return (self.chunks.len(), left);
        }
        let mut start = self.len;
        for (at, chunk) in self.chunks.iter().enumerate().rev() {
            start -= chunk.len();
            if index >= start {
                return (at, index - start);
            }
        }
        (0, 0)
    }

    /// The element at `index`.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        if index >= self.len {
            return None;
        }
        let (chunk, within) = self.locate(index);
        self.chunks.get(chunk)?.get(within)
    }

    /// Replaces the element at `index`; false when there is none.
    pub fn set(&mut self, limits: &EncodingLimits, index: usize, element: &[u8]) -> bool {
        if index >= self.len {
            return false;
        }
        let (at, within) = self.locate(index);
        self.on_chunk(at, |chunk| chunk.replace(within, element));
        self.split_if_large(limits, at);
        true
    }

    /// Inserts before `index` (`index == len` appends).
    pub fn insert(&mut self, limits: &EncodingLimits, index: usize, element: &[u8]) {
        if index == 0 {
            return self.push(limits, End::Head, element);
        }
        if index >= self.len {
            return self.push(limits, End::Tail, element);
        }
        let (at, within) = self.locate(index);
        self.on_chunk(at, |chunk| chunk.insert(within, element));
        self.split_if_large(limits, at);
    }

    /// Splits a chunk that an insertion made too large.
    fn split_if_large(&mut self, limits: &EncodingLimits, at: usize) {
        let limit = Limit::new(limits.list_size);
        let Some(chunk) = self.chunks.get(at) else { return };
        if chunk.len() < 2 || chunk.has_room(limit, 0) {
            return;
        }
        let half = self.on_chunk(at, |chunk| chunk.split_off(chunk.len() / 2));
        self.add_chunk(at + 1, half);
    }

    /// Removes elements equal to `element`, at most `limit` (0: all), from `from` on; how many.
    pub fn remove(&mut self, element: &[u8], limit: u64, from: End) -> u64 {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let mut removed = 0;
        let mut step = 0;
        while removed < limit && step < self.chunks.len() {
            let at = if from == End::Head { step } else { self.chunks.len() - 1 - step };
            removed +=
                self.on_chunk(at, |chunk| chunk.remove_equal(element, limit - removed, from));
            let chunks = self.chunks.len();
            self.drop_if_empty(at);
            step += usize::from(chunks == self.chunks.len());
        }
        removed
    }

    /// Keeps `start..end` only. Returns the removed chunks, to be dropped later.
    pub fn trim(&mut self, start: usize, end: usize) -> VecDeque<Chunk> {
        let end = end.min(self.len);
        if start >= end {
            let all = std::mem::take(self);
            return all.chunks;
        }
        let mut gone = self.cut(end);
        let kept = self.cut(start);
        gone.append(&mut self.chunks);
        *self = Self::from_chunks(kept);
        gone
    }

    /// Splits off everything from `index` on.
    fn cut(&mut self, index: usize) -> VecDeque<Chunk> {
        if index >= self.len {
            return VecDeque::new();
        }
        let (at, within) = self.locate(index);
        let mut rest = self.chunks.split_off(at);
        if within > 0
            && let Some(first) = rest.front_mut()
        {
            let tail = first.split_off(within);
            let head = std::mem::replace(first, tail);
            self.chunks.push_back(head);
        }
        let kept = std::mem::take(&mut self.chunks);
        *self = Self::from_chunks(kept);
        rest
    }

    fn from_chunks(chunks: VecDeque<Chunk>) -> Self {
        ListValue {
            len: chunks.iter().map(Chunk::len).sum(),
            chunk_bytes: chunks.iter().map(Chunk::allocated).sum(),
            chunks,
        }
    }

    /// The chunks, to be dropped in slices.
    pub fn into_chunks(self) -> VecDeque<Chunk> {
        self.chunks
    }

    /// Visits `start..end`, backwards from `end` when `from` is the tail.
    pub fn range(&self, start: usize, end: usize, from: End, visit: &mut dyn FnMut(&[u8]) -> bool) {
        let end = end.min(self.len);
        if start >= end {
            return;
        }
        let mut left = end - start;
        let first = if from == End::Head { start } else { end - 1 };
        let (mut at, mut within) = self.locate(first);
        while left > 0 {
            let Some(chunk) = self.chunks.get(at) else { return };
            let here = if from == End::Head { chunk.len() - within } else { within + 1 }.min(left);
            if !chunk.visit(within, here, from, visit) {
                return;
            }
            left -= here;
            match from {
                End::Head => (at, within) = (at + 1, 0),
                End::Tail => {
                    let Some(before) = at.checked_sub(1) else { return };
                    at = before;
                    within = self.chunks[at].len().saturating_sub(1);
                }
            }
        }
    }
}
