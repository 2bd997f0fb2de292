//! Bringing the data back at start: from the log, or from a snapshot.

use crate::StartError;
use crate::config::Loaded;
use crate::host::Process;
use crate::journal::Log;
use crate::snapshot;
use engine::command::Spec;
use engine::config::{ConfigStore, Id, by_id};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use storage::Backend;

/// Loading that takes longer is worth a line in the log.
const NOTEWORTHY: Duration = Duration::from_secs(1);

/// What data are loaded into.
pub(crate) struct Data {
    pub backend: Arc<dyn Backend>,
    pub config: Arc<ConfigStore>,
    pub commands: Vec<&'static [Spec]>,
}

/// Whether a log is to be written. Without the feature, a wish for one is refused, and a default
/// gives way.
pub(crate) fn journal_wanted(loaded: &Loaded) -> Result<bool, StartError> {
    let wanted = loaded.store.boolean(Id::Appendonly);
    if !wanted || cfg!(feature = "aof") {
        return Ok(wanted);
    }
    if loaded.given.contains(&Id::Appendonly) {
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

/// Loads what an earlier run left, and opens the log.
pub(crate) fn load(data: &Data, process: &Process, _journal: bool) -> Result<Log, StartError> {
    load_snapshot(data, process)?;
    process.set_loading(false);
    Ok(Log::default())
}

/// Loads the snapshot, if there is one, into a storage that does not keep data by itself.
fn load_snapshot(data: &Data, process: &Process) -> Result<(), StartError> {
    let path = process.dir.join(&*data.config.text(Id::Dbfilename));
    if data.backend.persistent() || !path.exists() {
        return Ok(());
    }
    let began = Instant::now();
    let databases = data.config.integer(Id::Databases) as u32;
    let loaded = snapshot::load(&*data.backend, databases, &path, unix_ms());
    let loaded = loaded.map_err(|error| StartError::other(format!("can't load {error}")))?;
    process.loaded_keys.store(loaded.keys, Ordering::Relaxed);
    process.loaded_expired.store(loaded.expired, Ordering::Relaxed);
    note("snapshot", &path, loaded.keys, began.elapsed());
    Ok(())
}

/// Says what was loaded; in the log's ordinary lines only when it took long.
fn note(what: &str, path: &Path, count: u64, took: Duration) {
    let text = format!("{what} {} loaded: {count} keys in {took:.1?}", path.display());
    match took >= NOTEWORTHY {
        true => tracing::info!("{text}"),
        false => tracing::debug!("{text}"),
    }
}

fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
