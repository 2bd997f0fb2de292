//! The fjall engine (3.1): a log-structured merge tree with keyspaces, atomic batches over them,
//! snapshots, and a real fsync.
//!
//! The table in memory keeps every version and every deletion of a record until it is written out,
//! at 64 MiB, and a scan visits all of them. With ten members whose scores had changed ten thousand
//! times, a scan took 5 ms. So if a scan takes too long for what it finds, the table of its space
//! is written out in the background, which keeps only the last version or deletion of each record.
//! Deletions disappear when tables are compacted; until then scans visit them.

use super::kv::{Batch, Frozen, OrderedKv, Read, SPACES_MAX, Space, VisitRecord, bounds, guarded};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use storage::{Error, Result};

/// A scan should not take longer than this, and as much again for each record.
const SCAN_TIME: Duration = Duration::from_millis(1);
const RECORD_TIME: Duration = Duration::from_micros(20);
/// Bytes in a space's table in memory from which it is worth writing out.
const TABLE_BYTES_MIN: u64 = 512 << 10;

/// An open fjall database.
pub struct FjallKv {
    db: Database,
    spaces: Vec<Keyspace>,
    /// Bytes written to each space since its table in memory was last written out for a scan.
    written: [AtomicU64; SPACES_MAX],
}

impl FjallKv {
    /// Opens or creates the database in `dir`, with one keyspace per name.
    ///
    /// # Errors
    /// Fails if the directory cannot be used, is open elsewhere, or is damaged.
    pub fn open(dir: &Path, cache_bytes: u64, names: &[&str]) -> Result<Self> {
        assert!(names.len() <= SPACES_MAX, "the number of spaces is fixed in the code");
        guarded("open", || {
            let named = |cause| Error::backend(format_args!("fjall {}: {cause}", dir.display()));
            let db = Database::builder(dir).cache_size(cache_bytes).open().map_err(named)?;
            let spaces = names
                .iter()
                .map(|name| db.keyspace(name, KeyspaceCreateOptions::default).map_err(named))
                .collect::<Result<Vec<_>>>()?;
            Ok(FjallKv { db, spaces, written: Default::default() })
        })
    }

    fn space(&self, space: Space) -> &Keyspace {
        &self.spaces[usize::from(space.0)]
    }

    /// Writes out a space's table in memory, if it is large enough.
    fn write_out(&self, space: Space) -> Result<()> {
        let written = &self.written[usize::from(space.0)];
        if written.load(Ordering::Relaxed) < TABLE_BYTES_MIN {
            return Ok(());
        }
        written.store(0, Ordering::Relaxed);
        guarded("rotate", || self.space(space).rotate_memtable().map_err(Error::backend))?;
        Ok(())
    }
}

/// Feeds an iterator of either direction to `visit`. Only the engine's step is guarded: a panic in
/// `visit` is the caller's.
fn feed(records: &mut dyn Iterator<Item = Guard>, visit: VisitRecord<'_>) -> Result<()> {
    loop {
        let record = guarded("scan", || {
            records.next().map(Guard::into_inner).transpose().map_err(Error::backend)
        })?;
        match record {
            Some((key, value)) if visit(&key, &value) => {}
            _ => return Ok(()),
        }
    }
}

impl Read for FjallKv {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        guarded("get", || {
            let value = self.space(space).get(key).map_err(Error::backend)?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let Some(bounds) = bounds(lo, hi) else { return Ok(()) };
        let (began, mut allowed) = (Instant::now(), SCAN_TIME);
        let counted: VisitRecord<'_> = &mut |key, value| {
            allowed += RECORD_TIME;
            visit(key, value)
        };
        let mut records = guarded("scan", || Ok(self.space(space).range::<&[u8], _>(bounds)))?;
        if reverse { feed(&mut records.rev(), counted) } else { feed(&mut records, counted) }?;
        if began.elapsed() > allowed { self.write_out(space) } else { Ok(()) }
    }
}

impl OrderedKv for FjallKv {
    fn name(&self) -> &'static str {
        "fjall"
    }

    fn chunk_bytes(&self) -> usize {
        64 << 10
    }

    fn write(&self, batch: Batch) -> Result<()> {
        guarded("write", || {
            let mut all = self.db.batch();
            for (space, key, value) in batch.into_changes() {
                let bytes = key.len() + value.as_ref().map_or(0, Vec::len);
                self.written[usize::from(space.0)].fetch_add(bytes as u64, Ordering::Relaxed);
                match value {
                    Some(value) => all.insert(self.space(space), key, value),
                    None => all.remove(self.space(space), key),
                }
            }
            all.commit().map_err(Error::backend)
        })
    }

    fn flush(&self) -> Result<()> {
        guarded("flush", || self.db.persist(PersistMode::SyncAll).map_err(Error::backend))
    }

    fn snapshot(&self) -> Option<Box<dyn Frozen>> {
        let snapshot = guarded("snapshot", || Ok(self.db.snapshot())).ok()?;
        Some(Box::new(FjallSnapshot { snapshot, spaces: self.spaces.clone() }))
    }

    fn disk_bytes(&self) -> u64 {
        guarded("stats", || self.db.disk_space().map_err(Error::backend)).unwrap_or(0)
    }

    fn details(&self) -> Vec<(&'static str, String)> {
        vec![
            ("fjall_write_buffer_bytes", self.db.write_buffer_size().to_string()),
            ("fjall_compactions_running", self.db.active_compactions().to_string()),
            ("fjall_compactions_completed", self.db.compactions_completed().to_string()),
            ("fjall_journals", self.db.journal_count().to_string()),
        ]
    }
}

/// Everything as it was when the snapshot was taken.
struct FjallSnapshot {
    snapshot: Snapshot,
    spaces: Vec<Keyspace>,
}

impl Read for FjallSnapshot {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>> {
        guarded("get", || {
            let space = &self.spaces[usize::from(space.0)];
            let value = self.snapshot.get(space, key).map_err(Error::backend)?;
            Ok(value.map(|value| value.to_vec()))
        })
    }

    fn scan(
        &self,
        space: Space,
        lo: &[u8],
        hi: &[u8],
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let Some(bounds) = bounds(lo, hi) else { return Ok(()) };
        let space = &self.spaces[usize::from(space.0)];
        let mut records = guarded("scan", || Ok(self.snapshot.range::<&[u8], _>(space, bounds)))?;
        if reverse { feed(&mut records.rev(), visit) } else { feed(&mut records, visit) }
    }
}
