//! The command table of `CLUSTER` and its subcommands, with their handlers.

use super::{change, keys, lead, show};
use crate::server::base::CONTAINER;
use engine::command::{Category, Flag, Flag::*, Group, Handler, LockRule, SPEC, Spec};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};

const DISABLED: Failure = failure("ERR This instance has cluster support disabled");

/// The handler in the common fields, which every row replaces by its own.
fn nothing(_: &mut Cx<'_>) -> Outcome {
    Err(DISABLED)
}

fn readonly(cx: &mut Cx<'_>) -> Outcome {
    set_readonly(cx, true)
}

fn readwrite(cx: &mut Cx<'_>) -> Outcome {
    set_readonly(cx, false)
}

fn set_readonly(cx: &mut Cx<'_>, on: bool) -> Outcome {
    if !cx.engine.is_in_cluster() {
        return Err(DISABLED);
    }
    cx.session.set_readonly(on);
    cx.reply.ok();
    Ok(())
}

/// `ASKING` has no effect, because slots do not move between nodes.
fn asking(cx: &mut Cx<'_>) -> Outcome {
    if !cx.engine.is_in_cluster() {
        return Err(DISABLED);
    }
    cx.reply.ok();
    Ok(())
}

/// The fields that are the same in all rows.
const CLUSTER: Spec = Spec {
    since: "3.0.0",
    complexity: "O(1)",
    group: Group::Cluster,
    flags: &[Stale],
    locks: LockRule::None,
    handler: nothing,
    ..SPEC
};

/// A row of a subcommand that only reads.
const fn shows(
    name: &'static str,
    arity: i32,
    syntax: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { name, arity, syntax, summary, ..CLUSTER }
}

/// A row of a subcommand that only reads, and whose reply differs from node to node.
const fn varies(
    name: &'static str,
    arity: i32,
    syntax: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { tips: &["nondeterministic_output"], ..shows(name, arity, syntax, summary) }
}

/// A row of a subcommand that changes the cluster.
const fn changes(
    name: &'static str,
    arity: i32,
    syntax: &'static str,
    summary: &'static str,
) -> Spec {
    Spec { flags: &[Flag::Admin, Stale, NoAsyncLoading], ..shows(name, arity, syntax, summary) }
}

/// A row of a command that switches a mode of the connection.
const fn switch(
    name: &'static str,
    flags: &'static [Flag],
    summary: &'static str,
    handler: Handler,
) -> Spec {
    Spec { flags, handler, categories: &[Category::Connection], ..shows(name, 1, "", summary) }
}

const SLOTS_GIVEN: &str = "O(N) where N is the total number of hash slot arguments";
const SLOTS_BETWEEN: &str =
    "O(N) where N is the total number of the slots between the start slot and end slot arguments.";
const NODES: &str = "O(N) where N is the total number of Cluster nodes";

/// The subcommands of `CLUSTER`.
const SUBCOMMANDS: &[Spec] = &[
    Spec {
        handler: change::add_slots,
        complexity: SLOTS_GIVEN,
        ..changes("addslots", -3, "slot [slot ...]", "Assigns new hash slots to a node.")
    },
    Spec {
        handler: change::add_slots_range,
        since: "7.0.0",
        complexity: SLOTS_BETWEEN,
        ..changes(
            "addslotsrange",
            -4,
            "range: <start-slot end-slot [start-slot end-slot ...]>",
            "Assigns new hash slot ranges to a node.",
        )
    },
    Spec {
        handler: lead::bump_epoch,
        tips: &["nondeterministic_output"],
        ..changes("bumpepoch", 2, "", "Advances the cluster config epoch.")
    },
    Spec {
        handler: lead::count_failure_reports,
        complexity: "O(N) where N is the number of failure reports",
        flags: &[Flag::Admin, Stale],
        ..varies(
            "count-failure-reports",
            3,
            "node-id",
            "Returns the number of active failure reports active for a node.",
        )
    },
    Spec {
        handler: keys::count,
        locks: LockRule::All,
        ..shows("countkeysinslot", 3, "slot", "Returns the number of keys in a hash slot.")
    },
    Spec {
        handler: change::del_slots,
        complexity: SLOTS_GIVEN,
        ..changes("delslots", -3, "slot [slot ...]", "Sets hash slots as unbound for a node.")
    },
    Spec {
        handler: change::del_slots_range,
        since: "7.0.0",
        complexity: SLOTS_BETWEEN,
        ..changes(
            "delslotsrange",
            -4,
            "range: <start-slot end-slot [start-slot end-slot ...]>",
            "Sets hash slot ranges as unbound for a node.",
        )
    },
    Spec {
        handler: lead::fail_over,
        ..changes(
            "failover",
            -2,
            "options: [FORCE|TAKEOVER]",
            "Forces a replica to perform a manual failover of its master.",
        )
    },
    Spec {
        handler: change::flush_slots,
        ..changes("flushslots", 2, "", "Deletes all slots information from a node.")
    },
    Spec {
        handler: change::forget,
        ..changes("forget", 3, "node-id", "Removes a node from the nodes table.")
    },
    Spec {
        handler: keys::get,
        locks: LockRule::All,
        complexity: "O(N) where N is the number of requested keys",
        ..varies("getkeysinslot", 4, "slot count", "Returns the key names in a hash slot.")
    },
    Spec {
        handler: show::help,
        since: "5.0.0",
        flags: &[Loading, Stale],
        ..shows("help", 2, "", "Returns helpful text about the different subcommands.")
    },
    Spec {
        handler: show::info,
        ..varies("info", 2, "", "Returns information about the state of a node.")
    },
    Spec {
        handler: keys::slot_of,
        complexity: "O(N) where N is the number of bytes in the key",
        ..shows("keyslot", 3, "key", "Returns the hash slot for a key.")
    },
    Spec {
        handler: show::links,
        since: "7.0.0",
        complexity: NODES,
        ..varies("links", 2, "", "Returns a list of all TCP links to and from peer nodes.")
    },
    Spec {
        handler: change::meet,
        history: &[("4.0.0", "Added the optional `cluster_bus_port` argument.")],
        ..changes(
            "meet",
            -4,
            "ip port [cluster-bus-port] @4.0.0",
            "Forces a node to handshake with another node.",
        )
    },
    Spec { handler: show::my_id, ..shows("myid", 2, "", "Returns the ID of a node.") },
    Spec {
        handler: show::my_shard_id,
        since: "7.2.0",
        ..varies("myshardid", 2, "", "Returns the shard ID of a node.")
    },
    Spec {
        handler: show::nodes,
        complexity: NODES,
        ..varies("nodes", 2, "", "Returns the cluster configuration for a node.")
    },
    Spec {
        handler: show::replicas,
        since: "5.0.0",
        complexity: "O(N) where N is the number of replicas.",
        flags: &[Flag::Admin, Stale],
        ..varies("replicas", 3, "node-id", "Lists the replica nodes of a master node.")
    },
    Spec {
        handler: lead::replicate,
        ..changes("replicate", 3, "node-id", "Configure a node as replica of a master node.")
    },
    Spec {
        handler: lead::reset,
        complexity: "O(N) where N is the number of known nodes. The command may execute a FLUSHALL as a side effect.",
        flags: &[Flag::Admin, NoScript, Stale],
        ..shows("reset", -2, "reset-type: [HARD|SOFT]", "Resets a node.")
    },
    Spec {
        handler: change::save_config,
        ..changes("saveconfig", 2, "", "Forces a node to save the cluster configuration to disk.")
    },
    Spec {
        handler: lead::set_config_epoch,
        ..changes(
            "set-config-epoch",
            3,
            "config-epoch",
            "Sets the configuration epoch for a new node.",
        )
    },
    Spec {
        handler: change::set_slot,
        ..changes(
            "setslot",
            -4,
            "slot subcommand: <importing: IMPORTING node-id|migrating: MIGRATING node-id|node: NODE node-id|STABLE>",
            "Binds a hash slot to a node.",
        )
    },
    Spec {
        handler: show::shards,
        since: "7.0.0",
        complexity: "O(N) where N is the total number of cluster nodes",
        ..varies("shards", 2, "", "Returns the mapping of cluster slots to shards.")
    },
    Spec {
        handler: show::replicas,
        complexity: "O(N) where N is the number of replicas.",
        flags: &[Flag::Admin, Stale],
        deprecated: Some(("5.0.0", "`CLUSTER REPLICAS`")),
        ..varies("slaves", 3, "node-id", "Lists the replica nodes of a master node.")
    },
    Spec {
        handler: show::slots,
        complexity: NODES,
        deprecated: Some(("7.0.0", "`CLUSTER SHARDS`")),
        history: &[
            ("4.0.0", "Added node IDs."),
            ("7.0.0", "Added additional networking metadata field."),
        ],
        ..varies("slots", 2, "", "Returns the mapping of cluster slots to nodes.")
    },
];

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "cluster",
        summary: "A container for Redis Cluster commands.",
        since: "3.0.0",
        group: Group::Cluster,
        subcommands: SUBCOMMANDS,
        ..CONTAINER
    },
    switch(
        "readonly",
        &[Loading, Stale, Fast],
        "Enables read-only queries for a connection to a Redis Cluster replica node.",
        readonly,
    ),
    switch(
        "readwrite",
        &[Loading, Stale, Fast],
        "Enables read-write queries for a connection to a Reids Cluster replica node.",
        readwrite,
    ),
    switch(
        "asking",
        &[Fast],
        "Signals that a cluster client is following an -ASK redirect.",
        asking,
    ),
];
