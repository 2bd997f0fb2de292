//! [`Events`]: the events of a connection.

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
        /// The server is stopping.
        const DRAIN = 1 << 5;
    }
}

impl Events {
    /// The peer will send nothing more.
    pub(crate) const GONE: Events = Events::READ_CLOSED.union(Events::HANGUP);

    /// Events that persist between turns: states of the socket that are reported only once
    /// (edge-triggered).
    pub(crate) const LASTING: Events = Events::READABLE.union(Events::WRITABLE).union(Events::GONE);

    /// Returns this set if `condition` holds, and the empty set otherwise.
    #[inline]
    pub fn when(self, condition: bool) -> Events {
        if condition { self } else { Events::empty() }
    }
}
