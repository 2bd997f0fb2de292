//! The rows of the bitmap commands.

use super::{bitfield, operate, ranges, single};
use engine::command::{Flag::*, Group, KeySpec, SPEC, Spec, key, key_range};

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "bitcount",
        summary: "Counts the number of set bits (population counting) in a string.",
        since: "2.6.0",
        complexity: "O(N)",
        arity: -2,
        group: Group::Bitmap,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key range: [start end [BYTE|BIT] @7.0.0]",
        history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
        handler: ranges::bitcount,
        ..SPEC
    },
    Spec {
        name: "bitfield",
        summary: "Performs arbitrary bitfield integer operations on strings.",
        since: "3.2.0",
        complexity: "O(1) for each subcommand specified",
        arity: -2,
        group: Group::Bitmap,
        flags: &[Write, DenyOom],
        keys: &[KeySpec {
            notes: "This command allows both access and modification of the key",
            ..key("RW ACCESS UPDATE variable_flags", 1)
        }],
        syntax: "key operation: [<get-block: GET <encoding offset>|write: <overflow-block: [OVERFLOW <WRAP|SAT|FAIL>] write-operation: <set-block: SET <encoding offset value>|incrby-block: INCRBY <encoding offset increment>>>> [<get-block: GET <encoding offset>|write: <overflow-block: [OVERFLOW <WRAP|SAT|FAIL>] write-operation: <set-block: SET <encoding offset value>|incrby-block: INCRBY <encoding offset increment>>>> ...]]",
        find_keys: Some(bitfield::key),
        handler: bitfield::bitfield,
        ..SPEC
    },
    Spec {
        name: "bitfield_ro",
        summary: "Performs arbitrary read-only bitfield integer operations on strings.",
        since: "6.0.0",
        complexity: "O(1) for each subcommand specified",
        arity: -2,
        group: Group::Bitmap,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key get-block: [GET <encoding offset> [GET <encoding offset> ...]]",
        handler: bitfield::bitfield_ro,
        ..SPEC
    },
    Spec {
        name: "bitop",
        summary: "Performs bitwise operations on multiple strings, and stores the result.",
        since: "2.6.0",
        complexity: "O(N)",
        arity: -4,
        group: Group::Bitmap,
        flags: &[Write, DenyOom],
        keys: &[key("OW UPDATE", 2), key_range("RO ACCESS", 3, -1, 1)],
        syntax: "operation: <AND|OR|XOR|NOT> destkey key [key ...]",
        handler: operate::bitop,
        ..SPEC
    },
    Spec {
        name: "bitpos",
        summary: "Finds the first set (1) or clear (0) bit in a string.",
        since: "2.8.7",
        complexity: "O(N)",
        arity: -3,
        group: Group::Bitmap,
        flags: &[Readonly],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key bit range: [start end-unit-block: [end [BYTE|BIT] @7.0.0]]",
        history: &[("7.0.0", "Added the `BYTE|BIT` option.")],
        handler: ranges::bitpos,
        ..SPEC
    },
    Spec {
        name: "getbit",
        summary: "Returns a bit value by offset.",
        since: "2.2.0",
        complexity: "O(1)",
        arity: 3,
        group: Group::Bitmap,
        flags: &[Readonly, Fast],
        keys: &[key("RO ACCESS", 1)],
        syntax: "key offset",
        handler: single::getbit,
        ..SPEC
    },
    Spec {
        name: "setbit",
        summary: "Sets or clears the bit at offset of the string value. Creates the key if it doesn't exist.",
        since: "2.2.0",
        complexity: "O(1)",
        quick: true,
        arity: 4,
        group: Group::Bitmap,
        flags: &[Write, DenyOom],
        keys: &[key("RW ACCESS UPDATE", 1)],
        syntax: "key offset value",
        handler: single::setbit,
        ..SPEC
    },
];
