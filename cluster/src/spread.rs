//! [`Spread`]: which node should lead which group.
//!
//! The voters of all groups are the same, and each should lead its share. A group prefers one of its
//! voters: the first prefers the one with the lowest identity, and so on in turn. Whoever else leads
//! it hands over, once the preferred one has been ready for a while. So leaderships move once when a
//! node is back, and not to and fro.

use consensus::{Blocked, GroupId, NodeId};
use member::{FIRST_GROUP, Member};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The number of election timeouts for which the preferred node must have been ready.
const READY: u32 = 5;

/// The number of entries that it may lack.
const BEHIND: u64 = 1_000;

/// The leaderships that are to move.
#[derive(Debug, Default)]
pub struct Spread {
    /// The groups that stay where they are led, because the operator said so.
    held: BTreeSet<GroupId>,
    /// For each group that is led here and should not be: who should lead it, and since when that one
    /// has been ready.
    ready: BTreeMap<GroupId, (NodeId, Instant)>,
}

/// The voter that a group prefers.
fn preferred(group: GroupId, voters: &[NodeId]) -> Option<NodeId> {
    let mut voters = voters.to_vec();
    voters.sort_unstable();
    let place = (group - FIRST_GROUP).checked_rem(voters.len() as u64)?;
    voters.get(place as usize).copied()
}

impl Spread {
    /// A group that is led here stays here, as long as this node leads it.
    pub fn hold(&mut self, group: GroupId) {
        self.held.insert(group);
    }

    /// The node to which a group is to be handed now, if it is led here. `reaches` says whether a node
    /// answers.
    pub fn wish(
        &mut self,
        member: &Member,
        reaches: impl Fn(NodeId) -> bool,
        now: Instant,
        election: Duration,
    ) -> Option<NodeId> {
        let (id, group) = (member.group_id(), member.group());
        if let Err(blocked) = group.led() {
            self.ready.remove(&id);
            if let Blocked::Elsewhere(_) = blocked {
                self.held.remove(&id);
            }
            return None;
        }
        let members = group.members();
        let to = preferred(id, &members.voters).filter(|to| *to != member.id());
        let last = group.status().last;
        let is_ready = |to: &NodeId| {
            let near = group.matched(*to).is_some_and(|at| at > 0 && at + BEHIND >= last);
            near && !members.is_joint() && reaches(*to)
        };
        self.settle(id, to.filter(is_ready), now, election)
    }

    /// Decides about a group that is led here; `to` is ready and should lead it.
    fn settle(
        &mut self,
        group: GroupId,
        to: Option<NodeId>,
        now: Instant,
        election: Duration,
    ) -> Option<NodeId> {
        let Some(to) = to.filter(|_| !self.held.contains(&group)) else {
            self.ready.remove(&group);
            return None;
        };
        let since = match self.ready.get(&group) {
            Some((whom, since)) if *whom == to => *since,
            _ => now,
        };
        let is_due = now >= since + election * READY;
        // If it does not succeed, it is tried again after as long.
        self.ready.insert(group, (to, if is_due { now } else { since }));
        is_due.then_some(to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_prefer_voters_in_turn() {
        let of = |group| preferred(group, &[30, 10, 20]);
        assert_eq!([1, 2, 3, 4].map(of), [Some(10), Some(20), Some(30), Some(10)]);
        assert_eq!(preferred(1, &[]), None);
    }

    #[test]
    fn a_group_moves_once_the_other_was_ready_for_a_while_unless_it_is_held() {
        let (mut spread, election, now) =
            (Spread::default(), Duration::from_secs(1), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut settle = |to, seconds| spread.settle(7, to, at(seconds), election);
        assert_eq!([0, 4].map(|seconds| settle(Some(2), seconds)), [None, None]);
        assert_eq!(settle(None, 4), None, "it did not answer for a moment");
        assert_eq!([5, 9].map(|seconds| settle(Some(2), seconds)), [None, None]);
        assert_eq!(settle(Some(2), 10), Some(2));
        assert_eq!([11, 14].map(|seconds| settle(Some(2), seconds)), [None, None]);
        assert_eq!(settle(Some(2), 15), Some(2), "it is tried again");
        assert_eq!(settle(Some(3), 20), None, "another one has to be ready as long");
        spread.hold(7);
        assert_eq!(spread.settle(7, Some(3), at(99), election), None);
    }
}
