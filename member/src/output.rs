//! The requests of a node to its driver ([`Output`]), and the results that it is given.

#[cfg(doc)]
use crate::Node;
use crate::state::{Capture, Restoring};
use bytes::Bytes;
use consensus::{
    Base, Entry, FileError, Files, GroupId, Message, SnapshotReader, Snapshots, StoreError,
};

/// A message between nodes, with the state if it announces a snapshot.
#[derive(Debug, Clone)]
pub struct Packet {
    /// The group whose members are its sender and receiver.
    pub group: GroupId,
    /// The message.
    pub message: Message,
    /// The state of the snapshot, as [`Capture::run`] wrote it.
    pub data: Option<State>,
}

/// The state of a snapshot that another node has sent.
#[derive(Debug, Clone)]
pub enum State {
    /// The state itself.
    Bytes(Bytes),
    /// The state has been written by [`Snapshots::receive`].
    Written {
        /// The name of the file.
        name: String,
        /// The size of the state in bytes.
        bytes: u64,
    },
}

/// The reason why a node cannot go on. Its process ends, and may be started again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fatal {
    /// The log store failed, or its log is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Entries that this node acknowledged are gone: its disk was emptied or exchanged.
    #[error("entries that this node has acknowledged are gone: it must come back as a new node")]
    Emptied,
    /// The log or a snapshot holds something invalid, or something that cannot be applied.
    #[error("the log or a snapshot is damaged: {0}")]
    Damaged(String),
    /// The storage failed.
    #[error("the storage failed: {0}")]
    Storage(String),
}

impl Fatal {
    pub(crate) fn storage(error: impl ToString) -> Fatal {
        Fatal::Storage(error.to_string())
    }

    pub(crate) fn damaged(error: impl ToString) -> Fatal {
        Fatal::Damaged(error.to_string())
    }
}

/// An action that a node asks its driver for.
pub enum Output<F> {
    /// Send a message. It may be lost.
    Send(Box<Packet>),
    /// Send a message together with the snapshot that it announces. If the snapshot is large, it is
    /// to be read on another thread. Both may be lost; [`Node::snapshot_sent`] must be called once
    /// it is known whether they were.
    Snapshot(Box<(GroupId, Message, SnapshotReader)>),
    /// Call [`Node::synced`].
    Sync,
    /// Run the capture, on another thread if it is large, and pass the result to
    /// [`Node::captured`].
    Capture(Box<Capture>),
    /// Write a snapshot, on another thread if it is large, and pass the result to [`Node::kept`].
    Keep(Box<Keeping<F>>),
    /// Make the state of a group that of a snapshot, on another thread if it is large, and pass the
    /// result to [`Node::restored`].
    Restore(Box<Restoring>),
    /// Report, if it can, that the disk had no room for a snapshot. The node tries again later.
    Full,
}

/// A snapshot of this node that is committed and is to be written.
pub struct Keeping<F> {
    pub(crate) group: GroupId,
    pub(crate) files: F,
    pub(crate) base: Base,
    pub(crate) data: Bytes,
}

/// The result of a [`Keeping`].
pub struct Kept {
    pub(crate) group: GroupId,
    pub(crate) base: Base,
    pub(crate) done: Result<(), FileError>,
}

impl<F: Files> Keeping<F> {
    /// Writes the snapshot, which takes as long as the disk does.
    pub fn run(mut self) -> Kept {
        let done = Snapshots(&mut self.files).keep(self.group, &self.base, &self.data);
        Kept { group: self.group, base: self.base, done }
    }
}

/// An observer of what is written, which tests use to check invariants.
pub trait Watch {
    /// Called with entries of a group that are being written.
    fn wrote(&mut self, _group: GroupId, _entries: &[Entry]) {}
    /// Called with a snapshot of a group that is being kept.
    fn kept(&mut self, _group: GroupId, _base: &Base, _data: &[u8]) {}
}

impl Watch for () {}
