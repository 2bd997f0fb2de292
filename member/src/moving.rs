//! The part of a replica that moves units of slots between groups.
//!
//! A move has four steps, each of which is an entry of a log; `docs/decisions/0059` has the argument why it
//! is safe. All but the second take effect when they are committed:
//!
//! 1. The group that is to have the unit says so ([`Step::Want`]).
//! 2. The group that has it gives it away ([`Step::Release`]), under the locks of its shards. From there on
//!    nobody changes it.
//! 3. Once that is committed, the other group takes it, with its data ([`Step::Acquire`]).
//! 4. Once that is committed, the first group forgets it ([`Step::Done`]).
//!
//! Before the second step the group that wants the unit may say that it no longer does ([`Step::Waive`]).

use crate::flaw::Flaw;
use crate::member::Member;
use crate::output::Fatal;
use crate::replica::Replica;
use crate::state::{Part, load, locks};
use crate::steps::Step;
use crate::units::{Due, Owner};
use consensus::{Batch, Outcome};
use engine::Engine;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use storage::{Position, Tx};

/// The largest unit that moves, in bytes of memory. Its data become one entry of a log: encoding, sending
/// and writing it must take less than an election, because the thread that does it sends heartbeats, too.
const UNIT_BYTES: u64 = 32 << 20;

/// The steps that a replica has appended, each with the term and its position.
#[derive(Debug, Default)]
pub(crate) struct Appended {
    steps: BTreeMap<Due, (u64, Position)>,
    /// For each unit the last request of the group to have it, with its epoch.
    asked: BTreeMap<u16, (u64, (u64, Position))>,
    /// For each unit where the last such request was taken back.
    waived: BTreeMap<u16, (u64, Position)>,
}

/// Bytes of memory held for the keys of some slots.
pub(crate) fn bytes_of(engine: &Engine, slots: Range<u16>) -> u64 {
    let shards = engine.backend.shards_of_slots(slots);
    shards.map_or(0, |shards| engine.backend.bytes_in(shards))
}

impl Member {
    /// The largest unit of slots that the group gives away, in bytes of memory.
    pub(crate) fn largest_unit(&self) -> u64 {
        UNIT_BYTES.min(self.record_max as u64 / 4)
    }
}

impl Replica {
    /// Has the group want a unit, if it is led here. Returns whether that is so, or the group has it.
    pub fn want(&mut self, unit: u16) -> bool {
        let (units, group) = (&self.part.units, self.part.group);
        let Some(epoch) = units.next_epoch(group, unit) else { return true };
        // What is being taken back is wanted only if it is asked for behind that.
        let stays = self.appended.waived.get(&unit).is_some_and(|at| self.is_in_log(*at));
        if units.is_wanted(group, unit) && !stays {
            return true;
        }
        let Some(at) = self.propose(&Step::Want { unit, epoch }) else { return false };
        self.appended.waived.remove(&unit);
        self.appended.asked.insert(unit, (epoch, (self.term(), at)));
        true
    }

    /// Has the group no longer want a unit, if it is led here and does not have it. What was asked for and is
    /// not committed yet comes before this in the log. Returns false if that cannot be said yet.
    pub fn waive(&mut self, unit: u16) -> bool {
        if self.member().leader() != Some(self.member().id()) {
            return true;
        }
        if !self.member().is_open() {
            return false;
        }
        // Where the unit is now may not be known here yet: what counts is what this group's log says.
        let asked = self.appended.asked.get(&unit).filter(|(_, at)| self.is_in_log(*at));
        let wanted = self.part.units.wanted(self.part.group, unit);
        let epochs = BTreeSet::from([wanted, asked.map_or(0, |(epoch, _)| *epoch)]);
        for epoch in epochs.into_iter().filter(|epoch| *epoch != 0) {
            let Some(at) = self.propose(&Step::Waive { unit, epoch }) else { return false };
            self.appended.waived.insert(unit, (self.term(), at));
        }
        self.appended.asked.remove(&unit);
        true
    }

    fn term(&self) -> u64 {
        self.member().group().status().term
    }

    /// Does the next step of a move, if the group is led here and it has not been done yet. Returns whether
    /// anything was appended.
    pub fn advance(&mut self, due: Due) -> Result<bool, Fatal> {
        if !self.member().is_open() || self.is_appended(&due) {
            return Ok(false);
        }
        let position = match due {
            Due::Release { unit, .. } => self.release(unit, &due)?,
            Due::Acquire { unit, epoch, .. } => {
                // Not before there is room for it in the log.
                let may = self.member().may_append().is_ok();
                let data = may.then(|| self.part.data_at_rest(&self.engine, unit)).transpose()?;
                data.and_then(|data| self.propose(&Step::Acquire { unit, epoch, data: &data }))
            }
            Due::Done { unit, epoch, .. } => self.propose(&Step::Done { unit, epoch }),
        };
        let Some(position) = position else { return Ok(false) };
        let term = self.term();
        self.appended.steps.retain(|_, (of, _)| *of == term);
        self.appended.steps.insert(due, (term, position));
        Ok(true)
    }

    /// Whether the step is in the log already, or may yet be.
    fn is_appended(&self, due: &Due) -> bool {
        self.appended.steps.get(due).is_some_and(|at| self.is_in_log(*at))
    }

    /// Whether what was appended in a term, at a position, is in the log, or may yet be.
    fn is_in_log(&self, (term, position): (u64, Position)) -> bool {
        let inner = self.member().inner.lock();
        let decided = inner.outcome(position);
        term == inner.group.status().term && matches!(decided, Outcome::Pending | Outcome::Kept)
    }

    fn propose(&mut self, step: &Step<'_>) -> Option<Position> {
        let position = self.member().propose(step)?;
        self.flush();
        Some(position)
    }

    /// Gives a unit away. Whoever holds its shards now may do so for long: it is tried again later.
    fn release(&mut self, unit: u16, due: &Due) -> Result<Option<Position>, Fatal> {
        let Due::Release { epoch, to, .. } = *due else { return Ok(None) };
        let (engine, step) = (self.engine.clone(), Step::Release { unit, epoch, to });
        let shards = self.part.shards_of(&engine, &[unit]);
        let one_at_a_time = self.part.units.is_under_way(self.part.group, to);
        if self.is_busy() || one_at_a_time || engine.backend.is_contended(locks(&shards)) {
            return Ok(None);
        }
        let (mut position, fences) = (None, !self.config.flaws.has(Flaw::ReleasedUnfenced));
        let mut body = |_: &mut dyn Tx| {
            // Nobody can make it larger from here on.
            position = self.is_small(unit).then(|| self.member().propose(&step)).flatten();
            if position.is_some() && fences {
                self.part.units.close(unit);
            }
        };
        // Busy is as good as contended.
        let _ = engine.backend.transact(locks(&shards), 0, &mut body);
        if position.is_some() && fences {
            self.part.units.take(self.part.group, &step, false);
        }
        self.flush();
        Ok(position)
    }

    /// Whether a unit is small enough to be given away.
    pub fn is_small(&self, unit: u16) -> bool {
        let slots = self.part.units.slots(unit);
        bytes_of(&self.engine, slots) <= self.member().largest_unit()
    }

    /// Steps that were executed here are committed.
    pub fn committed(&mut self, batch: &Batch) -> Result<(), Fatal> {
        for record in &self.records(batch)? {
            if let Some(step) = Step::of(record) {
                self.take_step(&step.map_err(Fatal::Damaged)?, None)?;
            }
        }
        Ok(())
    }

    /// Takes a committed step. `at` is its position if another node executed it.
    pub fn take_step(&mut self, step: &Step<'_>, at: Option<Position>) -> Result<(), Fatal> {
        if let Step::Acquire { unit, epoch, data } = *step {
            return self.acquire(unit, (epoch, data), step, at);
        }
        self.part.units.take(self.part.group, step, true);
        self.part.settle(&self.engine, step.unit())
    }

    /// Takes a unit. Its data are here already, if this node has applied that the other group gave it away
    /// and no more; otherwise they are loaded.
    fn acquire(
        &mut self,
        unit: u16,
        (epoch, data): (u64, &[u8]),
        step: &Step<'_>,
        at: Option<Position>,
    ) -> Result<(), Fatal> {
        let (units, group) = (self.part.units.clone(), self.part.group);
        let is_here = units.arriving(unit) == Some((group, epoch));
        let shards = self.part.shards_of(&self.engine, &[unit]);
        // Who has it here may not have applied yet that it gave it away.
        Part::lock(&self.engine, &shards, &mut |_| units.close(unit))?;
        let is_new = units.take(group, step, true);
        // Another group may have acquired it since, as far as this node knows.
        if !is_new || !units.may_change(group, unit) {
            return self.part.settle(&self.engine, unit);
        }
        let at = at.unwrap_or_else(|| self.member().inner.lock().positions.latest());
        if !is_here {
            Part::clear(&self.engine, &shards, at)?;
            if unit == 0 {
                self.engine.scripting.remove_libraries();
            }
            load(&self.engine, data, &self.part)?;
            self.engine.everything_replaced();
        }
        let owner = Owner { place: (group - crate::FIRST_GROUP) as usize, moves: false };
        Part::lock(&self.engine, &shards, &mut |tx| {
            tx.set_last(at);
            units.set_owner(unit, owner);
        })
    }
}
