//! The rows of SORT and SORT_RO.

use super::{lock_rule, sort, sort_keys, sort_ro};
use engine::command::{Begin, Category, Find, Flag::*, Group, KeySpec, LockRule, SPEC, Spec, key};

const BY_GET: KeySpec = KeySpec {
    flags: "RO ACCESS",
    begin: Begin::Unknown,
    find: Find::Unknown,
    notes: "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
};

const STORE: KeySpec = KeySpec {
    flags: "OW UPDATE",
    begin: Begin::Unknown,
    find: Find::Unknown,
    notes: "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
};

/// The family's rows.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "sort",
        summary: "Sorts the elements in a list, a set, or a sorted set, optionally storing the result.",
        since: "1.0.0",
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).",
        arity: -2,
        group: Group::Generic,
        flags: &[Write, DenyOom, MovableKeys],
        categories: &[Category::Set, Category::SortedSet, Category::List, Category::Dangerous],
        keys: &[key("RO ACCESS", 1), BY_GET, STORE],
        syntax: "key by-pattern: [BY pattern] [LIMIT <offset count>] get-pattern: [GET pattern [GET pattern ...]] [ASC|DESC] sorting: [ALPHA] [STORE destination]",
        find_keys: Some(sort_keys),
        locks: LockRule::Custom(lock_rule),
        handler: sort,
        ..SPEC
    },
    Spec {
        name: "sort_ro",
        summary: "Returns the sorted elements of a list, a set, or a sorted set.",
        since: "7.0.0",
        complexity: "O(N+M*log(M)) where N is the number of elements in the list or set to sort, and M the number of returned elements. When the elements are not sorted, complexity is O(N).",
        arity: -2,
        group: Group::Generic,
        flags: &[Readonly, MovableKeys],
        categories: &[Category::Set, Category::SortedSet, Category::List, Category::Dangerous],
        keys: &[key("RO ACCESS", 1), BY_GET],
        syntax: "key by-pattern: [BY pattern] [LIMIT <offset count>] get-pattern: [GET pattern [GET pattern ...]] [ASC|DESC] sorting: [ALPHA]",
        locks: LockRule::Custom(lock_rule),
        handler: sort_ro,
        ..SPEC
    },
];
