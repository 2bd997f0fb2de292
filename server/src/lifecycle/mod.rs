//! The parts that run in a server beside its commands, from the first client to the last.
//!
//! Promises: dropping a part stops it, and waits for that. A panic in one of its threads ends no
//! other.
//!
//! The module knows nothing of how data are kept, and how sockets are bound: it uses
//! [`Process`](crate::process::Process), and gets bound sockets.
//!
//! | module | what |
//! | --- | --- |
//! | `serving` | the runtime at work, also while data are still being loaded |
//! | `admin` | the admin port, and the conditions for the server to be ready |
//! | `traces` | sampled requests as OpenTelemetry spans |
//! | `housekeeper` | the threads that work between requests |
//! | `signals` | SIGTERM, SIGINT, SIGHUP, SIGUSR2 |
//! | `logging` | the server's log |
//! | `banner` | the lines printed at the start |

#[cfg(feature = "admin")]
pub(crate) mod admin;
pub(crate) mod banner;
pub(crate) mod housekeeper;
pub(crate) mod logging;
pub(crate) mod serving;
pub(crate) mod signals;
mod traces;
