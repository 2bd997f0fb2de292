//! The sans-IO core: sessions, dispatcher, command table, and how scripts run.
//!
//! Promises: the same bytes at the same times, from the same seed, give the same bytes. A command
//! is a row of the table that the engine is given; lookup, arity, key extraction, locking, logging,
//! `COMMAND` and ACL categories derive from the row. A single command, a `MULTI`/`EXEC` and a script are each
//! one storage transaction.
//!
//! The state of a topic is defined in a module that does not depend on [`Engine`]
//! (`upkeep/eviction/mod.rs`); the engine's methods that use it stand in a module beside it
//! (`upkeep/eviction/engine.rs`). So [`Engine`] can have fields of all topics without circular
//! dependencies between the modules.
//!
//! Must not know: any command, sockets, threads, `async`, any runtime, any particular backend. It reads no
//! clock and no random source: both are arguments ([`runtime::Now`], [`Environment`]).
//!
//! | module | what |
//! | --- | --- |
//! | [`session`] | one client's state machine: bytes in, bytes out |
//! | [`command`] | rows, and the table that finds them |
//! | [`cx`], [`failure`] | what a handler sees, and the errors it answers with |
//! | `execute` | running a command under its locks, and what follows |
//! | [`scripting`] | how scripts and functions run, and what sessions share of them |
//! | [`engine`](mod@engine) | what sessions share |
//! | [`acl`] | users, and what they may do |
//! | [`clients`] | who is connected |
//! | [`config`], [`tuning`] | directives and their values, and what changes with them while the server runs |
//! | [`notify`] | who is told what: watchers, waiters, caches, subscribers, monitors |
//! | [`observe`] | figures: what `INFO` and metrics show, what is counted, what took long |
//! | [`upkeep`] | work done between requests: expiry, eviction, maintenance |
//! | [`text`] | what arguments mean: numbers, times, patterns |
//! | [`cluster`], [`commit`], [`host`] | what is asked of whoever decides who executes, of who keeps effects, and of the process around |
//! | [`peers`] | other servers, which only the process around reaches, and keys on their way there |
//! | [`replay`] | running logged effects again |
//! | [`replication`](mod@replication) | who follows us, and whom we follow |
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
