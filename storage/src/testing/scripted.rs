//! [`Scripted`]: a journal that decides what it is told to decide, when it is told.

use crate::journal::{Appended, Fate, Journal, Position, Refusal, Withholds};
use crate::tx::Db;
use parking_lot::Mutex;
use resp::{Batch, Limits, Parser};
use std::task::Waker;

/// Keeps nothing until it is told to, cuts, loses and refuses when it is told to. A slot's effects are
/// the stream of the slot's number.
#[derive(Default)]
pub struct Scripted {
    withholds: Withholds,
    state: Mutex<State>,
}

/// The stream of what is only seen, where it has one.
const SEEN: u16 = u16::MAX;

#[derive(Default)]
struct State {
    /// The appended effects, one text each, those of one record joined.
    records: Vec<String>,
    end: u64,
    kept: u64,
    /// From here on everything is cut, and where to go instead.
    cut: Option<(u64, Refusal)>,
    /// From this position on the fate of effects stays unknown.
    unknown: Option<u64>,
    refusal: Option<Refusal>,
    late: Option<Refusal>,
    /// The fate of all positions that are only seen, in a stream of their own.
    seen: Option<Refusal>,
    waiting: Vec<Waker>,
}

impl Scripted {
    /// A journal for which these replies wait.
    pub fn new(withholds: Withholds) -> Self {
        Scripted { withholds, state: Mutex::default() }
    }

    fn decide(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Returns the effects appended since the last call, a line for those that belong together.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().records)
    }

    /// The number of the last position.
    pub fn end(&self) -> u64 {
        self.state.lock().end
    }

    /// Everything up to this number is kept.
    pub fn keep(&self, up_to: u64) {
        self.decide(|state| state.kept = state.kept.max(up_to));
    }

    /// Everything from this number on never happened.
    pub fn cut(&self, from: u64, answer: &str) {
        self.decide(|state| state.cut = Some((from, answer.into())));
    }

    /// The fate of everything from this number on is reported as unknown.
    pub fn lose(&self, from: u64) {
        self.decide(|state| state.unknown = Some(from));
    }

    /// Makes it admit nothing or, with `None`, everything again.
    pub fn refuse(&self, answer: Option<&str>) {
        self.state.lock().refusal = answer.map(Refusal::from);
    }

    /// Makes it refuse effects although they were admitted.
    pub fn refuse_late(&self, answer: Option<&str>) {
        self.state.lock().late = answer.map(Refusal::from);
    }

    /// Makes every read depend on a position of its own, which is cut, as if another server might
    /// lead by now.
    pub fn cut_what_is_seen(&self, answer: &str) {
        self.state.lock().seen = Some(answer.into());
    }

    fn push(&self, slot: u16, effects: &[Vec<u8>]) -> Appended {
        let mut state = self.state.lock();
        if let Some(refusal) = &state.late {
            return Err(refusal.clone());
        }
        state.end += effects.len() as u64;
        let lines = effects.iter().map(|effect| String::from_utf8_lossy(effect).into_owned());
        let record = lines.collect::<Vec<_>>().join("; ");
        if !record.is_empty() {
            state.records.push(record);
        }
        Ok(Position { stream: slot, seq: state.end })
    }
}

impl Journal for Scripted {
    fn append(&self, slot: u16, _: Db, effect: &[&[u8]]) -> Appended {
        self.push(slot, &[effect.join(&b' ')])
    }

    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        let mut batch = Batch::new();
        let _ = Parser::new().parse(resp, 1, &Limits::default(), &mut batch);
        let words: Vec<&[u8]> = batch.iter(resp).flat_map(|request| request.iter()).collect();
        self.append(slot, db, &words)
    }

    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        let effects: Vec<_> = effects.iter().map(|(_, effect)| effect.join(&b' ')).collect();
        self.push(slot, &effects)
    }

    fn admit(&self, _: u16) -> Result<(), Refusal> {
        self.state.lock().refusal.clone().map_or(Ok(()), Err)
    }

    fn may_refuse(&self) -> bool {
        true
    }

    fn write_up_to(&self, _: Position) {}

    fn seen(&self, last: Position, _: Option<u64>) -> Position {
        match self.state.lock().seen {
            Some(_) => Position { stream: SEEN, seq: 1 },
            None => last,
        }
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        let mut state = self.state.lock();
        if let (SEEN, Some(refusal)) = (position.stream, &state.seen) {
            return Fate::Cut(refusal.clone());
        }
        match &state.cut {
            _ if position.seq <= state.kept => return Fate::Kept,
            Some((from, refusal)) if position.seq >= *from => return Fate::Cut(refusal.clone()),
            _ if state.unknown.is_some_and(|from| position.seq >= from) => return Fate::Unknown,
            _ => {}
        }
        state.waiting.push(waker.clone());
        Fate::Pending
    }

    fn withholds(&self) -> Withholds {
        self.withholds
    }

    fn sync(&self) -> crate::Result<()> {
        self.keep(self.end());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::journals::journals;
    use std::sync::Arc;

    journals!(scripted, || (Arc::new(Scripted::new(Withholds::Everything)), ()));
}
