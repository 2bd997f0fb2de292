//! [`Recorder`]: a journal that only remembers.

use super::text::quote;
use crate::engine::Engine;
use crate::replay::Replayer;
use crate::text::args::OwnedRequest;
use parking_lot::Mutex;
use resp::{Batch, Limits, Parser};
use std::task::Waker;
use storage::{Appended, Db, Fate, Journal, Position};

/// One logged command and its database.
pub(super) type Effect = (Db, Vec<Vec<u8>>);

/// A journal that keeps every effect in memory, and counts it as durable at once.
#[derive(Default)]
pub struct Recorder {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    effects: Vec<Effect>,
    /// The number of effects at the end of each record.
    ends: Vec<usize>,
    taken: usize,
}

impl Recorder {
    /// Effects since the last call.
    pub(super) fn take(&self) -> Vec<Effect> {
        let mut inner = self.inner.lock();
        let fresh = inner.effects[inner.taken..].to_vec();
        inner.taken = inner.effects.len();
        fresh
    }

    /// Executes all recorded effects on another engine, as a start does: effects that were appended
    /// together are executed in one transaction.
    ///
    /// # Errors
    /// Returns the effects that could not be executed, and the reason.
    pub fn replay(&self, onto: &Engine) -> Result<(), String> {
        let inner = self.inner.lock();
        let mut replayer = Replayer::new(onto);
        let mut start = 0;
        for &end in &inner.ends {
            let record = &inner.effects[std::mem::replace(&mut start, end)..end];
            let owned: Vec<_> = record
                .iter()
                .map(|(db, effect)| (*db, OwnedRequest::new(effect.iter().map(|arg| &arg[..]))))
                .collect();
            let ran = replayer.record(None, owned.iter().map(|(db, effect)| (*db, effect.view())));
            let lines = || record.iter().map(|(db, effect)| line(*db, effect)).collect::<Vec<_>>();
            ran.map_err(|error| format!("{}: {error}", lines().join("; ")))?;
        }
        Ok(())
    }

    fn push(&self, effects: &[Effect]) -> Position {
        let mut inner = self.inner.lock();
        inner.effects.extend_from_slice(effects);
        let end = inner.effects.len();
        inner.ends.push(end);
        Position::log(end as u64)
    }
}

/// An effect as a person would type it.
pub(super) fn line(db: Db, effect: &[Vec<u8>]) -> String {
    let words: Vec<String> = effect.iter().map(|word| word_of(word)).collect();
    let prefix = if db == 0 { String::new() } else { format!("[{db}] ") };
    format!("{prefix}{}", words.join(" "))
}

fn word_of(word: &[u8]) -> String {
    let plain = !word.is_empty() && word.iter().all(|b| b.is_ascii_graphic() && *b != b'"');
    if plain { String::from_utf8_lossy(word).into_owned() } else { quote(word) }
}

impl Journal for Recorder {
    fn append(&self, _: u16, db: Db, effect: &[&[u8]]) -> Appended {
        Ok(self.push(&[(db, effect.iter().map(|arg| arg.to_vec()).collect())]))
    }

    fn append_encoded(&self, _: u16, db: Db, resp: &[u8]) -> Appended {
        let mut batch = Batch::new();
        let _ = Parser::new().parse(resp, 1, &Limits::default(), &mut batch);
        assert_eq!(batch.len(), 1, "an effect is one request");
        let request = batch.view(batch.request(0), resp);
        Ok(self.push(&[(db, request.iter().map(<[u8]>::to_vec).collect())]))
    }

    fn append_atomic(&self, _: u16, effects: &[Effect]) -> Appended {
        Ok(self.push(effects))
    }

    fn write_up_to(&self, _: Position) {}

    fn poll(&self, _: Position, _: &Waker) -> Fate {
        Fate::Kept
    }
}
