//! Varve: which layers are put together; Redis has none of these.

use super::bounds::NATURAL;
use crate::config::directive::{choice, integer, memory, text, yes_no, zero_or};
use crate::config::{Directive, Id};

const RUNTIMES: &[(&str, i64)] = &[("epoll", 0), ("tokio", 1), ("threads", 2), ("uring", 3)];
const EXECUTIONS: &[(&str, i64)] = &[("inline", 0), ("pool", 1)];
const STORAGES: &[(&str, i64)] = &[("memory", 0), ("sled", 1), ("fjall", 2)];
const LOG_FORMATS: &[(&str, i64)] = &[("text", 0), ("json", 1)];

const RATE_ACTIONS: &[(&str, i64)] = &[("refuse", 0), ("delay", 1)];

/// A second has no more nanoseconds.
const RATE: (i64, i64) = (0, 1_000_000_000);

const PORT: (i64, i64) = (0, 65_535);

/// Which layers are put together; Redis has none of these.
pub(super) static ROWS: &[Directive] = &[
    choice(Id::Runtime, "runtime", RUNTIMES, 0, "How connections are served").immutable(),
    choice(
        Id::EpollExecution,
        "epoll-execution",
        EXECUTIONS,
        0,
        "epoll: who runs commands, the reactor itself or a pool",
    )
    .immutable(),
    integer(Id::Threads, "threads", (0, 16_384), 0, "Threads of the runtime; 0: one per core"),
    choice(Id::Storage, "storage", STORAGES, 0, "Where the data set lives").immutable(),
    integer(
        Id::Shards,
        "shards",
        (0, 65_536),
        0,
        "Parts of the data set with a lock each, rounded up to a power of two; 0: by cores",
    )
    .immutable(),
    choice(Id::LogFormat, "log-format", LOG_FORMATS, 0, "Form of log lines").immutable(),
    memory(
        Id::ClientOutputCeiling,
        "client-output-ceiling",
        (1 << 20, i64::MAX as u64),
        256 << 20,
        "Unread output of a client without a limit above which its requests wait",
    ),
    integer(
        Id::AdminPort,
        "admin-port",
        PORT,
        0,
        "Port of metrics, health and state over HTTP; 0: none",
    )
    .immutable(),
    text(Id::AdminBind, "admin-bind", "127.0.0.1", "Address of the admin port").immutable(),
    text(Id::AdminToken, "admin-token", "", "Bearer token that the admin port asks for")
        .sensitive()
        .immutable(),
    text(
        Id::ClusterSecret,
        "cluster-secret",
        "",
        "What all nodes of a cluster know, and nobody else",
    )
    .sensitive()
    .immutable(),
    integer(Id::WebsocketPort, "websocket-port", PORT, 0, "Port of RESP over WebSocket; 0: none")
        .immutable(),
    integer(
        Id::WebsocketTlsPort,
        "websocket-tls-port",
        PORT,
        0,
        "The same through TLS (wss); 0: none",
    )
    .immutable(),
    text(
        Id::WebsocketOrigins,
        "websocket-origins",
        "",
        "Origins of the web pages that may connect, separated by spaces; *: any page",
    ),
    integer(
        Id::UnauthenticatedMax,
        "unauthenticated-max",
        NATURAL,
        0,
        "TCP connections that may wait for authentication at once, new clients among them; 0: maxclients",
    ),
    integer(
        Id::UnauthenticatedTimeout,
        "unauthenticated-timeout",
        NATURAL,
        60,
        "Seconds within which a connection must authenticate, where that is needed; 0: any time",
    ),
    integer(
        Id::RateLimitClient,
        "rate-limit-client",
        RATE,
        0,
        "Requests a second that one client may send; 0: any number",
    ),
    memory(
        Id::RateLimitClientBytes,
        "rate-limit-client-bytes",
        (0, RATE.1 as u64),
        0,
        "Bytes of arguments a second that one client may send",
    ),
    integer(
        Id::RateLimitUser,
        "rate-limit-user",
        RATE,
        0,
        "Requests a second of all clients of one ACL user together",
    ),
    memory(
        Id::RateLimitUserBytes,
        "rate-limit-user-bytes",
        (0, RATE.1 as u64),
        0,
        "Bytes of their arguments a second",
    ),
    integer(
        Id::RateLimitAddress,
        "rate-limit-address",
        RATE,
        0,
        "Requests a second of all clients of one address (IPv6: of one /64) together",
    ),
    memory(
        Id::RateLimitAddressBytes,
        "rate-limit-address-bytes",
        (0, RATE.1 as u64),
        0,
        "Bytes of their arguments a second",
    ),
    integer(
        Id::RateLimitBurst,
        "rate-limit-burst",
        (0, 3_600_000),
        100,
        "Milliseconds by which rate limits may be run ahead of",
    ),
    choice(
        Id::RateLimitAction,
        "rate-limit-action",
        RATE_ACTIONS,
        0,
        "What is done with requests above a rate limit",
    ),
    // Timers of a runtime are a millisecond or two late, which is no load.
    zero_or(
        Id::OverloadDelayTarget,
        "overload-delay-target",
        (5, 60_000),
        0,
        "Milliseconds (at least 5) a connection may wait for its turn before requests are refused; 0: any",
    ),
    integer(
        Id::OverloadInterval,
        "overload-interval",
        (10, 60_000),
        100,
        "Milliseconds over which the shortest wait counts, at least twice overload-delay-target",
    ),
    integer(
        Id::OverloadMemoryTarget,
        "overload-memory-target",
        (0, 100),
        90,
        "With it: percent of memory in use above which requests that need more are refused; 0: any",
    ),
    text(
        Id::TraceEndpoint,
        "trace-endpoint",
        "",
        "OpenTelemetry collector (OTLP over gRPC) of sampled requests, http://host:port; empty: none",
    )
    .immutable(),
    integer(
        Id::TraceSamplesPerSecond,
        "trace-samples-per-second",
        (0, 1000),
        1,
        "Requests a second that are sampled at most, beside those of callers who sample; 0: none",
    ),
    yes_no(Id::Trace, "trace", false, "Take the times of a request's stages, for INFO trace"),
];
