//! What nodes say to each other, and what a log is made of: plain types of our own.
//!
//! They are copied field by field into what the crate `raft` uses, in both directions, so that its
//! protobuf parser never sees a byte that a peer or a file controls.

use bytes::Bytes;
use std::collections::BTreeSet;

/// A node's identity. Never zero, and never used again: a node whose disk was emptied is a new node.
pub type NodeId = u64;

/// A group's identity. Group 0 is the metadata.
pub type GroupId = u64;

/// What an entry holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A batch of effects, or nothing: the first entry of a leader's term.
    Normal,
    /// A change of the members, as [`Change::encode`] writes it.
    Change,
}

/// An entry of a group's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// What `data` is.
    pub kind: EntryKind,
    /// A [`Batch`](crate::Batch), a [`Change`], or nothing.
    pub data: Bytes,
}

/// What a node must remember beside the entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term it knows.
    pub term: u64,
    /// Whom it voted for in that term; zero for nobody.
    pub vote: NodeId,
    /// The last entry it knows to be committed. May be old.
    pub commit: u64,
}

/// Who belongs to a group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// Those who vote.
    pub voters: Vec<NodeId>,
    /// Those who only receive.
    pub learners: Vec<NodeId>,
    /// During a joint change: those who voted before it, and must still agree.
    pub voters_outgoing: Vec<NodeId>,
    /// During a joint change: voters who become learners at its end.
    pub learners_next: Vec<NodeId>,
    /// During a joint change: whether the leader ends it by itself.
    pub auto_leave: bool,
}

impl Membership {
    /// A group of these voters.
    pub fn of(voters: impl IntoIterator<Item = NodeId>) -> Self {
        Membership { voters: voters.into_iter().collect(), ..Membership::default() }
    }

    /// Everybody who belongs, once each, in ascending order.
    pub fn all(&self) -> BTreeSet<NodeId> {
        let lists = [&self.voters, &self.learners, &self.voters_outgoing];
        lists.into_iter().flatten().copied().collect()
    }

    /// Whether a change is under way.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the lists can belong to a group: somebody votes, nobody is zero, nobody is in a list
    /// twice or both votes and learns.
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

/// One step of a change of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The node votes from now on.
    Voter(NodeId),
    /// The node receives, without a vote.
    Learner(NodeId),
    /// The node belongs no longer.
    Remove(NodeId),
}

/// A change of members: several steps are one joint change, none ends a joint change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The steps.
    pub steps: Vec<Step>,
}

/// Steps in one change, at most.
const STEPS_MAX: usize = 64;

impl Change {
    /// As an entry keeps it: per step a byte for its kind and eight for the node.
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

    /// The reverse of [`encode`](Self::encode); `None` for bytes it would not write.
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

/// Where a log begins: the state up to here is in a snapshot, and the entries are gone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Base {
    /// The last entry that the snapshot holds. Zero for a log that begins with its first entry.
    pub index: u64,
    /// That entry's term.
    pub term: u64,
    /// The members as of that entry.
    pub members: Membership,
    /// Effects that the state has seen, from the group's first.
    pub seq: u64,
    /// The group's time, milliseconds.
    pub time: u64,
}

/// What a message is about. The names are Raft's.
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
}

/// A message from one member of a group to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What it is about.
    pub kind: MessageKind,
    /// The receiver.
    pub to: NodeId,
    /// The sender.
    pub from: NodeId,
    /// The sender's term, or the one it would like to lead.
    pub term: u64,
    /// The term of the entry at `index`.
    pub log_term: u64,
    /// The entry before `entries`, or the last one that a response is about.
    pub index: u64,
    /// Entries to append.
    pub entries: Vec<Entry>,
    /// How far the sender has committed.
    pub commit: u64,
    /// The term of the entry at `commit`.
    pub commit_term: u64,
    /// Where the log begins behind the snapshot that replaces the receiver's state.
    pub snapshot: Option<Base>,
    /// A follower asks for a snapshot at least this far.
    pub request_snapshot: u64,
    /// A response that refuses.
    pub reject: bool,
    /// Where a refused append may succeed.
    pub reject_hint: u64,
    /// What a round of reading is called, or why an election is held.
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
