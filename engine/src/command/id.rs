//! [`CommandId`]: the number by which all else refers to a command.

/// A command's number in its table, counting subcommands: index of per-command statistics.
pub type CommandId = u16;
