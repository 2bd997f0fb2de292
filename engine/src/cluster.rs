//! [`Cluster`]: who executes, where several servers agree on that.

use crate::session::state::SessionState;

/// Who is to execute a request; texts are `host:port`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// This server. Effects go to `stream`; `fence` is what [`Cluster::is_current`] is asked about.
    Serve {
        /// The stream of the slot's effects.
        stream: u16,
        /// Stands for the time during which this server executes: a term of leadership.
        fence: u64,
    },
    /// Another, from now on.
    Moved(Box<str>),
    /// Another, this once.
    Ask(Box<str>),
    /// Nobody at this moment: some of the keys are there, some here.
    TryAgain,
    /// Nobody that is known.
    Down,
}

/// Who executes now, where several servers agree on that ([`Engine::join`]). Without it this server
/// executes everything, and nobody is asked.
pub trait Cluster: Send + Sync {
    /// Who executes requests for `slot` of this session (which may have said `READONLY` or
    /// `ASKING`). Asked before the locks are taken.
    fn route(&self, slot: u16, session: &SessionState) -> Route;

    /// Whether [`Route::Serve`] with this stream and fence would still be the answer. Asked while the
    /// shards of the keys are locked: who steps down lowers the fence first, then takes every shard
    /// once, and knows then that nothing more is executed behind it. Has to be cheap.
    fn is_current(&self, stream: u16, fence: u64) -> bool;

    /// Bytes of a write, at most: one that is larger would be executed in vain.
    fn largest_write(&self) -> usize {
        usize::MAX
    }

    /// The cluster as it is known here (`CLUSTER NODES` and its kin).
    fn topology(&self) -> Topology {
        Topology::default()
    }

    /// Has the server make the acquaintance of another (`CLUSTER MEET`), whose address and ports these are. It
    /// takes its time.
    ///
    /// # Errors
    /// What the client is told.
    fn meet(&self, _ip: &str, _port: u16, _bus_port: u16) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Takes a node out of the cluster for good (`CLUSTER FORGET`).
    ///
    /// # Errors
    /// What the client is told.
    fn forget(&self, _id: &str) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }

    /// Assigns slots to this server (`CLUSTER ADDSLOTS`). They are distinct, and assigned to nobody.
    ///
    /// # Errors
    /// What the client is told.
    fn add_slots(&self, _slots: &[u16]) -> Result<(), Box<str>> {
        Err(UNAVAILABLE.into())
    }
}

/// What the client is told of a write that has more than `most` bytes.
pub fn too_large(most: usize) -> Box<str> {
    format!("ERR The write is larger than the {most} bytes that a cluster agrees on at once").into()
}

const UNAVAILABLE: &str = "ERR This is not available here";

/// What a node is to the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It executes: clients call it a master with slots.
    Leads,
    /// It has what the leader has, or is about to: a replica.
    Follows,
    /// It is known, and belongs to nobody: a master without slots.
    #[default]
    Apart,
}

/// A node, as it is known here.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Forty hexadecimal digits.
    pub id: String,
    /// Empty while it is not known.
    pub host: String,
    /// Where clients connect.
    pub port: u16,
    /// Where other nodes do.
    pub bus_port: u16,
    /// What it is.
    pub role: Role,
    /// Whether it is this one.
    pub is_me: bool,
    /// Whether there is a connection to it.
    pub is_up: bool,
    /// Whether it was not heard of for too long.
    pub has_failed: bool,
    /// When the connection was made, and when it answered last: milliseconds of the wall clock, zero for
    /// never.
    pub times: (u64, u64),
    /// Bytes that wait to be sent to it.
    pub waiting: usize,
    /// How far it is in the log of the cluster, as far as is known.
    pub offset: u64,
}

/// The cluster, as it is known here.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// All nodes, in the order of their identities.
    pub nodes: Vec<NodeView>,
    /// The one group of nodes that there is, forty hexadecimal digits.
    pub shard: String,
    /// Slots that are assigned: all of them, or those that were given to this server so far, as ranges.
    pub slots: Vec<(u16, u16)>,
    /// Whether somebody leads who has all slots.
    pub is_ok: bool,
    /// Nodes whose agreement counts.
    pub voters: usize,
    /// Counts leaders.
    pub epoch: u64,
    /// Messages that went to other nodes.
    pub sent: u64,
    /// Messages that came from there.
    pub received: u64,
    /// Messages that were lost here, for want of a connection or of room.
    pub lost: u64,
    /// Messages of strangers, and what made no sense.
    pub refused: u64,
}

impl Topology {
    /// This server.
    pub fn me(&self) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.is_me)
    }

    /// Who leads.
    pub fn leader(&self) -> Option<&NodeView> {
        self.nodes.iter().find(|node| node.role == Role::Leads)
    }
}
