//! The network: delay, loss, duplication, reordering, cuts in one direction or both.

use consensus::NodeId;
use consensus::testing::Numbers;
use std::collections::BTreeSet;

/// How it is doing.
#[derive(Debug, Default)]
pub struct Network {
    /// From, to: nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Of a thousand messages, how many are lost.
    pub loss: u64,
    /// Of a thousand messages, how many come twice.
    pub twice: u64,
    /// The longest delay, microseconds. Messages overtake each other.
    pub delay: u64,
}

impl Network {
    /// A quick one that loses nothing.
    pub fn good() -> Network {
        Network { delay: 2_000, ..Network::default() }
    }

    /// Nothing passes from one to the other any more.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Everything passes again.
    pub fn heal(&mut self) {
        *self = Network::good();
    }

    /// After how many microseconds each copy of a message arrives.
    pub fn send(&self, from: NodeId, to: NodeId, numbers: &mut Numbers) -> Vec<u64> {
        if self.cut.contains(&(from, to)) || numbers.below(1_000) < self.loss {
            return Vec::new();
        }
        let copies = if numbers.below(1_000) < self.twice { 2 } else { 1 };
        let delay = |numbers: &mut Numbers| match numbers.below(50) {
            0 => 100 + numbers.below(self.delay * 10),
            _ => 100 + numbers.below(self.delay),
        };
        (0..copies).map(|_| delay(numbers)).collect()
    }

    /// Whether a message that is on its way arrives.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }
}
