//! Waiting for the outcome of a command before its reply is sent.

use super::{Fault, Group, Outcome, Raft};

/// The outcomes that a reply waits for. Made when its command was executed, and passed
/// to [`Group::poll`] until that returns something other than [`Outcome::Pending`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The term in which the command was executed.
    pub term: u64,
    /// The run in which it was executed. An undo ends a run; after it, numbers of effects are used
    /// again.
    pub run: u64,
    /// The number of the last effect that the command wrote or may have seen.
    pub seq: u64,
    /// The read round that a quorum must confirm; `None` if the command wrote, or the lease held.
    pub round: Option<u64>,
}

impl<R: Raft> Group<R> {
    /// Returns what the reply to a command that has just been executed in `term` must wait for.
    /// `seq` is the number of the last effect that it wrote or may have seen; `wrote` says whether
    /// it wrote; `now` is in microseconds. A write needs neither lease nor round, because a quorum
    /// agrees on its own entry.
    pub fn wait(&mut self, term: u64, seq: u64, wrote: bool, now: u64) -> Wait {
        let unchecked = wrote || self.settings.faults.has(Fault::NoLeaseCheck);
        let round = match &mut self.leading {
            Some(leading) if !unchecked && leading.term == term && !leading.lease.holds(now) => {
                leading.wanted = true;
                Some(leading.lease.next())
            }
            _ => None,
        };
        Wait { term, run: self.run(), seq, round }
    }

    /// Whether a reply may be sent. A read whose leader has changed is reported as cut, whatever it
    /// saw.
    pub fn poll(&self, wait: &Wait) -> Outcome {
        let outcome = self.outcomes.of(wait.run, wait.seq);
        let (Some(round), Outcome::Kept) = (wait.round, outcome) else { return outcome };
        match &self.leading {
            Some(leading) if leading.term == wait.term => {
                let confirmed = leading.lease.is_confirmed(round);
                if confirmed { Outcome::Kept } else { Outcome::Pending }
            }
            // It wrote nothing, so it can be repeated elsewhere.
            _ => Outcome::Cut,
        }
    }

    /// Begins a read round, if this node leads. The round may be dropped; then the next tick begins
    /// another, and any later round serves a reply as well.
    pub(super) fn begin_round(&mut self, now: u64) {
        let Some(leading) = &mut self.leading else { return };
        leading.wanted = false;
        if let Some(name) = leading.lease.begin(now) {
            self.raft.read_index(name);
            self.notice();
        }
    }
}
