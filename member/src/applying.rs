//! The part of a replica that applies the effects of other nodes.

use crate::effects::{self, Record};
use crate::output::Fatal;
use crate::positions::Kind;
use crate::replica::Replica;
use crate::state::Part;
use crate::steps::Step;
use consensus::Batch;
use engine::replay::Replayer;
use storage::Position;

impl Replica {
    /// Lets the engine replay the effects of another node, each record as a whole.
    pub fn apply(&mut self, batch: &Batch) -> Result<(), Fatal> {
        let engine = self.engine.clone();
        let records = self.records(batch)?;
        let mut replayer = Replayer::new(&engine);
        let mut lags = self.lags();
        for (seq, record) in (batch.first..).zip(&records) {
            let at = self.member().inner.lock().positions.give(Kind::Committed, seq);
            if let Some(step) = Step::of(record) {
                self.take_step(&step.map_err(Fatal::Damaged)?, Some(at))?;
                lags = self.lags();
            } else if let Some(units) = record.clears().filter(|_| !self.part.is_all) {
                self.clear(units, at)?;
            } else if !lags || !self.passes_over(&replayer, record) {
                let effects = Record::requests(record).map(|request| (0, request));
                replayer.record(Some(at), effects).map_err(Fatal::Damaged)?;
            }
        }
        Ok(())
    }

    /// The records of a batch.
    pub fn records<'b>(&self, batch: &'b Batch) -> Result<Vec<Record<'b>>, Fatal> {
        let damaged = || Fatal::Damaged(format!("effect {} cannot be read", batch.first));
        effects::records(&batch.effects).ok_or_else(damaged)
    }

    /// Deletes all keys of those of these units that the group has. The other groups have logged it for
    /// themselves.
    fn clear(&self, units: u64, at: Position) -> Result<(), Fatal> {
        let (group, all) = (self.part.group, 0..self.part.units.count());
        let named = all.filter(|unit| units & 1 << unit != 0);
        let has = named.filter(|unit| self.part.units.may_change(group, *unit));
        let shards = self.part.shards_of(&self.engine, &has.collect::<Vec<_>>());
        Part::clear(&self.engine, &shards, at)?;
        // Those who watch keys, or keep them in caches.
        self.engine.everything_replaced();
        Ok(())
    }

    /// Whether this node has later data of another group of any unit that this one claims.
    fn lags(&self) -> bool {
        !self.part.is_all && self.part.units.has_stale(self.part.group)
    }

    /// Whether a record is about such a unit.
    fn passes_over(&self, replayer: &Replayer<'_>, record: &Record<'_>) -> bool {
        let units = &self.part.units;
        let slot = record.requests().next().and_then(|request| replayer.slot(request));
        let unit = slot.and_then(|slot| units.unit(slot));
        unit.is_some_and(|unit| !units.may_change(self.part.group, unit))
    }
}
