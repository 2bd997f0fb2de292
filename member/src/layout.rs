//! [`Layout`]: which group has which slots when a cluster is founded.

use crate::FIRST_GROUP;
use consensus::GroupId;
use std::ops::Range;
use storage::SLOTS;

/// The highest number of groups.
pub const GROUPS_MAX: u16 = 64;

/// The slots of each group: a range, which begins and ends with a *unit* of slots. As long as the
/// shards of a node are no larger than a unit, a group has whole shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    groups: u16,
    units: u16,
}

impl Layout {
    /// Divides all slots among `groups` groups, as evenly as units permit, of which there are `units`.
    /// There is at least one group, and no group without a unit.
    pub fn new(groups: u16, units: u16) -> Layout {
        let units = units.clamp(1, GROUPS_MAX);
        Layout { groups: groups.clamp(1, units), units }
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..u64::from(self.groups)).map(|at| FIRST_GROUP + at)
    }

    /// The number of units.
    pub fn units(&self) -> u16 {
        self.units
    }

    /// The group that has a unit first.
    pub fn group_of_unit(&self, unit: u16) -> GroupId {
        FIRST_GROUP + u64::from(unit) * u64::from(self.groups) / u64::from(self.units)
    }

    /// The slots of a unit.
    pub fn slots_of_unit(&self, unit: u16) -> Range<u16> {
        let each = SLOTS / self.units;
        let end = if unit + 1 == self.units { SLOTS } else { (unit + 1) * each };
        unit * each..end
    }

    /// The unit of a slot; `None` if there is no such slot.
    pub fn unit(&self, slot: u16) -> Option<u16> {
        (slot < SLOTS).then(|| (slot / (SLOTS / self.units)).min(self.units - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unit_has_one_group_and_groups_have_about_as_many() {
        for (groups, units) in [(1, 64), (3, 64), (64, 64), (3, 4), (2, 4)] {
            let layout = Layout::new(groups, units);
            let of: Vec<GroupId> = (0..units).map(|unit| layout.group_of_unit(unit)).collect();
            assert!(of.is_sorted());
            for group in layout.groups() {
                let count = of.iter().filter(|it| **it == group).count() as u16;
                assert!((units / groups..=units / groups + 1).contains(&count), "{groups} {units}");
            }
            let mut next = 0;
            for unit in 0..units {
                let slots = layout.slots_of_unit(unit);
                assert_eq!(slots.start, next);
                assert!(slots.clone().all(|slot| layout.unit(slot) == Some(unit)));
                next = slots.end;
            }
            assert_eq!((next, layout.unit(SLOTS)), (SLOTS, None));
        }
    }
}
