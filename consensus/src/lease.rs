//! Read rounds, by which a leader learns that it still leads, and the lease that follows from them.

use bytes::Bytes;
use std::collections::VecDeque;

/// The number of rounds that may wait for an answer. A leader without a quorum steps down before it
/// gets there.
const ROUNDS_MAX: usize = 64;

/// The share of an election timeout that a confirmed round leases, in tenths. The rest allows for
/// clocks that run at different speeds, and for followers counting whole ticks.
const LEASED_TENTHS: u64 = 8;

/// The read rounds of one leader in one term. Times are microseconds of a monotonic clock.
#[derive(Debug, Default)]
pub struct Lease {
    term: u64,
    /// The number of the next round.
    next: u64,
    /// The latest round that a quorum has confirmed.
    confirmed: u64,
    /// Rounds without an answer: their numbers, and the times when they began.
    open: VecDeque<(u64, u64)>,
    until: u64,
    /// Whether this term has lost its lease for good. Once a transfer has begun, another node may
    /// be elected at any time, because the message that asks for it may arrive late.
    dropped: bool,
}

impl Lease {
    /// The rounds of a leader in `term`.
    pub fn new(term: u64) -> Lease {
        Lease { term, next: 1, ..Lease::default() }
    }

    /// Begins a round and returns its name; `None` if too many are open.
    pub fn begin(&mut self, now: u64) -> Option<Bytes> {
        if self.open.len() >= ROUNDS_MAX {
            return None;
        }
        let round = self.next;
        self.next += 1;
        self.open.push_back((round, now));
        Some([self.term.to_le_bytes(), round.to_le_bytes()].concat().into())
    }

    /// The number of the next round to begin. Its confirmation proves that this node led at some
    /// time after now.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Records that a quorum confirmed the round `name`, and with it all earlier ones. `election`
    /// is the election timeout in microseconds.
    pub fn confirm(&mut self, name: &[u8], election: u64) {
        let Some((term, round)) = name.split_first_chunk::<8>() else { return };
        let Ok(round) = round.try_into().map(u64::from_le_bytes) else { return };
        if u64::from_le_bytes(*term) != self.term {
            return;
        }
        while let Some((number, began)) = self.open.front().copied().filter(|(n, _)| *n <= round) {
            self.open.pop_front();
            self.confirmed = number;
            self.until = self.until.max(began + election / 10 * LEASED_TENTHS);
        }
    }

    /// Whether the round of this number is confirmed.
    pub fn is_confirmed(&self, round: u64) -> bool {
        round <= self.confirmed
    }

    /// Whether it is certain that no other node leads at `now`.
    pub fn holds(&self, now: u64) -> bool {
        now < self.until && !self.dropped
    }

    /// Gives up the lease for the rest of the term.
    pub fn drop_for_term(&mut self) {
        self.dropped = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_counts_from_the_beginning_of_its_round() {
        let mut lease = Lease::new(5);
        let (first, wanted) = (lease.begin(1_000).unwrap(), lease.next());
        assert!(!lease.holds(1_000));
        lease.confirm(&first, 1_000_000);
        assert!(lease.holds(800_999) && !lease.holds(801_000));
        assert!(!lease.is_confirmed(wanted));
        let second = lease.begin(2_000).unwrap();
        lease.confirm(&second, 1_000_000);
        assert!(lease.is_confirmed(wanted) && lease.holds(801_999));
        lease.drop_for_term();
        assert!(!lease.holds(2_000));
        let third = lease.begin(3_000).unwrap();
        lease.confirm(&third, 1_000_000);
        assert!(!lease.holds(3_000), "not again in this term");
    }

    #[test]
    fn rounds_of_other_terms_confirm_nothing_and_open_ones_are_bounded() {
        let mut lease = Lease::new(5);
        let other = Lease::new(4).begin(0).unwrap();
        lease.begin(0);
        lease.confirm(&other, 1_000_000);
        lease.confirm(b"garbage", 1_000_000);
        assert!(!lease.holds(0));
        assert_eq!((0..100).filter(|_| lease.begin(0).is_some()).count(), ROUNDS_MAX - 1);
    }
}
