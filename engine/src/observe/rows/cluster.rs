//! `INFO cluster`. Redis has its first row only; the others are those of `CLUSTER INFO`, so that they can be graphed, and
//! what this server knows of each group. A server without a cluster has none of them.

use super::super::figures::{Family, Figure, Series, Sheet, Unit, Value, counter, gauge, note};
use super::super::row::{Reading, Row, shown};
use crate::cluster::{Cluster, GroupView, Topology};

const GROUP: Family = Family {
    name: "cluster_group_",
    label: "group",
    fields: &[
        gauge("has_leader", Unit::One, "Whether this server knows who leads the group", ()),
        gauge("leads", Unit::One, "Whether this server leads the group", ()),
        gauge("term", Unit::One, "The latest term of the group", ()),
        gauge("log_index", Unit::One, "The last entry of the group's log here", ()),
        gauge("committed_index", Unit::One, "The last entry known to be committed", ()),
        gauge("applied_index", Unit::One, "The last entry that is applied here", ()),
    ],
};

pub(super) const ROWS: &[Row] =
    &[shown("cluster_enabled", |r| u64::from(r.engine.is_in_cluster()).into()), Row::Free(state)];

fn state(r: &Reading<'_>, sheet: &mut Sheet) {
    let Some(topology) = r.engine.cluster().map(Cluster::topology) else { return };
    sheet.put(note("cluster_state", topology.state().into()));
    levels(&topology).into_iter().chain(counts(&topology)).for_each(|figure| sheet.put(figure));
    sheet.add_family(&GROUP, topology.groups.into_iter().map(series).collect());
}

fn levels(topology: &Topology) -> [Figure<Value>; 6] {
    let level = |name, help, value: Value| gauge(name, Unit::One, help, value);
    let failed = topology.nodes.iter().filter(|node| node.has_failed).count();
    let ok = topology.slots_ok.min(topology.assigned());
    [
        level("cluster_ok", "Whether every slot is led by some node", topology.is_ok.into()),
        level("cluster_slots_ok", "Slots that are led by some node", ok.into()),
        level("cluster_known_nodes", "Nodes of the cluster", topology.nodes.len().into()),
        level("cluster_failed_nodes", "Nodes from which nothing is received", failed.into()),
        level(
            "cluster_voters",
            "Nodes that vote, in the group with the fewest",
            topology.voters.into(),
        ),
        level("cluster_current_epoch", "The latest term of any group", topology.epoch.into()),
    ]
}

fn counts(topology: &Topology) -> [Figure<Value>; 4] {
    let count = |name, help, value: u64| counter(name, Unit::One, help, value.into());
    let (lost, refused) = (topology.lost, topology.refused);
    [
        count("cluster_messages_sent", "Messages sent to other nodes", topology.sent),
        count("cluster_messages_received", "Messages received from other nodes", topology.received),
        count("cluster_messages_lost", "Messages without a connection, or without room", lost),
        count("cluster_messages_refused", "Messages that no node may send so", refused),
    ]
}

fn series(group: GroupView) -> Series {
    let flags = [group.has_leader, group.leads].map(Value::from);
    let numbers = [group.term, group.last, group.committed, group.applied].map(Value::from);
    (group.id.to_string(), flags.into_iter().chain(numbers).collect())
}
