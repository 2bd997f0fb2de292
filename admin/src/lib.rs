//! The admin port: HTTP for operators and their tools, beside the port that clients use.
//!
//! Promises: a request for figures or state costs clients nothing but the processor time of
//! answering it; it waits for no shard. The memory of connections is bounded, however many there
//! are and however slowly they send ([`serving`]). Requests are authorized before anything else is
//! done with them ([`Access`]).
//!
//! The crate knows nothing of particular commands, the contents of keys, and how the clients of
//! other ports are served.
//!
//! | module | what |
//! | --- | --- |
//! | [`serving`] | the thread, its connections, and their bounds |
//! | [`access`] | authorization |
//! | [`health`] | whether the server is alive, and whether it is ready |
//! | [`metrics`] | the figures in Prometheus's format |
//! | `routes` | all paths of the port |
//! | `command` | commands as JSON, for programs without a client library |
//! | `page` | a page for people, which reads the others |
//! | [`state`] | figures, configuration, clients, slow commands and hot keys as JSON |

pub mod access;
mod command;
pub mod health;
pub mod metrics;
mod page;
mod routes;
pub mod serving;
pub mod state;

pub use access::Access;
pub use health::Check;
pub use routes::router;

use engine::Engine;
use runtime::Clock;
use std::sync::Arc;

/// The path to which commands are sent.
const COMMAND_PATH: &str = "/v1/command";

/// The state from which the HTTP handlers answer.
pub struct Admin {
    /// The engine whose figures are shown.
    pub engine: Arc<Engine>,
    /// The server's clock.
    pub clock: Clock,
    /// The checks that must all pass for the server to be ready.
    pub checks: Vec<Box<dyn Check>>,
    /// The authorization of requests.
    pub access: Access,
    /// Held while the clients are listed, by a thread of its own.
    pub listing: Arc<tokio::sync::Mutex<()>>,
}
