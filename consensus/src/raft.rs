//! The trait `Raft`: one member of one group, without input, output or clock.

use crate::message::{Base, Change, Entry, HardState, Membership, Message, NodeId};
use bytes::Bytes;

/// What a member is at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives, and votes if it may.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It decides the order of entries.
    Leader,
}

/// A member as it sees itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// The latest term it knows.
    pub term: u64,
    /// Who leads that term; zero if it does not know.
    pub leader: NodeId,
    /// The last entry it knows to be committed.
    pub commit: u64,
    /// The last entry of its log.
    pub last: u64,
    /// Whether it hands the leadership over, and proposes nothing meanwhile.
    pub hands_over: bool,
}

/// Why something was not done. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Only the leader does that, and only while it hands over to nobody.
    #[error("not the leader")]
    NotLeader,
    /// A change of members is under way, or would leave nobody.
    #[error("the members cannot be changed so, or not now")]
    Change,
    /// A message is for somebody else, contradicts itself, or is none that a peer may send.
    #[error("a message that no peer may send")]
    Message,
    /// The leader says that entries are committed which this member has acknowledged and does not
    /// have: its disk was emptied or exchanged. It must come back as a new node.
    #[error("entries that this node acknowledged are gone")]
    Emptied,
}

/// What has to be done, in this order: `write` and sync; meanwhile send `messages`; when synced,
/// call [`Raft::persisted`] and send `after_sync`; apply `committed`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// Ascending, for [`Raft::persisted`].
    pub number: u64,
    /// Before anything else: the snapshot that replaces the state. Its bytes came beside the message.
    pub restore: Option<Base>,
    /// To be kept, if it has changed.
    pub hard_state: Option<HardState>,
    /// To be kept; the first may overwrite what is there.
    pub entries: Vec<Entry>,
    /// Whether the above must be synced.
    pub must_sync: bool,
    /// To be sent at once.
    pub messages: Vec<Message>,
    /// To be sent when the above is synced.
    pub after_sync: Vec<Message>,
    /// Newly committed entries, each once.
    pub committed: Vec<Entry>,
    /// Rounds of reading that a quorum has confirmed: their names, and the last entry that was
    /// committed when they began.
    pub reads: Vec<(Bytes, u64)>,
}

/// What was found at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Where the log begins, and who belonged to the group there.
    pub base: Base,
    /// As last kept.
    pub hard_state: HardState,
    /// Everything behind the base, without gaps.
    pub entries: Vec<Entry>,
}

/// One member of one group. See the module.
pub trait Raft {
    /// Appends an entry as the leader of the current term. Never forwarded to another leader.
    fn propose(&mut self, data: Bytes) -> Result<(), Refused>;
    /// Takes a message of a peer.
    fn step(&mut self, message: Message) -> Result<(), Refused>;
    /// Another interval between heartbeats has passed.
    fn tick(&mut self);
    /// Asks for votes now, without waiting for the election timeout.
    fn campaign(&mut self);
    /// What is to be done; `None` when nothing is.
    fn ready(&mut self) -> Option<Ready>;
    /// Everything up to this [`Ready::number`] is synced.
    fn persisted(&mut self, number: u64);
    /// Everything up to this entry is applied.
    fn applied(&mut self, index: u64);
    /// Begins a round by which a quorum confirms who leads. It may be dropped silently.
    fn read_index(&mut self, name: Bytes);
    /// Proposes a change of members.
    fn change(&mut self, change: &Change) -> Result<(), Refused>;
    /// Applies a change that was committed; who belongs to the group then.
    fn apply_change(&mut self, change: &Change) -> Result<Membership, Refused>;
    /// Planted: lets in a change while another is under way.
    #[cfg(feature = "planted")]
    fn forget_change(&mut self);
    /// Hands the leadership to another voter, as soon as it has everything.
    fn transfer(&mut self, to: NodeId) -> Result<(), Refused>;
    /// A snapshot up to here is kept: entries it holds may go.
    fn compact(&mut self, base: Base);
    /// Sending a snapshot to a peer has ended, well or not.
    fn snapshot_sent(&mut self, to: NodeId, ok: bool);
    /// How it is doing.
    fn status(&self) -> Status;
    /// The entries behind `index`, as far as the log goes.
    fn entries_behind(&self, index: u64) -> Vec<Entry>;
    /// Where the log begins.
    fn base(&self) -> &Base;
    /// Whether a member waits for a snapshot newer than the base.
    fn wants_snapshot(&self) -> bool;
    /// Whether the leader has heard of a member within the last election timeout, or the one before.
    fn is_active(&self, id: NodeId) -> bool;
    /// The last entry that a member is known to have, as the leader sees it.
    fn matched(&self, id: NodeId) -> Option<u64>;
}
