//! Groups without a network: messages go straight from one to the other.

use super::*;
use crate::tikv::TikvRaft;
use std::collections::BTreeMap;

/// Groups whose disks are as quick as their network.
struct Trio {
    groups: BTreeMap<NodeId, Group<TikvRaft>>,
    /// The nodes that are cut off from the others.
    away: Vec<NodeId>,
    actions: BTreeMap<NodeId, Vec<Action>>,
    now: u64,
}

impl Trio {
    fn new() -> Trio {
        let group = |id| {
            let raft = TikvRaft::new(id, 7, founded([1, 2, 3])).unwrap();
            (id, Group::new(raft, Settings::new(id), false, 0))
        };
        let groups = (1..=3).map(group).collect();
        Trio { groups, away: Vec::new(), actions: BTreeMap::new(), now: 0 }
    }

    /// Does all work and delivers all messages, until there is none.
    fn settle(&mut self) {
        loop {
            let mut messages = Vec::new();
            for (id, group) in &mut self.groups {
                group.flush(self.now);
                while let Some(work) = group.work() {
                    group.persisted(work.number);
                    messages.extend(work.messages.into_iter().chain(work.after_sync));
                    self.actions.entry(*id).or_default().extend(work.actions);
                }
            }
            let away = &self.away;
            messages.retain(|it| !away.contains(&it.from) && !away.contains(&it.to));
            if messages.is_empty() {
                return;
            }
            for message in messages {
                if let Some(group) = self.groups.get_mut(&message.to) {
                    group.step(message, self.now).unwrap();
                }
            }
        }
    }

    /// Lets time pass until a leader other than `than` is ready.
    fn elect(&mut self, than: NodeId) -> NodeId {
        for _ in 0..100 {
            self.now += 100_000;
            let now = self.now;
            self.groups.values_mut().for_each(|group| group.tick(now));
            self.settle();
            let ready = |(id, group): &(&NodeId, &Group<TikvRaft>)| {
                **id != than && !self.away.contains(id) && group.fence().is_ok()
            };
            if let Some((id, _)) = self.groups.iter().find(ready) {
                return *id;
            }
        }
        panic!("nobody leads");
    }

    fn leader(&mut self, id: NodeId) -> &mut Group<TikvRaft> {
        self.groups.get_mut(&id).unwrap()
    }

    /// Executes something at a leader; what its reply waits for.
    fn execute(&mut self, id: NodeId, effect: &[u8]) -> Wait {
        let now = self.now;
        let group = self.leader(id);
        let fence = group.fence().unwrap();
        let seq = group.append(fence, effect, 1, 5).unwrap();
        group.wait(fence.term, seq, true, now)
    }

    fn applied(&self, id: NodeId) -> Vec<Bytes> {
        let effects = |action: &Action| match action {
            Action::Apply(batch) => Some(batch.effects.clone()),
            Action::Restore(_) | Action::Members(_) | Action::Committed(_) => None,
        };
        self.actions.get(&id).into_iter().flatten().filter_map(effects).collect()
    }
}

#[test]
fn what_a_quorum_has_is_kept_and_applied_by_the_others_alone() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let wait = trio.execute(leader, b"one");
    assert_eq!(trio.leader(leader).poll(&wait), Outcome::Pending);
    assert_eq!(trio.leader(leader).executed(), 1);
    trio.settle();
    assert_eq!(trio.leader(leader).poll(&wait), Outcome::Kept);
    trio.elect(0);
    for id in 1..=3 {
        let expected: &[&[u8]] = if id == leader { &[] } else { &[b"one"] };
        assert_eq!(trio.applied(id), expected, "node {id}");
    }
}

#[test]
fn who_leads_no_more_cuts_what_nobody_has_and_undoes_it() {
    let mut trio = Trio::new();
    let old = trio.elect(0);
    let kept = trio.execute(old, b"kept");
    trio.settle();
    trio.away = vec![old];
    let cut = trio.execute(old, b"cut");
    trio.settle();
    let new = trio.elect(old);
    trio.execute(new, b"other");
    trio.settle();
    assert_eq!(trio.leader(old).poll(&cut), Outcome::Pending, "it cannot know");
    trio.away.clear();
    trio.actions.clear();
    trio.elect(0);
    assert_eq!(trio.leader(old).poll(&cut), Outcome::Cut);
    assert_eq!(trio.leader(old).poll(&kept), Outcome::Kept);
    assert!(matches!(trio.actions[&old][0], Action::Restore(_)), "{:?}", trio.actions[&old]);
    assert_eq!(trio.applied(old), [&b"kept"[..], b"other"]);
}

#[test]
fn a_read_waits_for_a_round_without_a_lease_and_not_with_one() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    trio.now += 5_000_000;
    let now = trio.now;
    let group = trio.leader(leader);
    let term = group.status().term;
    let read = group.wait(term, 0, false, now);
    assert!(read.round.is_some() && group.poll(&read) == Outcome::Pending);
    trio.settle();
    let group = trio.leader(leader);
    assert_eq!(group.poll(&read), Outcome::Kept);
    assert_eq!(group.wait(term, 0, false, now + 799_999).round, None);
    assert!(group.wait(term, 0, false, now + 800_000).round.is_some());
    let to = leader % 3 + 1;
    group.transfer(to).unwrap();
    assert!(group.wait(term, 0, false, now).round.is_some(), "the lease went first");
    trio.settle();
    assert!(trio.leader(to).status().role == Role::Leader);
}

#[test]
fn the_window_is_bounded_and_a_fence_of_another_term_is_refused() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    trio.away = vec![leader];
    let group = trio.leader(leader);
    group.settings.window_batches = 2;
    let fence = group.fence().unwrap();
    assert_eq!(group.append(Fence { term: 0 }, b"x", 1, 0), Err(Blocked::NotReady));
    for _ in 0..2 {
        group.append(fence, b"x", 1, 0).unwrap();
        group.flush(0);
    }
    assert_eq!(group.fence(), Err(Blocked::Full));
    // What ran behind the fence before is taken.
    assert_eq!(group.append(fence, b"x", 1, 0), Ok(3));
}

#[test]
fn a_snapshot_of_what_is_not_committed_is_not_kept() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    trio.execute(leader, b"one");
    let cut = trio.leader(leader).cut().unwrap();
    assert_eq!(cut.seq, 1);
    assert_eq!(trio.leader(leader).cut_outcome(), Some(CutOutcome::Pending));
    trio.settle();
    let Some(CutOutcome::Kept(base)) = trio.leader(leader).cut_outcome() else { panic!() };
    assert_eq!((base.index, base.seq), (cut.index, 1));
    trio.away = vec![leader];
    trio.execute(leader, b"two");
    assert!(trio.leader(leader).cut().is_some());
    let new = trio.elect(leader);
    trio.execute(new, b"other");
    trio.settle();
    trio.away.clear();
    trio.elect(0);
    assert_eq!(trio.leader(leader).cut_outcome(), Some(CutOutcome::Lost));
}

#[test]
fn what_is_to_be_reported_is_when_it_is_committed_and_until_then_no_snapshot_is_taken() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    trio.execute(leader, b"one");
    trio.leader(leader).report();
    assert!(!trio.leader(leader).may_cut());
    trio.settle();
    assert!(trio.leader(leader).may_cut());
    let reported = |trio: &Trio, id| {
        let all = trio.actions.get(&id).into_iter().flatten();
        all.filter(|action| matches!(action, Action::Committed(_))).count()
    };
    trio.execute(leader, b"two");
    trio.settle();
    assert_eq!([1, 2, 3].map(|id| reported(&trio, id)).iter().sum::<usize>(), 1);
    assert_eq!(reported(&trio, leader), 1);
    assert!(trio.leader(leader).cut().is_some());
}

#[test]
fn members_learn_before_they_vote_and_messages_that_make_no_sense_are_refused() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let group = trio.leader(leader);
    let voter = Change { steps: vec![Step::Voter(4)] };
    assert_eq!(group.change(&voter), Err(Refused::Change));
    group.change(&Change { steps: vec![Step::Learner(4)] }).unwrap();
    trio.settle();
    let group = trio.leader(leader);
    assert_eq!(group.members().learners, [4]);
    assert_eq!(group.change(&voter), Err(Refused::Change), "it has nothing yet");
    let term = group.status().term;
    let heartbeat = |commit| Message { commit, ..message(MessageKind::Heartbeat, leader, term) };
    let follower = leader % 3 + 1;
    let group = trio.leader(follower);
    let to = |message: Message| Message { to: follower, ..message };
    assert_eq!(group.step(to(heartbeat(1_000)), 0), Err(Refused::Emptied));
    assert_eq!(group.step(heartbeat(0), 0), Err(Refused::Message), "for somebody else");
    let snapshot = to(message(MessageKind::Snapshot, leader, term));
    assert_eq!(group.step(snapshot, 0), Err(Refused::Message));
}

fn message(kind: MessageKind, from: NodeId, term: u64) -> Message {
    Message {
        kind,
        to: 0,
        from,
        term,
        log_term: 0,
        index: 0,
        entries: Vec::new(),
        commit: 0,
        commit_term: 0,
        snapshot: None,
        request_snapshot: 0,
        reject: false,
        reject_hint: 0,
        context: Bytes::new(),
        priority: 0,
    }
}

#[test]
fn who_is_silent_is_the_last_to_whom_the_leadership_goes() {
    let mut trio = Trio::new();
    let leader = trio.elect(0);
    let others: Vec<NodeId> = (1..=3).filter(|id| *id != leader).collect();
    // The one with the larger number, which comes first where all else is equal.
    assert_eq!(trio.leader(leader).successors(), [others[1], others[0]]);
    trio.away = vec![others[1]];
    for _ in 0..25 {
        trio.now += 100_000;
        let now = trio.now;
        trio.groups.values_mut().for_each(|group| group.tick(now));
        trio.settle();
    }
    assert_eq!(trio.leader(leader).successors(), others);
}

#[test]
fn who_is_told_to_take_over_asks_the_leader_or_if_that_is_silent_the_others() {
    let mut trio = Trio::new();
    let old = trio.elect(0);
    let new = old % 3 + 1;
    let wait = trio.execute(old, b"one");
    trio.leader(new).take_over(false, 0);
    trio.settle();
    let now = trio.now;
    trio.groups.values_mut().for_each(|group| group.tick(now));
    trio.settle();
    assert!(trio.leader(new).fence().is_ok(), "it leads, without an election timeout");
    assert_eq!(trio.leader(old).poll(&wait), Outcome::Kept);
    // What was said in an earlier term counts no longer, nor what somebody says who has no vote.
    let term = trio.leader(new).status().term;
    let asks = MessageKind::TransferLeader;
    for (from, term) in [(old, term - 1), (9, term)] {
        let asked = Message { to: new, ..message(asks, from, term) };
        trio.leader(new).step(asked, now).unwrap();
        assert!(trio.leader(new).fence().is_ok(), "{from} in {term}");
    }
    // The others have not heard of the leader for long enough.
    trio.away = vec![new];
    let third = 6 - old - new;
    for _ in 0..ELECTION_TICKS {
        trio.now += 100_000;
        let now = trio.now;
        trio.leader(third).tick(now);
    }
    trio.leader(old).take_over(true, 0);
    trio.settle();
    assert_eq!(trio.leader(old).status().role, Role::Leader);
}
