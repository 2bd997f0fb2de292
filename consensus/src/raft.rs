//! The trait `Raft`: one member of one group, without input, output or clock.

use crate::message::{Base, Change, Entry, HardState, Membership, Message, NodeId};
use bytes::Bytes;

/// The role of a member in its current term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It receives the leader's entries, and votes when asked.
    Follower,
    /// It asks the others for their votes.
    Candidate,
    /// It appends entries, and so decides their order.
    Leader,
}

/// The state of a member as it sees it itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// Its role.
    pub role: Role,
    /// The latest term it has seen.
    pub term: u64,
    /// The leader of that term; zero if it knows none.
    pub leader: NodeId,
    /// The index of the last entry that it knows to be committed.
    pub commit: u64,
    /// The index of the last entry of its log.
    pub last: u64,
    /// Whether it is handing the leadership over; it proposes nothing meanwhile.
    pub hands_over: bool,
}

/// The reason why a call was refused. A refused call has changed nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Only a leader that is not handing over may do this.
    #[error("not the leader")]
    NotLeader,
    /// Another change of the membership is under way, or this one would leave no voter.
    #[error("the members cannot be changed so, or not now")]
    Change,
    /// The message is for another node, contradicts itself, or is of a kind that no peer may send.
    #[error("a message that no peer may send")]
    Message,
    /// The leader considers entries committed that this member has acknowledged and no longer has:
    /// its disk was emptied or exchanged. It must join again as a new node.
    #[error("entries that this node acknowledged are gone")]
    Emptied,
}

/// The work that a member has for its driver. The driver writes `restore`, `hard_state` and
/// `entries` and syncs them, sending `messages` meanwhile. When they are synced, it calls
/// [`Raft::persisted`] and sends `after_sync`. It applies `committed` in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// The number to pass to [`Raft::persisted`]; numbers ascend.
    pub number: u64,
    /// The snapshot that replaces the state, to be handled before anything else. Its contents
    /// travel beside the message.
    pub restore: Option<Base>,
    /// The state to write, if it has changed.
    pub hard_state: Option<HardState>,
    /// Entries to write. The first may overwrite one that is there, and with it all that follow.
    pub entries: Vec<Entry>,
    /// Whether what is written must be synced.
    pub must_sync: bool,
    /// Messages to send at once.
    pub messages: Vec<Message>,
    /// Messages to send once everything above is synced.
    pub after_sync: Vec<Message>,
    /// Newly committed entries; each appears once.
    pub committed: Vec<Entry>,
    /// Read rounds that a quorum has confirmed: the name of each, and the index of the last entry
    /// that was committed when it began.
    pub reads: Vec<(Bytes, u64)>,
}

/// The log and the state of one member as a store found them at start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The point where the log begins, with the group's members there.
    pub base: Base,
    /// The hard state as it was last written.
    pub hard_state: HardState,
    /// All entries behind the base, without gaps.
    pub entries: Vec<Entry>,
}

/// One member of one group, driven by calls.
pub trait Raft {
    /// Appends an entry, as the leader of the current term. A proposal is never forwarded to
    /// another leader.
    fn propose(&mut self, data: Bytes) -> Result<(), Refused>;
    /// Handles a message of a peer.
    fn step(&mut self, message: Message) -> Result<(), Refused>;
    /// Reports that one heartbeat interval has passed. Who may not campaign (`may_lead`) votes all the
    /// same once it has heard of no leader for an election timeout.
    fn tick(&mut self, may_lead: bool);
    /// Asks for votes now, without waiting for the election timeout.
    fn campaign(&mut self);
    /// Takes the work that is to be done; `None` if there is none.
    fn ready(&mut self) -> Option<Ready>;
    /// Reports that everything up to this [`Ready::number`] is synced.
    fn persisted(&mut self, number: u64);
    /// Reports that all entries up to `index` are applied.
    fn applied(&mut self, index: u64);
    /// Begins a read round, in which a quorum confirms who leads. The round may be dropped
    /// silently.
    fn read_index(&mut self, name: Bytes);
    /// Proposes a change of the membership.
    fn change(&mut self, change: &Change) -> Result<(), Refused>;
    /// Applies a committed change of the membership and returns the members after it.
    fn apply_change(&mut self, change: &Change) -> Result<Membership, Refused>;
    /// Planted bug: permits a change while another is under way.
    #[cfg(feature = "planted")]
    fn forget_change(&mut self);
    /// Hands the leadership to another voter once that voter has the whole log.
    fn transfer(&mut self, to: NodeId) -> Result<(), Refused>;
    /// Asks the leader, if one is known, to hand the leadership to this member.
    fn ask_to_lead(&mut self);
    /// Reports that a snapshot up to `base` is kept, so that the entries it holds may be dropped.
    fn compact(&mut self, base: Base);
    /// Reports that sending a snapshot to a peer has ended; `ok` says whether it arrived.
    fn snapshot_sent(&mut self, to: NodeId, ok: bool);
    /// The state of the member.
    fn status(&self) -> Status;
    /// The entries behind `index`, up to the end of the log.
    fn entries_behind(&self, index: u64) -> Vec<Entry>;
    /// The point where the log begins.
    fn base(&self) -> &Base;
    /// Whether the leader needs a snapshot newer than the base for some member.
    fn wants_snapshot(&self) -> bool;
    /// Whether the leader has heard from a member within this election timeout or the last.
    fn is_active(&self, id: NodeId) -> bool;
    /// The index of the last entry that the leader knows a member to have; `None` for an unknown
    /// member.
    fn matched(&self, id: NodeId) -> Option<u64>;
}
