//! [`LocalNode`]: the node as the engine's cluster, which routes commands and which `CLUSTER` shows
//! and changes.

use crate::book::{id_of, name_of};
use crate::hub::Hub;
use crate::links::Links;
use crate::transport::{Event, Inbox};
use crate::wire::Peer;
use consensus::{GroupId, Membership, NodeId};
use engine::Engine;
use engine::cluster::{Cluster, GroupView, NodeView, Role, Route, Topology};
use engine::session::SessionState;
use member::{Groups, Member};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const BELONGS: &str = "ERR This node belongs to a cluster already";

const BELONGS_FOR_GOOD: &str = "ERR A node does not leave its group by itself: CLUSTER FORGET it at the leader, and start it again with an empty folder";

const SERVES_ALL: &str = "ERR The groups of a cluster have all slots: they are not taken from them. To take this node out, CLUSTER FORGET it at the leader";

const LEADS_NOTHING: &str = "ERR This node leads no group that could take slots";

const IS_ON_ITS_WAY: &str = "ERR The slot was given away already, with those that move together, and arrives: SETSLOT … NODE, sent to the former node, brings it back";

const IS_FOUNDED_NOW: &str = "ERR All slots are assigned: the cluster is being founded";

/// The node as the engine's cluster.
pub struct LocalNode {
    pub(crate) hub: Arc<Hub>,
    pub(crate) groups: Arc<Groups>,
    pub(crate) inbox: Inbox,
    /// The connections to other nodes, once there are any.
    pub(crate) links: OnceLock<Arc<Links>>,
    /// The slots that were assigned to this node before it had all of them.
    pub(crate) slots: Arc<Mutex<Vec<bool>>>,
    /// The units of slots of which the operator has said that they are to be given away.
    pub(crate) giving: Mutex<BTreeSet<u16>>,
    /// The identity of the cluster, in case it is founded here.
    pub(crate) fresh: u64,
    /// The time without contact after which a node counts as failed.
    pub(crate) timeout: Duration,
    /// The wall clock in milliseconds.
    pub(crate) wall_ms: Box<dyn Fn() -> u64 + Send + Sync>,
}

/// Adds slots to those that a node leads.
fn lead(node: &mut NodeView, slots: Vec<Range<u16>>) {
    node.role = Role::Leads;
    node.slots.extend(slots.into_iter().map(|slots| (slots.start, slots.end - 1)));
    node.slots.sort_unstable();
    node.slots.dedup_by(|next, last| {
        let follows = last.1 + 1 == next.0;
        if follows {
            last.1 = next.1;
        }
        follows
    });
}

fn too_large(bytes: u64, most: u64) -> Box<str> {
    format!("ERR The slots that move together have {bytes} bytes of memory, and {most} bytes at most move")
        .into()
}

fn group_view(member: &Member) -> GroupView {
    let has_leader = member.leader().is_some();
    let group = member.group();
    let status = group.status();
    GroupView {
        id: member.group_id() as u16,
        has_leader,
        leads: status.role == consensus::Role::Leader,
        term: status.term,
        last: status.last,
        committed: status.commit,
        applied: group.applied().0,
    }
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
            ..NodeView::default()
        }
    }

    /// Sets the role of each node: who leads a group has its slots, and who leads none follows.
    fn assign(&self, nodes: &mut [(NodeId, NodeView)]) {
        for member in self.groups.members() {
            let group = member.group();
            let (members, term) = (group.members().all(), group.status().term);
            // As in Redis, a failed leader keeps its slots until another node leads; clients retry
            // meanwhile.
            let leader = member.last_leader();
            for (id, node) in nodes.iter_mut() {
                if leader == Some(*id) {
                    lead(node, self.groups.slots(member.group_id()));
                    node.epoch = node.epoch.max(term);
                } else if members.contains(id) && node.role == Role::Apart {
                    node.role = Role::Follows;
                }
                if leader == Some(*id) || node.offset == 0 {
                    node.offset = match node.is_me {
                        true => group.applied().0,
                        false => group.matched(*id).unwrap_or(0),
                    };
                }
            }
        }
    }

    /// Sets whom each node follows, and of which shard it is: that of the first slots that it leads or,
    /// as far as clients know, follows.
    fn relate(&self, nodes: &mut [(NodeId, NodeView)], cluster: u64) {
        let first_slot = |node: &NodeView| node.slots.first().map(|(first, _)| *first);
        let shard = |first: Option<u16>| {
            let group = first.and_then(|slot| self.groups.of(slot)).map(|it| it.group_id());
            name_of(!cluster.wrapping_add(group.unwrap_or(member::FIRST_GROUP) - 1))
        };
        // Who leads a group without slots is nobody's master.
        let masters = nodes.iter().filter(|(_, node)| first_slot(node).is_some());
        let masters = masters.filter(|(_, node)| node.role == Role::Leads);
        let master = masters.min_by_key(|(_, node)| first_slot(node));
        let master = master.map(|(_, node)| (node.id.clone(), first_slot(node), node.epoch));
        for (_, node) in nodes {
            node.shard = shard(first_slot(node));
            if let (Role::Follows, Some((id, first, epoch))) = (node.role, &master) {
                (node.master, node.shard, node.epoch) = (id.clone(), shard(*first), *epoch);
            }
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

    /// Marks a node to be removed from the groups. This node must lead one of them, and a majority of
    /// the voters must agree. Returns whether the node was a member.
    fn let_go(&self, node: NodeId) -> Result<bool, Box<str>> {
        let led = self.groups.members().iter().filter(|member| member.group().led().is_ok());
        let led: Vec<Membership> = led.map(|member| member.group().members().clone()).collect();
        if led.is_empty() {
            let leader = self.groups.members().first().and_then(|member| member.leader());
            let leader = leader.and_then(|leader| self.hub.peer(leader));
            let whom =
                leader.map_or("nobody leads now".into(), |it| format!("{}:{}", it.host, it.port));
            return Err(format!("ERR Only the leader lets go members of the group: {whom}").into());
        }
        let led: Vec<_> = led.iter().filter(|members| members.all().contains(&node)).collect();
        if led.is_empty() {
            return Ok(false);
        }
        led.into_iter().try_for_each(|members| self.may_agree(members))?;
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

    /// The groups of the node that this one follows, as clients see it.
    fn followed(&self) -> Vec<GroupId> {
        let members = self.groups.members().iter();
        let master = self.groups.of(0).and_then(|first| first.last_leader());
        members.filter(|it| it.last_leader() == master).map(|it| it.group_id()).collect()
    }

    /// Whether the cluster was founded, by this node or another, or this one belongs to one that is.
    fn is_founded(&self) -> bool {
        let first = self.groups.members().first();
        first.is_some_and(|member| !member.group().members().voters.is_empty())
    }

    /// Founds the cluster, which takes a moment. As in Redis, its state is `ok` afterwards.
    fn found(&self) -> Result<(), Box<str>> {
        // Founding that was interrupted may be continued, because no other node has learnt of that
        // cluster.
        let book = self.hub.book();
        let is_blank = |member: &Arc<Member>| member.group().is_blank();
        let unfinished =
            self.groups.members().first().is_none_or(is_blank) && book.others.is_empty();
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
        self.groups.route(slot, session)
    }

    fn route_read(&self, slot: u16, session: &SessionState, asked: Option<u64>) -> Route {
        self.groups.route_read(slot, session, asked)
    }

    fn route_channel(&self, slot: u16, when_down: bool) -> Route {
        self.groups.route_channel(slot, when_down)
    }

    fn publish(&self, shard: bool, channel: &[u8], payload: &[u8]) {
        if let Some(links) = self.links.get() {
            links.publish(shard, channel, payload);
        }
    }

    fn is_current(&self, slot: u16, stream: u16, fence: u64) -> bool {
        self.groups.is_current(slot, stream, fence)
    }

    fn is_divided(&self) -> bool {
        self.groups.is_divided()
    }

    fn served(&self) -> Vec<Range<u16>> {
        self.groups.served()
    }

    fn shown(&self) -> Vec<Range<u16>> {
        self.groups.shown()
    }

    fn largest_write(&self) -> usize {
        self.groups.largest_write()
    }

    fn topology(&self) -> Topology {
        let book = self.hub.book();
        let peers = book.others.values().chain([&book.me]);
        let mut nodes: Vec<_> = peers.map(|peer| (peer.id, self.view(peer, book.me.id))).collect();
        nodes.sort_by_key(|(id, _)| *id);
        self.assign(&mut nodes);
        let members = self.groups.members();
        let is_founded = self.is_founded();
        if let Some((_, me)) = nodes.iter_mut().find(|(_, node)| node.is_me && !is_founded) {
            me.slots = self.ranges();
        }
        self.relate(&mut nodes, book.cluster);
        let of_group = |member: &Arc<Member>| {
            let slots = self.groups.slots(member.group_id());
            let count: usize = slots.iter().map(Range::len).sum();
            if member.leader().is_some() { count as u32 } else { 0 }
        };
        let epoch = members.iter().map(|member| member.group().status().term).max().unwrap_or(0);
        // The fewest of any group: with none, it is not founded yet.
        let voters = members.iter().map(|member| member.group().members().voters.len());
        let voters = voters.min().unwrap_or(0);
        let counts = &self.hub.counts;
        Topology {
            is_ok: is_founded && members.iter().all(|member| member.leader().is_some()),
            slots_ok: members.iter().map(of_group).sum(),
            nodes: nodes.into_iter().map(|(_, node)| node).collect(),
            groups: members.iter().map(|member| group_view(member)).collect(),
            moving: self.groups.moving(),
            too_large: self.hub.too_large.load(Relaxed),
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
        if self.groups.members().iter().any(|member| member.leader() == Some(node)) {
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

    fn take_slot(&self, slot: u16, engine: &Engine) -> Result<(), Box<str>> {
        if let Some((bytes, most)) = self.groups.too_large(slot, engine) {
            return Err(too_large(bytes, most));
        }
        let led = self.groups.members().iter().filter(|member| member.group().led().is_ok());
        let count = |member: &&Arc<Member>| {
            self.groups.slots(member.group_id()).iter().map(Range::len).sum::<usize>()
        };
        let Some(to) = led.min_by_key(count) else { return Err(LEADS_NOTHING.into()) };
        let Some(unit) = self.groups.unit(slot) else { return Err(LEADS_NOTHING.into()) };
        match self.inbox.try_tell(Event::Move(unit, to.group_id())) {
            true => Ok(()),
            false => Err("ERR This node is too busy to take slots".into()),
        }
    }

    fn keep_slot(&self, slot: u16) -> Result<(), Box<str>> {
        self.give_slot(slot, false);
        if self.groups.is_given_away(slot) {
            return Err(IS_ON_ITS_WAY.into());
        }
        let leads = |member: &&Arc<Member>| member.leader() == Some(member.id());
        let wanting = self.groups.wanting(slot);
        if let (Some(first), false) = (wanting.first(), wanting.iter().any(leads)) {
            let leader = first.leader().and_then(|leader| self.hub.peer(leader));
            let whom = leader.map_or("which nobody leads now".into(), |it| {
                format!("which {}:{} leads", it.host, it.port)
            });
            return Err(format!("ERR The slot is to move to a group {whom}: only the node that leads it takes that back").into());
        }
        match self.groups.unit(slot).is_none_or(|unit| self.inbox.try_tell(Event::Stay(unit))) {
            true => Ok(()),
            false => Err("ERR This node is too busy to keep slots".into()),
        }
    }

    fn give_slot(&self, slot: u16, gives: bool) {
        if let Some(unit) = self.groups.unit(slot) {
            let mut giving = self.giving.lock();
            if gives {
                giving.insert(unit)
            } else {
                giving.remove(&unit)
            };
        }
    }

    fn lists_keys(&self, slot: u16) -> bool {
        let members = self.groups.members();
        if members.len() < 2 {
            return true;
        }
        let leads = |member: &Arc<Member>| member.leader() == Some(member.id());
        let is_given = self.groups.unit(slot).is_some_and(|it| self.giving.lock().contains(&it));
        let shows = !members.iter().any(leads) || self.groups.of(slot).is_some_and(leads);
        shows && !is_given && !self.groups.moves(slot)
    }

    fn take_over(&self) -> Result<(), Box<str>> {
        let groups = self.followed();
        for group in groups.iter().filter_map(|group| self.groups.member(*group)) {
            let members = group.group().members().clone();
            if !members.voters.contains(&self.hub.id()) {
                return Err(
                    "ERR This node has no vote, and only those who have one can lead".into()
                );
            }
            self.may_agree(&members)?;
        }
        match self.inbox.try_tell(Event::TakeOver(groups)) {
            true => Ok(()),
            false => Err("ERR This node is too busy to take over".into()),
        }
    }

    fn reset(&self) -> Result<(), Box<str>> {
        if !self.groups.members().iter().all(|member| member.group().is_blank()) {
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
