//! The subcommands of `CLUSTER` that change the cluster: `ADDSLOTS`, `DELSLOTS` and their ranges,
//! `FLUSHSLOTS`, `SETSLOT`, `MEET`, `FORGET`.

use super::lead::node;
use super::{cluster, topology};
use engine::cluster::{Cluster, NodeView, Role, Topology};
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
    "ERR Slots do not move within a group. CLUSTER FAILOVER, sent to a replica, has that lead",
);

const BAD_ACTION: Failure =
    failure("ERR Invalid CLUSTER SETSLOT action or number of arguments. Try CLUSTER HELP");

/// The action that `CLUSTER SETSLOT` asks for.
enum Action<'t> {
    Stable,
    Migrating(&'t NodeView),
    Importing(&'t NodeView),
    Node(&'t NodeView),
}

impl<'t> Action<'t> {
    fn parse(cx: &Cx<'_>, topology: &'t Topology) -> Result<Action<'t>, Failure> {
        let target = |unknown| node(cx, topology, 4, unknown);
        Ok(match (&*cx.args.arg(3).to_ascii_lowercase(), cx.argc()) {
            (b"stable", 4) => Action::Stable,
            (b"migrating", 5) => Action::Migrating(target("I don't know about node")?),
            (b"importing", 5) => Action::Importing(target("I don't know about node")?),
            (b"node", 5) => Action::Node(target("Unknown node")?),
            _ => return Err(BAD_ACTION),
        })
    }

    /// The node that is to be a master.
    fn master(&self) -> Option<&NodeView> {
        match self {
            Action::Stable => None,
            Action::Migrating(node) | Action::Importing(node) | Action::Node(node) => Some(node),
        }
    }
}

/// `CLUSTER SETSLOT`. Where several groups have the slots, the node that is to have a slot takes it when it
/// is told so, together with those that move with it; with one group, whatever needs a move is refused.
pub(super) fn set_slot(cx: &mut Cx<'_>) -> Outcome {
    let topology = topology(cx)?;
    let me = topology.me().map_or(Role::Apart, |me| me.role);
    if me == Role::Follows {
        return Err(failure("ERR You can use SETSLOT only with masters."));
    }
    let slot = slot(cx, 2)?;
    let mine = topology.me().is_some_and(|me| me.has_slot(slot));
    let action = Action::parse(cx, &topology)?;
    if action.master().is_some_and(|node| node.role == Role::Follows) {
        return Err(failure("ERR Target node is not a master"));
    }
    match cx.engine.is_divided() {
        true => move_slot(cx, slot, mine, &action),
        false => assign_slot(cx, slot, mine, &action),
    }
}

/// `CLUSTER SETSLOT` where nothing moves.
fn assign_slot(cx: &mut Cx<'_>, slot: u16, mine: bool, action: &Action<'_>) -> Outcome {
    match action {
        Action::Migrating(_) if !mine => return Err(not_owner(slot)),
        Action::Importing(_) if mine => {
            return Err(Failure::text(format!("ERR I'm already the owner of hash slot {slot}")));
        }
        Action::Node(target) if target.is_me && !mine => {
            return change(cx, &[slot], |cluster, slots| cluster.add_slots(slots));
        }
        Action::Node(target) if target.is_me || target.has_slot(slot) => {}
        Action::Stable => {}
        _ => return Err(STAYS),
    }
    cx.reply.ok();
    Ok(())
}

/// `CLUSTER SETSLOT` where slots move between groups. Neighbours of a slot move with it, so one that is
/// asked about later may have moved already.
fn move_slot(cx: &mut Cx<'_>, slot: u16, mine: bool, action: &Action<'_>) -> Outcome {
    let cluster = cluster(cx)?;
    match action {
        Action::Migrating(target) if !mine && !target.has_slot(slot) => {
            return Err(not_owner(slot));
        }
        Action::Migrating(target) => cluster.give_slot(slot, !target.is_me),
        Action::Node(target) if target.is_me && !mine => {
            cluster.take_slot(slot, cx.engine).map_err(Failure::text)?;
        }
        // The node that is to have the slot decides, and all others hear of it.
        Action::Node(_) => cluster.give_slot(slot, false),
        Action::Stable => cluster.keep_slot(slot).map_err(Failure::text)?,
        Action::Importing(_) => {}
    }
    cx.reply.ok();
    Ok(())
}

fn not_owner(slot: u16) -> Failure {
    Failure::text(format!("ERR I'm not the owner of hash slot {slot}"))
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
