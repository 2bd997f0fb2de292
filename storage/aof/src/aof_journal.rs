//! [`Aof`] as a [`Journal`].

use super::{Aof, encode};
use std::task::Waker;
use std::time::Duration;
use storage::Result;
use storage::journal::{Appended, Durability, Fate, Journal, Position, Withholds};
use storage::tx::Db;

/// The file is one stream, whatever the slot.
impl Journal for Aof {
    fn append(&self, _: u16, db: Db, effect: &[&[u8]]) -> Appended {
        Ok(self.syncer.log.append(db, |out| encode::command(out, effect)))
    }

    fn append_encoded(&self, _: u16, db: Db, resp: &[u8]) -> Appended {
        Ok(self.syncer.log.append(db, |out| out.extend_from_slice(resp)))
    }

    fn append_atomic(&self, _: u16, effects: &[(Db, Vec<Vec<u8>>)]) -> Appended {
        Ok(match effects {
            [] => self.syncer.log.end(),
            [(db, effect)] => self.syncer.log.append(*db, |out| encode::command(out, effect)),
            many => self.syncer.log.append_atomic(many),
        })
    }

    fn note(&self, text: &str) {
        self.syncer.log.note(text);
    }

    fn write_up_to(&self, position: Position) {
        self.syncer.log.write_up_to(position);
    }

    fn poll(&self, position: Position, waker: &Waker) -> Fate {
        self.syncer.poll(position, waker)
    }

    fn withholds(&self) -> Withholds {
        match self.syncer.durability() {
            Durability::Always => Withholds::Writes,
            Durability::EverySecond | Durability::Never => Withholds::Nothing,
        }
    }

    fn sync(&self) -> Result<()> {
        self.syncer.sync();
        match self.failure() {
            None => Ok(()),
            Some(text) => Err(storage::Error::backend(text)),
        }
    }

    fn durability(&self) -> Durability {
        self.syncer.durability()
    }

    fn set_durability(&self, durability: Durability) {
        self.syncer.set_durability(durability);
    }

    fn set_write_delay(&self, delay: Duration) {
        self.syncer.log.set_delay(delay);
    }

    fn failure(&self) -> Option<String> {
        self.syncer.log.health.text()
    }

    fn backlog_bytes(&self) -> u64 {
        self.syncer.log.backlog_bytes()
    }

    fn stats(&self) -> Vec<(&'static str, String)> {
        self.info()
    }
}
