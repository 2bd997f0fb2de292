//! Application of committed entries, in order.

use super::{Action, Batch, Change, Entry, EntryKind, Fault, Group, Raft};

impl<R: Raft> Group<R> {
    /// Applies entries, each exactly once and without gaps.
    pub(super) fn apply(&mut self, entries: Vec<Entry>, actions: &mut Vec<Action>) {
        for entry in entries {
            let (executed, reported) = self.resolve(&entry);
            match entry.kind {
                EntryKind::Change => self.apply_change(&entry, actions),
                EntryKind::Normal => {
                    if let Some(batch) = self.batch_of(&entry) {
                        self.time = self.time.max(batch.time);
                        self.seq = batch.last();
                        if !executed && !self.skips() {
                            actions.push(Action::Apply(batch));
                        } else if reported {
                            actions.push(Action::Committed(batch));
                        }
                    }
                }
            }
            self.applied = (entry.index, entry.term);
            self.raft.applied(entry.index);
            self.decide_cut();
        }
    }

    /// Whether this node has executed the entry already, and whether it is to be reported. Records the
    /// outcome of the proposed batch.
    fn resolve(&mut self, entry: &Entry) -> (bool, bool) {
        let Some(front) = self.speculation.proposed.front() else { return (false, false) };
        if front.index != entry.index {
            return (false, false);
        }
        if front.term != entry.term {
            self.cut_proposed();
            return (false, false);
        }
        let Some(front) = self.speculation.pop() else { return (false, false) };
        self.outcomes.keep(front.run, front.last);
        (front.executed, front.executed && front.reported)
    }

    /// The batch of an entry, if it counts: it must have been executed in the entry's own term.
    pub(super) fn batch_of(&self, entry: &Entry) -> Option<Batch> {
        let batch = Batch::decode(&entry.data).filter(|_| entry.kind == EntryKind::Normal)?;
        let older = self.settings.faults.has(Fault::OlderTerm);
        (batch.count > 0 && (batch.term == entry.term || older)).then_some(batch)
    }

    fn skips(&self) -> bool {
        self.settings.faults.has(Fault::FollowerDoesNotApply) && self.leading.is_none()
    }

    fn apply_change(&mut self, entry: &Entry, actions: &mut Vec<Action>) {
        if self.settings.faults.has(Fault::EarlyChange) {
            return;
        }
        // Every member fails to decode the same changes, so all of them skip the same ones.
        let Some(change) = Change::decode(&entry.data) else { return };
        if let Ok(members) = self.raft.apply_change(&change) {
            self.members = members.clone();
            actions.push(Action::Members(members));
        }
    }

    /// The planted bug: a change takes effect when it is written, before a quorum agrees.
    pub(super) fn change_early(&mut self, entries: &[Entry], actions: &mut Vec<Action>) {
        #[cfg(feature = "planted")]
        self.raft.forget_change();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Change) {
            let Some(change) = Change::decode(&entry.data) else { continue };
            if let Ok(members) = self.raft.apply_change(&change) {
                self.members = members.clone();
                actions.push(Action::Members(members));
            }
        }
    }
}
