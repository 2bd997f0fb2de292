//! The rows that those of this folder are filled up from.

use engine::command::{Flag, Group, LockRule, SPEC, Spec};

/// The fields that most rows here share.
pub(super) const SERVER: Spec = Spec { group: Group::Server, locks: LockRule::None, ..SPEC };

/// An administrator's row.
pub(super) const ADMIN: Spec =
    Spec { flags: &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale], ..SERVER };

/// A container's row: only its subcommands do something.
pub(crate) const CONTAINER: Spec =
    Spec { complexity: "Depends on subcommand.", arity: -2, ..SERVER };

/// A `HELP` row.
pub(super) const HELP: Spec = Spec {
    name: "help",
    summary: "Returns helpful text about the different subcommands.",
    since: "5.0.0",
    arity: 2,
    flags: &[Flag::Loading, Flag::Stale],
    ..SERVER
};
