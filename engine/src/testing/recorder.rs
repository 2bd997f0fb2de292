//! [`Recorder`]: a journal that only remembers.

use super::text::quote;
use crate::args::OwnedRequest;
use crate::engine::Engine;
use crate::replay::Replayer;
use parking_lot::Mutex;
use resp::{Batch, Limits, Parser};
use std::task::Waker;
use storage::journal::Durability;
use storage::{Db, Journal, Lsn};

/// One logged command and its database.
pub(super) type Effect = (Db, Vec<Vec<u8>>);

/// Keeps every effect in memory; all is durable at once.
#[derive(Default)]
pub struct Recorder {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    effects: Vec<Effect>,
    /// How many effects there are at the end of each record.
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

    /// Runs everything so far on another engine, as a start does: what was appended together, in
    /// one transaction.
    ///
    /// # Errors
    /// The effects that cannot be run again, and why.
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

    fn push(&self, effects: &[Effect]) -> Lsn {
        let mut inner = self.inner.lock();
        inner.effects.extend_from_slice(effects);
        let end = inner.effects.len();
        inner.ends.push(end);
        Lsn(end as u64)
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
    fn append(&self, db: Db, effect: &[&[u8]]) -> Lsn {
        self.push(&[(db, effect.iter().map(|arg| arg.to_vec()).collect())])
    }

    fn append_encoded(&self, db: Db, resp: &[u8]) -> Lsn {
        let mut batch = Batch::new();
        let _ = Parser::new().parse(resp, 1, &Limits::default(), &mut batch);
        assert_eq!(batch.len(), 1, "an effect is one request");
        let request = batch.view(batch.request(0), resp);
        self.push(&[(db, request.iter().map(<[u8]>::to_vec).collect())])
    }

    fn append_atomic(&self, effects: &[Effect]) -> Lsn {
        self.push(effects)
    }

    fn write_up_to(&self, _lsn: Lsn) {}

    fn poll_durable(&self, _lsn: Lsn, _waker: &Waker) -> storage::Result<bool> {
        Ok(true)
    }

    fn durability(&self) -> Durability {
        Durability::Never
    }

    fn set_durability(&self, _durability: Durability) {}

    fn failure(&self) -> Option<String> {
        None
    }

    fn backlog_bytes(&self) -> u64 {
        0
    }

    fn stats(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }
}
