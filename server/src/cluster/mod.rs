//! A server as a node of a group that agrees on every write, and three such nodes to be tried on this machine.
//!
//! Promises: the configuration is checked before a port is opened or a file is written, and a node
//! that stops first hands its leadership over. Without the feature `cluster` the same names exist,
//! and refuse.
//!
//! The module knows nothing of how a group agrees (the crate `cluster` and those below it), and
//! what commands do.
//!
//! | module | what |
//! | --- | --- |
//! | `node` | the directives of a node, its folder, its port, its start and its end |
//! | `absent` | the same for a server that was built without it |
//! | `form` | `varve cluster form` |
//! | `trial` | `varve cluster try` |

#[cfg(not(feature = "cluster"))]
mod absent;
#[cfg(feature = "cluster")]
mod form;
#[cfg(feature = "cluster")]
mod node;
#[cfg(feature = "cluster")]
pub(crate) mod trial;

#[cfg(not(feature = "cluster"))]
pub(crate) use absent::{RunningNode, check, enter, wanted};
#[cfg(feature = "cluster")]
pub(crate) use node::{RunningNode, check, enter, wanted};
