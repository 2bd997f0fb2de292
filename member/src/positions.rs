//! The positions that the engine sees. They only grow, while the group uses numbers of effects
//! again after an undo.
//!
//! They are divided into stretches, each of one kind. A stretch begins behind every position given
//! before, so that a larger position is always a later one, whatever happens to the group's
//! numbers.

use consensus::Wait;
use std::collections::VecDeque;
use storage::Position;

/// The number of stretches that are remembered. Older effects were decided long ago and are still
/// in the state, so they were committed.
const STRETCHES_MAX: usize = 64;

/// The number of read rounds that are remembered. A command that waits for an older one is reported
/// as cut, so it may be repeated.
const ROUNDS_MAX: usize = 1024;

/// The positions that stand for read rounds are in a stream of their own: with this bit, it is that of
/// the group's effects.
const ROUNDS: u16 = 1 << 15;

/// The stream of the effects of the group whose position this is, also if it stands for a read round.
pub fn stream_of(position: Position) -> u16 {
    position.stream & !ROUNDS
}

/// The kind of a stretch, which says how the outcome of its effects is decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The effects were committed when they were applied here.
    Committed,
    /// The effects were executed here in this run, whose outcomes decide.
    Run(u64),
    /// The effects came too late to be appended.
    Cut,
    /// The effects were larger than an entry may be.
    TooLarge,
}

#[derive(Debug, Clone, Copy)]
struct Stretch {
    kind: Kind,
    /// Its first position, and the group's number of the effect at that position.
    first: u64,
    seq: u64,
}

/// The meaning of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The state at this position is committed, and nothing has to be waited for.
    Committed,
    /// An effect of a run of this node.
    Executed {
        /// The run.
        run: u64,
        /// The group's number of the effect.
        seq: u64,
    },
    /// A read, with the read round and the effects that it waits for.
    Read(Wait),
    /// An effect that was undone and never committed.
    Cut,
    /// An effect that was undone because it is larger than an entry may be.
    TooLarge,
}

/// The positions given so far.
#[derive(Debug, Default)]
pub struct Positions {
    stretches: VecDeque<Stretch>,
    last: u64,
    /// The stream of the effects.
    stream: u16,
    rounds: VecDeque<(u64, Wait)>,
    next_round: u64,
}

impl Positions {
    /// Positions in this stream.
    pub fn of(stream: u16) -> Positions {
        Positions { stream, ..Positions::default() }
    }

    /// Gives a position to effect `seq`, which is of this kind.
    pub fn give(&mut self, kind: Kind, seq: u64) -> Position {
        let goes_on = |it: &&Stretch| {
            it.kind == kind && seq >= it.seq && it.first + (seq - it.seq) >= self.last
        };
        let stretch = match self.stretches.back().filter(goes_on) {
            Some(stretch) => *stretch,
            None => self.begin(kind, seq),
        };
        self.last = stretch.first + (seq - stretch.seq);
        Position { stream: self.stream, seq: self.last }
    }

    /// Gives a position to the state as it is after effect `seq`. It replaces all earlier
    /// positions.
    pub fn anew(&mut self, seq: u64) -> Position {
        self.last = self.begin(Kind::Committed, seq).first;
        Position { stream: self.stream, seq: self.last }
    }

    /// The position given last.
    pub fn latest(&self) -> Position {
        Position { stream: self.stream, seq: self.last }
    }

    fn begin(&mut self, kind: Kind, seq: u64) -> Stretch {
        let stretch = Stretch { kind, first: self.last + 1, seq };
        self.stretches.push_back(stretch);
        if self.stretches.len() > STRETCHES_MAX {
            self.stretches.pop_front();
        }
        stretch
    }

    /// Gives a position to a read that waits for a round. All reads that wait for the same round
    /// share it.
    pub fn read(&mut self, wait: Wait) -> Position {
        let same = |it: &&mut (u64, Wait)| Wait { seq: wait.seq, ..it.1 } == wait;
        let number = match self.rounds.back_mut().filter(same) {
            Some((number, shared)) => {
                shared.seq = shared.seq.max(wait.seq);
                *number
            }
            None => {
                self.next_round += 1;
                self.rounds.push_back((self.next_round, wait));
                self.next_round
            }
        };
        if self.rounds.len() > ROUNDS_MAX {
            self.rounds.pop_front();
        }
        Position { stream: self.stream | ROUNDS, seq: number }
    }

    /// The position of a read whose reply must not be sent.
    pub fn never(&self) -> Position {
        Position { stream: self.stream | ROUNDS, seq: u64::MAX }
    }

    /// The meaning of a position.
    pub fn meaning(&self, position: Position) -> Meaning {
        if position.stream & ROUNDS != 0 {
            let found = self.rounds.binary_search_by_key(&position.seq, |(number, _)| *number);
            return found.map_or(Meaning::Cut, |at| Meaning::Read(self.rounds[at].1));
        }
        let at = self.stretches.partition_point(|it| it.first <= position.seq);
        let Some(stretch) = at.checked_sub(1).map(|at| self.stretches[at]) else {
            return Meaning::Committed;
        };
        match stretch.kind {
            Kind::Committed => Meaning::Committed,
            Kind::Cut => Meaning::Cut,
            Kind::TooLarge => Meaning::TooLarge,
            Kind::Run(run) => {
                Meaning::Executed { run, seq: stretch.seq + (position.seq - stretch.first) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn executed(run: u64, seq: u64) -> Meaning {
        Meaning::Executed { run, seq }
    }

    #[test]
    fn positions_only_grow_and_keep_their_meaning() {
        let mut positions = Positions::default();
        let all = [
            positions.give(Kind::Committed, 7),
            positions.give(Kind::Committed, 9),
            positions.give(Kind::Run(1), 10),
            positions.give(Kind::Run(1), 12),
            positions.give(Kind::Cut, 0),
            positions.give(Kind::TooLarge, 0),
            positions.anew(9),
            positions.give(Kind::Committed, 10),
            positions.give(Kind::Run(2), 11),
        ];
        assert!(all.is_sorted_by(|a, b| a < b), "{all:?}");
        let meanings = all.map(|position| positions.meaning(position));
        use Meaning::{Committed, Cut, TooLarge};
        let (ten, twelve, last) = (executed(1, 10), executed(1, 12), executed(2, 11));
        let refused = [Cut, TooLarge];
        assert_eq!(meanings[..4], [Committed, Committed, ten, twelve]);
        assert_eq!(meanings[4..6], refused);
        assert_eq!(meanings[6..], [Committed, Committed, last]);
        assert_eq!(positions.meaning(Position::log(0)), Committed);
    }

    #[test]
    fn reads_share_a_round_and_old_ones_are_forgotten() {
        let mut positions = Positions::default();
        let wait = |round, seq| Wait { term: 1, run: 1, seq, round: Some(round) };
        let (one, same) = (positions.read(wait(1, 5)), positions.read(wait(1, 4)));
        let other = positions.read(wait(2, 3));
        assert!(one == same && one < other);
        assert_eq!(positions.meaning(one), Meaning::Read(wait(1, 5)));
        for round in 3..2_000 {
            positions.read(wait(round, 3));
        }
        assert_eq!(positions.meaning(one), Meaning::Cut);
        assert_eq!(positions.meaning(positions.never()), Meaning::Cut);
    }
}
