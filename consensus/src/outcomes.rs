//! What became of effects that were executed here before they were committed.

use std::collections::VecDeque;

/// Runs whose outcomes are remembered. Whoever waits longer gets no certain answer.
const RUNS_MAX: usize = 16;

/// What became of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is committed: it can be told.
    Kept,
    /// Nobody knows yet.
    Pending,
    /// It never happened, and never will: to be tried again elsewhere.
    Cut,
    /// Nobody here will ever know.
    Unknown,
}

/// Effects executed in one run: while leading, from one undo to the next.
#[derive(Debug)]
struct Run {
    run: u64,
    /// Effects up to this number are kept.
    kept: u64,
    /// Effects from this number on are cut.
    cut: Option<u64>,
    /// What is still pending will never be known.
    lost: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Outcomes(VecDeque<Run>);

impl Outcomes {
    /// Another run begins; what it is called. `before` is the last effect of others.
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

    /// Effects of a run are committed up to this number.
    pub fn keep(&mut self, run: u64, seq: u64) {
        if let Some(it) = self.run(run) {
            it.kept = it.kept.max(seq);
        }
    }

    /// Effects of a run from this number on never happened.
    pub fn cut(&mut self, run: u64, from: u64) {
        if let Some(it) = self.run(run) {
            it.cut = Some(it.cut.map_or(from, |cut| cut.min(from)));
        }
    }

    /// What is pending of a run will not be known here.
    pub fn lose(&mut self, run: u64) {
        if let Some(it) = self.run(run) {
            it.lost = true;
        }
    }

    /// What became of an effect.
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
