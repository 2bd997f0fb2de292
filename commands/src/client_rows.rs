//! The rows of `CLIENT`, and its help.

use super::{client, client_tracking, cluster};
use engine::command::{Flag::*, Group, LockRule, SPEC, Spec};

/// The fields that all rows share.
const CLIENT: Spec = Spec {
    group: Group::Connection,
    since: "2.4.0",
    flags: &[NoScript, Loading, Stale],
    locks: LockRule::None,
    ..SPEC
};

/// Rows for administrators.
const ADMIN: Spec =
    Spec { flags: &[engine::command::Flag::Admin, NoScript, Loading, Stale], ..CLIENT };

/// The `CLIENT` row and its subcommands.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "client",
    summary: "A container for client connection commands.",
    complexity: "Depends on subcommand.",
    arity: -2,
    flags: &[],
    subcommands: &[
        Spec {
            name: "caching",
            summary: "Instructs the server whether to track the keys in the next request.",
            since: "6.0.0",
            arity: 3,
            syntax: "mode: <YES|NO>",
            handler: client_tracking::caching,
            ..CLIENT
        },
        Spec {
            name: "consistency",
            summary: "Sets what a cluster promises to the connection: of its writes, and of what followers answer.",
            since: "7.2.0",
            arity: -3,
            syntax: "promise: <async: ASYNC|quorum: QUORUM [READS <LEADER|INDEX>]>",
            handler: cluster::consistency,
            ..CLIENT
        },
        Spec {
            name: "getredir",
            summary: "Returns the client ID to which the connection's tracking notifications are redirected.",
            since: "6.0.0",
            arity: 2,
            handler: client_tracking::getredir,
            ..CLIENT
        },
        Spec {
            name: "getname",
            summary: "Returns the name of the connection.",
            since: "2.6.9",
            arity: 2,
            handler: client::getname,
            ..CLIENT
        },
        Spec {
            name: "help",
            summary: "Returns helpful text about the different subcommands.",
            since: "5.0.0",
            arity: 2,
            flags: &[Loading, Stale],
            handler: client::help,
            ..CLIENT
        },
        Spec {
            name: "id",
            summary: "Returns the unique client ID of the connection.",
            since: "5.0.0",
            arity: 2,
            handler: client::id,
            ..CLIENT
        },
        Spec {
            name: "info",
            summary: "Returns information about the connection.",
            since: "6.2.0",
            arity: 2,
            tips: &["nondeterministic_output"],
            handler: client::info,
            ..CLIENT
        },
        Spec {
            name: "kill",
            summary: "Terminates open connections.",
            complexity: "O(N) where N is the number of client connections",
            arity: -3,
            syntax: "filter: <old-format: ip:port @!2.8.12|new-format: <<[ID client-id] @2.8.12|client-type: [TYPE <NORMAL|MASTER @3.2.0|SLAVE|REPLICA @5.0.0|PUBSUB>] @2.8.12|[USER username]|addr: [ADDR ip:port]|laddr: [LADDR ip:port] @6.2.0|skipme: [SKIPME <YES|NO>]|[MAXAGE maxage] @7.4.0> [<[ID client-id] @2.8.12|client-type: [TYPE <NORMAL|MASTER @3.2.0|SLAVE|REPLICA @5.0.0|PUBSUB>] @2.8.12|[USER username]|addr: [ADDR ip:port]|laddr: [LADDR ip:port] @6.2.0|skipme: [SKIPME <YES|NO>]|[MAXAGE maxage] @7.4.0> ...]>>",
            history: &[
                ("2.8.12", "Added new filter format."),
                ("2.8.12", "`ID` option."),
                ("3.2.0", "Added `master` type in for `TYPE` option."),
                (
                    "5.0.0",
                    "Replaced `slave` `TYPE` with `replica`. `slave` still supported for backward compatibility.",
                ),
                ("6.2.0", "`LADDR` option."),
                ("7.4.0", "`MAXAGE` option."),
            ],
            handler: client::kill,
            ..ADMIN
        },
        Spec {
            name: "list",
            summary: "Lists open connections.",
            complexity: "O(N) where N is the number of client connections",
            arity: -2,
            syntax: "client-type: [TYPE <NORMAL|MASTER|REPLICA|PUBSUB>] @5.0.0 [ID client-id [client-id ...]] @6.2.0",
            tips: &["nondeterministic_output"],
            history: &[
                ("2.8.12", "Added unique client `id` field."),
                ("5.0.0", "Added optional `TYPE` filter."),
                ("6.0.0", "Added `user` field."),
                (
                    "6.2.0",
                    "Added `argv-mem`, `tot-mem`, `laddr` and `redir` fields and the optional `ID` filter.",
                ),
                ("7.0.0", "Added `resp`, `multi-mem`, `rbs` and `rbp` fields."),
                ("7.0.3", "Added `ssub` field."),
                ("7.2.0", "Added `lib-name` and `lib-ver` fields."),
            ],
            handler: client::list,
            ..ADMIN
        },
        Spec {
            name: "no-evict",
            summary: "Sets the client eviction mode of the connection.",
            since: "7.0.0",
            arity: 3,
            syntax: "enabled: <ON|OFF>",
            handler: client::no_evict,
            ..ADMIN
        },
        Spec {
            name: "no-touch",
            summary: "Controls whether commands sent by the client affect the LRU/LFU of accessed keys.",
            since: "7.2.0",
            arity: 3,
            syntax: "enabled: <ON|OFF>",
            handler: client::no_touch,
            ..CLIENT
        },
        Spec {
            name: "pause",
            summary: "Suspends commands processing.",
            since: "3.0.0",
            arity: -3,
            syntax: "timeout mode: [WRITE|ALL] @6.2.0",
            history: &[("6.2.0", "`CLIENT PAUSE WRITE` mode added along with the `mode` option.")],
            handler: client::pause,
            ..ADMIN
        },
        Spec {
            name: "reply",
            summary: "Instructs the server whether to reply to commands.",
            since: "3.2.0",
            arity: 3,
            syntax: "action: <ON|OFF|SKIP>",
            flags: &[NoScript, Loading, Stale, Streaming],
            handler: client::reply,
            ..CLIENT
        },
        Spec {
            name: "setinfo",
            summary: "Sets information specific to the client or connection.",
            since: "7.2.0",
            arity: 4,
            syntax: "attr: <LIB-NAME libname|LIB-VER libver|TRACEPARENT traceparent>",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: client::setinfo,
            ..CLIENT
        },
        Spec {
            name: "setname",
            summary: "Sets the connection name.",
            since: "2.6.9",
            arity: 3,
            syntax: "connection-name",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: client::setname,
            ..CLIENT
        },
        Spec {
            name: "tracking",
            summary: "Controls server-assisted client-side caching for the connection.",
            since: "6.0.0",
            complexity: "O(1). Some options may introduce additional complexity.",
            arity: -3,
            syntax: "status: <ON|OFF> [REDIRECT client-id] [PREFIX prefix [PREFIX prefix ...]] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
            handler: client_tracking::tracking,
            ..CLIENT
        },
        Spec {
            name: "trackinginfo",
            summary: "Returns information about server-assisted client-side caching for the connection.",
            since: "6.2.0",
            arity: 2,
            handler: client_tracking::trackinginfo,
            ..CLIENT
        },
        Spec {
            name: "unblock",
            summary: "Unblocks a client blocked by a blocking command from a different connection.",
            since: "5.0.0",
            complexity: "O(log N) where N is the number of client connections",
            arity: -3,
            syntax: "client-id unblock-type: [TIMEOUT|ERROR]",
            handler: client::unblock,
            ..ADMIN
        },
        Spec {
            name: "unpause",
            summary: "Resumes processing commands from paused clients.",
            since: "6.2.0",
            complexity: "O(N) Where N is the number of paused clients",
            arity: 2,
            handler: client::unpause,
            ..ADMIN
        },
    ],
    ..CLIENT
}];

/// `CLIENT HELP`.
pub const HELP: &[&str] = &[
    "CACHING (YES|NO)",
    "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
    "CONSISTENCY (ASYNC|QUORUM [READS (LEADER|INDEX)])",
    "    Replies of this connection wait for nobody, or until most nodes of the cluster agree. With READS INDEX",
    "    followers answer as well, with what was agreed on when they were asked.",
    "GETREDIR",
    "    Return the client ID we are redirecting to when tracking is enabled.",
    "GETNAME",
    "    Return the name of the current connection.",
    "ID",
    "    Return the ID of the current connection.",
    "INFO",
    "    Return information about the current client connection.",
    "KILL <ip:port>",
    "    Kill connection made from <ip:port>.",
    "KILL <option> <value> [<option> <value> [...]]",
    "    Kill connections. Options are:",
    "    * ADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made from the specified address",
    "    * LADDR (<ip:port>|<unixsocket>:0)",
    "      Kill connections made to specified local address",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Kill connections by type.",
    "    * USER <username>",
    "      Kill connections authenticated by <username>.",
    "    * SKIPME (YES|NO)",
    "      Skip killing current connection (default: yes).",
    "    * MAXAGE <maxage>",
    "      Kill connections older than the specified age.",
    "LIST [options ...]",
    "    Return information about client connections. Options:",
    "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
    "      Return clients of specified type.",
    "NO-EVICT (ON|OFF)",
    "    Protect current client connection from eviction.",
    "NO-TOUCH (ON|OFF)",
    "    Will not touch LRU/LFU stats when this mode is on.",
    "PAUSE <timeout> [WRITE|ALL]",
    "    Suspend all, or just write, clients for <timeout> milliseconds.",
    "REPLY (ON|OFF|SKIP)",
    "    Control the replies sent to the current connection.",
    "SETINFO <option> <value>",
    "    Set client meta attr. Options are:",
    "    * LIB-NAME: the client lib name.",
    "    * LIB-VER: the client lib version.",
    "    * TRACEPARENT: the caller's span (W3C Trace Context); empty: none.",
    "SETNAME <name>",
    "    Assign the name <name> to the current connection.",
    "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
    "         [OPTIN] [OPTOUT] [NOLOOP]",
    "    Control server assisted client side caching.",
    "TRACKINGINFO",
    "    Report tracking status for the current connection.",
    "UNBLOCK <clientid> [TIMEOUT|ERROR]",
    "    Unblock the specified blocked client.",
    "UNPAUSE",
    "    Stop the current client pause, resuming traffic.",
];
