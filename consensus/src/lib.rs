//! Consensus without input or output: groups of Raft, and the stores their logs are kept in.
//!
//! The crate serves a state machine that executes commands first and replies when it is told to. It
//! promises:
//!
//! - An effect that [`Group::poll`] reports as kept is in the log of a quorum and stays there. One
//!   that it reports as cut was never committed. Of any other it reports that the outcome is
//!   unknown.
//! - The reply to a read that was reported as kept shows a state that was the latest at some moment
//!   between command and reply.
//! - Effects are applied on every member in the same order, each once. A state that contains
//!   anything else is built again from a snapshot and the log.
//! - Apart from log entries, nothing is kept on a disk before a quorum has agreed on it.
//! - Two runs with the same calls give the same results, byte for byte.
//!
//! | | |
//! | --- | --- |
//! | [`Raft`] | one member of one group; [`TikvRaft`] implements it with the crate `raft`, which only the module `tikv` names |
//! | [`Group`] | Raft, and what executing first needs: fence, window, one term, outcomes, lease, undo |
//! | [`LogStore`] | the logs of all groups of a node with one sync: [`SegmentStore`], [`MemoryStore`] |
//! | [`Files`] | the disk below, which [`testing::Disk`] plays |
//! | `batch` | a batch: the effects that one entry of the log holds |
//! | `fault` | bugs that other systems had, planted on purpose so that the simulator can prove that it finds them |
//! | `group` | a group: Raft, and what makes it safe to execute a command before its effects are committed |
//! | `lease` | read rounds, by which a leader learns that it still leads, and the lease that follows from them |
//! | `message` | the messages that nodes exchange and the entries that a log holds, as plain types of our own |
//! | `outcomes` | the outcomes of effects that this node executed before they were committed |
//! | `store` | `LogStore`: keeps the logs of all groups of a node, with one sync for all |
//! | [`testing`] | the suite that every [`LogStore`](crate::LogStore) passes, and a disk to run it on |
//!
//! The crate knows nothing of clocks, threads, sockets, random sources, commands, keys or the wire
//! format of peers. Times, bytes and seeds come with the calls.

mod batch;
mod fault;
mod group;
mod lease;
mod message;
mod outcomes;
mod raft;
mod store;
pub mod testing;
mod tikv;

pub use batch::Batch;
#[cfg(feature = "planted")]
pub use fault::Fault;
pub use fault::Faults;
pub use group::{
    Action, Blocked, Cut, CutOutcome, Fence, Group, RECORD_MAX, ReadOutcome, Settings, Wait, Work,
    founded,
};
pub use message::{Base, Change, Entry, EntryKind, GroupId, HardState, Membership, Message};
pub use message::{MessageKind, NodeId, Step};
pub use outcomes::Outcome;
pub use raft::{Raft, Ready, Recovered, Refused, Role, Status};
pub use store::{
    FileError, Files, LogStore, MemoryStore, Reading, SegmentStore, SnapshotReader, SnapshotWriter,
    Snapshots, StoreError, Torn,
};
pub use tikv::{ELECTION_TICKS, TikvRaft};
