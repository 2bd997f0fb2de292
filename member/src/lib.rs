//! The engine as a member of a consensus group, without input or output.
//!
//! A [`Member`] stands between the engine's sessions and a [`consensus::Group`]. To the sessions it
//! is the journal and the cluster ([`storage::Journal`], [`engine::cluster::Cluster`]); they call
//! it from any thread, while they hold shard locks. A [`Node`] is driven by one thread. It handles
//! messages, ticks, the log store and snapshots, and has the engine replay what other nodes
//! executed.
//!
//! The crate promises:
//!
//! - Effects enter the group's log in an order that is right for every key. A batch holds what was
//!   executed in one turn and one term.
//! - A reply is sent once everything it shows is committed. If its command only read behind the
//!   fence, it must also be certain that no other node led at that time.
//! - After the fence has fallen, every shard is locked once before anything else is done to the
//!   state. By then every session that executed behind the fence has appended its effects. Effects
//!   that came too late are undone.
//! - Nothing is executed while committed effects are applied or undone.
//!
//! The crate knows nothing of sockets, threads, clocks and files; times and files come from its
//! caller. Locks are taken in this order: first those of shards, then the member's.
//!
//! | module | what |
//! | --- | --- |
//! | `effects` | the format of effects in a batch: records of commands in RESP, each of which is applied as a whole |
//! | `flaw` | bugs that other systems had, planted on purpose so that the simulator can prove that it finds them |
//! | `journal` | `Member` as the engine's journal |
//! | `loading` | the actions that wait while the state of a node is being replaced |
//! | `member` | `Member`: the group as sessions on any thread see it |
//! | `node` | `Node`: the part of a member that one thread drives: messages, ticks, the log store, snapshots, and the state |
//! | `output` | what a node asks its driver for, and what it is given |
//! | `positions` | the positions that the engine sees |
//! | `state` | the whole state of an engine: captured as an RDB file, and restored from one |

mod effects;
mod flaw;
mod journal;
mod loading;
mod member;
mod node;
mod output;
mod positions;
mod state;
#[cfg(test)]
mod tests;

#[cfg(feature = "planted")]
pub use flaw::Flaw;
pub use flaw::Flaws;
pub use member::{Clock, Kick, Member};
pub use node::{Node, NodeConfig, Opened};
pub use output::{Fatal, Keeping, Kept, Output, Packet, State, Watch};
pub use state::{Capture, Contents, Restoring, contents_in, contents_of};

use consensus::GroupId;

/// The only group that exists.
pub const GROUP: GroupId = 1;
