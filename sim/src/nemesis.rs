//! Injects faults, and plays the operator who changes the membership meanwhile.

use crate::node::UNITS;
use crate::world::{CHAOS, Event, MOVES, World};
use consensus::{Change, GroupId, Membership, NodeId, Step};

/// One of so many moves of units is taken back.
const WAIVED: u64 = 4;

/// The part of the time until the next move after which one is taken back.
const WAIVED_AFTER: u64 = 16;

/// The operator, who changes the membership by asking the current leader for one step at a time.
#[derive(Debug)]
pub struct Operator {
    /// The identity of the next node. Identities are never reused.
    next: NodeId,
    /// The node that is to become a voter.
    joining: Option<NodeId>,
    /// The node that is to leave.
    leaving: Option<NodeId>,
    /// Steps that are asked for one after the other, without waiting for the previous one.
    hasty: Vec<Step>,
    /// Whether a disk was exchanged or nodes were removed in haste. Both in one run could lose a
    /// quorum for good.
    once: bool,
}

impl Operator {
    /// An operator with nothing to do. `next` is the identity of the next node.
    pub fn new(next: NodeId) -> Operator {
        Operator { next, joining: None, leaving: None, hasty: Vec::new(), once: false }
    }

    /// Notes what is done in all groups, given the members that the leader of each knows.
    fn note(&mut self, groups: &[Membership]) {
        let all = |done: &dyn Fn(&Membership) -> bool| groups.iter().all(done);
        self.joining.take_if(|id| all(&|members| members.voters.contains(id)));
        self.leaving.take_if(|id| all(&|members| !members.all().contains(id)));
    }

    /// The next change to ask for, given the members that the leader of a group knows.
    fn wish(&self, members: &Membership) -> Option<Change> {
        if let Some(id) = self.joining.filter(|id| !members.voters.contains(id)) {
            if !members.learners.contains(&id) {
                return Some(Change { steps: vec![Step::Learner(id)] });
            }
            let away = self.leaving.filter(|id| members.voters.contains(id));
            let mut steps = vec![Step::Voter(id)];
            steps.extend(away.map(Step::Remove));
            return Some(Change { steps });
        }
        let id = self.leaving.filter(|id| members.all().contains(id))?;
        Some(Change { steps: vec![Step::Remove(id)] })
    }
}

impl World {
    /// Asks the leader for the operator's next step.
    pub fn operate(&mut self) {
        let quick = !self.operator.hasty.is_empty();
        self.after(if quick { 20_000 } else { 200_000 }, Event::Operate);
        let groups: Vec<GroupId> = self.layout.groups().collect();
        let led = |group: GroupId| {
            let (id, node) = self.leader_of(group)?;
            Some((group, id, node.member(group).group().members().clone()))
        };
        let led: Vec<_> = groups.iter().filter_map(|group| led(*group)).collect();
        let members: Vec<Membership> = led.iter().map(|(_, _, members)| members.clone()).collect();
        if led.len() == groups.len() {
            self.retire(&members);
            self.operator.note(&members);
        }
        for (group, id, members) in led {
            let hasty = if group == self.focus { self.operator.hasty.pop() } else { None };
            let change = match hasty {
                Some(step) => Some(Change { steps: vec![step] }),
                None => self.operator.wish(&members),
            };
            if let Some(change) = change {
                self.with(id, |node| {
                    // The group refuses while another change is under way; the operator asks again
                    // later.
                    let _ = node.member(group).with(|group| group.change(&change));
                    Ok(())
                });
            }
        }
    }

    /// A random unit of slots is moved to a random group, by asking who leads that one; or that is taken back
    /// after a moment, at whatever step the move is then.
    pub fn move_unit(&mut self) {
        let groups: Vec<GroupId> = self.layout.groups().collect();
        if groups.len() == 1 || self.now >= MOVES {
            return;
        }
        let delay = 20_000 + self.numbers.below(700_000);
        self.after(delay, Event::Move);
        let to = *self.numbers.pick(&groups);
        let unit = self.numbers.below(u64::from(UNITS)) as u16;
        if let Some((id, _)) = self.leader_of(to) {
            self.with(id, |node| {
                node.move_unit(unit, to);
                Ok(())
            });
            if delay.is_multiple_of(WAIVED) {
                self.after(delay / WAIVED_AFTER, Event::Waive(id, unit));
            }
        }
    }

    /// A node takes back that groups which it leads want a unit of slots.
    pub fn waive(&mut self, id: NodeId, unit: u16) {
        self.with(id, |node| {
            node.keep_unit(unit);
            Ok(())
        });
    }

    /// Turns off nodes that were removed from all groups, once every member of each knows.
    fn retire(&mut self, members: &[Membership]) {
        let node = |id| self.machines.get(&id).and_then(|machine| machine.node.as_ref());
        let knows = |id: NodeId, group: GroupId, away: NodeId| {
            node(id).is_some_and(|node| {
                let known = node.member(group).group().members().all();
                !known.is_empty() && !known.contains(&away)
            })
        };
        let all_know = |away: NodeId| {
            self.layout
                .groups()
                .zip(members)
                .all(|(group, members)| members.all().iter().all(|id| knows(*id, group, away)))
        };
        let is_removed = |id: NodeId| {
            node(id).is_some_and(|node| node.members().iter().all(|it| it.group().is_removed()))
        };
        let ids = self.machines.keys().copied();
        let away: Vec<NodeId> = ids.filter(|id| is_removed(*id) && all_know(*id)).collect();
        for id in away {
            if let Some(machine) = self.machines.get_mut(&id) {
                (machine.gone, machine.node) = (true, None);
            }
        }
    }

    fn running(&self) -> Vec<NodeId> {
        let there = self.machines.iter().filter(|(_, machine)| machine.node.is_some());
        there.map(|(id, _)| *id).collect()
    }

    /// Injects a random fault, and schedules the next one.
    pub fn fault(&mut self) {
        if self.healed {
            return;
        }
        let delay = 30_000 + self.numbers.below(700_000);
        self.after(delay, Event::Fault);
        if self.quiet {
            return;
        }
        let running = self.running();
        if running.is_empty() {
            return;
        }
        self.choose_focus();
        let id = match self.leader().map(|(leader, _)| leader) {
            Some(leader) if self.numbers.one_in(2) => leader,
            _ => *self.numbers.pick(&running),
        };
        match self.numbers.below(19) {
            0 => self.split(),
            1 => self.isolate(id, true, true),
            2 => self.isolate(id, true, false),
            3 => self.isolate(id, false, true),
            4 => self.burst(),
            5 | 6 => self.kill(id),
            7 => running.iter().for_each(|id| self.kill(*id)),
            8 => self.pause(id),
            9 => self.step_clock(id),
            10 => self.ill_disk(id),
            11 => self.transfer(),
            12 => self.join(),
            13 => self.leave(id),
            14 => self.hasty(),
            15 => self.bridge(),
            16 => self.fail_over(id),
            17 => self.come_back(),
            _ => self.wipe(id),
        }
    }

    /// Chooses the group that faults befall which need a leader. As long as steps of the operator are to
    /// follow, it stays.
    fn choose_focus(&mut self) {
        if self.operator.hasty.is_empty() {
            let groups: Vec<GroupId> = self.layout.groups().collect();
            self.focus = *self.numbers.pick(&groups);
        }
    }

    fn mend_soon(&mut self) {
        let delay = 100_000 + self.numbers.below(2_500_000);
        self.after(delay, Event::Mend);
    }

    /// Ends cuts, message loss and disk failures.
    pub fn mend(&mut self) {
        if self.quiet {
            return;
        }
        self.network.heal();
        for at in 0..self.clients.all.len() {
            self.clients.all[at].stubborn = at % 2 == 1;
        }
        for machine in self.machines.values_mut() {
            machine.slow = false;
            machine.disk.fail_syncs(false);
            machine.disk.set_free(None);
        }
    }

    /// Ends all faults for good, and restarts every node that can come back.
    pub fn heal(&mut self) {
        debug_assert!(self.now >= CHAOS);
        (self.healed, self.quiet) = (true, false);
        self.operator.hasty.clear();
        self.mend();
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        for id in ids {
            self.resume(id);
            self.after(1_000, Event::Start(id));
        }
    }

    /// Splits the nodes at random in two sides that cannot reach each other.
    fn split(&mut self) {
        let ids: Vec<NodeId> = self.machines.keys().copied().collect();
        let side: Vec<bool> = ids.iter().map(|_| self.numbers.one_in(2)).collect();
        for (a, left) in ids.iter().zip(&side) {
            for (b, right) in ids.iter().zip(&side) {
                if left != right {
                    self.network.cut(*a, *b);
                }
            }
        }
        self.mend_soon();
    }

    /// Cuts a node off: `deaf`, it receives nothing; `dumb`, nothing that it sends arrives.
    fn isolate(&mut self, id: NodeId, deaf: bool, dumb: bool) {
        let others: Vec<NodeId> = self.machines.keys().copied().filter(|it| *it != id).collect();
        for other in others {
            if deaf {
                self.network.cut(other, id);
            }
            if dumb {
                self.network.cut(id, other);
            }
        }
        self.mend_soon();
    }

    fn burst(&mut self) {
        self.network.loss = self.numbers.below(300);
        self.network.twice = self.numbers.below(200);
        self.network.delay = 2_000 << self.numbers.below(8);
        self.mend_soon();
    }

    fn kill(&mut self, id: NodeId) {
        let quick = if self.numbers.one_in(2) { 50_000 } else { 2_000_000 };
        let delay = 5_000 + self.numbers.below(quick);
        self.crash(id, delay);
    }

    fn pause(&mut self, id: NodeId) {
        let delay = 50_000 + self.numbers.below(2_500_000);
        if let Some(machine) = self.machines.get_mut(&id)
            && machine.held.is_none()
        {
            machine.held = Some(Vec::new());
            self.after(delay, Event::Resume(id));
        }
    }

    fn step_clock(&mut self, id: NodeId) {
        let step = self.numbers.below(120_001) as i64 - 60_000;
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.wall = step;
        }
    }

    fn ill_disk(&mut self, id: NodeId) {
        let full = self.numbers.one_in(2).then(|| self.numbers.below(3_000) as usize);
        if let Some(machine) = self.machines.get(&id) {
            match full {
                Some(free) => machine.disk.set_free(Some(free)),
                None => machine.disk.fail_syncs(true),
            }
        }
        self.mend_soon();
    }

    /// Makes the leader hand over. In half of the cases its messages to the others are cut at the
    /// same time.
    fn transfer(&mut self) {
        let Some((leader, node)) = self.leader() else { return };
        let focus = self.focus;
        let voters = node.member(focus).group().members().voters.clone();
        let to = *self.numbers.pick(&voters);
        self.with(leader, |node| {
            let _ = node.member(focus).with(|group| group.transfer(to));
            Ok(())
        });
        if self.numbers.one_in(2) {
            self.isolate(leader, true, false);
        }
    }

    /// A follower is told to lead (`CLUSTER FAILOVER`), in a quarter of the cases without asking the leader (`FORCE`).
    fn fail_over(&mut self, id: NodeId) {
        let forced = self.numbers.one_in(4);
        self.take_over(id, self.focus, forced);
    }

    /// The leader is cut off while it proposes late what it executes, and is told to lead again when it is back: what it
    /// executed before must not be proposed then.
    fn come_back(&mut self) {
        let Some((leader, _)) = self.leader() else { return };
        if let Some(machine) = self.machines.get_mut(&leader) {
            machine.slow = true;
        }
        self.isolate(leader, true, true);
        for again in [1_500_000, 2_500_000] {
            let delay = again + self.numbers.below(1_000_000);
            self.after(delay, Event::TakeOver(leader, self.focus, false));
        }
    }

    /// Tells a node to lead a group, unless it is down.
    pub fn take_over(&mut self, id: NodeId, group: GroupId, forced: bool) {
        self.with(id, |node| {
            node.take_over(group, forced);
            Ok(())
        });
    }

    /// Cuts one follower off from the leader, while the other one reaches both and so keeps the
    /// leader's lease alive. Nothing is written meanwhile. Later the second follower restarts and
    /// is cut off from the leader as well. It must not elect the first follower before the leader's
    /// lease has ended.
    fn bridge(&mut self) {
        let Some((leader, _)) = self.leader() else { return };
        let mut others = self.voters();
        others.retain(|id| *id != leader);
        if let [first, second] = others[..] {
            self.network.heal();
            self.quiet = true;
            self.network.cut(leader, first);
            self.network.cut(first, leader);
            let delay = 1_000_000 + self.numbers.below(1_500_000);
            self.after(delay, Event::Betray(leader, second));
            // Half of the clients ask the leader whatever happens, the others ask the follower.
            for at in 0..self.clients.all.len() {
                let target = if at % 2 == 0 { leader } else { first };
                self.clients.all[at].ask_everything_of(target);
                self.clients.all[at].stubborn = true;
            }
        }
    }

    /// The second half of [`bridge`](Self::bridge).
    pub fn betray(&mut self, leader: NodeId, voter: NodeId) {
        if !self.healed {
            self.quiet = false;
            self.network.cut(leader, voter);
            self.network.cut(voter, leader);
            let delay = 1_000 + self.numbers.below(50_000);
            self.crash(voter, delay);
            self.mend_soon();
        }
    }

    fn join(&mut self) {
        if self.operator.joining.is_none() && self.operator.next < 12 {
            let id = self.operator.next;
            self.operator.next += 1;
            self.operator.joining = Some(id);
            self.add_host(id, Vec::new());
        }
    }

    fn voters(&self) -> Vec<NodeId> {
        self.leader()
            .map(|(_, node)| node.member(self.focus).group().members().voters.clone())
            .unwrap_or_default()
    }

    fn leave(&mut self, id: NodeId) {
        let voters = self.voters();
        if self.operator.leaving.is_none() && voters.len() > 3 && voters.contains(&id) {
            self.operator.leaving = Some(id);
        }
    }

    /// Isolates the leader; the operator believes the other nodes to be dead and removes them one
    /// after the other.
    fn hasty(&mut self) {
        let Some((leader, _)) = self.leader() else { return };
        let voters = self.voters();
        let busy = self.operator.leaving.is_some() || self.operator.joining.is_some();
        if voters.len() < 3 || busy || self.operator.once {
            return;
        }
        self.operator.once = true;
        self.isolate(leader, true, true);
        let others = voters.into_iter().filter(|id| *id != leader).map(Step::Remove);
        self.operator.hasty = others.collect();
        self.operate();
    }

    /// Exchanges a node's disk. The node never comes back under its identity, and a new node takes
    /// its place.
    fn wipe(&mut self, id: NodeId) {
        let voters = self.voters();
        let busy = self.operator.leaving.is_some() || self.operator.joining.is_some();
        if busy || self.operator.once || voters.len() < 3 || !voters.contains(&id) {
            return;
        }
        self.operator.once = true;
        self.crash(id, 0);
        if let Some(machine) = self.machines.get_mut(&id) {
            machine.disk.wipe();
            machine.gone = true;
        }
        self.operator.leaving = Some(id);
        self.join();
    }
}
