//! The network, with delay, loss, duplication, reordering, and cuts in one or both directions.

use consensus::NodeId;
use consensus::testing::Numbers;
use std::collections::BTreeSet;

/// The state of the network.
#[derive(Debug, Default)]
pub struct Network {
    /// The pairs of sender and receiver between which nothing passes.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// The number of messages lost in a thousand.
    pub loss: u64,
    /// The number of messages in a thousand that arrive twice.
    pub twice: u64,
    /// The usual longest delay in microseconds; one message in fifty takes up to ten times as long.
    /// Messages may overtake each other.
    pub delay: u64,
}

impl Network {
    /// A fast network that loses nothing.
    pub fn good() -> Network {
        Network { delay: 2_000, ..Network::default() }
    }

    /// Cuts the direction from `from` to `to`.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cut.insert((from, to));
    }

    /// Ends all cuts, losses and long delays.
    pub fn heal(&mut self) {
        *self = Network::good();
    }

    /// The delay of each copy of a message, in microseconds; empty if it is lost.
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

    /// Whether a message already on its way may arrive.
    pub fn passes(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.contains(&(from, to))
    }
}
