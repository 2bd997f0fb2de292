//! The messages that nodes exchange and the entries that a log holds, as plain types of our own.
//!
//! They are copied field by field to and from the types of the crate `raft`, so that its protobuf
//! parser never sees a byte that a peer or a file controls.

use bytes::Bytes;
use std::collections::BTreeSet;

/// A node's identity. It is never zero and never reused: a node whose disk was emptied is a new
/// node.
pub type NodeId = u64;

/// A group's identity. Group 0 keeps the cluster's metadata.
pub type GroupId = u64;

/// The kind of an entry, which says how its data is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch of effects, or no data at all in the first entry of a leader's term.
    Normal,
    /// A change of the membership, as [`Change::encode`] writes it.
    Change,
}

/// An entry of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its position in the log, counted from 1.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// How `data` is to be read.
    pub kind: EntryKind,
    /// A [`Batch`](crate::Batch), a [`Change`], or nothing.
    pub data: Bytes,
}

/// The part of Raft's state that a node must keep on disk besides the entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term that the node has seen.
    pub term: u64,
    /// The node it voted for in that term; zero if it has not voted.
    pub vote: NodeId,
    /// The index of the last entry that the node knows to be committed. It may be out of date.
    pub commit: u64,
}

/// The members of a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Members that vote.
    pub voters: Vec<NodeId>,
    /// Members that receive the log and do not vote.
    pub learners: Vec<NodeId>,
    /// During a joint change: the voters before it, of which a majority must still agree.
    pub voters_outgoing: Vec<NodeId>,
    /// During a joint change: voters that become learners when it ends.
    pub learners_next: Vec<NodeId>,
    /// During a joint change: whether the leader ends it without being asked.
    pub auto_leave: bool,
}

impl Membership {
    /// A group of these voters.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Voters, outgoing voters and learners, each once, in ascending order.
    pub fn all(&self) -> BTreeSet<NodeId> {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing];
        lists.into_iter().flatten().copied().collect()
    }

    /// Whether a joint change is under way.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the lists are valid: there is at least one voter, no identity is zero or twice in
    /// one list, and no node both votes and learns.
    pub fn is_sound(&self) -> bool {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing, &self.learners_next];
        let distinct = |list: &&Vec<NodeId>| {
            list.iter().collect::<BTreeSet<_>>().len() == list.len() && !list.contains(&0)
        };
        let learns = |id| self.learners.contains(id);
        !self.voters.is_empty()
            && lists.iter().all(distinct)
            && !self.voters.iter().any(learns)
            && !self.voters_outgoing.iter().any(learns)
            && self.learners_next.iter().all(|id| self.voters_outgoing.contains(id))
    }
}

/// One step of a change of the membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The node becomes a voter.
    Voter(NodeId),
    /// The node becomes a learner: it receives the log and does not vote.
    Learner(NodeId),
    /// The node leaves the group.
    Remove(NodeId),
}

/// A change of the membership. Several steps make a joint change; no step at all ends one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The steps.
    pub steps: Vec<Step>,
}

/// The highest number of steps in one change.
const STEPS_MAX: usize = 64;

impl Change {
    /// Encodes the change as the data of an entry: for each step one byte for its kind and eight
    /// for the node, little-endian.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(9 * self.steps.len());
        for step in &self.steps {
            let (kind, id) = match *step {
                Step::Voter(id) => (0, id),
                Step::Learner(id) => (1, id),
                Step::Remove(id) => (2, id),
            };
            out.push(kind);
            out.extend_from_slice(&id.to_le_bytes());
        }
        out.into()
    }

    /// Decodes what [`encode`](Self::encode) wrote; `None` for anything else, and for more than
    /// `STEPS_MAX` steps.
    pub fn decode(data: &[u8]) -> Option<Change> {
        if !data.len().is_multiple_of(9) || data.len() / 9 > STEPS_MAX {
            return None;
        }
        let step = |bytes: &[u8]| {
            let id = u64::from_le_bytes(bytes[1..].try_into().ok()?);
            match bytes[0] {
                0 if id > 0 => Some(Step::Voter(id)),
                1 if id > 0 => Some(Step::Learner(id)),
                2 if id > 0 => Some(Step::Remove(id)),
                _ => None,
            }
        };
        let steps = data.chunks_exact(9).map(step).collect::<Option<Vec<_>>>()?;
        Some(Change { steps })
    }
}

/// The point where a log begins. A snapshot holds the state up to it, and the entries up to it are
/// gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The index of the last entry that the snapshot holds; zero for a log that begins with its
    /// first entry.
    pub index: u64,
    /// The term of that entry.
    pub term: u64,
    /// The members of the group as of that entry.
    pub members: Membership,
    /// The number of effects that the state contains, counted from the group's first.
    pub seq: u64,
    /// The group's time in milliseconds.
    pub time: u64,
}

/// The kind of a message. The names are Raft's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum MessageKind {
    Append,
    AppendResponse,
    RequestVote,
    RequestVoteResponse,
    Snapshot,
    Heartbeat,
    HeartbeatResponse,
    TimeoutNow,
    ReadIndex,
    ReadIndexResponse,
    RequestPreVote,
    RequestPreVoteResponse,
    TransferLeader,
}

/// A message from one member of a group to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The kind, which decides which of the other fields are used.
    pub kind: MessageKind,
    /// The receiver.
    pub to: NodeId,
    /// The sender.
    pub from: NodeId,
    /// The sender's term; in a pre-vote, the term that it would campaign for.
    pub term: u64,
    /// The term of the entry at `index`.
    pub log_term: u64,
    /// The index of the entry before `entries`, or of the last entry that a response is about.
    pub index: u64,
    /// Entries to append.
    pub entries: Vec<Entry>,
    /// The index of the last entry that the sender knows to be committed.
    pub commit: u64,
    /// The term of the entry at `commit`.
    pub commit_term: u64,
    /// The snapshot that replaces the receiver's state and log: the point where the log begins
    /// behind it.
    pub snapshot: Option<Base>,
    /// The lowest index of a snapshot that a follower asks for; zero if it asks for none.
    pub request_snapshot: u64,
    /// Whether a response refuses.
    pub reject: bool,
    /// In a response that refuses: the index at which an append may succeed.
    pub reject_hint: u64,
    /// The name of a read round, or the reason for an election.
    pub context: Bytes,
    /// The sender's priority in elections.
    pub priority: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_come_back_as_written_and_garbage_does_not() {
        let change = Change { steps: vec![Step::Voter(7), Step::Learner(8), Step::Remove(9)] };
        assert_eq!(Change::decode(&change.encode()), Some(change.clone()));
        assert_eq!(Change::decode(b""), Some(Change::default()));
        let mut bytes = change.encode().to_vec();
        assert_eq!(Change::decode(&bytes[1..]), None);
        bytes[0] = 3;
        assert_eq!(Change::decode(&bytes), None);
        assert_eq!(Change::decode(&[0; 9]), None);
        assert_eq!(Change::decode(&[1; 9 * 65]), None);
    }

    #[test]
    fn members_must_make_sense() {
        assert!(Membership::of([1, 2, 3]).is_sound());
        assert!(!Membership::default().is_sound());
        assert!(!Membership::of([1, 1]).is_sound());
        assert!(!Membership::of([0]).is_sound());
        let both = Membership { learners: vec![2], ..Membership::of([1, 2]) };
        assert!(!both.is_sound());
    }
}
