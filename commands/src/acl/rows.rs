//! The rows of `ACL`.

use super::{cat, deluser, dryrun, genpass, getuser, help, list, load, log, save, setuser, users};
use engine::command::{Flag, Group, LockRule, SPEC, Secret, Spec};

/// The fields that all rows share.
const ACL: Spec = Spec {
    since: "6.0.0",
    group: Group::Server,
    flags: &[Flag::NoScript, Flag::Loading, Flag::Stale],
    locks: LockRule::None,
    ..SPEC
};

/// The fields that the administrator's rows share.
const ADMIN: Spec =
    Spec { flags: &[Flag::Admin, Flag::NoScript, Flag::Loading, Flag::Stale], ..ACL };

/// The subcommands of `ACL`.
const SUBCOMMANDS: &[Spec] = &[
    Spec {
        name: "cat",
        summary: "Lists the ACL categories, or the commands inside a category.",
        complexity: "O(1) since the categories and commands are a fixed set.",
        arity: -2,
        syntax: "[category]",
        handler: cat,
        ..ACL
    },
    Spec {
        name: "deluser",
        summary: "Deletes ACL users, and terminates their connections.",
        complexity: "O(1) amortized time considering the typical user.",
        arity: -3,
        secrets: &[Secret::From(2)],
        syntax: "username [username ...]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: deluser,
        ..ADMIN
    },
    Spec {
        name: "dryrun",
        summary: "Simulates the execution of a command by a user, without executing the command.",
        since: "7.0.0",
        complexity: "O(1).",
        arity: -4,
        secrets: &[Secret::Command(3)],
        syntax: "username command [arg [arg ...]]",
        handler: dryrun,
        ..ADMIN
    },
    Spec {
        name: "genpass",
        summary: "Generates a pseudorandom, secure password that can be used to identify ACL users.",
        complexity: "O(1)",
        arity: -2,
        syntax: "[bits]",
        handler: genpass,
        ..ACL
    },
    Spec {
        name: "getuser",
        summary: "Lists the ACL rules of a user.",
        complexity: "O(N). Where N is the number of password, command and pattern rules that the user has.",
        arity: 3,
        secrets: &[Secret::From(2)],
        syntax: "username",
        history: &[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            (
                "7.0.0",
                "Added selectors and changed the format of key and channel patterns from a list to their rule representation.",
            ),
        ],
        handler: getuser,
        ..ADMIN
    },
    Spec {
        name: "help",
        summary: "Returns helpful text about the different subcommands.",
        complexity: "O(1)",
        arity: 2,
        flags: &[Flag::Loading, Flag::Stale],
        handler: help,
        ..ACL
    },
    Spec {
        name: "list",
        summary: "Dumps the effective rules in ACL file format.",
        complexity: "O(N). Where N is the number of configured users.",
        arity: 2,
        handler: list,
        ..ADMIN
    },
    Spec {
        name: "load",
        summary: "Reloads the rules from the configured ACL file.",
        complexity: "O(N). Where N is the number of configured users.",
        arity: 2,
        handler: load,
        ..ADMIN
    },
    Spec {
        name: "log",
        summary: "Lists recent security events generated due to ACL rules.",
        complexity: "O(N) with N being the number of entries shown.",
        arity: -2,
        syntax: "operation: [count|RESET]",
        history: &[("7.2.0", "Added entry ID, timestamp created, and timestamp last updated.")],
        handler: log,
        ..ADMIN
    },
    Spec {
        name: "save",
        summary: "Saves the effective ACL rules in the configured ACL file.",
        complexity: "O(N). Where N is the number of configured users.",
        arity: 2,
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: save,
        ..ADMIN
    },
    Spec {
        name: "setuser",
        summary: "Creates and modifies an ACL user and its rules.",
        complexity: "O(N). Where N is the number of rules provided.",
        arity: -3,
        secrets: &[Secret::From(2)],
        syntax: "username [rule [rule ...]]",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        history: &[
            ("6.2.0", "Added Pub/Sub channel patterns."),
            ("7.0.0", "Added selectors and key based permissions."),
        ],
        handler: setuser,
        ..ADMIN
    },
    Spec {
        name: "users",
        summary: "Lists all ACL users.",
        complexity: "O(N). Where N is the number of configured users.",
        arity: 2,
        handler: users,
        ..ADMIN
    },
    Spec {
        name: "whoami",
        summary: "Returns the authenticated username of the current connection.",
        complexity: "O(1)",
        arity: 2,
        handler: super::whoami,
        ..ACL
    },
];

/// The family's rows.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "acl",
    summary: "A container for Access List Control commands.",
    complexity: "Depends on subcommand.",
    arity: -2,
    flags: &[],
    subcommands: SUBCOMMANDS,
    ..ACL
}];
