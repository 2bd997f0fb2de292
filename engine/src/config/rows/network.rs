//! Network: where Varve listens and how connections are kept.

use super::bounds::NATURAL;
use crate::config::directive::{grammar, integer, octal, text, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

/// The directives about listening addresses and connections.
pub(super) static ROWS: &[Directive] = &[
    grammar(
        Id::Bind,
        "bind",
        Grammar::Bind,
        Initial::Text("127.0.0.1"),
        "Addresses to listen on (`* -::*`: all; a leading - : failing is no error)",
    )
    .immutable(),
    integer(Id::Port, "port", (0, 65_535), 6379, "TCP port; 0 listens on none").immutable(),
    integer(
        Id::TcpBacklog,
        "tcp-backlog",
        NATURAL,
        511,
        "Connections the kernel may hold before they are accepted",
    )
    .immutable(),
    text(Id::Unixsocket, "unixsocket", "", "Path of a Unix socket to listen on").immutable(),
    octal(Id::Unixsocketperm, "unixsocketperm", 0o777, "Permissions of the Unix socket, in octal")
        .immutable(),
    integer(
        Id::Timeout,
        "timeout",
        NATURAL,
        0,
        "Seconds after which an idle client is disconnected; 0: never",
    ),
    integer(
        Id::TcpKeepalive,
        "tcp-keepalive",
        NATURAL,
        300,
        "Seconds between keepalive probes to silent clients; 0: none",
    ),
    yes_no(
        Id::ProtectedMode,
        "protected-mode",
        true,
        "Refuse remote clients while no password is set",
    ),
    text(Id::BindSourceAddr, "bind-source-addr", "", "Local address of outgoing connections")
        .kept(),
    integer(
        Id::SocketMarkId,
        "socket-mark-id",
        (0, 4_294_967_295),
        0,
        "Mark of listening sockets, for packet filters",
    )
    .kept()
    .immutable(),
];
