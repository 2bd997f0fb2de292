//! The subcommands that show the cluster: `INFO`, `NODES`, `SLOTS`, `SHARDS`, `LINKS` and similar
//! ones.

use super::{cluster, topology};
use engine::cluster::{NodeView, Role, Topology};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome};
use std::fmt::Write as _;

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cluster(cx)?;
    cx.help("CLUSTER", HELP);
    Ok(())
}

const HELP: &[&str] = &[
    "COUNTKEYSINSLOT <slot>",
    "    Return the number of keys in <slot>.",
    "GETKEYSINSLOT <slot> <count>",
    "    Return key names stored by current node in a slot.",
    "INFO",
    "    Return information about the cluster.",
    "KEYSLOT <key>",
    "    Return the hash slot for <key>.",
    "MEET <ip> <port> [<bus-port>]",
    "    Connect nodes into a working cluster.",
    "MYID",
    "    Return the node id.",
    "MYSHARDID",
    "    Return the node's shard id.",
    "NODES",
    "    Return cluster configuration seen by node. Output format:",
    "    <id> <ip:port@bus-port[,hostname]> <flags> <master> <pings> <pongs> <epoch> <link> <slot> ...",
    "REPLICAS <node-id>",
    "    Return <node-id> replicas.",
    "SAVECONFIG",
    "    Force saving cluster configuration on disk.",
    "SLOTS",
    "    Return information about slots range mappings. Each range is made of:",
    "    start, end, master and replicas IP addresses, ports and ids",
    "SHARDS",
    "    Return information about slot range mappings and the nodes associated with them.",
    "ADDSLOTS <slot> [<slot> ...]",
    "    Assign slots to current node.",
    "ADDSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Assign slots which are between <start-slot> and <end-slot> to current node.",
    "BUMPEPOCH",
    "    Advance the cluster config epoch.",
    "COUNT-FAILURE-REPORTS <node-id>",
    "    Return number of failure reports for <node-id>.",
    "DELSLOTS <slot> [<slot> ...]",
    "    Delete slots information from current node.",
    "DELSLOTSRANGE <start slot> <end slot> [<start slot> <end slot> ...]",
    "    Delete slots information which are between <start-slot> and <end-slot> from current node.",
    "FAILOVER [FORCE|TAKEOVER]",
    "    Promote current replica node to being a master.",
    "FORGET <node-id>",
    "    Remove a node from the cluster.",
    "FLUSHSLOTS",
    "    Delete current node own slots information.",
    "REPLICATE <node-id>",
    "    Configure current node as replica to <node-id>.",
    "RESET [HARD|SOFT]",
    "    Reset current node (default: soft).",
    "SET-CONFIG-EPOCH <epoch>",
    "    Set config epoch of current node.",
    "SETSLOT <slot> (IMPORTING <node-id>|MIGRATING <node-id>|STABLE|NODE <node-id>)",
    "    Set slot state.",
    "LINKS",
    "    Return information about all network links between this node and its peers.",
    "    Output format is an array where each array element is a map containing attributes of a link",
];

pub(super) fn my_id(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    cx.reply.bulk(topology.me().map_or("", |me| &me.id).as_bytes());
    Ok(())
}

pub(super) fn my_shard_id(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    cx.reply.bulk(topology.me().map_or("", |me| &me.shard).as_bytes());
    Ok(())
}

pub(super) fn info(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let slots = topology.assigned();
    let ok = topology.slots_ok.min(slots);
    let epoch = topology.me().map_or(0, |me| me.epoch);
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Into a string it cannot fail.
        let _ = write!(text, "{name}:{value}\r\n");
    };
    line("cluster_state", &topology.state());
    line("cluster_slots_assigned", &slots);
    line("cluster_slots_ok", &ok);
    line("cluster_slots_pfail", &0);
    line("cluster_slots_fail", &(slots - ok));
    line("cluster_known_nodes", &topology.nodes.len());
    line("cluster_size", &topology.owners().count());
    line("cluster_current_epoch", &topology.epoch);
    line("cluster_my_epoch", &epoch);
    line("cluster_stats_messages_sent", &topology.sent);
    line("cluster_stats_messages_received", &topology.received);
    line("total_cluster_links_buffer_limit_exceeded", &0);
    line("varve_cluster_voters", &topology.voters);
    line("varve_cluster_units_moving", &topology.moving);
    line("varve_cluster_units_too_large", &topology.too_large);
    line("varve_cluster_messages_lost", &topology.lost);
    line("varve_cluster_messages_refused", &topology.refused);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn flags(node: &NodeView) -> String {
    let role = if node.role == Role::Follows { "slave" } else { "master" };
    let me = if node.is_me { "myself," } else { "" };
    let failed = if node.has_failed { ",fail" } else { "" };
    format!("{me}{role}{failed}")
}

/// A node's line of `NODES`.
fn line(node: &NodeView) -> String {
    let mut line = format!(
        "{} {}:{}@{} {} {} {} {} {} {}",
        node.id,
        node.host,
        node.port,
        node.bus_port,
        flags(node),
        if node.master.is_empty() { "-" } else { &node.master },
        0,
        if node.is_me { 0 } else { node.times.1 },
        node.epoch,
        if node.is_up { "connected" } else { "disconnected" },
    );
    for (first, last) in &node.slots {
        // Into a string it cannot fail.
        let _ = match first == last {
            true => write!(line, " {first}"),
            false => write!(line, " {first}-{last}"),
        };
    }
    line
}

pub(super) fn nodes(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let lines = topology.nodes.iter().map(|node| line(node) + "\n");
    cx.reply.verbatim("txt", lines.collect::<String>().as_bytes());
    Ok(())
}

pub(super) fn replicas(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let node = super::lead::node(cx, &topology, 2, "Unknown node")?;
    if node.role == Role::Follows {
        return Err(Failure::text("ERR The specified node is not a master"));
    }
    let follows = |other: &&NodeView| other.role == Role::Follows && other.master == node.id;
    let lines: Vec<_> = topology.nodes.iter().filter(follows).collect();
    cx.reply.array(lines.len());
    lines.iter().for_each(|node| cx.reply.bulk(line(node).as_bytes()));
    Ok(())
}

/// The nodes that lead no slots and have those of all others, without those that have failed.
fn followers(topology: &Topology) -> Vec<&NodeView> {
    let follows = |node: &&NodeView| node.role == Role::Follows && !node.has_failed;
    topology.nodes.iter().filter(follows).collect()
}

pub(super) fn slots(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let mut ranges: Vec<_> = topology
        .owners()
        .flat_map(|node| node.slots.iter().map(move |range| (range, node)))
        .collect();
    ranges.sort_by_key(|(range, _)| **range);
    let followers = followers(&topology);
    let reply = &mut cx.reply;
    reply.array(ranges.len());
    for ((first, last), owner) in ranges {
        reply.array(3 + followers.len());
        reply.integer((*first).into());
        reply.integer((*last).into());
        for node in std::iter::once(owner).chain(followers.iter().copied()) {
            reply.array(4);
            reply.bulk(node.host.as_bytes());
            reply.integer(node.port.into());
            reply.bulk(node.id.as_bytes());
            reply.map(0);
        }
    }
    Ok(())
}

/// Every node that leads slots has a shard, with those that follow. So has every other node, unless it
/// follows one.
pub(super) fn shards(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let leads = |node: &NodeView| node.role == Role::Leads;
    let is_led = topology.nodes.iter().any(leads);
    let heads = topology.nodes.iter().filter(|node| node.role != Role::Follows || !is_led);
    let heads: Vec<_> = heads.collect();
    cx.reply.array(heads.len());
    for head in heads {
        let belongs =
            |node: &&NodeView| node.id == head.id || (leads(head) && node.role == Role::Follows);
        let nodes: Vec<_> = topology.nodes.iter().filter(belongs).collect();
        shard(cx, &head.slots, &nodes);
    }
    Ok(())
}

fn shard(cx: &mut Cx<'_>, slots: &[(u16, u16)], nodes: &[&NodeView]) {
    let reply = &mut cx.reply;
    reply.map(2);
    reply.bulk(b"slots");
    reply.array(2 * slots.len());
    for (first, last) in slots {
        reply.integer((*first).into());
        reply.integer((*last).into());
    }
    reply.bulk(b"nodes");
    reply.array(nodes.len());
    for node in nodes {
        reply.map(7);
        reply.bulk(b"id");
        reply.bulk(node.id.as_bytes());
        reply.bulk(b"port");
        reply.integer(node.port.into());
        reply.bulk(b"ip");
        reply.bulk(node.host.as_bytes());
        reply.bulk(b"endpoint");
        reply.bulk(node.host.as_bytes());
        reply.bulk(b"role");
        reply.bulk(if node.role == Role::Follows { b"replica".as_slice() } else { b"master" });
        reply.bulk(b"replication-offset");
        reply.integer(node.offset as i64);
        reply.bulk(b"health");
        reply.bulk(if node.has_failed { b"fail".as_slice() } else { b"online" });
    }
}

pub(super) fn links(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let links: Vec<_> = topology.nodes.iter().filter(|node| !node.is_me && node.is_up).collect();
    let reply = &mut cx.reply;
    reply.array(links.len());
    for node in links {
        reply.map(6);
        reply.bulk(b"direction");
        reply.bulk(b"to");
        reply.bulk(b"node");
        reply.bulk(node.id.as_bytes());
        reply.bulk(b"create-time");
        reply.integer(node.times.0 as i64);
        reply.bulk(b"events");
        reply.bulk(b"rw");
        reply.bulk(b"send-buffer-allocated");
        reply.integer(node.waiting as i64);
        reply.bulk(b"send-buffer-used");
        reply.integer(node.waiting as i64);
    }
    Ok(())
}
