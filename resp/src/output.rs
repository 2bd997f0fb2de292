//! [`Output`]: the bytes waiting to be written to one peer, as a queue of chunks for `writev`.

use bytes::Bytes;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::IoSlice;

/// Values at least this long are queued as shared [`Bytes`] instead of being copied.
pub const SHARE_MIN: usize = 16 * 1024;

/// The initial capacity of a tail buffer, in bytes.
const TAIL_START: usize = 16 * 1024;

/// The length from which on [`Output::close_large_tail`] begins a new tail: the memory of a tail is
/// only freed once all of it has been written.
const TAIL_MAX: usize = 256 * 1024;

/// Drained tail buffers with a larger capacity than this are freed instead of pooled. A pipeline of
/// replies that are not small fills a tail, which is then there for the next one without growing.
const POOL_BUFFER_MAX: usize = TAIL_MAX;

/// Tails of which little is in use may have this capacity; larger ones are made smaller.
const TAIL_SPARE_MAX: usize = 64 * 1024;

/// A tail of at least this capacity is not made larger, which would copy it, but followed by another.
const TAIL_GROWN: usize = 64 * 1024;

/// The room that [`Output::tail`] promises, in bytes: a header fits.
const TAIL_ROOM: usize = 32;

/// The highest number of buffers that a thread keeps for reuse.
const POOL_LEN_MAX: usize = 8;

thread_local! {
    /// Drained buffers of this thread. An idle connection owns no output memory, and a busy one
    /// gets some without calling the allocator.
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// The bytes queued for one peer: contiguous text, with large shared values in between.
///
/// Unwritten bytes are in `chunks` from front to back, then in `tail`.
#[derive(Debug, Default)]
pub struct Output {
    /// Finished chunks.
    chunks: VecDeque<Bytes>,
    /// The number of bytes at the front that are already written: of `chunks[0]`, or of `tail` if
    /// there are no chunks.
    taken: usize,
    /// The buffer to which small replies are appended.
    tail: Vec<u8>,
    /// Sum of the chunks' lengths.
    chunked: usize,
}

impl Output {
    /// An empty queue owning no memory.
    pub const fn new() -> Self {
        Output { chunks: VecDeque::new(), taken: 0, tail: Vec::new(), chunked: 0 }
    }

    /// Bytes not yet written.
    #[inline]
    pub fn len(&self) -> usize {
        self.chunked + self.tail.len() - self.taken
    }

    /// Whether nothing is left to write.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The buffer to append replies to. It has room for 32 bytes at least, and grows.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        self.room(TAIL_ROOM)
    }

    /// The buffer to append replies to, with room for `n` bytes. Who appends that many at most leaves long pipelines and
    /// long replies uncopied: a large buffer is queued as it is, and another one begun.
    #[inline]
    pub fn room(&mut self, n: usize) -> &mut Vec<u8> {
        if self.tail.capacity() - self.tail.len() < n {
            self.make_room(n);
        }
        &mut self.tail
    }

    #[cold]
    #[inline(never)]
    fn make_room(&mut self, n: usize) {
        if self.tail.capacity() >= TAIL_GROWN {
            self.seal();
            self.tail = Vec::with_capacity(TAIL_GROWN.max(n));
        } else if self.tail.capacity() == 0 {
            self.tail = pooled();
        }
        self.tail.reserve(n);
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn extend(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// Queues `bytes` without copying. Below [`SHARE_MIN`] copying is cheaper, and done.
    pub fn share(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.extend(&bytes);
        }
        self.seal();
        self.chunked += bytes.len();
        self.chunks.push_back(bytes);
    }

    /// Moves everything of `other` behind what is queued here.
    pub fn append(&mut self, mut other: Output) {
        other.discard_taken();
        if other.chunks.is_empty() {
            self.extend(&other.tail);
        } else {
            self.seal();
            other.seal();
            self.chunked += other.chunked;
            self.chunks.append(&mut other.chunks);
        }
        other.release();
    }

    /// Removes what was queued after `mark`, a value of [`Output::len`] read earlier with nothing
    /// written since. Used to take back a half-written reply.
    pub fn truncate(&mut self, mark: usize) {
        let mut excess = self.len().saturating_sub(mark);
        let from_tail = excess.min(self.tail.len());
        self.tail.truncate(self.tail.len() - from_tail);
        excess -= from_tail;
        while excess > 0 {
            let Some(mut last) = self.chunks.pop_back() else { return };
            let cut = excess.min(last.len());
            last.truncate(last.len() - cut);
            self.chunked -= cut;
            excess -= cut;
            if !last.is_empty() {
                self.chunks.push_back(last);
            }
        }
        // The rest of the front chunk may be written completely; an empty front would hide what
        // follows.
        self.discard_taken_chunks();
    }

    /// Inserts `bytes` at `mark`, a value of [`Output::len`] read earlier with nothing written
    /// since. Used for headers that are known only after what follows them. Moves what lies behind,
    /// except shared chunks.
    pub fn insert(&mut self, mark: usize, bytes: &[u8]) {
        debug_assert!(mark <= self.len());
        // An empty chunk would hide what follows it.
        if bytes.is_empty() {
            return;
        }
        let mut at = self.taken + mark;
        if at >= self.chunked {
            let at = (at - self.chunked).min(self.tail.len());
            // Not behind `room`, which may begin another tail: the place is in this one.
            self.tail.splice(at..at, bytes.iter().copied());
            return;
        }
        for i in 0..self.chunks.len() {
            let len = self.chunks[i].len();
            if at < len {
                let behind = self.chunks[i].split_off(at);
                self.chunks.insert(i + 1, behind);
                self.chunks.insert(i + 1, Bytes::copy_from_slice(bytes));
                if at == 0 {
                    self.chunks.remove(i);
                }
                self.chunked += bytes.len();
                // A `mark` of 0 may split off a front chunk that is completely written.
                return self.discard_taken_chunks();
            }
            at -= len;
        }
    }

    /// Fills `slices` from the front of the queue; returns how many were filled.
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.taken;
        let mut filled = 0;
        let parts = self.chunks.iter().map(|c| &c[..]).chain(std::iter::once(&self.tail[..]));
        for (slot, part) in slices.iter_mut().zip(parts) {
            let part = &part[skip..];
            skip = 0;
            if part.is_empty() {
                break;
            }
            *slot = IoSlice::new(part);
            filled += 1;
        }
        filled
    }

    /// The first contiguous run of unwritten bytes.
    #[inline]
    pub fn front(&self) -> &[u8] {
        match self.chunks.front() {
            Some(chunk) => &chunk[self.taken..],
            None => &self.tail[self.taken..],
        }
    }

    /// Removes the first `n` bytes, which were written. If that empties the queue, its buffer goes
    /// back to the thread's pool.
    #[inline]
    pub fn consume(&mut self, n: usize) {
        debug_assert!(n <= self.len());
        self.taken += n;
        self.discard_taken_chunks();
        if self.is_empty() {
            self.release();
        } else if self.tail.capacity() > TAIL_SPARE_MAX {
            self.give_back();
        }
    }

    /// Gives back most of a large tail of which little is left, because its peer may take any time
    /// to read that, and is held to account for the bytes only.
    #[cold]
    fn give_back(&mut self) {
        if self.len() < self.tail.capacity() / 4 {
            self.discard_taken();
            self.tail.shrink_to(TAIL_START);
        }
    }

    /// Frees all memory; unwritten bytes are lost.
    pub fn release(&mut self) {
        if self.chunks.capacity() > 0 {
            self.chunks = VecDeque::new();
        }
        (self.taken, self.chunked) = (0, 0);
        recycle(std::mem::take(&mut self.tail));
    }

    /// Copies everything unwritten into one vector, for tests and small messages.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut all = Vec::with_capacity(self.len());
        self.chunks.iter().for_each(|c| all.extend_from_slice(c));
        all.extend_from_slice(&self.tail);
        all.drain(..self.taken);
        all
    }

    /// Begins a new tail if this one is large, so that for a peer which always leaves something
    /// unread, memory is held only for the bytes it has not read.
    pub fn close_large_tail(&mut self) {
        if self.tail.len() < TAIL_MAX {
            return;
        }
        // The spare capacity would stay allocated for as long as the peer takes to read.
        if self.tail.capacity() - self.tail.len() > self.tail.len() / 8 {
            self.tail.shrink_to_fit();
        }
        self.seal();
    }

    /// Turns the tail into a chunk, so that something can be queued behind it.
    fn seal(&mut self) {
        self.discard_taken();
        if !self.tail.is_empty() {
            if self.tail.capacity() > TAIL_SPARE_MAX && self.tail.len() < self.tail.capacity() / 4 {
                self.tail.shrink_to_fit();
            }
            self.chunked += self.tail.len();
            self.chunks.push_back(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }

    fn discard_taken_chunks(&mut self) {
        while let Some(front) = self.chunks.front() {
            if self.taken < front.len() {
                return;
            }
            self.taken -= front.len();
            self.chunked -= front.len();
            self.chunks.pop_front();
        }
    }

    /// Removes the written part, so that `taken` is zero or inside the first chunk.
    fn discard_taken(&mut self) {
        self.discard_taken_chunks();
        match self.chunks.front_mut() {
            Some(front) => {
                let _ = front.split_to(self.taken);
                self.chunked -= self.taken;
            }
            None => drop(self.tail.drain(..self.taken)),
        }
        self.taken = 0;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        recycle(std::mem::take(&mut self.tail));
    }
}

fn pooled() -> Vec<u8> {
    POOL.try_with(|p| p.borrow_mut().pop())
        .ok()
        .flatten()
        .unwrap_or_else(|| Vec::with_capacity(TAIL_START))
}

fn recycle(mut buffer: Vec<u8>) {
    if buffer.capacity() == 0 || buffer.capacity() > POOL_BUFFER_MAX {
        return;
    }
    buffer.clear();
    // During thread shutdown the pool may be gone; the buffer is then simply freed.
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if pool.len() < POOL_LEN_MAX {
            pool.push(buffer);
        }
    });
}
