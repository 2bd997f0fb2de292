//! [`Loading`]: the actions that wait while the state of a node is being replaced.

use consensus::Action;
use std::collections::VecDeque;

/// The approximate number of bytes of an action besides its effects.
const ACTION: usize = 128;

/// How much waits, and how much of it is done at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The number of bytes that may wait before no more entries are accepted from the leader.
    pub waiting: usize,
    /// The number of bytes that are applied in one turn.
    pub turn: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds { waiting: 256 << 20, turn: 4 << 20 }
    }
}

/// The actions that are to follow once the state is there, in order.
#[derive(Debug, Default)]
pub(crate) struct Loading {
    waiting: VecDeque<Action>,
    /// The approximate number of bytes that wait.
    bytes: usize,
    /// Whether the state is there, so that they may follow.
    pub is_loaded: bool,
}

fn weight(action: &Action) -> usize {
    match action {
        Action::Apply(batch) | Action::Committed(batch) => ACTION + batch.effects.len(),
        Action::Restore(_) | Action::Members(_) => ACTION,
    }
}

impl Loading {
    /// The approximate number of bytes that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Lets an action wait behind the others.
    pub fn push(&mut self, action: Action) {
        self.bytes += weight(&action);
        self.waiting.push_back(action);
    }

    /// Takes the first action that waits; `None` if none does.
    pub fn pop(&mut self) -> Option<Action> {
        let action = self.waiting.pop_front()?;
        self.bytes -= weight(&action);
        Some(action)
    }
}
