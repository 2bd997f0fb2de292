//! Clients and limits: how many clients, and how much each may make Varve remember.

use super::bounds::{LONG_MAX, MB, NATURAL_LONG};
use crate::config::directive::{grammar, integer, memory, memory_or_percent};
use crate::config::{Directive, Grammar, Id, Initial};

/// Redis's defaults: no limit for normal clients, 256mb/64mb for replicas, 32mb/8mb for subscribers.
const OUTPUT_BUFFER_LIMITS: &str =
    "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";

/// Directives about the number of clients, and their memory.
pub(super) static ROWS: &[Directive] = &[
    integer(
        Id::Maxclients,
        "maxclients",
        (1, 4_294_967_295),
        10000,
        "Clients served at once; more are refused",
    ),
    memory_or_percent(
        Id::MaxmemoryClients,
        "maxmemory-clients",
        "Memory of all client buffers together; the hungriest go first",
    ),
    memory(
        Id::ClientQueryBufferLimit,
        "client-query-buffer-limit",
        (MB, LONG_MAX),
        1024 * MB,
        "Bytes of one unfinished request",
    ),
    grammar(
        Id::ClientOutputBufferLimit,
        "client-output-buffer-limit",
        Grammar::OutputBufferLimits,
        Initial::Text(OUTPUT_BUFFER_LIMITS),
        "Output that may wait: class, hard limit, soft limit, seconds",
    ),
    memory(
        Id::ProtoMaxBulkLen,
        "proto-max-bulk-len",
        (MB, LONG_MAX),
        512 * MB,
        "Bytes of one argument",
    ),
    integer(
        Id::TrackingTableMaxKeys,
        "tracking-table-max-keys",
        NATURAL_LONG,
        1000000,
        "Keys remembered for client-side caching; 0: no limit",
    ),
];
