//! A server as a node of a group that agrees on every write, and three such nodes to be tried on this machine.
//!
//! Promises: what the configuration says is checked before a port is opened or a file is written; a node that stops hands
//! its leadership over first. Without the feature `cluster` the same names are there, and refuse.
//!
//! Must not know: how a group agrees (the crate `cluster` and what is below it), and what commands do.
//!
//! | module | what |
//! | --- | --- |
//! | `node` | the directives of a node, its folder, its port, its start and its end |
//! | `absent` | the same for a server that was built without it |
//! | `trial` | `varve cluster try` |

#[cfg(not(feature = "cluster"))]
mod absent;
#[cfg(feature = "cluster")]
mod node;
#[cfg(feature = "cluster")]
pub(crate) mod trial;

#[cfg(not(feature = "cluster"))]
pub(crate) use absent::{Seat, enter, wanted};
#[cfg(feature = "cluster")]
pub(crate) use node::{Seat, enter, wanted};
