//! [`LateJournal`]: the log of an engine that serves before its log is open.

use std::sync::{Arc, OnceLock};
use std::task::Waker;
use std::time::Duration;
use storage::journal::Durability;
use storage::{Db, Journal, Lsn};

/// Passes everything on to the log, once there is one. Until then the data are being loaded, all
/// writes are refused, and there is nothing to pass on.
#[derive(Default)]
pub(crate) struct LateJournal(OnceLock<Arc<dyn Journal>>);

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
    fn append(&self, db: Db, effect: &[&[u8]]) -> Lsn {
        self.get().map_or(Lsn(0), |journal| journal.append(db, effect))
    }

    fn append_encoded(&self, db: Db, resp: &[u8]) -> Lsn {
        self.get().map_or(Lsn(0), |journal| journal.append_encoded(db, resp))
    }

    fn append_atomic(&self, effects: &[(Db, Vec<Vec<u8>>)]) -> Lsn {
        self.get().map_or(Lsn(0), |journal| journal.append_atomic(effects))
    }

    fn note(&self, text: &str) {
        self.get().into_iter().for_each(|journal| journal.note(text));
    }

    fn write_up_to(&self, lsn: Lsn) {
        if let Some(journal) = self.get() {
            journal.write_up_to(lsn);
        }
    }

    fn poll_durable(&self, lsn: Lsn, waker: &Waker) -> storage::Result<bool> {
        self.get().map_or(Ok(true), |journal| journal.poll_durable(lsn, waker))
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
