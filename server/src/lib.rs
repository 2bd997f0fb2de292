//! Varve as a library: one of each layer, chosen by name or handed over, put together and served.
//!
//! ```no_run
//! # fn main() -> Result<(), server::StartError> {
//! let server = server::Server::builder()
//!     .set("runtime", ["tokio"])
//!     .set("appendonly", ["no"])
//!     .listen(([127, 0, 0, 1], 0).into())
//!     .build()?
//!     .start()?;
//! println!("serving on {}", server.addresses()[0]);
//! server.shutdown()
//! # }
//! ```
//!
//! Promises: a start that fails says why in one line and leaves nothing behind; a stop answers what
//! was asked, and makes durable what was promised.
//!
//! Must not know: commands, keys, or what bytes mean; they are the engine's.
//!
//! | module | what |
//! | --- | --- |
//! | `builder` | [`ServerBuilder`]: choices become a [`Server`] |
//! | [`command_line`] | the whole program `varve`, for binaries with commands of their own, too |
//! | `server` | a [`Server`] that is ready, and the [`Handle`] of one that serves in the background |
//! | `error` | [`StartError`]: why a server did not start |
//! | [`config`] | the layers of configuration |
//! | `choices` | runtimes and storages, chosen by name |
//! | `listening` | the sockets that clients connect to, TLS and WebSocket around them |
//! | `persistence` | data on disk: snapshots, the append-only file |
//! | `process` | what commands about the process do, and the figures that only it knows |
//! | `lifecycle` | what runs beside the commands: serving, housekeeping, signals, the log, the admin port |
//! | `replication` | the connection to a master, and the files that replicas are sent |
//! | `cluster` | a node of a group: its directives, its folder, its port; `varve cluster try` |
//! | `subcommands`, `migrate` | `varve config`, `varve doctor`, `varve migrate`, `varve capture` … |
//! | `system`, [`memory`] | questions to the operating system and the allocator |

pub mod command_line;
pub mod config;

mod builder;
mod choices;
mod cluster;
mod error;
mod lifecycle;
mod listening;
mod migrate;
mod persistence;
mod process;
mod replication;
mod server;
mod subcommands;
mod system;

// So that a program with commands of its own needs no other dependency.
pub use {engine, runtime, storage};

pub use builder::ServerBuilder;
pub use error::StartError;
pub use lifecycle::logging::init as init_logging;
pub use server::{Handle, Server};
pub use system::memory;
