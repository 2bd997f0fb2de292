//! What a reply waits for.

use super::{Fault, Group, Outcome, Raft};

/// What a reply waits for: made when its command was executed, asked for until it is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The term it was executed in.
    pub term: u64,
    /// What was executed between two undos. An effect's number is used again after one.
    pub run: u64,
    /// The last effect it wrote, or that it may have seen.
    pub seq: u64,
    /// The round that must be confirmed, since no lease held.
    pub round: Option<u64>,
}

impl<R: Raft> Group<R> {
    /// What the reply to a command has to wait for that was executed just now in `term`. `seq` is the
    /// last effect it wrote or may have seen; `wrote`, whether it wrote. Who wrote needs no lease: its
    /// own entry is agreed on.
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

    /// Whether a reply may be sent.
    pub fn poll(&self, wait: &Wait) -> Outcome {
        let outcome = self.outcomes.of(wait.run, wait.seq);
        let (Some(round), Outcome::Kept) = (wait.round, outcome) else { return outcome };
        match &self.leading {
            Some(leading) if leading.term == wait.term => {
                let confirmed = leading.lease.is_confirmed(round);
                if confirmed { Outcome::Kept } else { Outcome::Pending }
            }
            // It wrote nothing: it can be asked again elsewhere.
            _ => Outcome::Cut,
        }
    }

    /// Begins a round, if this node leads. It may come to nothing; the next tick begins another, and
    /// who waits for one is content with any later.
    pub(super) fn begin_round(&mut self, now: u64) {
        let Some(leading) = &mut self.leading else { return };
        leading.wanted = false;
        if let Some(name) = leading.lease.begin(now) {
            self.raft.read_index(name);
            self.notice();
        }
    }
}
