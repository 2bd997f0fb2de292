//! Replication.

use super::bounds::{INT_MAX, LONG_MAX, MB, NATURAL, NATURAL_LONG};
use crate::config::directive::{choice, grammar, integer, memory, text, yes_no};
use crate::config::{Directive, Grammar, Id, Initial};

const DISKLESS_LOAD: &[(&str, i64)] = &[("disabled", 0), ("on-empty-db", 1), ("swapdb", 2)];
const PROPAGATION: &[(&str, i64)] = &[("ignore", 0), ("panic", 1), ("panic-on-replicas", 2)];

/// Masters and replicas.
pub(super) static ROWS: &[Directive] = &[
    grammar(Id::Replicaof, "replicaof", Grammar::ReplicaOf, Initial::Text(""), "Follow a master")
        .alias(&["slaveof"])
        .immutable(),
    text(Id::Masterauth, "masterauth", "", "Password for the master").sensitive(),
    text(Id::Masteruser, "masteruser", "", "User for the master").sensitive(),
    integer(
        Id::MinReplicasToWrite,
        "min-replicas-to-write",
        NATURAL,
        0,
        "Refuse writes with fewer replicas",
    )
    .alias(&["min-slaves-to-write"]),
    integer(
        Id::MinReplicasMaxLag,
        "min-replicas-max-lag",
        NATURAL,
        10,
        "Seconds of silence after which a replica does not count",
    )
    .alias(&["min-slaves-max-lag"]),
    yes_no(
        Id::ReplicaServeStaleData,
        "replica-serve-stale-data",
        true,
        "Answer while the master is away",
    )
    .alias(&["slave-serve-stale-data"]),
    yes_no(Id::ReplicaReadOnly, "replica-read-only", true, "Refuse writes on a replica")
        .alias(&["slave-read-only"]),
    yes_no(
        Id::ReplicaLazyFlush,
        "replica-lazy-flush",
        false,
        "Free the old data set in the background",
    )
    .alias(&["slave-lazy-flush"])
    .kept(),
    yes_no(
        Id::ReplicaIgnoreMaxmemory,
        "replica-ignore-maxmemory",
        true,
        "Leave eviction to the master",
    )
    .alias(&["slave-ignore-maxmemory"]),
    yes_no(Id::ReplicaAnnounced, "replica-announced", true, "Show replicas to Sentinel"),
    yes_no(
        Id::ReplicaIgnoreDiskWriteErrors,
        "replica-ignore-disk-write-errors",
        false,
        "Go on when a replica cannot write",
    )
    .kept(),
    integer(
        Id::ReplicaPriority,
        "replica-priority",
        NATURAL,
        100,
        "Rank when Sentinel promotes a replica",
    )
    .alias(&["slave-priority"]),
    text(Id::ReplicaAnnounceIp, "replica-announce-ip", "", "Address shown for a replica")
        .alias(&["slave-announce-ip"]),
    integer(
        Id::ReplicaAnnouncePort,
        "replica-announce-port",
        (0, 65_535),
        0,
        "Port shown for a replica",
    )
    .alias(&["slave-announce-port"]),
    memory(
        Id::ReplBacklogSize,
        "repl-backlog-size",
        (1, LONG_MAX),
        MB,
        "Bytes kept for replicas that come back",
    ),
    integer(
        Id::ReplBacklogTtl,
        "repl-backlog-ttl",
        NATURAL_LONG,
        3600,
        "Seconds until they are freed",
    ),
    integer(Id::ReplTimeout, "repl-timeout", (1, INT_MAX), 60, "Seconds until a link is given up"),
    integer(
        Id::ReplPingReplicaPeriod,
        "repl-ping-replica-period",
        (1, INT_MAX),
        10,
        "Seconds between pings",
    )
    .alias(&["repl-ping-slave-period"]),
    yes_no(
        Id::ReplDisableTcpNodelay,
        "repl-disable-tcp-nodelay",
        false,
        "Fewer, larger packets to replicas",
    )
    .kept(),
    yes_no(Id::ReplDisklessSync, "repl-diskless-sync", true, "Feed replicas without a file").kept(),
    integer(
        Id::ReplDisklessSyncDelay,
        "repl-diskless-sync-delay",
        NATURAL,
        5,
        "Seconds to wait for more replicas",
    ),
    integer(
        Id::ReplDisklessSyncMaxReplicas,
        "repl-diskless-sync-max-replicas",
        NATURAL,
        0,
        "Replicas for which not to wait longer",
    ),
    choice(
        Id::ReplDisklessLoad,
        "repl-diskless-load",
        DISKLESS_LOAD,
        0,
        "Load from a master without a file",
    )
    .kept()
    .denied_while_loading(),
    choice(
        Id::PropagationErrorBehavior,
        "propagation-error-behavior",
        PROPAGATION,
        0,
        "What a failing replicated command does",
    )
    .kept(),
];
