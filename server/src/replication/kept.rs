//! The position of the data on disk in a replication stream, which is saved when the server ends in
//! an orderly way, so that the next start continues from there. A snapshot file contains its
//! position; this is for a log, and for persistent storages.

use engine::Engine;
use engine::replication::Cut;
use engine::replication::wire::Id;
use std::fs;
use std::path::{Path, PathBuf};

/// The file's name, in the data folder.
const NAME: &str = "replication.position";

fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// The position behind everything logged, zero without a log. Data and log that were changed since the
/// file was written have another.
fn logged(engine: &Engine) -> u64 {
    let end = engine.logging_journal().and_then(|journal| journal.append_atomic(0, &[]).ok());
    end.map_or(0, |position| position.seq)
}

fn is_kept(engine: &Engine) -> bool {
    engine.is_logging() || engine.backend.persistent()
}

/// Writes the position, when everything else is written.
pub(crate) fn keep(engine: &Engine, dir: &Path) {
    let out = &engine.replication.out;
    // A replica that has not got all data is at no position.
    let is_some =
        out.is_active() && (!engine.is_replica() || engine.replication.resume().is_some());
    if !is_some || !is_kept(engine) {
        return;
    }
    let Cut { id, position, db } = out.cut(false);
    let text = format!("{id} {position} {db} {}\n", logged(engine));
    if let Err(error) = crate::config::replace_file(&path(dir), text.as_bytes()) {
        tracing::warn!(%error, "the position in the replication stream is not kept");
    }
}

/// Reads the position, if it is that of the data, and forgets it: they are about to change.
pub(super) fn take(engine: &Engine, dir: &Path) -> Option<Cut> {
    let text = fs::read_to_string(path(dir)).ok()?;
    fs::remove_file(path(dir)).ok()?;
    let mut words = text.split_ascii_whitespace();
    let id = Id::parse(words.next()?.as_bytes())?;
    let mut number = || words.next()?.parse::<u64>().ok();
    let (position, db, at) = (number()?, number()?, number()?);
    let cut = Cut { id, position, db: u32::try_from(db).ok()? };
    (is_kept(engine) && at == logged(engine)).then_some(cut)
}
