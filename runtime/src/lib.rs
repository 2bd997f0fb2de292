//! The interface between runtimes and sessions.
//!
//! A *runtime* moves bytes, owns timers and threads, and wakes connections. A *service* creates a
//! [`Connection`] for each accepted socket and knows what the bytes mean. Neither sees more of the
//! other than the traits in this crate, so runtimes and protocols can be exchanged freely.
//!
//! Promises: nothing here opens a socket by itself (except [`testing`]), interprets a command, or
//! holds a key. A runtime crate must depend on this crate and on `resp` (for [`resp::Output`]), and
//! on no other crate of the workspace.

mod driver;
mod events;
mod exchange;
pub mod filter;
pub mod histogram;
mod service;
mod socket;
pub mod stand_in;
pub mod testing;
pub mod trace;

pub use driver::{Driver, Fetched, Turn};
pub use events::Events;
pub use exchange::{Exchange, Onward, RuntimeContext};

pub use service::{
    Clock, Connection, Flow, Input, Listener, Next, Now, Peer, Refusal, Runtime, RuntimeStats,
    Service, Shutdown, Status, Stream,
};
pub use socket::{Sent, Socket, accept_failed_for_good};
