//! The sockets that clients connect to, and what stands around the sessions of some of them.
//!
//! Promises: a port that cannot be had is told by its address before any data are touched; a changed certificate or
//! origin holds for connections from then on, and a wrong one changes nothing.
//!
//! Must not know: who serves the sockets, and what clients say.
//!
//! | module | what |
//! | --- | --- |
//! | `sockets` | binding what the configuration says |
//! | `handover` | listening sockets that outlive a process |
//! | `tls`, `websocket` | the settings of the filters around connections |

pub(crate) mod handover;
pub(crate) mod sockets;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;
