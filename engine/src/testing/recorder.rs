//! [`Recorder`]: a journal that only remembers.

use super::text::quote;
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
    taken: usize,
}

impl Recorder {
    /// Every effect so far.
    pub(super) fn all(&self) -> Vec<Effect> {
        self.inner.lock().effects.clone()
    }

    /// Effects since the last call.
    pub(super) fn take(&self) -> Vec<Effect> {
        let mut inner = self.inner.lock();
        let fresh = inner.effects[inner.taken..].to_vec();
        inner.taken = inner.effects.len();
        fresh
    }

    fn push(&self, effect: Effect) -> Lsn {
        let mut inner = self.inner.lock();
        inner.effects.push(effect);
        Lsn(inner.effects.len() as u64)
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
        self.push((db, effect.iter().map(|arg| arg.to_vec()).collect()))
    }

    fn append_encoded(&self, db: Db, resp: &[u8]) -> Lsn {
        let mut batch = Batch::new();
        let _ = Parser::new().parse(resp, 1, &Limits::default(), &mut batch);
        assert_eq!(batch.len(), 1, "an effect is one request");
        let request = batch.view(batch.request(0), resp);
        self.push((db, request.iter().map(<[u8]>::to_vec).collect()))
    }

    fn append_atomic(&self, effects: &[Effect]) -> Lsn {
        effects.iter().map(|effect| self.push(effect.clone())).max().unwrap_or_default()
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
