//! Commands about the server itself: its figures, its configuration, its commands, its end.

mod capture;
mod cluster;
mod command;
mod command_docs;
mod command_list;
mod config;
mod debug;
mod debug_data;
mod debug_switches;
mod digest;
mod help;
mod info;
mod latency;
mod memory;
mod misc;
mod persistence;
mod protocol;
mod replication;
mod replication_info;
mod slowlog;
mod sparkline;
#[cfg(test)]
mod tests;

use engine::command::{Flag, Group, LockRule, SPEC, Spec};

/// The rows of this folder.
pub const ALL: &[&[Spec]] = &[
    capture::COMMANDS,
    cluster::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    debug::COMMANDS,
    info::COMMANDS,
    latency::COMMANDS,
    memory::COMMANDS,
    misc::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    slowlog::COMMANDS,
];

/// What most rows here have in common.
const SERVER: Spec = Spec { group: Group::Server, locks: LockRule::None, ..SPEC };

/// An administrator's row.
const ADMIN: Spec =
    Spec { flags: &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale], ..SERVER };

/// A container's row: only its subcommands do something.
const CONTAINER: Spec = Spec { complexity: "Depends on subcommand.", arity: -2, ..SERVER };

/// A `HELP` row.
const HELP: Spec = Spec {
    name: "help",
    summary: "Returns helpful text about the different subcommands.",
    since: "5.0.0",
    arity: 2,
    flags: &[Flag::Loading, Flag::Stale],
    ..SERVER
};
