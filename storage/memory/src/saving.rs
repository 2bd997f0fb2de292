//! [`Saving`]: what commands save for a snapshot, until its writer takes it.

use super::entry::Entry;
use super::object;
use super::table::Table;
use std::ops::Range;
use storage::rdb::Options;
use storage::tx::Db;
use storage::{Error, Result, SnapshotSink};

/// The number of bytes after which a slice ends; a batch of slices is written when it has as many.
pub const BYTES_PER_SLICE: usize = 256 << 10;

/// A database that did not exist at the cut.
pub const NO_DB: Db = Db::MAX;

/// Encoded entries, one after another.
#[derive(Debug, Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    records: Vec<Record>,
    /// An entry that could not be encoded: the snapshot fails.
    failure: Option<Error>,
}

#[derive(Debug)]
struct Record {
    db: Db,
    expiry_ms: Option<u64>,
    key: Range<usize>,
    value: Range<usize>,
}

impl Batch {
    /// Encodes an entry, which was in database `db` at the cut.
    pub fn add(&mut self, db: Db, entry: &Entry) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(entry.key());
        let middle = self.bytes.len();
        // Not compressed: this may happen within a command, which must not wait for it.
        let options = Options { compress: false, ..Options::default() };
        if let Err(error) = object::dump(entry, options, &mut self.bytes) {
            self.failure = Some(error);
            return;
        }
        let (key, value) = (start..middle, middle..self.bytes.len());
        self.records.push(Record { db, expiry_ms: entry.expiry(), key, value });
    }

    /// Whether there is nothing to be written, not even an error.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.failure.is_none()
    }

    /// Whether a slice that began with so many bytes in the batch ends.
    pub fn ends_slice(&self, began: usize) -> bool {
        self.bytes.len() - began >= BYTES_PER_SLICE
    }

    /// Hands everything to the sink.
    pub fn drain(self, sink: &mut dyn SnapshotSink) -> Result<()> {
        for Record { db, expiry_ms, key, value } in self.records {
            sink.entry(db, &self.bytes[key], expiry_ms, &self.bytes[value])?;
        }
        self.failure.map_or(Ok(()), Err)
    }
}

/// The state of a shard while a snapshot is not through with it.
#[derive(Debug, Default)]
pub struct Saving {
    /// Saved by commands.
    pub saved: Batch,
    /// Databases that were cleared, with the database they were at the cut.
    pub detached: Vec<(Db, Table)>,
    /// The snapshot was abandoned: bits are still brought up to date, nothing is saved.
    pub abandoned: bool,
}

impl Saving {
    /// Takes over a database that is being cleared.
    pub fn detach(&mut self, db: Db, table: Table) {
        self.detached.push((db, table));
    }

    /// Saves an entry that is about to change, which was in database `db` at the cut.
    pub fn save(&mut self, db: Db, entry: &Entry) {
        if !self.abandoned {
            self.saved.add(db, entry);
        }
    }
}
