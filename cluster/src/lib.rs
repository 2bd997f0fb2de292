//! A server as a node of a cluster: the thread that drives the node, its connections to other
//! nodes, and its files.
//!
//! The crate `member` is driven; it knows no threads, clocks, sockets or files, which are here.
//! This crate promises:
//!
//! - A peer that hangs or sends garbage delays nobody. Queues are bounded; a message that does not
//!   fit is lost, which the group tolerates.
//! - A node of another cluster or another version, or one that was forgotten, is refused, counted,
//!   and logged once.
//! - An identity is never reused: a node whose folder was emptied is a new node.
//!
//! | | |
//! | --- | --- |
//! | [`Prepared`], [`Running`] | a node that is open, and one that is running |
//! | `driver` | the thread that drives the member |
//! | [`Transport`] | how messages leave; `links` implements it with gRPC, `receive` and `service` are the receiving side |
//! | `outgoing` | what waits to be sent, and is sent: batches of messages, pieces of a snapshot |
//! | `wire` | the messages between nodes, in protobuf |
//! | `book`, `hub` | the node's identity, and the nodes it knows |
//! | `local_node` | the node as the engine's cluster |
//! | `files` | the folder that holds log and snapshots |
//! | `spread` | `Spread`: which node should lead which group |
//! | `start` | `Prepared` and `Running`: from a folder and listeners to a running node |
//! | `transport` | `Transport`: how messages leave a node; `Inbox`: how events reach its driver |
//! | `secure` | TLS between nodes, in which both ends show a certificate of a trusted authority |
//!
//! The crate knows nothing of commands, keys, sessions, and the meaning of effects.

mod book;
mod driver;
mod files;
mod hub;
mod links;
mod local_node;
mod outgoing;
mod receive;
mod secure;
mod service;
mod spread;
mod start;
mod transport;
mod wire;

pub use book::is_host;
pub use hub::Announce;
pub use secure::Certificates;
pub use start::{Announced, NodeConfig, Prepared, Running};
pub use transport::Transport;
