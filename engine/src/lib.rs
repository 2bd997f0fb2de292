//! The sans-IO core: sessions, dispatcher, command table, and how scripts run.
//!
//! Promises: the same input at the same times and from the same seed gives the same output. A
//! command is a row of the table that the engine is given; lookup, arity, key extraction, locking,
//! logging, `COMMAND` and ACL categories derive from the row. A single command, a `MULTI`/`EXEC`
//! and a script each are one storage transaction.
//!
//! [`Engine`] is what sessions share, in rooms: structs that own a topic's state and what is done
//! with it ([`notify::Notify`], [`observe::Observe`], [`clients::Clients`], [`peers::Peers`] …). A
//! room's methods take from the others what they need ([`gate::Gates`], the configuration), and its
//! state is defined in a module that does not depend on [`Engine`]; what depends on sessions or on
//! the table of commands stands in a module beside it (`notify/tracking/readers.rs`). Only work that
//! takes all of the engine is a method of [`Engine`]: executing, changing roles, evicting, applying
//! directives. So the engine has fields of all topics, and few modules import each other.
//!
//! The crate knows nothing of particular commands, sockets, threads, `async`, runtimes and
//! backends. It reads no clock and no random source: both are arguments ([`runtime::Now`],
//! [`Environment`]).
//!
//! | module | contents |
//! | --- | --- |
//! | [`session`] | one client's state machine: bytes in, bytes out |
//! | [`command`] | rows, and the table that finds them |
//! | [`cx`], [`failure`] | the context of a handler, and the errors it replies with |
//! | `execute` | running a command under its locks, and what follows |
//! | [`scripting`] | how scripts and functions run, and what sessions share for that |
//! | [`engine`](mod@engine) | the state that sessions share |
//! | [`gate`] | the reasons to look at requests more closely |
//! | [`acl`] | users, and what they may do |
//! | [`clients`] | the connected clients |
//! | [`config`], [`tuning`] | directives and their values, and what changes with them while the server runs |
//! | [`notify`] | notifications: for watchers, blocked clients, caches, subscribers, monitors |
//! | [`observe`] | figures: the rows of `INFO` and metrics, counters, slow commands |
//! | [`upkeep`] | work done between requests: expiry, eviction, maintenance |
//! | [`text`] | parsing of arguments: numbers, times, patterns |
//! | [`cluster`], [`commit`], [`host`] | the interfaces to a cluster, to the journal's decisions about effects, and to the process around |
//! | [`peers`] | other servers, with which only the process communicates, and keys that are being sent to them |
//! | [`replay`] | running logged effects again |
//! | [`replication`](mod@replication) | replicas of this server, and its master |
//! | [`testing`] | driving all of it in a test |

pub mod acl;
pub mod clients;
pub mod cluster;
pub mod command;
pub mod commit;
pub mod config;
pub mod cx;
pub mod engine;
mod execute;
pub mod failure;
pub mod gate;
pub mod host;
pub mod notify;
pub mod observe;
pub mod peers;
pub mod replay;
pub mod replication;
pub mod scripting;
pub mod session;
pub mod testing;
pub mod text;
pub mod tuning;
pub mod upkeep;

pub use cluster::{Cluster, Route};
pub use cx::Cx;
pub use engine::{Engine, Environment, Parts};
pub use failure::{Failure, Outcome};
pub use host::{Host, NoHost};
pub use runtime::histogram;
/// The version of Redis that this server says it is.
pub use script::REDIS_VERSION;
pub use session::{EngineService, Session};
