//! The sockets to which clients connect, and the filters around some of them.
//!
//! Promises: a port that cannot be bound is reported with its address before any data are touched.
//! A changed certificate or origin applies to later connections, and an invalid one changes
//! nothing.
//!
//! The module knows nothing of how the sockets are served, and what clients send.
//!
//! | module | what |
//! | --- | --- |
//! | `sockets` | binding the configured addresses |
//! | `handover` | listening sockets that outlive a process |
//! | `tls`, `websocket` | the settings of the filters around connections |

pub(crate) mod handover;
pub(crate) mod sockets;
#[cfg(feature = "tls")]
pub(crate) mod tls;
#[cfg(feature = "websocket")]
pub(crate) mod websocket;
