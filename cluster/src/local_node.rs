//! [`LocalNode`]: the node as the engine's cluster, which routes commands and which `CLUSTER` shows
//! and changes.

use crate::book::{id_of, name_of};
use crate::hub::Hub;
use crate::links::Links;
use crate::transport::{Event, Inbox};
use crate::wire::Peer;
use consensus::{Membership, NodeId};
use engine::cluster::{Cluster, NodeView, Role, Route, Topology};
use engine::commit::SLOTS;
use engine::session::SessionState;
use member::Member;
use parking_lot::Mutex;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const BELONGS: &str = "ERR This node belongs to a cluster already";

const BELONGS_FOR_GOOD: &str = "ERR A node does not leave its group by itself: CLUSTER FORGET it at the leader, and start it again with an empty folder";

const SERVES_ALL: &str = "ERR The group has all slots or is none: they are not taken from it. To take this node out, CLUSTER FORGET it at the leader";

const IS_FOUNDED_NOW: &str = "ERR All slots are assigned: the cluster is being founded";

/// The node as the engine's cluster.
pub struct LocalNode {
    pub(crate) hub: Arc<Hub>,
    pub(crate) member: Arc<Member>,
    pub(crate) inbox: Inbox,
    /// The connections to other nodes, once there are any.
    pub(crate) links: OnceLock<Arc<Links>>,
    /// The slots that were assigned to this node before it had all of them.
    pub(crate) slots: Arc<Mutex<Vec<bool>>>,
    /// The identity of the cluster, in case it is founded here.
    pub(crate) fresh: u64,
    /// The time without contact after which a node counts as failed.
    pub(crate) timeout: Duration,
    /// The wall clock in milliseconds.
    pub(crate) wall_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

impl LocalNode {
    fn seen(&self, id: NodeId) -> crate::links::Seen {
        self.links.get().map_or_else(Default::default, |links| links.seen(id))
    }

    /// Whether there is a connection to any other node.
    pub(crate) fn has_connections(&self) -> bool {
        self.hub.book().others.keys().any(|id| self.seen(*id).is_up)
    }

    fn view(&self, peer: &Peer, me: NodeId) -> NodeView {
        let now = Instant::now();
        let seen = self.seen(peer.id);
        let wall = |at: Option<Instant>| {
            at.map_or(0, |at| (self.wall_ms)().saturating_sub((now - at).as_millis() as u64))
        };
        let is_me = peer.id == me;
        let silent = seen.last_contact.is_none_or(|at| now - at > self.timeout);
        NodeView {
            id: name_of(peer.id),
            host: peer.host.clone(),
            port: peer.port as u16,
            bus_port: peer.bus_port as u16,
            role: Role::Apart,
            is_me,
            is_up: is_me || seen.is_up,
            has_failed: !is_me && silent && !seen.is_up,
            times: (wall(seen.since), wall(seen.last_contact)),
            waiting: self.links.get().map_or(0, |links| links.waiting(peer.id)),
            offset: 0,
        }
    }

    /// Sets the role of each node in the group.
    fn assign(&self, nodes: &mut [(NodeId, NodeView)]) {
        let group = self.member.group();
        let members = group.members().all();
        // As in Redis, a failed leader keeps its slots until another node leads; clients retry
        // meanwhile.
        let leader = self.member.last_leader();
        for (id, node) in nodes {
            if leader == Some(*id) {
                node.role = Role::Leads;
            } else if members.contains(id) {
                node.role = Role::Follows;
            }
            node.offset = match node.is_me {
                true => group.applied().0,
                false => group.matched(*id).unwrap_or(0),
            };
        }
    }

    fn ranges(&self) -> Vec<(u16, u16)> {
        let mut ranges: Vec<(u16, u16)> = Vec::new();
        for (slot, _) in (0..).zip(&*self.slots.lock()).filter(|(_, given)| **given) {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == slot => *last = slot,
                _ => ranges.push((slot, slot)),
            }
        }
        ranges
    }

    /// Marks a member to be removed from the group. This node must lead the group, and a majority
    /// of its voters must agree. Returns whether the node was a member.
    fn let_go(&self, node: NodeId) -> Result<bool, Box<str>> {
        let (leads, members) = {
            let group = self.member.group();
            (group.led().is_ok(), group.members().clone())
        };
        if !leads {
            let leader = self.member.leader().and_then(|leader| self.hub.peer(leader));
            let whom =
                leader.map_or("nobody leads now".into(), |it| format!("{}:{}", it.host, it.port));
            return Err(format!("ERR Only the leader lets go members of the group: {whom}").into());
        }
        if !members.all().contains(&node) {
            return Ok(false);
        }
        self.may_agree(&members)?;
        self.hub.let_go(node);
        Ok(true)
    }

    /// Whether most of those who vote, this node included, are there.
    fn may_agree(&self, members: &Membership) -> Result<(), Box<str>> {
        let me = self.hub.id();
        let present =
            members.voters.iter().filter(|id| **id == me || self.seen(**id).is_up).count();
        match present > members.voters.len() / 2 {
            true => Ok(()),
            false => Err("ERR Too few members are there to agree on it".into()),
        }
    }

    /// Whether the cluster was founded, by this node or another, or this one belongs to one that is.
    fn is_founded(&self) -> bool {
        !self.member.group().members().voters.is_empty()
    }

    /// Founds the cluster, which takes a moment. As in Redis, its state is `ok` afterwards.
    fn found(&self) -> Result<(), Box<str>> {
        // Founding that was interrupted may be continued, because no other node has learnt of that
        // cluster.
        let book = self.hub.book();
        let unfinished = self.member.group().is_blank() && book.others.is_empty();
        if book.cluster != 0 && !unfinished {
            return Err(BELONGS.into());
        }
        let cluster = if unfinished && book.cluster != 0 { book.cluster } else { self.fresh };
        let slots = self.slots.clone();
        let answer = move |founded: bool| {
            if !founded {
                slots.lock().fill(false);
            }
        };
        match self.inbox.try_tell(Event::Found(cluster, Box::new(answer))) {
            true => Ok(()),
            false => Err("ERR This node is too busy to found a cluster".into()),
        }
    }
}

impl Cluster for LocalNode {
    fn route(&self, slot: u16, session: &SessionState) -> Route {
        self.member.route(slot, session)
    }

    fn route_read(&self, slot: u16, session: &SessionState, asked: Option<u64>) -> Route {
        self.member.route_read(slot, session, asked)
    }

    fn route_channel(&self, slot: u16, when_down: bool) -> Route {
        self.member.route_channel(slot, when_down)
    }

    fn publish(&self, shard: bool, channel: &[u8], payload: &[u8]) {
        if let Some(links) = self.links.get() {
            links.publish(shard, channel, payload);
        }
    }

    fn is_current(&self, stream: u16, fence: u64) -> bool {
        self.member.is_current(stream, fence)
    }

    fn largest_write(&self) -> usize {
        self.member.largest_write()
    }

    fn topology(&self) -> Topology {
        let book = self.hub.book();
        let peers = book.others.values().chain([&book.me]);
        let mut nodes: Vec<_> = peers.map(|peer| (peer.id, self.view(peer, book.me.id))).collect();
        nodes.sort_by_key(|(id, _)| *id);
        self.assign(&mut nodes);
        let (epoch, voters) = {
            let group = self.member.group();
            (group.status().term, group.members().voters.len())
        };
        let is_founded = voters > 0;
        let counts = &self.hub.counts;
        Topology {
            is_ok: is_founded && self.member.leader().is_some(),
            nodes: nodes.into_iter().map(|(_, node)| node).collect(),
            shard: name_of(!book.cluster),
            slots: if is_founded { vec![(0, SLOTS - 1)] } else { self.ranges() },
            voters,
            epoch,
            sent: counts.sent.get(),
            received: counts.received.get(),
            lost: counts.lost.get(),
            refused: counts.refused.get(),
        }
    }

    fn meet(&self, ip: &str, port: u16, bus_port: u16) -> Result<(), Box<str>> {
        let found = ip.parse::<IpAddr>().ok().filter(|_| port > 0 && bus_port > 0);
        let ip = found.ok_or_else(|| format!("ERR Invalid node address specified: {ip}:{port}"))?;
        match self.links.get() {
            Some(links) => links.meet(ip, bus_port),
            None => return Err("ERR The node is only just starting".into()),
        }
        Ok(())
    }

    fn forget(&self, id: &str) -> Result<(), Box<str>> {
        let unknown = || format!("ERR Unknown node {id}").into();
        let node = id_of(id).ok_or_else(unknown)?;
        if node == self.hub.id() {
            return Err("ERR I tried hard but I can't forget myself...".into());
        }
        if self.member.leader() == Some(node) {
            return Err("ERR Can't forget my master!".into());
        }
        // Only the leader knows for certain which nodes are members.
        if self.hub.cluster() != 0 && self.let_go(node)? {
            return Ok(());
        }
        if self.hub.forget(node) { Ok(()) } else { Err(unknown()) }
    }

    fn add_slots(&self, slots: &[u16]) -> Result<(), Box<str>> {
        let mut given = self.slots.lock();
        let founded = self.is_founded();
        let busy = |slot: &&u16| founded || given[usize::from(**slot)];
        if let Some(slot) = slots.iter().find(busy) {
            return Err(format!("ERR Slot {slot} is already busy").into());
        }
        slots.iter().for_each(|slot| given[usize::from(*slot)] = true);
        let all = given.iter().all(|given| *given);
        drop(given);
        let founded = if all { self.found() } else { Ok(()) };
        if founded.is_err() {
            self.slots.lock().fill(false);
        }
        founded
    }

    fn remove_slots(&self, slots: &[u16]) -> Result<(), Box<str>> {
        if self.is_founded() {
            return Err(SERVES_ALL.into());
        }
        let mut given = self.slots.lock();
        if let Some(slot) = slots.iter().find(|slot| !given[usize::from(**slot)]) {
            return Err(format!("ERR Slot {slot} is already unassigned").into());
        }
        if given.iter().all(|given| *given) {
            return Err(IS_FOUNDED_NOW.into());
        }
        slots.iter().for_each(|slot| given[usize::from(*slot)] = false);
        Ok(())
    }

    fn take_over(&self) -> Result<(), Box<str>> {
        let members = self.member.group().members().clone();
        if !members.voters.contains(&self.hub.id()) {
            return Err("ERR This node has no vote, and only those who have one can lead".into());
        }
        self.may_agree(&members)?;
        match self.inbox.try_tell(Event::TakeOver) {
            true => Ok(()),
            false => Err("ERR This node is too busy to take over".into()),
        }
    }

    fn reset(&self) -> Result<(), Box<str>> {
        if !self.member.group().is_blank() {
            return Err(BELONGS_FOR_GOOD.into());
        }
        let mut given = self.slots.lock();
        if given.iter().all(|given| *given) {
            return Err(IS_FOUNDED_NOW.into());
        }
        given.fill(false);
        self.hub.reset();
        Ok(())
    }
}
