//! The engine as a member of a consensus group, without input or output.
//!
//! A [`Member`] stands between the engine's sessions and a [`consensus::Group`]: to the sessions it is
//! the journal and the cluster ([`storage::Journal`], [`engine::cluster::Cluster`]), asked from any thread,
//! under the locks of shards. A [`Node`] is what one thread drives: messages, ticks, the log's store,
//! snapshots, and what others executed, which it has the engine replay.
//!
//! What it promises:
//!
//! - effects go into the group's log in the order of every key; a batch is what was executed in one
//!   turn, in one term;
//! - a reply is sent once what it shows is committed, and, where it only read behind the fence, once it
//!   is certain that nobody else led when it did;
//! - between the moment that the fence falls and anything else done to the state, every shard is taken
//!   once: whoever executed behind the fence has appended by then, and what came too late to be taken is
//!   undone;
//! - nothing is executed while committed effects are being applied, or undone.
//!
//! It must not know sockets, threads, clocks, files: times and files come from whoever starts it. Locks
//! are taken in this order: shards, then the member's.

mod effects;
mod flaw;
mod journal;
mod member;
mod node;
mod positions;
mod state;
#[cfg(test)]
mod tests;

#[cfg(feature = "planted")]
pub use flaw::Flaw;
pub use flaw::Flaws;
pub use member::{Clock, Kick, Member};
pub use node::{Fatal, Keeping, Kept, Node, Opened, Output, Packet, Plan, Watch};
pub use state::{Capture, Contents, contents_in, contents_of};

use consensus::GroupId;

/// The one group that there is.
pub const GROUP: GroupId = 1;
