//! Bringing the data back at start: from the log, or from a snapshot.

use super::journal::{self, Log};
use super::target::LoadTarget;
use super::{Persistence, snapshot};
use crate::StartError;
use crate::config::Loaded;
use engine::config::{Id, by_id};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::Existing;
use storage::rdb::Checksum;

/// Loading that takes longer is worth a line in the log.
const NOTEWORTHY: Duration = Duration::from_secs(1);

/// Whether a log is to be written. Without the feature, a wish for one is refused, and a default
/// gives way.
pub(crate) fn journal_wanted(loaded: &Loaded) -> Result<bool, StartError> {
    let wanted = loaded.store.boolean(Id::Appendonly);
    if !wanted || cfg!(feature = "aof") {
        return Ok(wanted);
    }
    if loaded.given.contains_key(&Id::Appendonly) {
        return Err(StartError::NotCompiledIn {
            directive: "appendonly",
            value: "yes".into(),
            feature: Some("aof"),
            available: vec!["no"],
        });
    }
    loaded.store.load(by_id(Id::Appendonly), &["no"]).map_err(StartError::Other)?;
    Ok(false)
}

/// Loads what an earlier run left, and opens the log, if there is to be one.
pub(crate) fn load(
    data: &LoadTarget,
    persistence: &Persistence,
    journal: bool,
) -> Result<Option<Log>, StartError> {
    if !journal {
        load_snapshot(data, persistence)?;
        return Ok(None);
    }
    let began = Instant::now();
    let (log, opened) = journal::open(data, persistence.dir())?;
    note("log", persistence.dir(), opened.keys + opened.commands, began.elapsed());
    persistence.loaded_keys.store(opened.keys, Ordering::Relaxed);
    *data.position.lock() = opened.position;
    // Redis would start empty here, and lose the snapshot at its next save.
    if opened.fresh && load_snapshot(data, persistence)? {
        log.rewrite_now(data).map_err(StartError::Other)?;
    }
    Ok(Some(log))
}

/// Loads the snapshot, if there is one, into a storage that does not keep data by itself; whether
/// it did.
fn load_snapshot(data: &LoadTarget, persistence: &Persistence) -> Result<bool, StartError> {
    let path = persistence.dir().join(&*data.config.text(Id::Dbfilename));
    if data.backend.persistent() || !path.exists() {
        return Ok(false);
    }
    let began = Instant::now();
    let databases = data.config.integer(Id::Databases) as u32;
    let mut libraries = Vec::new();
    let library = &mut |text: &[u8]| {
        libraries.push(text.to_vec());
        Ok(())
    };
    let (backend, checksum) = (&data.backend, Checksum::Compared);
    let loaded =
        snapshot::load(backend, databases, &path, unix_ms(), Existing::Replaced, checksum, library);
    let loaded = loaded.map_err(|error| StartError::other(format!("can't load {error}")))?;
    *data.libraries.lock() = libraries;
    *data.position.lock() = loaded.position;
    persistence.loaded_keys.store(loaded.keys, Ordering::Relaxed);
    persistence.loaded_expired.store(loaded.expired, Ordering::Relaxed);
    note("snapshot", &path, loaded.keys, began.elapsed());
    Ok(true)
}

/// Logs what was loaded; at the level of ordinary lines only if it took long.
fn note(what: &str, path: &Path, count: u64, took: Duration) {
    let text = format!("{what} in {} loaded: {count} entries in {took:.1?}", path.display());
    match took >= NOTEWORTHY {
        true => tracing::info!("{text}"),
        false => tracing::debug!("{text}"),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
