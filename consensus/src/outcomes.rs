//! The outcomes of effects that this node executed before they were committed.

use std::collections::VecDeque;

/// The number of runs whose outcomes are remembered. A reply that waits longer gets
/// [`Outcome::Unknown`].
const RUNS_MAX: usize = 16;

/// The outcome of an effect that was executed before it was committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The effect is committed, so the reply may be sent.
    Kept,
    /// The outcome is not decided yet.
    Pending,
    /// The effect was not committed and never will be, so the command may be retried elsewhere.
    Cut,
    /// This node cannot find out any more whether the effect was committed.
    Unknown,
}

/// The effects of one run. A run begins when this node starts to lead or has undone something, and
/// ends with the leadership or the next undo.
#[derive(Debug)]
struct Run {
    run: u64,
    /// Effects up to and including this number are committed.
    kept: u64,
    /// Effects from this number on will never be committed.
    cut: Option<u64>,
    /// Whether the outcome of the effects that are still pending can no longer be learnt.
    lost: bool,
}

/// The outcomes of the latest runs, oldest first.
#[derive(Debug, Default)]
pub struct Outcomes(VecDeque<Run>);

impl Outcomes {
    /// Begins another run and returns its number, counted from 1. `before` is the number of the
    /// last effect before the run.
    pub fn begin(&mut self, before: u64) -> u64 {
        let run = self.0.back().map_or(1, |last| last.run + 1);
        self.0.push_back(Run { run, kept: before, cut: None, lost: false });
        if self.0.len() > RUNS_MAX {
            self.0.pop_front();
        }
        run
    }

    fn run(&mut self, run: u64) -> Option<&mut Run> {
        self.0.iter_mut().find(|it| it.run == run)
    }

    /// Records that the effects of `run` up to and including `seq` are committed.
    pub fn keep(&mut self, run: u64, seq: u64) {
        if let Some(it) = self.run(run) {
            it.kept = it.kept.max(seq);
        }
    }

    /// Records that the effects of `run` from number `from` on will never be committed.
    pub fn cut(&mut self, run: u64, from: u64) {
        if let Some(it) = self.run(run) {
            it.cut = Some(it.cut.map_or(from, |cut| cut.min(from)));
        }
    }

    /// Records that the outcome of those effects of `run` that are still pending cannot be learnt
    /// here.
    pub fn lose(&mut self, run: u64) {
        if let Some(it) = self.run(run) {
            it.lost = true;
        }
    }

    /// Returns the outcome of effect `seq` of `run`; [`Outcome::Unknown`] if the run is not
    /// remembered.
    pub fn of(&self, run: u64, seq: u64) -> Outcome {
        let Some(it) = self.0.iter().find(|it| it.run == run) else { return Outcome::Unknown };
        match it.cut {
            _ if seq <= it.kept => Outcome::Kept,
            Some(cut) if seq >= cut => Outcome::Cut,
            _ if it.lost => Outcome::Unknown,
            _ => Outcome::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_effect_has_the_outcome_of_its_run() {
        let mut outcomes = Outcomes::default();
        assert_eq!(outcomes.begin(10), 1);
        assert_eq!(outcomes.of(1, 10), Outcome::Kept);
        assert_eq!(outcomes.of(1, 11), Outcome::Pending);
        outcomes.keep(1, 12);
        outcomes.cut(1, 15);
        let all: Vec<Outcome> = (12..=15).map(|seq| outcomes.of(1, seq)).collect();
        assert_eq!(all, [Outcome::Kept, Outcome::Pending, Outcome::Pending, Outcome::Cut]);
        outcomes.lose(1);
        assert_eq!(outcomes.of(1, 13), Outcome::Unknown);
        assert_eq!(outcomes.of(2, 1), Outcome::Unknown);
        assert_eq!((0..RUNS_MAX).map(|_| outcomes.begin(12)).last(), Some(RUNS_MAX as u64 + 1));
        assert_eq!(outcomes.of(1, 12), Outcome::Unknown);
    }
}
