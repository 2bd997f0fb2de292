//! What runs in a server beside its commands, from the first client to the last.
//!
//! Promises: dropping what was started stops it, and waits for that; a panic in one of its threads ends no other.
//!
//! Must not know: how data are kept, and how sockets are bound. It asks [`Process`](crate::process::Process) and is handed them.
//!
//! | module | what |
//! | --- | --- |
//! | `serving` | the runtime at work, also while data are still being loaded |
//! | `admin` | the admin port, and what must hold for the server to be ready |
//! | `housekeeper` | the thread that works between requests |
//! | `signals` | SIGTERM, SIGINT, SIGHUP, SIGUSR2 |
//! | `logging` | the log of the server's doings |
//! | `banner` | the lines printed at the start |

#[cfg(feature = "admin")]
mod admin;
pub(crate) mod banner;
pub(crate) mod housekeeper;
pub(crate) mod logging;
pub(crate) mod serving;
pub(crate) mod signals;
