//! The order of a sorted set: members by score, then by bytes, with ranks.

use std::cmp::Ordering;

/// Members in order.
#[derive(Debug, Default)]
pub struct Order {
    items: Vec<(f64, Box<[u8]>)>,
    member_bytes: usize,
}

/// Score first, then bytes. Scores are never NaN; −0 equals 0.
pub fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

impl Order {
    /// No members.
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        self.items.capacity() * size_of::<(f64, Box<[u8]>)>() + self.member_bytes
    }

    /// How many members `before` is true of; it must be true of a prefix.
    pub fn partition(&self, before: &dyn Fn(f64, &[u8]) -> bool) -> usize {
        self.items.partition_point(|(score, member)| before(*score, member))
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, score: f64, member: &[u8]) {
        let at = self.partition(&|s, m| compare((s, m), (score, member)).is_lt());
        self.member_bytes += member.len();
        self.items.insert(at, (score, member.into()));
    }

    /// Removes a member with its score.
    pub fn remove(&mut self, score: f64, member: &[u8]) {
        let at = self.partition(&|s, m| compare((s, m), (score, member)).is_lt());
        self.member_bytes -= member.len();
        self.items.remove(at);
    }

    /// The member at a rank.
    pub fn get(&self, rank: usize) -> Option<(f64, &[u8])> {
        self.items.get(rank).map(|(score, member)| (*score, &**member))
    }

    /// Visits from `rank` on, upwards or downwards, until `visit` says false.
    pub fn visit(&self, rank: usize, reverse: bool, visit: &mut dyn FnMut(f64, &[u8]) -> bool) {
        if reverse {
            let _ = self.items[..=rank].iter().rev().all(|(score, member)| visit(*score, member));
        } else {
            let _ = self.items[rank..].iter().all(|(score, member)| visit(*score, member));
        }
    }
}

impl Order {
    /// Drops a slice of an order nobody needs any more; true when something is left.
    pub fn sweep(&mut self) -> bool {
        self.items.truncate(self.items.len().saturating_sub(512));
        !self.items.is_empty()
    }
}
