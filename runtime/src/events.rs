//! [`Events`]: what happened to a connection.

use std::ops::{BitOr, BitOrAssign};

/// What happened to a connection: a small set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events(u8);

impl Events {
    /// Nothing.
    pub const NONE: Events = Events(0);
    /// Input, or its end, may have arrived.
    pub const READABLE: Events = Events(1);
    /// The kernel may take output again.
    pub const WRITABLE: Events = Events(2);
    /// The peer has ended its sending side; input may still be unread before that end.
    pub const READ_CLOSED: Events = Events(4);
    /// Both directions are gone.
    pub const HANGUP: Events = Events(8);
    /// The waker fired, or the deadline passed.
    pub const WAKE: Events = Events(16);
    /// The server stops.
    pub const DRAIN: Events = Events(32);

    /// The peer sends no more.
    pub(crate) const GONE: Events = Events(4 | 8);

    /// Those that persist between turns: facts about the socket, told once (edge-triggered).
    pub(crate) const LASTING: Events = Events(1 | 2 | 4 | 8);

    /// Whether any event of `other` is in this set.
    #[inline]
    pub fn any(self, other: Events) -> bool {
        self.0 & other.0 != 0
    }

    /// This set if `condition`, the empty one otherwise.
    #[inline]
    pub fn when(self, condition: bool) -> Events {
        if condition { self } else { Events::NONE }
    }

    #[inline]
    pub(crate) fn and(self, other: Events) -> Events {
        Events(self.0 & other.0)
    }

    #[inline]
    pub(crate) fn without(self, other: Events) -> Events {
        Events(self.0 & !other.0)
    }
}

impl BitOr for Events {
    type Output = Events;
    #[inline]
    fn bitor(self, other: Events) -> Events {
        Events(self.0 | other.0)
    }
}

impl BitOrAssign for Events {
    #[inline]
    fn bitor_assign(&mut self, other: Events) {
        self.0 |= other.0;
    }
}
