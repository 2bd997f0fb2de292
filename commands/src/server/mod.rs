//! Commands about the server itself: its figures, its configuration, its commands, its end.

pub(crate) mod base;
mod capture;
mod command;
mod command_docs;
mod command_list;
mod config;
mod debug;
mod debug_data;
mod debug_switches;
mod digest;
mod help;
mod hotkeys;
mod info;
mod latency;
mod memory;
mod misc;
mod persistence;
mod protocol;
mod replication;
mod role;
mod slowlog;
mod sparkline;
#[cfg(test)]
mod tests;

use engine::command::Spec;

/// The rows of this folder.
pub const ALL: &[&[Spec]] = &[
    capture::COMMANDS,
    command::COMMANDS,
    config::COMMANDS,
    debug::COMMANDS,
    hotkeys::COMMANDS,
    info::COMMANDS,
    latency::COMMANDS,
    memory::COMMANDS,
    misc::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    slowlog::COMMANDS,
];
