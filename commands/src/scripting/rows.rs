//! The family's rows.

use super::{eval, functions, scripts};
use engine::command::{Flag::*, Group, KeySpec, LockRule, RunsScript, SPEC, Spec, numkeys};

/// Locking, and where the keys are, of everything that runs a script.
const CALL: Spec = Spec {
    complexity: "Depends on the script that is executed.",
    arity: -3,
    group: Group::Scripting,
    locks: LockRule::Custom(engine::scripting::eval::locks),
    ..SPEC
};

const NOTED: KeySpec = KeySpec {
    notes: "We cannot tell how the keys will be used so we assume the worst, RW and UPDATE",
    ..numkeys("RW ACCESS UPDATE", 2)
};
const NOTED_RO: KeySpec = KeySpec {
    notes: "We cannot tell how the keys will be used so we assume the worst, RO and ACCESS",
    ..numkeys("RO ACCESS", 2)
};

const SCRIPT: Spec =
    Spec { since: "2.6.0", group: Group::Scripting, locks: LockRule::None, ..SPEC };

/// Changes of libraries are in the log in the order in which they happened: nothing else runs
/// meanwhile.
const FUNCTION: Spec =
    Spec { since: "7.0.0", group: Group::Scripting, locks: LockRule::All, ..SPEC };

const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const ONE_SUCCEEDED: &[&str] = &["request_policy:all_shards", "response_policy:one_succeeded"];

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "eval",
        summary: "Executes a server-side Lua script.",
        since: "2.6.0",
        flags: &[NoScript, Stale, SkipMonitor, MayReplicate, NoMandatoryKeys],
        keys: &[NOTED],
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Text),
        handler: eval::eval,
        ..CALL
    },
    Spec {
        name: "evalsha",
        summary: "Executes a server-side Lua script by SHA1 digest.",
        since: "2.6.0",
        flags: &[NoScript, Stale, SkipMonitor, MayReplicate, NoMandatoryKeys],
        keys: &[numkeys("RW ACCESS UPDATE", 2)],
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Digest),
        handler: eval::evalsha,
        ..CALL
    },
    Spec {
        name: "eval_ro",
        summary: "Executes a read-only server-side Lua script.",
        since: "7.0.0",
        flags: &[Readonly, NoScript, Stale, SkipMonitor, NoMandatoryKeys],
        keys: &[NOTED_RO],
        syntax: "script numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Text),
        handler: eval::eval_ro,
        ..CALL
    },
    Spec {
        name: "evalsha_ro",
        summary: "Executes a read-only server-side Lua script by SHA1 digest.",
        since: "7.0.0",
        flags: &[Readonly, NoScript, Stale, SkipMonitor, NoMandatoryKeys],
        keys: &[numkeys("RO ACCESS", 2)],
        syntax: "sha1 numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Digest),
        handler: eval::evalsha_ro,
        ..CALL
    },
    Spec {
        name: "fcall",
        summary: "Invokes a function.",
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        flags: &[NoScript, Stale, SkipMonitor, MayReplicate, NoMandatoryKeys],
        keys: &[NOTED],
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Function),
        handler: functions::fcall,
        ..CALL
    },
    Spec {
        name: "fcall_ro",
        summary: "Invokes a read-only function.",
        since: "7.0.0",
        complexity: "Depends on the function that is executed.",
        flags: &[Readonly, NoScript, Stale, SkipMonitor, NoMandatoryKeys],
        keys: &[NOTED_RO],
        syntax: "function numkeys [key [key ...]] [arg [arg ...]]",
        runs_script: Some(RunsScript::Function),
        handler: functions::fcall_ro,
        ..CALL
    },
    Spec {
        name: "script",
        summary: "A container for Lua scripts management commands.",
        since: "2.6.0",
        complexity: "Depends on subcommand.",
        arity: -2,
        group: Group::Scripting,
        subcommands: SCRIPT_COMMANDS,
        locks: LockRule::None,
        ..SPEC
    },
    Spec {
        name: "function",
        summary: "A container for function commands.",
        since: "7.0.0",
        complexity: "Depends on subcommand.",
        arity: -2,
        group: Group::Scripting,
        subcommands: FUNCTION_COMMANDS,
        locks: LockRule::None,
        ..SPEC
    },
];

const SCRIPT_COMMANDS: &[Spec] = &[
    Spec {
        name: "debug",
        summary: "Sets the debug mode of server-side Lua scripts.",
        since: "3.2.0",
        arity: 3,
        flags: &[NoScript],
        syntax: "mode: <YES|SYNC|NO>",
        handler: scripts::debug,
        ..SCRIPT
    },
    Spec {
        name: "exists",
        summary: "Determines whether server-side Lua scripts exist in the script cache.",
        complexity: "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
        arity: -3,
        flags: &[NoScript],
        syntax: "sha1 [sha1 ...]",
        tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
        handler: scripts::exists,
        ..SCRIPT
    },
    Spec {
        name: "flush",
        summary: "Removes all server-side Lua scripts from the script cache.",
        complexity: "O(N) with N being the number of scripts in cache",
        arity: -2,
        flags: &[NoScript],
        syntax: "[ASYNC|SYNC] @6.2.0",
        tips: ALL_NODES,
        history: &[("6.2.0", "Added the `ASYNC` and `SYNC` flushing mode modifiers.")],
        handler: scripts::flush,
        ..SCRIPT
    },
    Spec {
        name: "help",
        summary: "Returns helpful text about the different subcommands.",
        since: "5.0.0",
        arity: 2,
        flags: &[Loading, Stale],
        handler: scripts::help,
        ..SCRIPT
    },
    Spec {
        name: "kill",
        summary: "Terminates a server-side Lua script during execution.",
        arity: 2,
        flags: &[NoScript, AllowBusy],
        tips: ONE_SUCCEEDED,
        handler: scripts::kill,
        ..SCRIPT
    },
    Spec {
        name: "load",
        summary: "Loads a server-side Lua script to the script cache.",
        complexity: "O(N) with N being the length in bytes of the script body.",
        arity: 3,
        flags: &[NoScript, Stale],
        syntax: "script",
        tips: ALL_NODES,
        handler: scripts::load,
        ..SCRIPT
    },
];

const FUNCTION_COMMANDS: &[Spec] = &[
    Spec {
        name: "delete",
        summary: "Deletes a library and its functions.",
        arity: 3,
        flags: &[NoScript, Write],
        syntax: "library-name",
        tips: ALL_SHARDS,
        handler: functions::delete,
        ..FUNCTION
    },
    Spec {
        name: "dump",
        summary: "Dumps all libraries into a serialized binary payload.",
        complexity: "O(N) where N is the number of functions",
        arity: 2,
        flags: &[NoScript],
        locks: LockRule::None,
        handler: functions::dump,
        ..FUNCTION
    },
    Spec {
        name: "flush",
        summary: "Deletes all libraries and functions.",
        complexity: "O(N) where N is the number of functions deleted",
        arity: -2,
        flags: &[NoScript, Write],
        syntax: "[ASYNC|SYNC]",
        tips: ALL_SHARDS,
        handler: functions::flush,
        ..FUNCTION
    },
    Spec {
        name: "help",
        summary: "Returns helpful text about the different subcommands.",
        arity: 2,
        flags: &[Loading, Stale],
        locks: LockRule::None,
        handler: functions::help,
        ..FUNCTION
    },
    Spec {
        name: "kill",
        summary: "Terminates a function during execution.",
        arity: 2,
        flags: &[NoScript, AllowBusy],
        tips: ONE_SUCCEEDED,
        locks: LockRule::None,
        handler: functions::kill,
        ..FUNCTION
    },
    Spec {
        name: "list",
        summary: "Returns information about all libraries.",
        complexity: "O(N) where N is the number of functions",
        arity: -2,
        flags: &[NoScript],
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        tips: &["nondeterministic_output_order"],
        locks: LockRule::None,
        handler: functions::list,
        ..FUNCTION
    },
    Spec {
        name: "load",
        summary: "Creates a library.",
        complexity: "O(1) (considering compilation time is redundant)",
        arity: -3,
        flags: &[NoScript, Write, DenyOom],
        syntax: "[REPLACE] function-code",
        tips: ALL_SHARDS,
        handler: functions::load,
        ..FUNCTION
    },
    Spec {
        name: "restore",
        summary: "Restores all libraries from a payload.",
        complexity: "O(N) where N is the number of functions on the payload",
        arity: -3,
        flags: &[NoScript, Write, DenyOom],
        syntax: "serialized-value policy: [FLUSH|APPEND|REPLACE]",
        tips: ALL_SHARDS,
        handler: functions::restore,
        ..FUNCTION
    },
    Spec {
        name: "stats",
        summary: "Returns information about a function during execution.",
        arity: 2,
        flags: &[NoScript, AllowBusy],
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        locks: LockRule::None,
        handler: functions::stats,
        ..FUNCTION
    },
];
