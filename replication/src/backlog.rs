//! [`Backlog`]: the last bytes of a stream, for replicas that come back and for those that are behind.

use std::collections::VecDeque;

/// Bytes of one block: blocks are given back one by one.
const BLOCK_BYTES: usize = 64 << 10;

/// Bytes of a stream from some position on, in blocks.
///
/// A position is the number of bytes before it since the history began, which is Redis's offset of
/// the last byte. Bytes are dropped once they are both older than the size permits and not needed
/// by any replica.
#[derive(Debug)]
pub struct Backlog {
    blocks: VecDeque<Vec<u8>>,
    /// The position of the first byte of the first block.
    first: u64,
    end: u64,
    size: u64,
}

impl Backlog {
    /// An empty backlog at a position, which holds `size` bytes.
    pub fn new(at: u64, size: u64) -> Self {
        Backlog { blocks: VecDeque::new(), first: at, end: at, size }
    }

    /// The position behind the last byte.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// The first position that can be read from.
    pub fn first(&self) -> u64 {
        self.first.max(self.end.saturating_sub(self.size)).min(self.end)
    }

    /// Bytes it keeps for replicas that come back.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes of memory it holds.
    pub fn held_bytes(&self) -> u64 {
        self.end - self.first
    }

    /// Sets the number of bytes to hold.
    pub fn set_size(&mut self, size: u64) {
        self.size = size;
    }

    /// Whether the stream can be read from a position.
    pub fn holds(&self, position: u64) -> bool {
        (self.first..=self.end).contains(&position)
    }

    /// Adds bytes at the end. `needed` is the oldest position that a connected replica is still to read:
    /// what lies behind it stays.
    pub fn append(&mut self, mut bytes: &[u8], needed: u64) {
        self.end += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.blocks.back().map_or(0, |block| BLOCK_BYTES - block.len());
            if room == 0 {
                self.blocks.push_back(Vec::with_capacity(BLOCK_BYTES));
                continue;
            }
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.blocks.back_mut().expect("one with room").extend_from_slice(now);
            bytes = later;
        }
        self.trim(needed);
    }

    /// Drops whole blocks that are too old and not needed by any replica.
    pub fn trim(&mut self, needed: u64) {
        let keep = self.end.saturating_sub(self.size).min(needed);
        while let Some(block) = self.blocks.front()
            && self.blocks.len() > 1
            && self.first + block.len() as u64 <= keep
        {
            self.first += block.len() as u64;
            self.blocks.pop_front();
        }
    }

    /// Copies up to `max` bytes from a position on to `out`: how many. None if there are none, or if the
    /// position is not held.
    pub fn read(&self, position: u64, max: usize, out: &mut Vec<u8>) -> usize {
        if !self.holds(position) {
            return 0;
        }
        // All blocks but the last are full.
        let from = position - self.first;
        let (index, mut at) =
            ((from / BLOCK_BYTES as u64) as usize, (from % BLOCK_BYTES as u64) as usize);
        let mut copied = 0;
        for block in self.blocks.iter().skip(index) {
            let part = &block[at.min(block.len())..];
            let part = &part[..part.len().min(max - copied)];
            out.extend_from_slice(part);
            copied += part.len();
            at = 0;
            if copied == max {
                break;
            }
        }
        copied
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(backlog: &Backlog, from: u64) -> Vec<u8> {
        let mut out = Vec::new();
        backlog.read(from, usize::MAX, &mut out);
        out
    }

    #[test]
    fn bytes_come_back_from_any_position_held() {
        let mut backlog = Backlog::new(100, 1 << 20);
        let bytes: Vec<u8> = (0..200_000u32).map(|n| (n % 251) as u8).collect();
        bytes.chunks(777).for_each(|chunk| backlog.append(chunk, u64::MAX));
        assert_eq!((backlog.first(), backlog.end()), (100, 200_100));
        for from in [100, 101, 65_636, 65_635, 200_099, 200_100] {
            assert_eq!(text(&backlog, from), bytes[(from - 100) as usize..], "{from}");
        }
        assert_eq!((text(&backlog, 99), text(&backlog, 200_101)), (vec![], vec![]));
        let mut part = Vec::new();
        assert_eq!(backlog.read(65_000, 2000, &mut part), 2000);
        assert_eq!(part, bytes[64_900..66_900]);
    }

    #[test]
    fn old_bytes_go_unless_somebody_needs_them() {
        let mut backlog = Backlog::new(0, 100);
        for _ in 0..10 {
            backlog.append(&[7; BLOCK_BYTES], 5);
        }
        assert_eq!(backlog.held_bytes(), 10 * BLOCK_BYTES as u64, "position 5 is needed");
        assert!(backlog.holds(0));
        backlog.append(b"x", u64::MAX);
        assert!(backlog.held_bytes() <= BLOCK_BYTES as u64 + 1, "{}", backlog.held_bytes());
        assert_eq!(backlog.first(), backlog.end() - 100);
        assert!(!backlog.holds(0));
    }
}
