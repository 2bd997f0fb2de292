//! [`Events`]: what happened to a connection.

bitflags::bitflags! {
    /// The readiness events of a connection's socket, as a set of flags.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Events: u8 {
        /// Input, or its end, may have arrived.
        const READABLE = 1;
        /// The kernel may take output again.
        const WRITABLE = 1 << 1;
        /// The peer has ended its sending side; input may still be unread before that end.
        const READ_CLOSED = 1 << 2;
        /// Both directions are gone.
        const HANGUP = 1 << 3;
        /// The waker fired, or the deadline passed.
        const WAKE = 1 << 4;
        /// The server stops.
        const DRAIN = 1 << 5;
    }
}

impl Events {
    /// The peer sends no more.
    pub(crate) const GONE: Events = Events::READ_CLOSED.union(Events::HANGUP);

    /// Those that persist between turns: facts about the socket, told once (edge-triggered).
    pub(crate) const LASTING: Events = Events::READABLE.union(Events::WRITABLE).union(Events::GONE);

    /// This set if `condition`, the empty one otherwise.
    #[inline]
    pub fn when(self, condition: bool) -> Events {
        if condition { self } else { Events::empty() }
    }
}
