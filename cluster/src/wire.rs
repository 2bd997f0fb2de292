//! The messages between nodes, in protobuf, and their conversion to the types of `consensus`.
//!
//! The schema is `proto/peers.proto`, whose field numbers are the tags here. A message that cannot
//! be converted is refused as a whole.

use bytes::Bytes;
use consensus::{Base, Entry, EntryKind, GroupId, Membership, Message, MessageKind, NodeId};

/// The version of the protocol. Nodes with another one are refused.
pub const VERSION: u32 = 3;

/// The oldest version whose folders this one can use.
pub const OLDEST_FOLDER: u32 = 2;

/// A node as others know it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Peer {
    /// Its identity.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Increases with each of its starts and changes. Of two announcements of a node, the one with
    /// the larger stamp counts.
    #[prost(uint64, tag = "2")]
    pub stamp: u64,
    /// Its host; empty while the node does not know it.
    #[prost(string, tag = "3")]
    pub host: String,
    /// The port for clients.
    #[prost(uint32, tag = "4")]
    pub port: u32,
    /// The port for other nodes.
    #[prost(uint32, tag = "5")]
    pub bus_port: u32,
}

/// A greeting: who a node is, and which nodes it knows.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Greeting {
    /// See [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The identity of the cluster; zero for a node that belongs to none.
    #[prost(uint64, tag = "2")]
    pub cluster: u64,
    /// The sender.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// All nodes that the sender knows, itself included.
    #[prost(message, repeated, tag = "4")]
    pub nodes: Vec<Peer>,
    /// Nodes that were forgotten for good.
    #[prost(uint64, repeated, tag = "5")]
    pub forgotten: Vec<u64>,
    /// The host at which the sender reaches the receiver.
    #[prost(string, tag = "6")]
    pub your_host: String,
    /// The expected receiver; zero for any node, which is then asked to join.
    #[prost(uint64, tag = "7")]
    pub to: u64,
    /// The number of groups of the cluster; zero for a node that belongs to none.
    #[prost(uint32, tag = "8")]
    pub groups: u32,
}

/// Messages between members of a group.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Batch {
    /// See [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The identity of the cluster.
    #[prost(uint64, tag = "2")]
    pub cluster: u64,
    /// The sender.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// The messages, in order.
    #[prost(message, repeated, tag = "4")]
    pub messages: Vec<Raft>,
}

/// A piece of a snapshot.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Chunk {
    /// See [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The identity of the cluster.
    #[prost(uint64, tag = "2")]
    pub cluster: u64,
    /// The sender.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// The message that announces the snapshot; in the first piece only.
    #[prost(message, optional, tag = "4")]
    pub message: Option<Raft>,
    /// The size of the whole snapshot in bytes; in the first piece only.
    #[prost(uint64, tag = "5")]
    pub total: u64,
    /// The next bytes of the snapshot.
    #[prost(bytes = "bytes", tag = "6")]
    pub data: Bytes,
}

/// Published messages, for the subscribers at another node.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Posts {
    /// See [`VERSION`].
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The identity of the cluster.
    #[prost(uint64, tag = "2")]
    pub cluster: u64,
    /// The sender.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// The messages, in order.
    #[prost(message, repeated, tag = "4")]
    pub posts: Vec<Post>,
}

/// A published message.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Post {
    /// Whether it was published by `SPUBLISH`.
    #[prost(bool, tag = "1")]
    pub shard: bool,
    /// Its channel.
    #[prost(bytes = "bytes", tag = "2")]
    pub channel: Bytes,
    /// Its payload.
    #[prost(bytes = "bytes", tag = "3")]
    pub payload: Bytes,
}

/// An empty answer.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Done {}

/// A message of Raft.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // [`Message`] says what they are
pub struct Raft {
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(uint64, tag = "2")]
    pub to: u64,
    #[prost(uint64, tag = "3")]
    pub from: u64,
    #[prost(uint64, tag = "4")]
    pub term: u64,
    #[prost(uint64, tag = "5")]
    pub log_term: u64,
    #[prost(uint64, tag = "6")]
    pub index: u64,
    #[prost(message, repeated, tag = "7")]
    pub entries: Vec<RaftEntry>,
    #[prost(uint64, tag = "8")]
    pub commit: u64,
    #[prost(uint64, tag = "9")]
    pub commit_term: u64,
    #[prost(message, optional, tag = "10")]
    pub snapshot: Option<RaftBase>,
    #[prost(uint64, tag = "11")]
    pub request_snapshot: u64,
    #[prost(bool, tag = "12")]
    pub reject: bool,
    #[prost(uint64, tag = "13")]
    pub reject_hint: u64,
    #[prost(bytes = "bytes", tag = "14")]
    pub context: Bytes,
    #[prost(int64, tag = "15")]
    pub priority: i64,
    #[prost(uint64, tag = "16")]
    pub group: u64,
}

/// An entry of a log.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // [`Entry`] says what they are
pub struct RaftEntry {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(bool, tag = "3")]
    pub is_change: bool,
    #[prost(bytes = "bytes", tag = "4")]
    pub data: Bytes,
}

/// The point where a log begins.
#[derive(Clone, PartialEq, prost::Message)]
#[allow(missing_docs)] // [`Base`] and [`Membership`] say what they are
pub struct RaftBase {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(uint64, tag = "2")]
    pub term: u64,
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    #[prost(uint64, tag = "4")]
    pub time: u64,
    #[prost(uint64, repeated, tag = "5")]
    pub voters: Vec<u64>,
    #[prost(uint64, repeated, tag = "6")]
    pub learners: Vec<u64>,
    #[prost(uint64, repeated, tag = "7")]
    pub voters_outgoing: Vec<u64>,
    #[prost(uint64, repeated, tag = "8")]
    pub learners_next: Vec<u64>,
    #[prost(bool, tag = "9")]
    pub auto_leave: bool,
}

/// The kinds of messages. The position of each, counted from one, is its number.
const KINDS: [MessageKind; 13] = [
    MessageKind::Append,
    MessageKind::AppendResponse,
    MessageKind::RequestVote,
    MessageKind::RequestVoteResponse,
    MessageKind::Snapshot,
    MessageKind::Heartbeat,
    MessageKind::HeartbeatResponse,
    MessageKind::TimeoutNow,
    MessageKind::ReadIndex,
    MessageKind::ReadIndexResponse,
    MessageKind::RequestPreVote,
    MessageKind::RequestPreVoteResponse,
    MessageKind::TransferLeader,
];

impl From<(GroupId, Message)> for Raft {
    fn from((group, message): (GroupId, Message)) -> Raft {
        let kind = KINDS.iter().position(|kind| *kind == message.kind);
        Raft {
            kind: kind.map_or(0, |at| at as u32 + 1),
            to: message.to,
            from: message.from,
            term: message.term,
            log_term: message.log_term,
            index: message.index,
            entries: message.entries.into_iter().map(RaftEntry::from).collect(),
            commit: message.commit,
            commit_term: message.commit_term,
            snapshot: message.snapshot.map(RaftBase::from),
            request_snapshot: message.request_snapshot,
            reject: message.reject,
            reject_hint: message.reject_hint,
            context: message.context,
            priority: message.priority,
            group,
        }
    }
}

impl Raft {
    /// Converts the message and its group; `None` if it is invalid or is not from `from` to `to`.
    pub fn message(self, from: NodeId, to: NodeId) -> Option<(GroupId, Message)> {
        let kind = *KINDS.get((self.kind as usize).checked_sub(1)?)?;
        (self.from == from && self.to == to && self.group != 0).then_some(())?;
        let message = Message {
            kind,
            to,
            from,
            term: self.term,
            log_term: self.log_term,
            index: self.index,
            entries: self.entries.into_iter().map(Entry::from).collect(),
            commit: self.commit,
            commit_term: self.commit_term,
            snapshot: self.snapshot.map(Base::from),
            request_snapshot: self.request_snapshot,
            reject: self.reject,
            reject_hint: self.reject_hint,
            context: self.context,
            priority: self.priority,
        };
        Some((self.group, message))
    }
}

/// The approximate number of bytes of memory that a message occupies.
pub fn weight(message: &Message) -> usize {
    256 + message.entries.iter().map(|entry| 64 + entry.data.len()).sum::<usize>()
}

impl From<Entry> for RaftEntry {
    fn from(entry: Entry) -> RaftEntry {
        let is_change = entry.kind == EntryKind::Change;
        RaftEntry { index: entry.index, term: entry.term, is_change, data: entry.data }
    }
}

impl From<RaftEntry> for Entry {
    fn from(entry: RaftEntry) -> Entry {
        let kind = if entry.is_change { EntryKind::Change } else { EntryKind::Normal };
        Entry { index: entry.index, term: entry.term, kind, data: entry.data }
    }
}

impl From<Base> for RaftBase {
    fn from(base: Base) -> RaftBase {
        RaftBase {
            index: base.index,
            term: base.term,
            seq: base.seq,
            time: base.time,
            voters: base.members.voters,
            learners: base.members.learners,
            voters_outgoing: base.members.voters_outgoing,
            learners_next: base.members.learners_next,
            auto_leave: base.members.auto_leave,
        }
    }
}

impl From<RaftBase> for Base {
    fn from(base: RaftBase) -> Base {
        let members = Membership {
            voters: base.voters,
            learners: base.learners,
            voters_outgoing: base.voters_outgoing,
            learners_next: base.learners_next,
            auto_leave: base.auto_leave,
        };
        Base { index: base.index, term: base.term, members, seq: base.seq, time: base.time }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message as _;

    fn message(kind: MessageKind) -> Message {
        let entry = |kind| Entry { index: 8, term: 3, kind, data: Bytes::from_static(b"data") };
        let members = Membership { learners: vec![9], ..Membership::of([1, 2, 3]) };
        Message {
            kind,
            to: 2,
            from: 1,
            term: 4,
            log_term: 3,
            index: 7,
            entries: vec![entry(EntryKind::Normal), entry(EntryKind::Change)],
            commit: 6,
            commit_term: 2,
            snapshot: Some(Base { index: 5, term: 2, members, seq: 10, time: 11 }),
            request_snapshot: 12,
            reject: true,
            reject_hint: 13,
            context: Bytes::from_static(b"why"),
            priority: -1,
        }
    }

    #[test]
    fn messages_come_back_as_they_were_sent() {
        for kind in KINDS {
            let sent = message(kind);
            let bytes = Raft::from((9, sent.clone())).encode_to_vec();
            let read = Raft::decode(&bytes[..]).unwrap();
            assert_eq!(read.message(1, 2), Some((9, sent)));
        }
    }

    #[test]
    fn what_is_no_message_for_us_is_none() {
        let sent = Raft::from((9, message(MessageKind::Append)));
        assert_eq!(sent.clone().message(3, 2), None, "somebody speaks for another");
        assert_eq!(sent.clone().message(1, 3), None, "it is for another");
        let stray = Raft { group: 0, ..sent.clone() };
        assert_eq!(stray.message(1, 2), None, "it is of no group");
        for kind in [0, 14, u32::MAX] {
            assert_eq!(Raft { kind, ..sent.clone() }.message(1, 2), None, "kind {kind}");
        }
    }
}
