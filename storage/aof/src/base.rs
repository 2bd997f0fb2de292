//! The base: the state before the first increment, as an RDB file, or as whatever Redis left: a
//! RESP file, or RESP behind an RDB preamble.

use super::Replay;
use super::error::LoadError;
use super::file::{Files, Sequential};
use super::replay::{FileReplay, Outcome, replay_file};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};
use storage::backend::{Snapshot, SnapshotSink};
use storage::rdb::{self, Item, RdbError, Reader, Writer};
use storage::tx::Db;
use storage::{Error, Result};

/// Bytes read at a time.
const READ_BUFFER: usize = 1 << 20;
/// The beginning of every RDB file.
const MAGIC: &[u8] = b"REDIS";

/// Loads a base of any kind. Entries of RDB are counted in the first figure.
///
/// # Errors
/// Fails if the file is damaged. Only a RESP part can have a torn tail, see [`Outcome`].
pub(super) fn load(path: &Path, replay: &mut dyn Replay) -> Result<(u64, Outcome), LoadError> {
    let io = |error| LoadError::of(path, error);
    let mut file = BufReader::with_capacity(READ_BUFFER, File::open(path).map_err(io)?);
    if !file.fill_buf().map_err(io)?.starts_with(MAGIC) {
        return Ok((0, replay_file(path, 0, replay)?));
    }
    let rdb_error = |error: RdbError| rdb_error(path, &error);
    let mut reader = Reader::new(file).map_err(rdb_error)?;
    let mut entries = 0;
    while let Some(item) = reader.next().map_err(rdb_error)? {
        let at = reader.offset();
        let refused = |cause| LoadError::at(path, at, cause);
        match item {
            Item::KeyValue(entry) => {
                entries += 1;
                replay.entry(entry).map_err(refused)?;
            }
            Item::Function(code) => replay.function(&code).map_err(refused)?,
            _ => {}
        }
    }
    let offset = reader.offset();
    replay.base_loaded().map_err(|cause| LoadError::at(path, offset, cause))?;
    let rest = reader.into_inner().map_err(rdb_error)?;
    let outcome = FileReplay::new(path, 0, offset, replay).run(rest)?;
    Ok((entries, outcome))
}

fn rdb_error(path: &Path, error: &RdbError) -> LoadError {
    LoadError::at(path, error.offset, error)
}

/// An RDB file that a snapshot is written to.
struct BaseSink {
    writer: Writer<Sequential>,
    db: Option<Db>,
}

impl SnapshotSink for BaseSink {
    fn entry(&mut self, db: Db, key: &[u8], expiry_ms: Option<u64>, value: &[u8]) -> Result<()> {
        if self.db != Some(db) {
            self.writer.select_db(u64::from(db)).map_err(Error::backend)?;
            self.db = Some(db);
        }
        self.writer.encoded_entry(key, expiry_ms, value).map_err(Error::backend)
    }
}

/// Writes and syncs a base; `None` writes one of an empty server. Returns its length in bytes.
///
/// # Errors
/// Fails if the snapshot or the disk does.
pub(super) fn write(
    files: &dyn Files,
    path: &Path,
    snapshot: Option<Box<dyn Snapshot>>,
    libraries: &[Vec<u8>],
) -> Result<u64> {
    let file = Sequential::create(files, path).map_err(Error::backend)?;
    let mut writer = Writer::new(file, rdb::Options::default());
    header(&mut writer, libraries).map_err(Error::backend)?;
    let mut sink = BaseSink { writer, db: None };
    if let Some(snapshot) = snapshot {
        snapshot.write(&mut sink)?;
    }
    let file = sink.writer.finish().map_err(Error::backend)?;
    file.sync().map_err(Error::backend)?;
    Ok(std::fs::metadata(path).map_err(Error::backend)?.len())
}

/// The remarks that Redis writes at the front of a base, and the function libraries.
fn header(writer: &mut Writer<Sequential>, libraries: &[Vec<u8>]) -> std::io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    writer.aux(b"redis-ver", b"7.2.0")?;
    writer.aux(b"redis-bits", b"64")?;
    writer.aux(b"ctime", now.to_string().as_bytes())?;
    writer.aux(b"aof-base", b"1")?;
    libraries.iter().try_for_each(|code| writer.function(code))
}
