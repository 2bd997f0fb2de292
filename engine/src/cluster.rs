//! [`Cluster`]: the engine's view of a cluster, which decides on which server a command is
//! executed.

use crate::engine::Engine;
use crate::session::state::SessionState;
use std::ops::Range;
use storage::SLOTS;

/// The server that is to execute a request. Texts are `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This server. The effects go to `stream`; `fence` is for [`Cluster::is_current`].
    Serve {
        /// The stream of the slot's effects.
        stream: u16,
        /// Identifies the time during which this server may execute: a term of leadership.
        fence: u64,
    },
    /// Another server, for this and all later requests.
    Moved(Box<str>),
    /// Another server, for this request only.
    Ask(Box<str>),
    /// This server, once it has learnt how far it has to be: the session is woken then, and the read is asked for again
    /// under this number. Only [`Cluster::route_read`] says so.
    Later(u64),
    /// No server at this moment: some of the keys are here, some elsewhere.
    TryAgain,
    /// No server that is known.
    Down,
}

/// The cluster that a server has joined ([`Engine::join`](crate::Engine::join)). A server without
/// one executes everything itself, and asks nothing.
pub trait Cluster: Send + Sync {
    /// Decides which server executes requests for `slot` in this session, which may be in the state
    /// of `READONLY` or `ASKING`. Called before locks are taken.
    fn route(&self, slot: u16, session: &SessionState) -> Route;

    /// [`Cluster::route`] for a request that only reads, of a session that may be answered by any server, if that shows
    /// what was agreed on when the request came. `asked` is what [`Route::Later`] said about it.
    fn route_read(&self, slot: u16, session: &SessionState, _asked: Option<u64>) -> Route {
        self.route(slot, session)
    }

    /// Decides which server has the shard channels of `slot`; `when_down` says whether they are also
    /// served while nobody leads. Unlike keys, they may be served by those that follow.
    fn route_channel(&self, _slot: u16, _when_down: bool) -> Route {
        Route::Serve { stream: 0, fence: 0 }
    }

    /// Passes a message on to the subscribers at the other servers; `shard` says whether it is one of
    /// `SPUBLISH`. It may be lost. Never blocks.
    fn publish(&self, _shard: bool, _channel: &[u8], _payload: &[u8]) {}

    /// Whether several groups of nodes have the slots, so that different servers may execute the
    /// requests for different slots. The route of [`EVERY_SLOT`](storage::journal::EVERY_SLOT) then
    /// is that of a request for all slots that this server decides about.
    fn is_divided(&self) -> bool {
        false
    }

    /// The slots that this server decides about now, in ascending order.
    fn served(&self) -> Vec<Range<u16>> {
        std::iter::once(0..SLOTS).collect()
    }

    /// The slots whose keys are shown to who asks this server for all keys: those that it serves, and those
    /// that it is giving away, which nobody serves.
    fn shown(&self) -> Vec<Range<u16>> {
        self.served()
    }

    /// Whether [`Route::Serve`] for this slot, with this stream and fence, is still valid. Called while
    /// the shards of the keys are locked. A server that ceases to lead lowers the fence first and then
    /// locks every shard once, or those of the slots that it gives away; after that, nothing more is
    /// executed behind the fence. This must be cheap.
    fn is_current(&self, slot: u16, stream: u16, fence: u64) -> bool;

    /// The largest write, in bytes. A larger one would be executed and then undone.
    fn largest_write(&self) -> usize {
        usize::MAX
    }

    /// The state of the cluster as this server knows it, for `CLUSTER NODES` and similar commands.
    fn topology(&self) -> Topology {
        Topology::default()
    }

    /// Tries to reach another server at this address and to add it to the cluster (`CLUSTER MEET`).
    /// Returns before that is done.
    ///
    /// # Errors
    /// The text of the error reply.
    fn meet(&self, _ip: &str, _port: u16, _bus_port: u16) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Removes a node from the cluster for good (`CLUSTER FORGET`).
    ///
    /// # Errors
    /// The text of the error reply.
    fn forget(&self, _id: &str) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Assigns slots to this server (`CLUSTER ADDSLOTS`). The slots are distinct and not assigned
    /// to any server.
    ///
    /// # Errors
    /// The text of the error reply.
    fn add_slots(&self, _slots: &[u16]) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Takes slots back that were assigned to this server (`CLUSTER DELSLOTS`). They are distinct.
    ///
    /// # Errors
    /// The text of the error reply.
    fn remove_slots(&self, _slots: &[u16]) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Has this server take a slot from the one that has it (`CLUSTER SETSLOT … NODE`), with as many of
    /// its neighbours as move together. `engine` is this server's. Returns before that is done.
    ///
    /// # Errors
    /// The text of the error reply, also if there are too many data.
    fn take_slot(&self, _slot: u16, _engine: &Engine) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Takes back that a slot, with those that move together, is to be moved (`CLUSTER SETSLOT … STABLE`).
    /// Returns before that is done. One that is already on its way arrives.
    ///
    /// # Errors
    /// The text of the error reply, also if the slot is on its way, or another server is to be told.
    fn keep_slot(&self, _slot: u16) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Notes whether a slot is about to be given away (`CLUSTER SETSLOT … MIGRATING`): then its keys are
    /// not [listed](Cluster::lists_keys).
    fn give_slot(&self, _slot: u16, _gives: bool) {}

    /// Whether the keys of a slot are listed (`CLUSTER GETKEYSINSLOT`). Those of one that is moved are
    /// not: who lists them would move them one by one.
    fn lists_keys(&self, _slot: u16) -> bool {
        true
    }

    /// Makes this server, a follower, the leader (`CLUSTER FAILOVER`). The current leader hands
    /// over; if it does not answer, the other nodes are asked for their votes. Returns before that
    /// is done, and it may fail.
    ///
    /// # Errors
    /// The text of the error reply.
    fn take_over(&self) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Forgets the other nodes, and the slots that were assigned to this server (`CLUSTER RESET`).
    ///
    /// # Errors
    /// The text of the error reply.
    fn reset(&self) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }
}

/// The text of the error reply to a write of more than `most` bytes.
pub fn too_large(most: usize) -> Box<str> {
    format!("ERR The write is larger than the {most} bytes that a cluster agrees on at once").into()
}

const UNAVAILABLE: &str = "ERR This is not available here";

/// The role of a node in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// The node executes commands; clients see a master with slots.
    Leads,
    /// The node has what the leader has, or is catching up; clients see a replica.
    Follows,
    /// The node is known and is not a member; clients see a master without slots.
    #[default]
    Apart,
}

/// A node as this server knows it.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Its identity: forty hexadecimal digits.
    pub id: String,
    /// Its host; empty while it is not known.
    pub host: String,
    /// The port for clients.
    pub port: u16,
    /// The port for other nodes.
    pub bus_port: u16,
    /// Its role.
    pub role: Role,
    /// The ranges of slots that it leads or, before the cluster is founded, that were assigned to it:
    /// ascending.
    pub slots: Vec<(u16, u16)>,
    /// The node that leads where it follows, as clients see it; empty for one that does not.
    pub master: String,
    /// The identity of its shard: forty hexadecimal digits.
    pub shard: String,
    /// Its epoch: the term in which it leads.
    pub epoch: u64,
    /// Whether it is this server.
    pub is_me: bool,
    /// Whether there is a connection to it.
    pub is_up: bool,
    /// Whether nothing has been received from it for too long.
    pub has_failed: bool,
    /// The time when the connection was made and the time of its last answer, in Unix milliseconds;
    /// zero for never.
    pub times: (u64, u64),
    /// The number of bytes that wait to be sent to it.
    pub waiting: usize,
    /// Its position in the log of the cluster, as far as it is known.
    pub offset: u64,
}

/// A group of nodes that agree on the writes to some of the slots, as this server knows it.
#[derive(Clone, Copy, Debug, Default)]
pub struct GroupView {
    /// The number of the group.
    pub id: u16,
    /// Whether it is known who leads.
    pub has_leader: bool,
    /// Whether this server leads.
    pub leads: bool,
    /// The latest term.
    pub term: u64,
    /// The index of the last entry of the log here.
    pub last: u64,
    /// The index of the last entry known to be committed.
    pub committed: u64,
    /// The index of the last entry that is applied here.
    pub applied: u64,
}

/// The cluster as this server knows it.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// All nodes, in ascending order of their identities.
    pub nodes: Vec<NodeView>,
    /// All groups, in ascending order of their numbers.
    pub groups: Vec<GroupView>,
    /// Whether every slot is led by some node.
    pub is_ok: bool,
    /// The number of slots that are led by some node.
    pub slots_ok: u32,
    /// The number of units of slots that are being moved to another group, or are to be.
    pub moving: usize,
    /// The number of those that a group which is led here does not give away, because they are too
    /// large.
    pub too_large: usize,
    /// The number of voters.
    pub voters: usize,
    /// The current epoch, which is the latest term of any group.
    pub epoch: u64,
    /// The number of messages sent to other nodes.
    pub sent: u64,
    /// The number of messages received from other nodes.
    pub received: u64,
    /// The number of messages that were lost here, because there was no connection or no room.
    pub lost: u64,
    /// The number of messages that were refused, because of their sender or because they were
    /// invalid.
    pub refused: u64,
}

impl Topology {
    /// The state as `CLUSTER INFO` has it: `ok`, or `fail` while some slot is led by no node.
    pub fn state(&self) -> &'static str {
        if self.is_ok { "ok" } else { "fail" }
    }

    /// This server.
    pub fn me(&self) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.is_me)
    }

    /// The node of this identity.
    pub fn node(&self, id: &str) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.id == id)
    }

    /// The nodes that have slots.
    pub fn owners(&self) -> impl Iterator<Item = &NodeView> {
        self.nodes.iter().filter(|node| !node.slots.is_empty())
    }

    /// The number of assigned slots.
    pub fn assigned(&self) -> u32 {
        let slots = self.owners().flat_map(|node| &node.slots);
        slots.map(|(first, last)| u32::from(last - first) + 1).sum()
    }
}

impl NodeView {
    /// Whether a slot is one of the node's.
    pub fn has_slot(&self, slot: u16) -> bool {
        self.slots.iter().any(|(first, last)| (*first..=*last).contains(&slot))
    }
}
