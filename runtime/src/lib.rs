//! The interface between runtimes and sessions.
//!
//! A *runtime* moves bytes, owns timers and threads, and wakes connections. A *service* creates a
//! [`Connection`] for each accepted socket and knows what the bytes mean. Neither sees more of the
//! other than the traits in this crate, so runtimes and protocols can be exchanged freely.
//!
//! Promises: nothing here opens a socket by itself (except [`testing`]), interprets a command, or
//! holds a key. A runtime crate must depend on this crate and on `resp` (for [`resp::Output`]), and
//! on no other crate of the workspace.
//!
//! | module | what |
//! | --- | --- |
//! | `driver` | the half of a connection's turn that makes the system calls, for runtimes that are told when a socket is ready |
//! | `events` | `Events`: the events of a connection |
//! | `exchange` | the half of a connection's turn that makes no system calls: bytes and events in, chunks out |
//! | [`filter`] | `Filtered`: a connection behind a filter that encodes its bytes (TLS, WebSocket), on any runtime |
//! | [`histogram`] | `Histogram`: a distribution of times, in buckets whose width grows with the value |
//! | [`reactors`] | parts of runtimes whose threads have a loop and connections of their own |
//! | `service` | the traits `Runtime`, `Service` and `Connection`, and the values they exchange |
//! | `socket` | a non-blocking stream socket, TCP or Unix-domain, with the operations that runtimes need |
//! | [`spans`] | `Turn`, `Sample`: where the time of one request went, for distributed traces |
//! | [`stand_in`] | stand-ins: threads that take over from a thread which one connection keeps busy for long |
//! | [`trace`] | where the time of a request goes: how long each turn of a connection spends in each stage |

mod driver;
mod events;
mod exchange;
pub mod filter;
pub mod histogram;
pub mod reactors;
mod service;
mod socket;
pub mod spans;
pub mod stand_in;
pub mod testing;
pub mod trace;

pub use driver::{Driver, Fetched, Turn};
pub use events::Events;
pub use exchange::{Exchange, Onward, RuntimeContext};

pub use service::{
    Clock, Connection, Flow, Input, Listener, Next, Now, Peer, Rejection, Runtime, RuntimeStats,
    Service, Shutdown, Status, Stream,
};
pub use socket::{Sent, Socket, accept_failed_for_good};
