//! [`Units`]: which group has which unit of slots, as a node knows it.
//!
//! Every group has claims of its own ([`Claims`]), which follow from its log alone. A node has
//! replicas of all groups, and one copy of the data of a unit: that of the group that acquired it
//! last, as far as this node knows. A replica that lags behind may claim a unit that another group
//! has acquired since: then it leaves the unit's data alone, and takes no snapshot before it has
//! applied that it gave the unit away.
//!
//! Sessions see one number for each unit ([`Units::owner`]), which changes only while the unit's
//! shards are locked, and one bit ([`Units::is_to_go`]). The rest has a lock of its own, for which one may
//! wait while one has shards, and not the other way round.

use crate::FIRST_GROUP;
use crate::claims::{Claim, Claims, Hold};
use crate::flaw::{Flaw, Flaws};
use crate::layout::Layout;
use crate::steps::Step;
use consensus::GroupId;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};

/// The bit of an owner that says that nobody serves the unit, because it is being moved.
const MOVING: u16 = 1 << 15;

/// A unit's owner, as sessions see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Owner {
    /// The place of the group among all.
    pub place: usize,
    /// Whether nobody serves the unit, because it is being moved.
    pub moves: bool,
}

/// The next step of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// The group that has a unit in this epoch is to give it to another one.
    Release { by: GroupId, unit: u16, epoch: u64, to: GroupId },
    /// The group is to take a unit whose data are complete here, and will have it in this epoch.
    Acquire { by: GroupId, unit: u16, epoch: u64 },
    /// The group that gave a unit away in this epoch is to forget it.
    Done { by: GroupId, unit: u16, epoch: u64 },
}

impl Due {
    /// The group whose leader is to do it.
    pub fn by(&self) -> GroupId {
        match *self {
            Due::Release { by, .. } | Due::Acquire { by, .. } | Due::Done { by, .. } => by,
        }
    }
}

/// The units of a node.
#[derive(Debug)]
pub(crate) struct Units {
    layout: Layout,
    owners: Vec<AtomicU16>,
    /// The units that a group wants and another one has, as a bit mask.
    wanted: AtomicU64,
    known: RwLock<Known>,
    flaws: Flaws,
}

#[derive(Debug)]
struct Known {
    /// For each unit, who acquired it last, and in which epoch. It never goes back.
    latest: Vec<(u64, GroupId)>,
    groups: Vec<Replicated>,
    /// Whether any move is under way.
    busy: bool,
}

/// A group's claims here.
#[derive(Debug)]
struct Replicated {
    claims: Claims,
    /// The units that it gave away by an entry that is not known to be committed.
    tentative: BTreeSet<u16>,
    /// Whether its data are being loaded.
    loads: bool,
}

impl Units {
    pub fn new(layout: Layout, flaws: Flaws) -> Units {
        let first = |unit| (1, layout.group_of_unit(unit));
        let latest: Vec<_> = (0..layout.units()).map(first).collect();
        let owners = latest.iter().map(|(_, group)| AtomicU16::new(place_of(*group) as u16));
        let replicated = |group| Replicated {
            claims: Claims::first(&layout, group),
            tentative: BTreeSet::new(),
            loads: false,
        };
        let (owners, groups) = (owners.collect(), layout.groups().map(replicated).collect());
        let known = RwLock::new(Known { latest, groups, busy: false });
        Units { layout, owners, wanted: AtomicU64::new(0), known, flaws }
    }

    /// The number of units.
    pub fn count(&self) -> u16 {
        self.layout.units()
    }

    /// The slots of a unit.
    pub fn slots(&self, unit: u16) -> Range<u16> {
        self.layout.slots_of_unit(unit)
    }

    /// The unit of a slot, if there is such a slot.
    pub fn unit(&self, slot: u16) -> Option<u16> {
        self.layout.unit(slot)
    }

    /// A unit's owner.
    pub fn owner(&self, unit: u16) -> Option<Owner> {
        let owner = self.owners.get(usize::from(unit))?.load(Ordering::SeqCst);
        Some(Owner { place: usize::from(owner & !MOVING), moves: owner & MOVING != 0 })
    }

    /// Whether any unit is being moved.
    pub fn any_moves(&self) -> bool {
        self.owners.iter().any(|owner| owner.load(Ordering::SeqCst) & MOVING != 0)
    }

    /// Whether a group wants a unit that another one has.
    pub fn is_to_go(&self, unit: u16) -> bool {
        self.wanted.load(Ordering::SeqCst) & 1 << unit != 0
    }

    /// Nobody serves a unit from now on. To be called while its shards are locked.
    pub fn close(&self, unit: u16) {
        if let Some(owner) = self.owners.get(usize::from(unit)) {
            owner.fetch_or(MOVING, Ordering::SeqCst);
        }
    }

    /// The owner of a unit that follows from what is known now; `None` if it is what sessions see.
    pub fn news(&self, unit: u16) -> Option<Owner> {
        let known = self.known.read();
        let (epoch, group) = known.latest[usize::from(unit)];
        let claim = known.claim(group, unit);
        let moves = claim.epoch != epoch || !claim.is_owned();
        let owner = Owner { place: place_of(group), moves };
        (self.owner(unit) != Some(owner)).then_some(owner)
    }

    /// Sets a unit's owner. To be called while its shards are locked.
    pub fn set_owner(&self, unit: u16, owner: Owner) {
        let moves = if owner.moves { MOVING } else { 0 };
        self.owners[usize::from(unit)].store(owner.place as u16 | moves, Ordering::SeqCst);
    }

    /// The units whose data on this node are those of a group: it acquired them last, and still has
    /// them or is giving them away.
    pub fn of(&self, group: GroupId) -> Vec<u16> {
        let known = self.known.read();
        (0..self.count()).filter(|unit| known.has(group, *unit)).collect()
    }

    /// The units that a group changes on this node, as a bit mask.
    pub fn changed_by(&self, group: GroupId) -> u64 {
        let place = Some(Owner { place: place_of(group), moves: false });
        let units = (0..self.count()).filter(|unit| self.owner(*unit) == place);
        units.map(|unit| 1_u64 << unit).sum()
    }

    /// Whether a group's claim to a unit is that whose data this node has, and it changes them.
    pub fn may_change(&self, group: GroupId, unit: u16) -> bool {
        let known = self.known.read();
        known.has(group, unit) && known.claim(group, unit).is_owned()
    }

    /// Whether the data of a unit on this node are those of a group.
    pub fn has(&self, group: GroupId, unit: u16) -> bool {
        self.known.read().has(group, unit)
    }

    /// Runs `what` if the data of a unit on this node are still those of a group in this epoch;
    /// nobody else acquires the unit meanwhile.
    pub fn while_it_has<R>(
        &self,
        group: GroupId,
        unit: u16,
        what: impl FnOnce() -> R,
    ) -> Option<R> {
        let known = self.known.read();
        known.has(group, unit).then(what)
    }

    /// Whether the data of all units that a group claims are here: then a snapshot of the group can be
    /// taken. Those of a unit that it is giving away are among them, because a node that joins may have to
    /// take the unit from a snapshot.
    pub fn is_whole(&self, group: GroupId) -> bool {
        let known = self.known.read();
        let mut claims = known.of(group).claims.iter();
        claims.all(|(unit, claim)| {
            let keeps = claim.is_owned() || claim.is_leaving();
            !keeps || known.has(group, unit)
        })
    }

    /// Whether a group claims units of whose data this node has later ones.
    pub fn has_stale(&self, group: GroupId) -> bool {
        let known = self.known.read();
        let mut claims = known.of(group).claims.iter();
        claims.any(|(unit, claim)| claim.is_owned() && !known.has(group, unit))
    }

    /// The claims of a group, encoded.
    pub fn claims(&self, group: GroupId) -> Vec<u8> {
        self.known.read().of(group).claims.encode()
    }

    /// A step was applied or, if it is not `committed`, executed here.
    pub fn take(&self, group: GroupId, step: &Step<'_>, committed: bool) -> bool {
        let mut known = self.known.write();
        let of = &mut known.groups[place_of(group)];
        let unit = step.unit();
        let taken = of.claims.take(step);
        if matches!(step, Step::Release { .. }) {
            match committed {
                true => drop(of.tentative.remove(&unit)),
                false if taken => drop(of.tentative.insert(unit)),
                false => {}
            }
        }
        if let (Step::Acquire { epoch, .. }, true) = (step, taken) {
            let latest = &mut known.latest[usize::from(unit)];
            *latest = (*latest).max((*epoch, group));
        }
        self.look(&mut known);
        taken
    }

    /// The group to which a unit is going, if its data are complete on this node and change no more:
    /// with the epoch in which the other group has it.
    pub fn arriving(&self, unit: u16) -> Option<(GroupId, u64)> {
        self.known.read().arriving(unit)
    }

    /// The claims of a group are replaced; its data are about to be loaded.
    pub fn restore(&self, group: GroupId, claims: Option<Claims>) {
        let claims = claims.unwrap_or_else(|| Claims::first(&self.layout, group));
        let mut known = self.known.write();
        for (unit, claim) in claims.iter().filter(|(_, claim)| claim.hold != Hold::Never) {
            if let Some(latest) = known.latest.get_mut(usize::from(unit)) {
                *latest = (*latest).max((claim.epoch, group));
            }
        }
        known.groups[place_of(group)] =
            Replicated { claims, tentative: BTreeSet::new(), loads: true };
        self.look(&mut known);
    }

    /// Notes which moves are under way.
    fn look(&self, known: &mut Known) {
        let wanted = (0..self.count()).filter(|unit| known.wanting(*unit).next().is_some());
        let wanted: u64 = wanted.map(|unit| 1 << unit).sum();
        let mut claims = known.groups.iter().flat_map(|of| of.claims.iter());
        known.busy = wanted != 0 || claims.any(|(_, claim)| claim.is_leaving());
        self.wanted.store(wanted, Ordering::SeqCst);
    }

    /// The data of a group are loaded.
    pub fn loaded(&self, group: GroupId) {
        self.known.write().groups[place_of(group)].loads = false;
    }

    /// The epoch in which a group would have a unit that it wants now; `None` if it has it.
    pub fn next_epoch(&self, group: GroupId, unit: u16) -> Option<u64> {
        let known = self.known.read();
        let (epoch, owner) = *known.latest.get(usize::from(unit))?;
        (owner != group).then_some(epoch + 1)
    }

    /// Whether a unit is on its way from, or to, one of these groups: more than one at a time would only
    /// wait for each other, and nobody serves them meanwhile.
    pub fn is_under_way(&self, from: GroupId, to: GroupId) -> bool {
        let known = self.known.read();
        let mut latest = (0..).zip(&known.latest);
        latest.any(|(unit, (epoch, group))| {
            let claim = known.claim(*group, unit);
            match claim.hold {
                Hold::Leaving(whom) if claim.epoch == *epoch => *group == from || whom == to,
                _ => false,
            }
        })
    }

    /// The epoch in which a group wants to have a unit, as its own log says; zero for none.
    pub fn wanted(&self, group: GroupId, unit: u16) -> u64 {
        self.known.read().claim(group, unit).wanted
    }

    /// Whether a group wants a unit of another one.
    pub fn is_wanted(&self, group: GroupId, unit: u16) -> bool {
        self.known.read().is_wanted(group, unit)
    }

    /// The groups that want a unit of another one.
    pub fn wanting(&self, unit: u16) -> Vec<GroupId> {
        self.known.read().wanting(unit).collect()
    }

    /// Whether somebody changes what is known, or waits to.
    #[cfg(test)]
    pub fn is_changing(&self) -> bool {
        self.known.try_read().is_none()
    }

    /// The next steps of the moves that are under way.
    pub fn due(&self) -> Vec<Due> {
        let known = self.known.read();
        let units = if known.busy { 0..self.count() } else { 0..0 };
        let mut due: Vec<Due> = Vec::new();
        for unit in units {
            due.extend(known.forgettable(unit));
            match known.arriving(unit) {
                Some((by, epoch)) => due.push(Due::Acquire { by, unit, epoch }),
                None => due.extend(known.leaving(unit)),
            }
            if self.flaws.has(Flaw::AcquiredEarly)
                && let Some(Due::Release { unit, epoch, to: by, .. }) = known.leaving(unit).next()
            {
                due.push(Due::Acquire { by, unit, epoch: epoch + 1 });
            }
        }
        due
    }
}

impl Known {
    fn of(&self, group: GroupId) -> &Replicated {
        &self.groups[place_of(group)]
    }

    fn claim(&self, group: GroupId, unit: u16) -> Claim {
        self.of(group).claims.of(unit)
    }

    fn has(&self, group: GroupId, unit: u16) -> bool {
        let claim = self.claim(group, unit);
        let keeps = claim.is_owned() || claim.is_leaving();
        keeps && self.latest[usize::from(unit)] == (claim.epoch, group)
    }

    fn is_wanted(&self, group: GroupId, unit: u16) -> bool {
        let (epoch, owner) = self.latest[usize::from(unit)];
        owner != group && self.claim(group, unit).wanted == epoch + 1
    }

    fn arriving(&self, unit: u16) -> Option<(GroupId, u64)> {
        let (epoch, group) = self.latest[usize::from(unit)];
        let (of, claim) = (self.of(group), self.claim(group, unit));
        let is_complete = claim.epoch == epoch && !of.loads && !of.tentative.contains(&unit);
        match claim.hold {
            Hold::Leaving(to) if is_complete && self.is_group(to) => Some((to, epoch + 1)),
            _ => None,
        }
    }

    fn is_group(&self, group: GroupId) -> bool {
        group.checked_sub(FIRST_GROUP).is_some_and(|place| place < self.groups.len() as u64)
    }

    /// The groups that want a unit of another one.
    fn wanting(&self, unit: u16) -> impl Iterator<Item = GroupId> {
        let groups = (FIRST_GROUP..).take(self.groups.len());
        groups.filter(move |group| self.is_wanted(*group, unit))
    }

    /// A unit that its owner is to give away: to one of those that want it.
    fn leaving(&self, unit: u16) -> impl Iterator<Item = Due> {
        let (epoch, by) = self.latest[usize::from(unit)];
        let claim = self.claim(by, unit);
        let has = claim.epoch == epoch && claim.is_owned();
        let wanting = self.wanting(unit).filter(move |_| has);
        wanting.map(move |to| Due::Release { by, unit, epoch, to })
    }

    /// Who gave a unit away, and it has arrived.
    fn forgettable(&self, unit: u16) -> impl Iterator<Item = Due> {
        let (latest, _) = self.latest[usize::from(unit)];
        let groups = (FIRST_GROUP..).zip(&self.groups);
        groups.filter_map(move |(by, of)| {
            let claim = of.claims.of(unit);
            let epoch = claim.epoch;
            (claim.is_leaving() && epoch < latest).then_some(Due::Done { by, unit, epoch })
        })
    }
}

/// The place of a group among all.
fn place_of(group: GroupId) -> usize {
    (group - FIRST_GROUP) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units() -> Units {
        Units::new(Layout::new(2, 4), Flaws::default())
    }

    fn owner(units: &Units, unit: u16) -> (usize, bool) {
        if let Some(owner) = units.news(unit) {
            units.set_owner(unit, owner);
        }
        units.owner(unit).map(|owner| (owner.place, owner.moves)).unwrap()
    }

    #[test]
    fn a_unit_is_served_by_one_group_at_a_time_and_moves_step_by_step() {
        let (units, unit, data) = (units(), 1, &b""[..]);
        assert_eq!((units.due(), owner(&units, unit)), (vec![], (0, false)));
        assert_eq!((units.next_epoch(2, unit), units.next_epoch(1, unit)), (Some(2), None));
        assert!(units.take(2, &Step::Want { unit, epoch: 2 }, true) && units.is_wanted(2, unit));
        assert!(units.is_to_go(unit) && !units.is_to_go(0));
        assert_eq!(units.due(), [Due::Release { by: 1, unit, epoch: 1, to: 2 }]);
        let release = Step::Release { unit, epoch: 1, to: 2 };
        units.take(1, &release, false);
        assert_eq!((units.due(), owner(&units, unit)), (vec![], (0, true)));
        assert!(units.is_whole(1) && units.is_whole(2));
        units.take(1, &release, true);
        assert_eq!(units.due(), [Due::Acquire { by: 2, unit, epoch: 2 }]);
        units.take(2, &Step::Acquire { unit, epoch: 2, data }, true);
        assert!(owner(&units, unit) == (1, false) && !units.is_to_go(unit));
        assert_eq!(units.due(), [Due::Done { by: 1, unit, epoch: 1 }]);
        assert!(!units.is_whole(1) && units.is_whole(2), "the data are the other group's");
        assert_eq!((units.of(1), units.of(2)), (vec![0], vec![1, 2, 3]));
        units.take(1, &Step::Done { unit, epoch: 1 }, true);
        assert!(units.due().is_empty() && units.is_whole(1) && !units.has_stale(1));
    }

    #[test]
    fn a_unit_that_two_groups_want_may_go_to_either_and_is_no_longer_wanted_once_it_has() {
        let (units, unit) = (Units::new(Layout::new(3, 3), Flaws::default()), 0);
        for group in [2, 3] {
            assert!(units.take(group, &Step::Want { unit, epoch: 2 }, true));
        }
        let to = |to| Due::Release { by: 1, unit, epoch: 1, to };
        assert_eq!((units.due(), units.wanting(unit)), (vec![to(2), to(3)], vec![2, 3]));
        assert!(units.take(2, &Step::Waive { unit, epoch: 2 }, true) && units.is_to_go(unit));
        assert_eq!(units.due(), [to(3)]);
        units.take(1, &Step::Release { unit, epoch: 1, to: 3 }, true);
        units.take(3, &Step::Waive { unit, epoch: 2 }, true);
        assert_eq!(
            units.due(),
            [Due::Acquire { by: 3, unit, epoch: 2 }],
            "it arrives all the same"
        );
    }

    #[test]
    fn a_group_that_lags_behind_leaves_what_another_one_has_alone() {
        let (units, unit, data) = (units(), 1, &b""[..]);
        units.take(2, &Step::Acquire { unit, epoch: 2, data }, true);
        assert_eq!(owner(&units, unit), (1, false));
        assert!(!units.may_change(1, unit) && units.has_stale(1) && !units.is_whole(1));
        assert!(units.may_change(1, 0) && units.while_it_has(1, unit, || ()).is_none());
        // It starts again from its first snapshot.
        units.restore(1, None);
        assert_eq!(units.of(1), [0]);
        // The other one begins anew before it had acquired the unit: nobody serves it until it has.
        units.restore(2, None);
        assert_eq!((owner(&units, unit), units.of(2)), ((1, true), vec![2, 3]));
        units.take(1, &Step::Release { unit, epoch: 1, to: 2 }, true);
        assert_eq!(units.arriving(unit), None, "later data were written over these");
        units.take(2, &Step::Acquire { unit, epoch: 2, data }, true);
        assert_eq!(owner(&units, unit), (1, false));
    }
}
