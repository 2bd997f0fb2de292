//! The engine as a member of consensus groups, without input or output.
//!
//! [`Groups`] stand between the engine's sessions and the [`consensus::Group`]s of a node, each of
//! which has a range of slots and a [`Member`]. To the sessions they
//! are the journal and the cluster ([`storage::Journal`], [`engine::cluster::Cluster`]); these call
//! them from any thread, while they hold shard locks. A [`Node`] is driven by one thread. It handles
//! messages, ticks, the log store and snapshots of all groups, and has the engine replay what other
//! nodes executed.
//!
//! The crate promises:
//!
//! - Effects enter the group's log in an order that is right for every key. A batch holds what was
//!   executed in one turn and one term.
//! - A reply is sent once everything it shows is committed. If its command only read behind the
//!   fence, it must also be certain that no other node led at that time.
//! - After a group's fence has fallen, every shard of its slots is locked once before anything else is done to the
//!   state. By then every session that executed behind the fence has appended its effects. Effects
//!   that came too late are undone.
//! - Nothing of a group is executed while its committed effects are applied or undone.
//! - What concerns every key is appended by each group that is led here, or by none of them, and clears
//!   no other's shards.
//! - A unit of slots moves from one group to another as a whole: nobody changes it, or answers for it,
//!   between the entry by which the one gives it away and that by which the other takes it.
//!
//! The crate knows nothing of sockets, threads, clocks and files; times and files come from its
//! caller. Locks are taken in this order: first those of shards, then the member's.
//!
//! | module | what |
//! | --- | --- |
//! | `applying` | the part of a replica that applies the effects of other nodes |
//! | `claims` | `Claims`: which units of slots a group has, as its own log says |
//! | `effects` | the format of effects in a batch: records of commands in RESP, each of which is applied as a whole |
//! | `flaw` | bugs that other systems had, planted on purpose so that the simulator can prove that it finds them |
//! | `journal` | `Member` as the engine's journal |
//! | `groups` | `Groups`: the groups of a node, as sessions on any thread see them |
//! | `layout` | `Layout`: which group has which slots when a cluster is founded |
//! | `loading` | the actions that wait while the state of a node is being replaced |
//! | `member` | `Member`: the group as sessions on any thread see it |
//! | `moving` | the part of a replica that moves units of slots between groups |
//! | `node` | `Node`: what one thread drives: the groups of a node, with one log store |
//! | `output` | what a node asks its driver for, and what it is given |
//! | `positions` | the positions that the engine sees |
//! | `replica` | `Replica`: the part of a group on one node that the thread drives: messages, ticks, the log, snapshots, and the state |
//! | `state` | the part of an engine's state that a group has: captured as an RDB file, and restored from one |
//! | `steps` | `Step`: the steps of a move of a unit of slots, as records of a group's log |
//! | `units` | `Units`: which group has which unit of slots, as a node knows it |

mod applying;
mod claims;
mod effects;
mod flaw;
mod groups;
mod journal;
mod layout;
mod loading;
mod member;
mod moving;
mod node;
mod output;
mod positions;
mod replica;
mod state;
mod steps;
#[cfg(test)]
mod tests;
mod units;

#[cfg(feature = "planted")]
pub use flaw::Flaw;
pub use flaw::Flaws;
pub use groups::Groups;
pub use layout::{GROUPS_MAX, Layout};
pub use member::{Clock, Kick, Member};
pub use node::{Node, NodeConfig, Opened};
pub use output::{Fatal, Keeping, Kept, Output, Packet, State, Watch};
pub use state::{Capture, Captured, Contents, Restored, Restoring, contents_in, contents_of};

use consensus::GroupId;

/// The first group that has slots. The others follow.
pub const FIRST_GROUP: GroupId = 1;
