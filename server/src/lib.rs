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
//! | [`ServerBuilder`] | choices become a [`Server`] |
//! | [`command_line`] | the whole program `varve`, for binaries with commands of their own, too |
//! | [`config`] | the layers of configuration |
//! | `runtimes`, `storages`, `plugins` | what can be chosen by name |
//! | `listen`, `data_dir`, `limits`, `system` | sockets, files, the operating system |
//! | `loading`, `data`, `journal`, `late_journal`, `log_switch`, `snapshot` | data on disk |
//! | `background`, `scheduled` | snapshots and rewrites of the log, one at a time |
//! | `serving` | the runtime at work, also while data are still being loaded |
//! | `host`, `info`, [`memory`], `mallctl`, `moments` | what commands about the process do |
//! | `replication` | the connection to a master, and the files that replicas are sent |
//! | `cluster` | a node of a group: its directives, its folder, its port; `varve cluster try` |
//! | `subcommands`, `migrate` | `varve migrate`, `varve capture`, `varve advise` |
//! | `tls`, `websocket` | what is around the sessions of some ports |
//! | `admin` | the admin port, and what must hold for the server to be ready |
//! | `handover` | listening sockets that outlive a process |
//! | `housekeeper`, `lifecycle`, `signals`, `logging`, `banner` | around the serving |

pub mod command_line;
pub mod config;
pub mod memory;
mod peer;

#[cfg(feature = "admin")]
mod admin;
mod background;
mod banner;
mod builder;
mod cluster;
mod data;
mod data_dir;
mod error;
mod fail_stop;
mod handover;
mod host;
mod housekeeper;
mod info;
mod journal;
mod late_journal;
mod lifecycle;
mod limits;
mod listen;
mod loading;
mod log_switch;
mod logging;
mod mallctl;
mod migrate;
#[cfg(feature = "aof")]
mod moments;
mod plugins;
mod replication;
mod runtimes;
mod scheduled;
mod server;
mod serving;
mod signals;
mod snapshot;
mod storages;
mod subcommands;
mod system;
#[cfg(feature = "tls")]
mod tls;
#[cfg(feature = "websocket")]
mod websocket;

// So that a program with commands of its own needs no other dependency.
pub use {engine, runtime, storage};

pub use builder::ServerBuilder;
pub use error::StartError;
pub use logging::init as init_logging;
pub use server::{Handle, Server};
