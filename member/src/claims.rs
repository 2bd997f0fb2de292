//! [`Claims`]: which units of slots a group has, as its own log says.
//!
//! Each time a unit gets another owner, its epoch grows by one. What a group's log says about a unit
//! depends on nothing but that log: two members that have applied the same entries claim the same.

use crate::layout::Layout;
use crate::steps::Step;
use consensus::GroupId;

/// The epoch of every unit when the cluster is founded.
const FIRST_EPOCH: u64 = 1;

/// The number of bytes of a unit's claim in [`Claims::encode`].
const CLAIM: usize = 25;

/// The relation of a group to a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Hold {
    /// The group never had it.
    #[default]
    Never,
    /// The group has it.
    Owned,
    /// The group had it and changes it no more. It keeps the data until the other group has them.
    Leaving(GroupId),
    /// The other group has the data.
    Gone,
}

/// A group's claim to a unit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Claim {
    /// The epoch in which the group had the unit last; zero for never.
    pub epoch: u64,
    pub hold: Hold,
    /// The epoch in which the group wants to have the unit; zero for none.
    pub wanted: u64,
}

/// A group's claims to all units, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claims(Vec<Claim>);

impl Claims {
    /// The claims of a group when the cluster is founded.
    pub fn first(layout: &Layout, group: GroupId) -> Claims {
        let claim = |unit| match layout.group_of_unit(unit) == group {
            true => Claim { epoch: FIRST_EPOCH, hold: Hold::Owned, wanted: 0 },
            false => Claim::default(),
        };
        Claims((0..layout.units()).map(claim).collect())
    }

    /// The claim to a unit.
    pub fn of(&self, unit: u16) -> Claim {
        self.0.get(usize::from(unit)).copied().unwrap_or_default()
    }

    /// The claims to all units, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, Claim)> {
        (0..).zip(self.0.iter().copied())
    }

    /// Takes a step of a move. Returns false if it comes too late, or twice, and so changes nothing.
    pub fn take(&mut self, step: &Step<'_>) -> bool {
        let Some(claim) = self.0.get_mut(usize::from(step.unit())) else { return false };
        match *step {
            Step::Want { epoch, .. } if epoch > claim.epoch => claim.wanted = epoch,
            Step::Waive { epoch, .. } if epoch == claim.wanted => claim.wanted = 0,
            Step::Release { epoch, to, .. } if claim.is(epoch, Hold::Owned) => {
                claim.hold = Hold::Leaving(to);
            }
            Step::Acquire { epoch, .. } if epoch > claim.epoch => {
                let wanted = if claim.wanted > epoch { claim.wanted } else { 0 };
                *claim = Claim { epoch, hold: Hold::Owned, wanted };
            }
            Step::Done { epoch, .. } if claim.epoch == epoch && claim.is_leaving() => {
                claim.hold = Hold::Gone;
            }
            _ => return false,
        }
        true
    }

    /// Encodes the claims, for a snapshot.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(CLAIM * self.0.len());
        for claim in &self.0 {
            let (kind, to) = match claim.hold {
                Hold::Never => (0, 0),
                Hold::Owned => (1, 0),
                Hold::Leaving(to) => (2, to),
                Hold::Gone => (3, 0),
            };
            out.push(kind);
            for number in [claim.epoch, to, claim.wanted] {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out
    }

    /// Decodes what [`Claims::encode`] wrote; `None` for anything else.
    pub fn decode(bytes: &[u8]) -> Option<Claims> {
        let claim = |bytes: &[u8]| {
            let number = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
            let (epoch, to, wanted) = (number(1)?, number(9)?, number(17)?);
            let hold = match bytes[0] {
                0 => Hold::Never,
                1 => Hold::Owned,
                2 => Hold::Leaving(to),
                3 => Hold::Gone,
                _ => return None,
            };
            Some(Claim { epoch, hold, wanted })
        };
        let whole = !bytes.is_empty() && bytes.len().is_multiple_of(CLAIM);
        let claims = || bytes.chunks_exact(CLAIM).map(claim).collect::<Option<Vec<_>>>();
        whole.then(claims).flatten().map(Claims)
    }
}

impl Claim {
    fn is(&self, epoch: u64, hold: Hold) -> bool {
        (self.epoch, self.hold) == (epoch, hold)
    }

    /// Whether the group has the unit, and changes it.
    pub fn is_owned(&self) -> bool {
        self.hold == Hold::Owned
    }

    /// Whether the unit is on its way to another group.
    pub fn is_leaving(&self) -> bool {
        matches!(self.hold, Hold::Leaving(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_count_once_and_in_their_epoch() {
        let layout = Layout::new(2, 4);
        let (mut one, mut two) = (Claims::first(&layout, 1), Claims::first(&layout, 2));
        assert!(one.of(1).is_owned() && two.of(3).is_owned() && !two.of(1).is_owned());
        let (unit, data) = (1, &b"data"[..]);
        assert!(two.take(&Step::Want { unit, epoch: 2 }) && two.of(1).wanted == 2);
        assert!(!one.take(&Step::Release { unit, epoch: 2, to: 2 }), "of another epoch");
        let (want, waive) = (Step::Want { unit, epoch: 2 }, Step::Waive { unit, epoch: 2 });
        assert!(!two.take(&Step::Waive { unit, epoch: 3 }), "of another epoch");
        assert!(two.take(&waive) && two.of(1).wanted == 0 && !two.take(&waive));
        assert!(two.take(&want) && two.of(1).wanted == 2, "it may be wanted again");
        assert!(one.take(&Step::Release { unit, epoch: 1, to: 2 }));
        assert!(!one.take(&Step::Release { unit, epoch: 1, to: 2 }), "it has left already");
        assert_eq!(one.of(1).hold, Hold::Leaving(2));
        assert!(two.take(&Step::Acquire { unit, epoch: 2, data }) && two.of(1).wanted == 0);
        assert!(!two.take(&Step::Acquire { unit, epoch: 2, data }), "it has come already");
        assert!(one.take(&Step::Done { unit, epoch: 1 }) && one.of(1).hold == Hold::Gone);
        assert!(two.take(&Step::Release { unit, epoch: 2, to: 1 }));
        assert!(!two.take(&Step::Acquire { unit, epoch: 2, data }), "it has left since");
        assert!(one.take(&Step::Acquire { unit, epoch: 3, data }));
        assert!(!one.take(&Step::Done { unit, epoch: 1 }), "it has come back since");
        assert!(!one.take(&Step::Want { unit: 9, epoch: 9 }), "there is no such unit");
        for claims in [one, two] {
            assert_eq!(Claims::decode(&claims.encode()), Some(claims.clone()));
            assert_eq!(Claims::decode(&claims.encode()[1..]), None);
        }
        assert_eq!(Claims::decode(b""), None);
    }
}
