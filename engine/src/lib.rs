//! The sans-IO core: sessions, dispatcher, command table, and how scripts run.
//!
//! Promises: the same bytes at the same times, from the same seed, give the same bytes. A command
//! is a row of the table that the engine is given; lookup, arity, key extraction, locking, logging,
//! `COMMAND` and ACL categories derive from the row. A single command, a `MULTI`/`EXEC` and a script are each
//! one storage transaction.
//!
//! What is kept on a topic does not know the engine (`eviction/mod.rs`); what the engine does with it stands beside
//! it (`eviction/engine.rs`). So [`Engine`] can have fields of all topics without a circle through all files.
//!
//! Must not know: any command, sockets, threads, `async`, any runtime, any particular backend. It reads no
//! clock and no random source: both are arguments ([`runtime::Now`], [`Environment`]).
//!
//! | module | what |
//! | --- | --- |
//! | [`session`] | one client's state machine: bytes in, bytes out |
//! | [`command`] | rows, and the table that finds them |
//! | [`cx`] | what a handler sees |
//! | `execute` | running a command under its locks, and what follows |
//! | [`scripting`] | how scripts and functions run, and what sessions share of them |
//! | [`engine`](mod@engine) | what sessions share |
//! | [`acl`] | users, and what they may do |
//! | [`expiry`], [`long_double`], [`args`], [`glob`] | what arguments mean |
//! | [`keyspace`], [`blocking`], [`pubsub`], [`tracking`] | who is told what |
//! | [`cluster`], [`host`] | what is asked of whoever decides who executes, and of the process around |
//! | `holds` | keys on their way to another server |
//! | [`peers`] | other servers, which only the process around reaches |
//! | [`replay`] | running logged effects again |
//! | [`figures`], [`observe`] | what a row of figures is, and the rows: what `INFO` and metrics show |
//! | `containment` | what a panic inside a transaction may do |
//! | [`replication`](mod@replication) | who follows us, and whom we follow |
//! | [`housekeeping`] | work done between requests: expiry, maintenance |
//! | [`testing`] | driving all of it in a test |

pub mod acl;
pub mod args;
pub mod blocking;
pub mod capture;
mod client_eviction;
pub mod clients;
pub mod cluster;
pub mod command;
pub mod commit;
pub mod config;
mod containment;
pub mod cross_protocol;
pub mod cx;
pub mod engine;
pub mod eviction;
mod execute;
pub mod expiry;
pub mod failure;
pub mod figures;
pub mod glob;
mod holds;
pub mod host;
pub mod housekeeping;
pub mod keyspace;
pub mod latency;
pub mod long_double;
pub mod monitor;
pub mod observe;
pub mod pause;
pub mod peers;
pub mod pubsub;
pub mod rates;
pub mod replay;
pub mod replication;
pub mod scripting;
pub mod session;
pub mod slowlog;
mod stages;
pub mod stats;
pub mod switches;
pub mod testing;
pub mod tracking;
pub mod tuning;

pub use cluster::{Cluster, Route};
pub use cx::Cx;
pub use engine::{Engine, Environment, Parts};
pub use failure::{Failure, Outcome};
pub use host::{Host, NoHost};
pub use runtime::histogram;
/// The version of Redis that this server says it is.
pub use script::REDIS_VERSION;
pub use session::{EngineService, Session};
