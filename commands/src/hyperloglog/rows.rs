//! The rows of the HyperLogLog commands.

use super::{debug, pfadd, pfcount, pfmerge};
use engine::command::{Flag::*, Group, KeySpec, SPEC, Spec, key, key_range};

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "pfadd",
        summary: "Adds elements to a HyperLogLog key. Creates the key if it doesn't exist.",
        since: "2.8.9",
        complexity: "O(1) to add every element.",
        arity: -2,
        group: Group::HyperLogLog,
        flags: &[Write, DenyOom, Fast],
        keys: &[key("RW INSERT", 1)],
        syntax: "key [element [element ...]]",
        handler: pfadd,
        ..SPEC
    },
    Spec {
        name: "pfcount",
        summary: "Returns the approximated cardinality of the set(s) observed by the HyperLogLog key(s).",
        since: "2.8.9",
        complexity: "O(1) with a very small average constant time when called with a single key. O(N) with N being the number of keys, and much bigger constant times, when called with multiple keys.",
        arity: -2,
        group: Group::HyperLogLog,
        flags: &[Readonly, MayReplicate],
        keys: &[KeySpec {
            notes: "RW because it may change the internal representation of the key, and propagate to replicas",
            ..key_range("RW ACCESS", 1, -1, 1)
        }],
        syntax: "key [key ...]",
        handler: pfcount,
        ..SPEC
    },
    Spec {
        name: "pfdebug",
        summary: "Internal commands for debugging HyperLogLog values.",
        since: "2.8.9",
        complexity: "N/A",
        arity: 3,
        group: Group::HyperLogLog,
        flags: &[Write, DenyOom, Admin, System],
        keys: &[key("RW ACCESS", 2)],
        syntax: "subcommand key",
        handler: debug::pfdebug,
        ..SPEC
    },
    Spec {
        name: "pfmerge",
        summary: "Merges one or more HyperLogLog values into a single key.",
        since: "2.8.9",
        complexity: "O(N) to merge N HyperLogLogs, but with high constant times.",
        arity: -2,
        group: Group::HyperLogLog,
        flags: &[Write, DenyOom],
        keys: &[key("RW ACCESS INSERT", 1), key_range("RO ACCESS", 2, -1, 1)],
        syntax: "destkey [sourcekey [sourcekey ...]]",
        handler: pfmerge,
        ..SPEC
    },
    Spec {
        name: "pfselftest",
        summary: "An internal command for testing HyperLogLog values.",
        since: "2.8.9",
        complexity: "N/A",
        arity: 1,
        group: Group::HyperLogLog,
        flags: &[Admin, System],
        handler: debug::pfselftest,
        ..SPEC
    },
];
