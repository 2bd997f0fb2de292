//! Consensus without input or output: groups of Raft, and the stores their logs are kept in.
//!
//! What it promises, to whoever executes commands first and replies when told:
//!
//! - what [`Group::poll`] calls kept is in the log of a quorum, and stays; what it calls cut never
//!   happened; anything else it says it does not know;
//! - a reply that was kept and only read shows a state that was the latest at some moment between
//!   command and reply;
//! - effects are applied on every member in the same order, each once; a state that had something else
//!   in it is made again;
//! - nothing is kept on a disk that a quorum has not agreed on, but entries of the log;
//! - two runs with the same calls are the same, to the byte.
//!
//! | | |
//! | --- | --- |
//! | [`Raft`] | one member of one group; [`TikvRaft`] is it by the crate `raft`, which only `tikv` knows |
//! | [`Group`] | Raft, and what executing first needs: fence, window, one term, outcomes, lease, undo |
//! | [`LogStore`] | the logs of all groups of a node with one sync: [`SegmentStore`], [`MemoryStore`] |
//! | [`Files`] | the disk below, which [`testing::Disk`] plays |
//!
//! It must not know: clocks, threads, sockets, random sources, commands, keys, the wire format of
//! peers. Times, bytes and seeds come with the calls.

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
    Action, Blocked, Cut, CutOutcome, Fence, Group, RECORD_MAX, Settings, Wait, Work, founded,
};
pub use message::{Base, Change, Entry, EntryKind, GroupId, HardState, Membership, Message};
pub use message::{MessageKind, NodeId, Step};
pub use outcomes::Outcome;
pub use raft::{Raft, Ready, Recovered, Refused, Role, Status};
pub use store::{
    FileError, Files, LogStore, MemoryStore, Reading, SegmentStore, SnapshotReader, Snapshots,
    StoreError, Torn,
};
pub use tikv::{ELECTION_TICKS, TikvRaft};
