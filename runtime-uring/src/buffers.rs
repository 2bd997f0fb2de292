//! The buffers that a ring provides to the kernel, which picks one for whatever it receives.
//!
//! A buffer is either the kernel's, or belongs to the one [`Received`] that names it. Who has that may read the buffer,
//! and loses it by giving the buffer back.

use io_uring::IoUring;
use io_uring::types::BufRingEntry;
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::io;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Relaxed, Release};
use std::sync::atomic::{AtomicU16, AtomicU64};

/// The size of a buffer, in bytes: a pipeline of usual clients. Of longer input, each piece is passed on as it comes.
pub const BUFFER_SIZE: usize = 16 * 1024;

/// The number of buffers that a thread provides: a power of two.
pub const BUFFERS: u16 = 256;

/// The only group of buffers of a ring.
pub(crate) const GROUP: u16 = 0;

/// The alignment that the kernel asks for.
const PAGE: usize = 4096;

/// Input in one of a ring's buffers. It must be given back ([`Provided::give_back`]), or the ring has one less.
#[derive(Debug)]
pub(crate) struct Received {
    ring: u64,
    buffer: u16,
    len: u32,
}

/// The memory of a ring's buffers.
pub(crate) struct Buffers {
    memory: Block,
    /// Distinguishes the rings of a process: one's buffers are not read by another's numbers.
    ring: u64,
}

impl Buffers {
    /// The input.
    #[inline]
    pub fn bytes(&self, received: &Received) -> &[u8] {
        assert_eq!(received.ring, self.ring, "input of another ring");
        // SAFETY: the range is in the block, because `Provided::received` has checked number and length, and the block
        // is initialised: with zeros, and with what the kernel wrote. Nobody writes there: the kernel has given the
        // buffer away, and takes it again only after `give_back`, which consumes the `Received` that is borrowed here.
        unsafe {
            let start = self.memory.start.as_ptr().add(usize::from(received.buffer) * BUFFER_SIZE);
            std::slice::from_raw_parts(start, received.len as usize)
        }
    }
}

/// The buffers as the kernel knows them: a ring of entries from which it takes, and to which the thread adds.
pub(crate) struct Provided {
    entries: Block,
    buffers: Arc<Buffers>,
    /// The number of entries ever added, modulo 2¹⁶.
    tail: u16,
}

impl Provided {
    /// Registers new buffers with `io`.
    ///
    /// # Errors
    /// Fails if the kernel cannot.
    pub fn register(io: &IoUring) -> io::Result<Provided> {
        static RINGS: AtomicU64 = AtomicU64::new(0);
        let entries = Block::new(usize::from(BUFFERS) * size_of::<BufRingEntry>());
        let memory = Block::new(usize::from(BUFFERS) * BUFFER_SIZE);
        let buffers = Arc::new(Buffers { memory, ring: RINGS.fetch_add(1, Relaxed) });
        let address = entries.start.as_ptr() as u64;
        // SAFETY: the block has room for the entries, and lives as long as the ring: `Ring` drops both together, once
        // nothing is under way.
        unsafe { io.submitter().register_buf_ring_with_flags(address, BUFFERS, GROUP, 0)? };
        let mut provided = Provided { entries, buffers, tail: 0 };
        (0..BUFFERS).for_each(|buffer| provided.add(buffer));
        Ok(provided)
    }

    /// The memory, for reading what was received.
    pub fn buffers(&self) -> &Arc<Buffers> {
        &self.buffers
    }

    /// The input in a buffer that the kernel reports to have filled.
    #[inline]
    pub fn received(&self, buffer: u16, len: u32) -> Received {
        assert!(buffer < BUFFERS && len as usize <= BUFFER_SIZE, "a buffer that was not provided");
        Received { ring: self.buffers.ring, buffer, len }
    }

    /// Gives a buffer back to the kernel.
    #[inline]
    pub fn give_back(&mut self, received: Received) {
        assert_eq!(received.ring, self.buffers.ring, "input of another ring");
        self.add(received.buffer);
    }

    #[inline]
    fn add(&mut self, buffer: u16) {
        let entries = self.entries.start.as_ptr().cast::<BufRingEntry>();
        let place = usize::from(self.tail % BUFFERS);
        self.tail = self.tail.wrapping_add(1);
        // SAFETY: there are as many entries as buffers, and each buffer is in the ring once, so this entry is not the
        // kernel's, which takes only those before the tail. The tail is in the block as well, aligned, and the kernel
        // reads it atomically; storing it with `Release` shows the entry first.
        unsafe {
            let entry = &mut *entries.add(place);
            entry.set_addr(
                self.buffers.memory.start.as_ptr().add(usize::from(buffer) * BUFFER_SIZE) as u64,
            );
            entry.set_len(BUFFER_SIZE as u32);
            entry.set_bid(buffer);
            let tail = BufRingEntry::tail(entries).cast_mut();
            AtomicU16::from_ptr(tail).store(self.tail, Release);
        }
    }
}

/// Memory with the alignment of a page, initialised with zeros.
struct Block {
    start: NonNull<u8>,
    layout: Layout,
}

// SAFETY: a block is memory like that of a `Box<[u8]>`; who may read or write it is decided by its users above, whose
// methods that write take `&mut self`.
unsafe impl Send for Block {}
// SAFETY: as above; through `&Block` nothing but the address is reached.
unsafe impl Sync for Block {}

impl Block {
    fn new(size: usize) -> Block {
        let layout = Layout::from_size_align(size.max(PAGE), PAGE).expect("a small constant size");
        // SAFETY: the size is not zero.
        let start = unsafe { alloc_zeroed(layout) };
        match NonNull::new(start) {
            Some(start) => Block { start, layout },
            None => handle_alloc_error(layout),
        }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout, and freed once.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}
