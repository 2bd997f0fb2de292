//! Directives about security.

use super::bounds::NATURAL_LONG;
use crate::config::directive::{choice, integer, text};
use crate::config::{Directive, Id};

const PUBSUB_DEFAULT: &[(&str, i64)] = &[("allchannels", 1), ("resetchannels", 0)];
const NO_YES_LOCAL: &[(&str, i64)] = &[("no", 0), ("yes", 1), ("local", 2)];
const SANITIZE: &[(&str, i64)] = &[("no", 0), ("yes", 1), ("clients", 2)];

/// Directives about authentication and permissions.
pub(super) static ROWS: &[Directive] = &[
    text(Id::Requirepass, "requirepass", "", "Password of the user `default`").sensitive(),
    text(Id::Aclfile, "aclfile", "", "File with the users").immutable(),
    integer(Id::AcllogMaxLen, "acllog-max-len", NATURAL_LONG, 128, "Entries of ACL LOG"),
    choice(
        Id::AclPubsubDefault,
        "acl-pubsub-default",
        PUBSUB_DEFAULT,
        0,
        "Channels of users that name none",
    ),
    choice(
        Id::EnableProtectedConfigs,
        "enable-protected-configs",
        NO_YES_LOCAL,
        0,
        "Who may change protected directives",
    )
    .immutable(),
    choice(Id::EnableDebugCommand, "enable-debug-command", NO_YES_LOCAL, 0, "Who may use DEBUG")
        .immutable(),
    choice(Id::EnableModuleCommand, "enable-module-command", NO_YES_LOCAL, 0, "Who may use MODULE")
        .kept()
        .immutable(),
    choice(
        Id::SanitizeDumpPayload,
        "sanitize-dump-payload",
        SANITIZE,
        0,
        "Whose RESTORE payloads are checked in depth (here: all)",
    )
    .kept(),
];
