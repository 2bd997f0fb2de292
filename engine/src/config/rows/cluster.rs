//! Cluster: nodes that agree on every write.

use super::bounds::{NATURAL, NATURAL_LONG};
use crate::config::directive::{choice, integer, memory, text, yes_no};
use crate::config::{Directive, Id};

const ENDPOINT: &[(&str, i64)] = &[("ip", 0), ("hostname", 1), ("unknown-endpoint", 2)];

/// Nodes that agree on every write.
pub(super) static ROWS: &[Directive] = &[
    yes_no(Id::ClusterEnabled, "cluster-enabled", false, "Be a node of a cluster").immutable(),
    text(
        Id::ClusterConfigFile,
        "cluster-config-file",
        "nodes.conf",
        "File of a node's view of the cluster",
    )
    .kept()
    .immutable(),
    integer(
        Id::ClusterGroups,
        "cluster-groups",
        (1, 64),
        1,
        "Groups that divide the slots of a cluster founded here",
    )
    .immutable(),
    integer(
        Id::ClusterNodeTimeout,
        "cluster-node-timeout",
        NATURAL_LONG,
        15000,
        "Milliseconds until a node counts as failed",
    ),
    integer(Id::ClusterPort, "cluster-port", (0, 65_535), 0, "Port of the cluster bus").immutable(),
    text(Id::ClusterAnnounceIp, "cluster-announce-ip", "", "Address shown to other nodes"),
    text(
        Id::ClusterAnnounceHostname,
        "cluster-announce-hostname",
        "",
        "Host name shown to clients",
    )
    .kept()
    .checked(hostname),
    text(
        Id::ClusterAnnounceHumanNodename,
        "cluster-announce-human-nodename",
        "",
        "Name of the node in logs",
    )
    .kept()
    .checked(nodename),
    integer(
        Id::ClusterAnnouncePort,
        "cluster-announce-port",
        (0, 65_535),
        0,
        "Port shown to other nodes",
    ),
    integer(
        Id::ClusterAnnounceTlsPort,
        "cluster-announce-tls-port",
        (0, 65_535),
        0,
        "TLS port shown to other nodes",
    )
    .kept(),
    integer(
        Id::ClusterAnnounceBusPort,
        "cluster-announce-bus-port",
        (0, 65_535),
        0,
        "Bus port shown to other nodes",
    ),
    choice(
        Id::ClusterPreferredEndpointType,
        "cluster-preferred-endpoint-type",
        ENDPOINT,
        0,
        "How nodes are named to clients",
    )
    .kept(),
    integer(
        Id::ClusterReplicaValidityFactor,
        "cluster-replica-validity-factor",
        NATURAL,
        10,
        "How old a replica's data may be when it takes over",
    )
    .alias(&["cluster-slave-validity-factor"])
    .kept(),
    yes_no(Id::ClusterReplicaNoFailover, "cluster-replica-no-failover", false, "Never take over")
        .alias(&["cluster-slave-no-failover"])
        .kept(),
    integer(
        Id::ClusterMigrationBarrier,
        "cluster-migration-barrier",
        NATURAL,
        1,
        "Replicas a master keeps when one migrates",
    )
    .kept(),
    yes_no(
        Id::ClusterAllowReplicaMigration,
        "cluster-allow-replica-migration",
        true,
        "Let replicas migrate",
    )
    .kept(),
    yes_no(
        Id::ClusterRequireFullCoverage,
        "cluster-require-full-coverage",
        true,
        "Stop when a slot has no owner",
    )
    .kept(),
    yes_no(
        Id::ClusterAllowReadsWhenDown,
        "cluster-allow-reads-when-down",
        false,
        "Read although the cluster is down",
    )
    .kept(),
    yes_no(
        Id::ClusterAllowPubsubshardWhenDown,
        "cluster-allow-pubsubshard-when-down",
        true,
        "Publish although the cluster is down",
    ),
    memory(
        Id::ClusterLinkSendbufLimit,
        "cluster-link-sendbuf-limit",
        (0, u64::MAX),
        0,
        "Bytes that may wait for another node; 0: no limit",
    )
    .kept(),
];

fn hostname(name: &str) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
    match name.chars().all(valid) {
        true => Ok(()),
        false => Err("Hostnames may only contain alphanumeric characters, hyphens or dots"),
    }
}

fn nodename(name: &str) -> Result<(), &'static str> {
    match name.chars().any(|c| c.is_ascii_control() || "!#$%&()*+:;<>?@[]^{|}~".contains(c)) {
        true => Err("Announced human node name contained invalid character"),
        false => Ok(()),
    }
}
