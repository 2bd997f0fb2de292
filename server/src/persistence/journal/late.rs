//! [`LateJournal`]: the log of an engine that serves before its log is open.

use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;
use storage::Db;
use storage::journal::{Appended, Durability, Fate, Journal, Position, Refusal, Withholds};

/// Passes everything on to the log, once there is one. Until then the data are being loaded, all
/// writes are refused, and there is nothing to pass on.
#[derive(Default)]
pub(crate) struct LateJournal(OnceLock<Arc<dyn Journal>>);

/// The position that appending gives before there is a log.
const NOTHING: Appended = Ok(Position::log(0));

impl LateJournal {
    /// The log is open; once only. Has to happen before writes are let in.
    pub fn open(&self, journal: Arc<dyn Journal>) {
        let first = self.0.set(journal).is_ok();
        debug_assert!(first, "a log is opened once");
    }

    #[inline]
    fn get(&self) -> Option<&dyn Journal> {
        self.0.get().map(|journal| &**journal)
    }
}

impl Journal for LateJournal {
    #[inline]
    fn append(&self, slot: u16, db: Db, effect: &[&[u8]]) -> Appended {
        self.get().map_or(NOTHING, |journal| journal.append(slot, db, effect))
    }

    fn append_encoded(&self, slot: u16, db: Db, resp: &[u8]) -> Appended {
        self.get().map_or(NOTHING, |journal| journal.append_encoded(slot, db, resp))
    }

    fn append_atomic(&self, slot: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        self.get().map_or(NOTHING, |journal| journal.append_atomic(slot, effects))
    }

    fn admit(&self, slot: u16) -> Result<(), Refusal> {
        self.get().map_or(Ok(()), |journal| journal.admit(slot))
    }

    fn seen(&self, last: Position, fence: Option<u64>) -> Position {
        self.get().map_or(last, |journal| journal.seen(last, fence))
    }

    fn note(&self, text: &str) {
        self.get().into_iter().for_each(|journal| journal.note(text));
    }

    fn write_up_to(&self, position: Position) {
        if let Some(journal) = self.get() {
            journal.write_up_to(position);
        }
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        self.get().map_or(Fate::Kept, |journal| journal.poll(position, waker))
    }

    fn withholds(&self) -> Withholds {
        self.get().map_or(Withholds::Nothing, Journal::withholds)
    }

    fn sync(&self) -> storage::Result<()> {
        self.get().map_or(Ok(()), Journal::sync)
    }

    fn durability(&self) -> Durability {
        self.get().map_or(Durability::default(), Journal::durability)
    }

    fn set_durability(&self, durability: Durability) {
        if let Some(journal) = self.get() {
            journal.set_durability(durability);
        }
    }

    fn set_write_delay(&self, delay: Duration) {
        if let Some(journal) = self.get() {
            journal.set_write_delay(delay);
        }
    }

    fn failure(&self) -> Option<String> {
        self.get().and_then(Journal::failure)
    }

    fn backlog_bytes(&self) -> u64 {
        self.get().map_or(0, Journal::backlog_bytes)
    }

    fn stats(&self) -> Vec<(&'static str, String)> {
        self.get().map_or(Vec::new(), Journal::stats)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::testing::journals::journals;
    use storage::testing::scripted::Scripted;

    /// A log that was opened after the engine was made.
    fn opened() -> (Arc<LateJournal>, ()) {
        let late = LateJournal::default();
        late.open(Arc::new(Scripted::new(Withholds::Everything)));
        (Arc::new(late), ())
    }

    journals!(late, opened);
}
