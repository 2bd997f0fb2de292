//! Scripting and events: Lua, functions, notifications.

use super::bounds::NATURAL_LONG;
use crate::config::directive::{grammar, integer, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

/// Lua, functions, notifications.
pub(super) static ROWS: &[Directive] = &[
    integer(
        Id::BusyReplyThreshold,
        "busy-reply-threshold",
        NATURAL_LONG,
        5000,
        "Milliseconds after which others are told a script is busy",
    )
    .alias(&["lua-time-limit"]),
    yes_no(
        Id::LuaEnableDeprecatedApi,
        "lua-enable-deprecated-api",
        false,
        "Give scripts functions that Redis has dropped",
    )
    .kept()
    .immutable()
    .hidden(),
    grammar(
        Id::NotifyKeyspaceEvents,
        "notify-keyspace-events",
        Grammar::KeyspaceEvents,
        Initial::Number(0),
        "Classes of keyspace notifications to publish",
    ),
];
