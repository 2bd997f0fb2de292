//! The built-in commands: one folder or file per family, with its handlers and its rows.
//!
//! Promises: every command that `COMMAND` lists is a row of [`all`]; a handler touches only the
//! keys that its row declares, and tells every change it made through [`engine::Cx`].
//!
//! Must not know: sockets, threads, clocks, any particular backend. Nothing in `engine` depends on
//! this crate; a server may leave families out, or add its own.

pub mod acl;
pub mod auth;
pub mod bitmap;
pub mod client;
mod client_rows;
mod client_tracking;
pub mod cluster;
pub mod connection;
pub mod element_scan;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod list;
pub(crate) mod members;
pub mod pubsub;
pub mod sampling;
pub mod scripting;
pub mod server;
pub mod set;
pub mod sort;
pub mod sorted_set;
pub mod stream;
pub mod string;
pub mod transactions;
pub mod waiting;

use engine::command::Spec;

/// Every family's rows but those of [`server`].
pub const ALL: &[&[Spec]] = &[
    acl::COMMANDS,
    auth::COMMANDS,
    bitmap::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    connection::COMMANDS,
    generic::COMMANDS,
    geo::COMMANDS,
    hash::COMMANDS,
    hyperloglog::COMMANDS,
    list::COMMANDS,
    pubsub::COMMANDS,
    scripting::COMMANDS,
    sorted_set::update::COMMANDS,
    sorted_set::read::COMMANDS,
    sorted_set::range::COMMANDS,
    sorted_set::pop::COMMANDS,
    sorted_set::combine::COMMANDS,
    set::COMMANDS,
    sort::COMMANDS,
    stream::COMMANDS,
    string::COMMANDS,
    transactions::COMMANDS,
];

/// Every row: the command table of a server with nothing left out.
pub fn all() -> Vec<&'static [Spec]> {
    ALL.iter().chain(server::ALL).copied().collect()
}
