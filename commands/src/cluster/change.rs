//! The subcommands of `CLUSTER` that change the cluster: `ADDSLOTS`, `DELSLOTS` and their ranges,
//! `FLUSHSLOTS`, `SETSLOT`, `MEET`, `FORGET`.

use super::lead::node;
use super::{cluster, topology};
use engine::cluster::{Cluster, Role};
use engine::commit::SLOTS;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};

/// The default difference between a node's port for clients and its port for other nodes.
const BUS_OFFSET: u16 = 1_000;

const BAD_SLOT: Failure = failure("ERR Invalid or out of range slot");

/// Parses an argument that must be a slot.
fn slot(cx: &Cx<'_>, index: usize) -> Result<u16, Failure> {
    let number = engine::text::args::integer(cx.args.arg(index)).ok();
    let number = number.and_then(|number| u16::try_from(number).ok());
    number.filter(|slot| *slot < SLOTS).ok_or(BAD_SLOT)
}

/// Records slots, each of which may be named only once.
struct Named(Vec<bool>);

impl Named {
    fn new() -> Named {
        Named(vec![false; usize::from(SLOTS)])
    }

    fn add(&mut self, slot: u16) -> Outcome {
        match std::mem::replace(&mut self.0[usize::from(slot)], true) {
            false => Ok(()),
            true => Err(Failure::text(format!("ERR Slot {slot} specified multiple times"))),
        }
    }

    fn all(&self) -> Vec<u16> {
        (0..SLOTS).filter(|slot| self.0[usize::from(*slot)]).collect()
    }
}

/// A method of [`Cluster`] that changes the given slots.
type Change = fn(&dyn Cluster, &[u16]) -> Result<(), Box<str>>;

fn change(cx: &mut Cx<'_>, slots: &[u16], change: Change) -> Outcome {
    change(cluster(cx)?, slots).map_err(Failure::text)?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn add_slots(cx: &mut Cx<'_>) -> Outcome {
    change_each(cx, |cluster, slots| cluster.add_slots(slots))
}

pub(super) fn del_slots(cx: &mut Cx<'_>) -> Outcome {
    change_each(cx, |cluster, slots| cluster.remove_slots(slots))
}

fn change_each(cx: &mut Cx<'_>, what: Change) -> Outcome {
    cluster(cx)?;
    let mut named = Named::new();
    let slots = (2..cx.argc()).map(|index| slot(cx, index)).collect::<Result<Vec<_>, _>>()?;
    slots.into_iter().try_for_each(|slot| named.add(slot))?;
    change(cx, &named.all(), what)
}

pub(super) fn add_slots_range(cx: &mut Cx<'_>) -> Outcome {
    change_ranges(cx, |cluster, slots| cluster.add_slots(slots))
}

pub(super) fn del_slots_range(cx: &mut Cx<'_>) -> Outcome {
    change_ranges(cx, |cluster, slots| cluster.remove_slots(slots))
}

fn change_ranges(cx: &mut Cx<'_>, what: Change) -> Outcome {
    cluster(cx)?;
    if cx.argc() % 2 == 1 {
        return Err(cx.wrong_arity());
    }
    let mut named = Named::new();
    for index in (2..cx.argc()).step_by(2) {
        let (first, last) = (slot(cx, index)?, slot(cx, index + 1)?);
        if first > last {
            let text = "ERR start slot number {} is greater than end slot number {}";
            let text = text.replacen("{}", &first.to_string(), 1);
            return Err(Failure::text(text.replacen("{}", &last.to_string(), 1)));
        }
        (first..=last).try_for_each(|slot| named.add(slot))?;
    }
    change(cx, &named.all(), what)
}

pub(super) fn flush_slots(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    if cx.engine.backend.len(0) > 0 {
        return Err(failure("ERR DB must be empty to perform CLUSTER FLUSHSLOTS."));
    }
    let slots = topology.me().map(|me| me.slots.clone()).unwrap_or_default();
    let slots = slots.into_iter().flat_map(|(first, last)| first..=last);
    change(cx, &slots.collect::<Vec<_>>(), |cluster, slots| cluster.remove_slots(slots))
}

const STAYS: Failure = failure(
    "ERR Slots do not move from one group to another. CLUSTER FAILOVER, sent to a replica, has that lead",
);

/// `CLUSTER SETSLOT`. Slots do not move between nodes: after the same checks as in Redis, requests
/// that need no move succeed, and all others fail with an error.
pub(super) fn set_slot(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let me = topology.me().map_or(Role::Apart, |me| me.role);
    if me == Role::Follows {
        return Err(failure("ERR You can use SETSLOT only with masters."));
    }
    let slot = slot(cx, 2)?;
    let mine = topology.me().is_some_and(|me| me.has_slot(slot));
    let word = cx.args.arg(3).to_ascii_lowercase();
    let target = |unknown| node(cx, &topology, 4, unknown);
    let target = match (&*word, cx.argc()) {
        (b"stable", 4) => None,
        (b"migrating", 5) if !mine => {
            return Err(Failure::text(format!("ERR I'm not the owner of hash slot {slot}")));
        }
        (b"importing", 5) if mine => {
            return Err(Failure::text(format!("ERR I'm already the owner of hash slot {slot}")));
        }
        (b"migrating" | b"importing", 5) => Some(target("I don't know about node")?),
        (b"node", 5) => Some(target("Unknown node")?),
        _ => {
            return Err(failure(
                "ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP",
            ));
        }
    };
    match target {
        Some(target) if target.role == Role::Follows => {
            Err(failure("ERR Target node is not a master"))
        }
        Some(target) if word == b"node" && target.is_me && !mine => {
            change(cx, &[slot], |cluster, slots| cluster.add_slots(slots))
        }
        Some(target) if word != b"node" || !(target.is_me || target.has_slot(slot)) => Err(STAYS),
        _ => {
            cx.reply.ok();
            Ok(())
        }
    }
}

/// Parses an argument that must be a port. `what` names the kind of port in the error.
fn port(cx: &Cx<'_>, index: usize, what: &str) -> Result<u16, Failure> {
    let argument = cx.args.arg(index);
    let number = engine::text::args::integer(argument).ok();
    number.and_then(|number| u16::try_from(number).ok()).ok_or_else(|| {
        let given = String::from_utf8_lossy(argument);
        Failure::text(format!("ERR Invalid {what} port specified: {given}"))
    })
}

pub(super) fn meet(cx: &mut Cx<'_>) -> Outcome {
    let cluster = cluster(cx)?;
    if cx.argc() > 5 {
        return Err(cx.wrong_arity());
    }
    let base = port(cx, 3, "base")?;
    let bus = match cx.argc() {
        5 => port(cx, 4, "bus")?,
        _ => base.checked_add(BUS_OFFSET).unwrap_or(0),
    };
    let host = String::from_utf8_lossy(cx.args.arg(2)).into_owned();
    cluster.meet(&host, base, bus).map_err(Failure::text)?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn forget(cx: &mut Cx<'_>) -> Outcome {
    let id = String::from_utf8_lossy(cx.args.arg(2)).into_owned();
    cluster(cx)?.forget(&id).map_err(Failure::text)?;
    cx.reply.ok();
    Ok(())
}

/// Does nothing, because every change is saved at once.
pub(super) fn save_config(cx: &mut Cx<'_>) -> Outcome {
    cluster(cx)?;
    cx.reply.ok();
    Ok(())
}
