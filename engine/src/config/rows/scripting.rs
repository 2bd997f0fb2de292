//! Scripting and events: Lua, functions, notifications.

use super::bounds::NATURAL_LONG;
use crate::config::directive::{integer, special, yes_no};
use crate::config::{Directive, Id, Initial, Special};

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
    special(
        Id::NotifyKeyspaceEvents,
        "notify-keyspace-events",
        Special::KeyspaceEvents,
        Initial::Number(0),
        "Classes of keyspace notifications to publish",
    ),
];
