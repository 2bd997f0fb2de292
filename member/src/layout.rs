//! [`Layout`]: which group has which slots.

use crate::FIRST_GROUP;
use consensus::GroupId;
use std::ops::Range;
use std::sync::Arc;
use storage::SLOTS;

/// The highest number of groups.
pub const GROUPS_MAX: u16 = 64;

/// The slots of each group: a range, which begins and ends with a *unit* of slots. As long as the
/// shards of a node are no larger than a unit, a group has whole shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// The first slot of each group, and behind them the number of slots.
    bounds: Arc<[u16]>,
    /// For each slot, the place of its group.
    owners: Arc<[u8]>,
}

impl Layout {
    /// Divides all slots among `groups` groups, as evenly as units permit, of which there are `units`.
    /// There is at least one group, and no group without a unit.
    pub fn new(groups: u16, units: u16) -> Layout {
        let units = units.clamp(1, GROUPS_MAX);
        let groups = groups.clamp(1, units);
        let bound = |at: u16| {
            let unit = (u32::from(at) * u32::from(units)).div_ceil(u32::from(groups));
            (unit * u32::from(SLOTS / units)) as u16
        };
        let mut bounds: Vec<u16> = (0..groups).map(bound).collect();
        bounds.push(SLOTS);
        let owner = |slot: u16| bounds.partition_point(|first| *first <= slot) as u8 - 1;
        let owners = (0..SLOTS).map(owner).collect();
        Layout { bounds: bounds.into(), owners }
    }

    /// The groups.
    pub fn groups(&self) -> impl Iterator<Item = GroupId> + use<> {
        (0..self.bounds.len() as u64 - 1).map(|at| FIRST_GROUP + at)
    }

    /// The slots of a group; none for one that does not exist.
    pub fn slots(&self, group: GroupId) -> Range<u16> {
        let at = group.wrapping_sub(FIRST_GROUP) as usize;
        match self.bounds.get(at..).unwrap_or_default() {
            [first, end, ..] => *first..*end,
            _ => 0..0,
        }
    }

    /// The place of a slot's group among all; `None` if there is no such slot.
    pub fn place(&self, slot: u16) -> Option<usize> {
        self.owners.get(usize::from(slot)).map(|place| usize::from(*place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_has_one_group_and_groups_have_whole_units() {
        for (groups, units) in [(1, 64), (3, 64), (64, 64), (3, 4), (2, 4)] {
            let layout = Layout::new(groups, units);
            assert_eq!(layout.groups().count(), usize::from(groups));
            let mut next = 0;
            for group in layout.groups() {
                let slots = layout.slots(group);
                assert_eq!(slots.start, next);
                assert!(!slots.is_empty() && slots.start.is_multiple_of(SLOTS / units));
                let place = (group - FIRST_GROUP) as usize;
                assert!(slots.clone().all(|slot| layout.place(slot) == Some(place)));
                next = slots.end;
            }
            assert_eq!((next, layout.place(SLOTS), layout.slots(99)), (SLOTS, None, 0..0));
        }
    }
}
