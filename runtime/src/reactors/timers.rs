//! The deadlines of one reactor's connections: a heap in which outdated entries are left until they
//! come up.
//!
//! The deadline of a connection moves with almost every request (idle timeouts), mostly to later.
//! So the heap is changed only when a deadline comes *nearer* than the one in the heap. An entry
//! that comes up early is put back with the deadline that then applies.

use super::slots::Key;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// No deadline.
pub const NEVER: u64 = u64::MAX;

/// The number of outdated entries that are allowed in addition to twice the number of connections.
const SLACK: usize = 64;

/// The heap. The caller knows which entry of a connection is current: the one that was set last.
#[derive(Default)]
pub struct Timers {
    heap: BinaryHeap<Reverse<(u64, Key)>>,
}

impl Timers {
    /// Sets a timer for `key` at `deadline_us`, if that is earlier than `armed_us`, which is
    /// updated.
    #[inline]
    pub fn arm(&mut self, key: Key, deadline_us: u64, armed_us: &mut u64) {
        if deadline_us < *armed_us {
            *armed_us = deadline_us;
            self.heap.push(Reverse((deadline_us, key)));
        }
    }

    /// The earliest time at which [`Timers::pop_due`] may return an entry.
    pub fn next_us(&self) -> Option<u64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Removes and returns one entry that is due.
    pub fn pop_due(&mut self, now_us: u64) -> Option<(u64, Key)> {
        if self.next_us()? > now_us {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }

    /// Drops outdated entries once they outnumber the `connections`, so that a peer that keeps
    /// moving its deadline cannot make the heap grow.
    pub fn tidy(&mut self, connections: usize, mut armed_us: impl FnMut(Key) -> u64) {
        if self.heap.len() > 2 * connections + SLACK {
            self.heap.retain(|Reverse((at, key))| armed_us(*key) == *at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> Key {
        Key::from_number(n)
    }

    #[test]
    fn later_deadlines_leave_the_heap_alone_and_nearer_ones_do_not() {
        let (mut timers, mut armed) = (Timers::default(), NEVER);
        timers.arm(key(1), 100, &mut armed);
        timers.arm(key(1), 200, &mut armed);
        assert_eq!((timers.heap.len(), armed), (1, 100));
        timers.arm(key(1), 50, &mut armed);
        assert_eq!((timers.heap.len(), timers.next_us()), (2, Some(50)));
        assert_eq!(timers.pop_due(49), None);
        assert_eq!(timers.pop_due(60), Some((50, key(1))));
        assert_eq!(timers.pop_due(60), None);
    }

    #[test]
    fn a_peer_that_keeps_moving_its_deadline_does_not_grow_the_heap() {
        let (mut timers, mut armed) = (Timers::default(), NEVER);
        for at in (0..100_000).rev() {
            timers.arm(key(1), at, &mut armed);
            let current = armed;
            timers.tidy(1, |_| current);
            assert!(timers.heap.len() <= 2 + SLACK);
        }
        assert_eq!(timers.next_us(), Some(0));
    }
}
