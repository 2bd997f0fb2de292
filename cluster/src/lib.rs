//! A server as a node of a cluster: the thread that drives its group, its peers, its files.
//!
//! `member` is what is driven, and knows no threads, clocks, sockets or files; here they are. What it
//! promises:
//!
//! - a peer that hangs, or talks nonsense, holds up nobody: queues are bounded, and what does not fit is
//!   lost, which the group expects;
//! - a node of another cluster, another version, or one that was forgotten is refused, counted, and named
//!   once in the log;
//! - an identity is never used twice: a node whose folder was emptied is a new node.
//!
//! | | |
//! | --- | --- |
//! | [`Prepared`], [`Running`] | a node that is opened, and one that runs |
//! | `driver` | the thread that drives the member |
//! | [`Transport`] | how messages leave; `links` is it by gRPC, `receive` and `service` are the other end |
//! | `wire` | what nodes say, in protobuf |
//! | `book`, `hub` | who a node is and whom it knows |
//! | `seat` | the node as the engine's cluster |
//! | `files` | a folder as the disk of a log |
//!
//! It must not know: commands, keys, sessions, and what effects mean.

mod book;
mod driver;
mod files;
mod hub;
mod links;
mod receive;
mod seat;
mod service;
mod start;
mod transport;
mod wire;

pub use book::is_host;
pub use hub::Announce;
pub use start::{Announced, Plan, Prepared, Running};
pub use transport::Transport;
