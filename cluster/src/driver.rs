//! [`NodeDriver`]: the loop of the thread that drives a node and its groups.

use crate::hub::Hub;
use crate::spread::Spread;
use crate::transport::{Event, Inbox, Outlet, Transport};
use consensus::{Change, ELECTION_TICKS, GroupId, Membership, NodeId, Step};
use crossbeam_channel::select;
use engine::cluster::Cluster as _;
use engine::commit::slot;
use member::{Fatal, Member, Node, Output};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The number of events that are handled before the log is written.
const EVENTS: usize = 256;

/// The number of ticks between two checks of the membership.
const LOOK: u64 = 2;

/// The time that a node tries to become the leader once it was told to: as in Redis or, if that is
/// longer, this number of election timeouts.
const TAKING: (Duration, u32) = (Duration::from_secs(5), 3);

/// The time for which a node tries to ask for a unit of slots that it was told to take.
const WISHES_LAST: Duration = Duration::from_secs(5);

/// The number of checks for which clients that wait are looked at after something has changed: one may begin to
/// wait just then.
const SETTLES: u64 = ELECTION_TICKS / LOOK + 1;

/// The number of checks after which clients that wait are looked at, though nothing seems to have changed.
const AT_LEAST: u64 = 64;

/// The highest number of voters. Nodes that join later remain learners.
const VOTERS_MAX: usize = 5;

/// The attempts of a node to become the leader.
#[derive(Debug, Clone, Copy)]
pub struct Taking {
    until: Instant,
    /// When it may ask for votes again.
    again: Instant,
}

impl Taking {
    fn begin(now: Instant, election: Duration) -> Taking {
        Taking { until: now + TAKING.0.max(election * TAKING.1), again: now }
    }

    fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// Whether it may ask the others for their votes. If it did so again while they still answer,
    /// their answers to the former question would count no longer.
    fn may_campaign(&mut self, now: Instant, election: Duration) -> bool {
        let may = now >= self.again;
        if may {
            self.again = now + election;
        }
        may
    }
}

/// When clients that wait for keys were looked at last. That takes a lock which writers take too, so it is only
/// done when it may matter.
#[derive(Debug, Default)]
pub struct Rerouted {
    served: Vec<Range<u16>>,
    leaders: Vec<Option<NodeId>>,
    /// The number of checks since something changed.
    checks: u64,
}

impl Rerouted {
    /// Whether to look at them, given the slots that this node serves now, and who leads each group.
    fn is_due(&mut self, served: &[Range<u16>], leaders: Vec<Option<NodeId>>) -> bool {
        self.checks += 1;
        if self.served != served || self.leaders != leaders {
            (self.served, self.leaders, self.checks) = (served.to_vec(), leaders, 0);
        }
        self.checks < SETTLES || self.checks.is_multiple_of(AT_LEAST)
    }
}

/// The thread that drives a node, with everything it needs.
pub struct NodeDriver<F: consensus::Files, T> {
    /// The node.
    pub node: Node<F>,
    /// Sends messages to other nodes.
    pub transport: T,
    /// The known nodes, shared by the node's threads.
    pub hub: Arc<Hub>,
    /// The number of groups of a cluster that is founded here.
    pub groups: u16,
    /// The sending end of the driver's queue.
    pub inbox: Inbox,
    /// The receiving end of the driver's queue.
    pub outlet: Outlet,
    /// The time between two ticks.
    pub tick: Duration,
    /// For each group the nodes to which it has tried to hand the leadership.
    pub tried: BTreeMap<GroupId, Vec<NodeId>>,
    /// Its attempts to become the leader, for each group that it was told to lead.
    pub taking: BTreeMap<GroupId, Taking>,
    /// The last leader of each unit of slots that it has noticed.
    pub led_by: BTreeMap<u16, NodeId>,
    /// The units of slots that groups which are led here are to take and have not asked for yet, and until
    /// when that is tried.
    pub wishes: BTreeMap<(u16, GroupId), Instant>,
    /// The units of slots that are to move no longer, until that is in the logs of the groups that are led here,
    /// and until when that is tried.
    pub stays: BTreeMap<u16, Instant>,
    /// When clients that wait for keys were looked at.
    pub rerouted: Rerouted,
    /// The units of slots that are to move and are too large.
    pub large: BTreeSet<u16>,
    /// Which node should lead which group.
    pub spread: Spread,
}

impl<F: consensus::Files + Clone + Send + 'static, T: Transport> NodeDriver<F, T> {
    /// Runs until it is told to stop.
    ///
    /// # Errors
    /// An error ends the node.
    pub fn run(mut self) -> Result<(), Fatal> {
        let (mut next, mut ticks) = (Instant::now(), 0_u64);
        loop {
            if !self.listen(next)? {
                return Ok(());
            }
            self.node.flush();
            let now = Instant::now();
            if now >= next {
                self.form()?;
                self.node.tick();
                // Missed ticks are not made up for: the node was paused.
                next = (next + self.tick).max(now);
                ticks += 1;
                if ticks.is_multiple_of(LOOK) {
                    self.take_over();
                    self.look_after_members();
                    self.spread_leaders();
                    self.notice_large_units();
                    self.wish();
                    self.stay();
                    self.reroute();
                }
            }
            self.turn()?;
            self.notice_leaders();
        }
    }

    /// Makes the groups, once the node has heard how many its cluster has.
    fn form(&mut self) -> Result<(), Fatal> {
        if self.node.is_formed() { Ok(()) } else { self.node.form(self.hub.groups()) }
    }

    /// All groups.
    fn members(&self) -> Vec<Arc<Member>> {
        self.node.groups().members().to_vec()
    }

    /// Ends subscriptions to the shard channels of a unit of slots once another node leads it than before. As
    /// in Redis, clients are to ask for the slots again, and to subscribe where they are led.
    fn notice_leaders(&mut self) {
        let groups = self.node.groups().clone();
        for unit in 0..groups.units() {
            let slots = groups.slots_of_unit(unit);
            let leader = groups.of(slots.start).and_then(|member| member.last_leader());
            let Some(leader) = leader else { continue };
            let before = self.led_by.insert(unit, leader);
            if before.is_some_and(|before| before != leader) {
                self.node.engine().notify.pubsub.oust_shards(slots);
            }
        }
    }

    /// Tells clients that wait for keys of slots which are not served here, if another node serves them. They were
    /// served here when the clients came.
    fn reroute(&mut self) {
        let groups = self.node.groups();
        let (served, members) = (groups.served(), groups.members());
        let leaders = members.iter().map(|member| member.leader()).collect();
        if !self.rerouted.is_due(&served, leaders) {
            return;
        }
        let is_served = |key: &[u8]| served.iter().any(|slots| slots.contains(&slot(key)));
        self.node.engine().notify.reroute(is_served);
    }

    /// Asks for the units that groups which are led here are to take. One that is just not ready may be in a
    /// moment.
    fn wish(&mut self) {
        let (now, node) = (Instant::now(), &mut self.node);
        self.wishes.retain(|(unit, to), until| !node.move_unit(*unit, *to) && now < *until);
    }

    /// Takes back what groups that are led here have asked for. One that is just not ready may be in a moment.
    fn stay(&mut self) {
        let (now, node) = (Instant::now(), &mut self.node);
        self.stays.retain(|unit, until| !node.keep_unit(*unit) && now < *until);
    }

    /// Says once of each unit of slots that is to move, and is too large, that it stays.
    fn notice_large_units(&mut self) {
        let large: BTreeSet<u16> = self.node.too_large().into_iter().collect();
        for unit in large.difference(&self.large) {
            tracing::warn!(unit, "a unit of slots is too large to move, and stays until it is not");
        }
        self.hub.too_large.store(large.len(), Relaxed);
        self.large = large;
    }

    /// Waits for events until `until` and handles them. Returns whether to go on.
    fn listen(&mut self, until: Instant) -> Result<bool, Fatal> {
        let wait = until.saturating_duration_since(Instant::now());
        let first = select! {
            recv(self.outlet.events) -> event => event.ok(),
            recv(self.outlet.kick) -> _ => None,
            default(wait) => None,
        };
        let mut next = first;
        for _ in 0..EVENTS {
            let Some(event) = next else { break };
            if !self.happen(event)? {
                return Ok(false);
            }
            next = self.outlet.events.try_recv().ok();
        }
        Ok(true)
    }

    fn happen(&mut self, event: Event) -> Result<bool, Fatal> {
        match event {
            Event::Packet(packet) => {
                self.outlet.free(&packet);
                self.form()?;
                self.node.receive(*packet)?;
            }
            Event::Captured(captured) => self.node.captured(captured)?,
            Event::Kept(kept) => self.node.kept(kept)?,
            Event::Restored(restored) => self.node.restored(restored)?,
            Event::Failed(error) => return Err(error),
            Event::SnapshotSent(group, to, ok) => self.node.snapshot_sent(group, to, ok),
            Event::Found(cluster, answer) => answer(self.found(cluster)?),
            Event::HandOver => self.members().iter().for_each(|member| self.hand_over(member)),
            Event::TakeOver(groups) => {
                let (now, election) = (Instant::now(), self.election());
                let taking = groups.into_iter().map(|group| (group, Taking::begin(now, election)));
                self.taking.extend(taking);
                self.take_over();
            }
            Event::Move(unit, to) => {
                tracing::info!(unit, to, "a unit of slots is to move to another group");
                self.stays.remove(&unit);
                self.wishes.insert((unit, to), Instant::now() + WISHES_LAST);
                self.wish();
            }
            Event::Stay(unit) => {
                tracing::info!(unit, "a unit of slots is no longer to move");
                self.wishes.retain(|(wanted, _), _| *wanted != unit);
                self.stays.insert(unit, Instant::now() + WISHES_LAST);
                self.stay();
            }
            Event::Stop => return Ok(false),
        }
        Ok(true)
    }

    /// Does the node's pending work. Messages are sent before the disk is synced.
    fn turn(&mut self) -> Result<(), Fatal> {
        loop {
            self.node.turn(&mut ())?;
            let mut sync = false;
            for output in std::mem::take(&mut self.node.out) {
                match output {
                    Output::Send(packet) => self.transport.send(*packet),
                    Output::Snapshot(snapshot) => {
                        let (group, message, reader) = *snapshot;
                        self.transport.send_snapshot(group, message, reader);
                    }
                    Output::Sync => sync = true,
                    Output::Capture(capture) => {
                        self.elsewhere(|| Event::Captured(capture.run()))?
                    }
                    Output::Keep(keeping) => self.elsewhere(|| Event::Kept(keeping.run()))?,
                    Output::Restore(restoring) => {
                        self.elsewhere(|| Event::Restored(restoring.run()))?
                    }
                    Output::Full => tracing::warn!(
                        "no space is left for a snapshot: the log is kept, and it is tried again"
                    ),
                }
            }
            if !sync {
                return Ok(());
            }
            self.node.synced()?;
        }
    }

    /// Runs something slow in a thread of its own, which reports the result as an event.
    fn elsewhere(&self, what: impl FnOnce() -> Event + Send + 'static) -> Result<(), Fatal> {
        let inbox = self.inbox.clone();
        let run = move || {
            let panicked = |_| Event::Failed(Fatal::Storage("a snapshot panicked".into()));
            let event = catch_unwind(AssertUnwindSafe(what)).unwrap_or_else(panicked);
            // After the end of the server nobody receives the event.
            inbox.tell(event);
        };
        let thread = std::thread::Builder::new().name("group-snapshot".into());
        thread.spawn(run).map(drop).map_err(|error| Fatal::Storage(error.to_string()))
    }

    /// Founds the cluster. Its identity is on the disk before another node can learn it, and before
    /// the groups are founded.
    fn found(&mut self, cluster: u64) -> Result<bool, Fatal> {
        // A node that forgot another cluster has its number of groups.
        let formed = self.node.groups().members().len() as u16;
        let groups = if formed == 0 { self.groups } else { formed };
        match self.hub.found(cluster, groups) {
            // An attempt that was interrupted may have begun with another number.
            Ok(true) => self.node.found(self.hub.groups()),
            Ok(false) => {
                tracing::error!("the cluster was not founded: this node belongs to one already");
                Ok(false)
            }
            Err(error) => {
                tracing::error!(%error, "the cluster could not be founded");
                Ok(false)
            }
        }
    }

    /// Hands the leadership of a group to the best successor that was not tried yet. Once all were
    /// tried, it begins again with the best.
    fn hand_over(&mut self, member: &Member) {
        let mut successors = member.group().successors();
        // A node that does not answer comes last: the group notices later than the connection.
        successors.sort_by_key(|id| !self.transport.reaches(*id));
        let tried = self.tried.entry(member.group_id()).or_default();
        if successors.iter().all(|id| tried.contains(id)) {
            tried.clear();
        }
        let Some(to) = successors.into_iter().find(|id| !tried.contains(id)) else { return };
        tried.push(to);
        give(member, to);
    }

    /// Tries to become the leader of the groups that it was told to lead.
    fn take_over(&mut self) {
        let (now, election) = (Instant::now(), self.election());
        for member in self.members() {
            let group = member.group_id();
            let Some(taking) = self.taking.get_mut(&group) else { continue };
            let leader = member.leader();
            let leads = leader == Some(member.id());
            if leads {
                // It stays where it was told to be.
                self.spread.hold(group);
            }
            if leads || taking.is_over(now) {
                self.taking.remove(&group);
                continue;
            }
            let silent = leader.is_none_or(|leader| !self.transport.reaches(leader));
            if !silent || taking.may_campaign(now, election) {
                self.node.take_over(group, silent);
            }
        }
    }

    /// Hands groups over that another node should lead, so that leaders are spread.
    fn spread_leaders(&mut self) {
        let (now, election) = (Instant::now(), self.election());
        let members = self.members();
        if members.len() < 2 {
            return;
        }
        for member in members {
            let reaches = |id| self.transport.reaches(id);
            if let Some(to) = self.spread.wish(&member, reaches, now, election) {
                give(&member, to);
            }
        }
    }

    /// The election timeout.
    fn election(&self) -> Duration {
        self.tick * ELECTION_TICKS as u32
    }

    /// Adds known nodes that are not members of a group that is led here, and removes forgotten ones,
    /// one step at a time.
    fn look_after_members(&mut self) {
        let led = self.members().into_iter().filter(|member| member.group().led().is_ok());
        let led: Vec<_> = led.collect();
        // Who has left the groups that are led here is forgotten; the others hear of it.
        let all = led.iter().flat_map(|member| member.group().members().all()).collect();
        // This forgets the nodes that have left, which must not be added again: so the book is read
        // afterwards.
        let leaving = if led.is_empty() { Default::default() } else { self.hub.leaving(&all) };
        let book = self.hub.book();
        for member in led {
            let members = member.group().members().clone();
            let all = members.all();
            let gone = |id: &&NodeId| book.forgotten.contains(id) || leaving.contains(id);
            let steps = all.iter().find(gone).map(|id| Step::Remove(*id));
            let known = book.others.keys().filter(|id| !leaving.contains(id));
            let steps = steps.into_iter().chain(newcomers(&members, known));
            for step in steps {
                let change = Change { steps: vec![step] };
                if member.with(|group| group.change(&change)).is_ok() {
                    let group = member.group_id();
                    tracing::info!(group, ?step, "the members of the group change");
                    break;
                }
            }
        }
    }
}

/// Hands the leadership of a group to another node.
fn give(member: &Member, to: NodeId) {
    let (group, to_name) = (member.group_id(), crate::book::name_of(to));
    tracing::info!(group, to = to_name, "the leadership is handed over");
    // Only a node that does not lead refuses.
    let _ = member.with(|group| group.transfer(to));
}

/// The next steps for nodes that are to become members. Learners become voters before other nodes
/// become learners.
fn newcomers<'a>(
    members: &Membership,
    known: impl Iterator<Item = &'a NodeId>,
) -> impl Iterator<Item = Step> {
    let all = members.all();
    let room = members.voters.len() < VOTERS_MAX;
    let votes: Vec<Step> =
        members.learners.iter().filter(|_| room).map(|id| Step::Voter(*id)).collect();
    let follows = known.filter(move |id| !all.contains(id)).map(|id| Step::Learner(*id));
    votes.into_iter().chain(follows.collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_looked_at_after_a_change_and_seldom_otherwise() {
        let mut rerouted = Rerouted::default();
        let (some, none) = ([0..100, 200..300], []);
        let mut looks = |served: &[Range<u16>], leader, checks: u64| {
            (0..checks).filter(|_| rerouted.is_due(served, vec![leader])).count() as u64
        };
        assert_eq!(looks(&some, Some(1), SETTLES + 20), SETTLES, "it may serve them");
        assert_eq!(looks(&some, Some(1), AT_LEAST), 1, "nothing has changed");
        assert_eq!(looks(&none, Some(1), SETTLES + 20), SETTLES, "it serves nothing");
        assert_eq!(looks(&none, None, 1), 1, "nobody leads");
        assert_eq!(looks(&none, Some(2), 1), 1, "another one leads");
    }

    #[test]
    fn votes_are_asked_for_once_in_an_election_timeout_and_not_for_ever() {
        let (now, election) = (Instant::now(), Duration::from_secs(1));
        let mut taking = Taking::begin(now, election);
        let at = |ms| now + Duration::from_millis(ms);
        let asked = [0, 200, 999, 1_000, 1_200, 1_999, 2_001];
        let asked = asked.map(|ms| taking.may_campaign(at(ms), election));
        assert_eq!(asked, [true, false, false, true, false, false, true]);
        assert!(!taking.is_over(at(4_999)) && taking.is_over(at(5_000)));
        let slow = Taking::begin(now, Duration::from_secs(6));
        assert!(!slow.is_over(at(17_999)) && slow.is_over(at(18_000)));
    }

    #[test]
    fn who_follows_gets_a_vote_before_others_begin_to_and_five_vote_at_most() {
        let steps = |members: &Membership, known: &[NodeId]| {
            newcomers(members, known.iter()).collect::<Vec<_>>()
        };
        let mut members = Membership { learners: vec![2], ..Membership::of([1]) };
        assert_eq!(steps(&members, &[1, 2, 3]), [Step::Voter(2), Step::Learner(3)]);
        members = Membership { learners: vec![6], ..Membership::of(1..=5) };
        assert_eq!(steps(&members, &[1, 2, 6, 7]), [Step::Learner(7)]);
    }
}
