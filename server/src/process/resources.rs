//! The effects of a changed directive on the process around the engine: file descriptors for
//! `maxclients`, threads of the runtime, and refusals of changes that are impossible while running.

use super::Process;
use crate::system::raise_open_files;
use engine::config::{ConfigStore, Id, Value, by_id};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// The number of file descriptors besides those of clients: listeners, pollers, data files, the
/// log.
pub(crate) const RESERVED_FILES: u64 = 128;

/// Raises the limit of open files for `maxclients`. If that is not enough, lowers `maxclients`, as
/// Redis does.
pub(crate) fn fit_maxclients(config: &ConfigStore) {
    let wanted = config.integer(Id::Maxclients) as u64;
    let possible = clients_possible(wanted);
    if possible >= wanted {
        return;
    }
    tracing::warn!(
        "the limit of open files allows {possible} clients: maxclients is {possible} instead of \
         {wanted} (raise it with `ulimit -n`)"
    );
    // A number within the directive's bounds is never refused.
    let _ = config.load(by_id(Id::Maxclients), &[&possible.to_string()]);
}

/// Raises the limit of open files, and returns the number of clients, at most `wanted`, that it
/// permits then.
fn clients_possible(wanted: u64) -> u64 {
    match raise_open_files(wanted + RESERVED_FILES) {
        Ok(files) => files.saturating_sub(RESERVED_FILES).clamp(1, wanted),
        Err(error) => {
            tracing::warn!(%error, "can't read the limit of open files");
            wanted
        }
    }
}

/// Applies later `CONFIG SET`s.
pub(crate) fn follow(process: &Arc<Process>) {
    let weak = Arc::downgrade(process);
    process.config.on_change(Box::new(move |id, value| changed(&weak, id, value)));
}

fn changed(process: &Weak<Process>, id: Id, value: &Value) -> Result<(), String> {
    let Some(process) = process.upgrade() else { return Ok(()) };
    match (id, value) {
        (Id::Maxclients, Value::Number(wanted)) => {
            let wanted = *wanted as u64;
            match clients_possible(wanted) {
                possible if possible < wanted => Err(format!(
                    "The operating system is not able to handle the specified number of \
                     clients, try with {possible}"
                )),
                _ => Ok(()),
            }
        }
        (Id::Threads, _) => {
            let threads =
                crate::choices::runtimes::thread_count(process.runtime.name(), &process.config);
            process.runtime.resize(threads).map_err(|error| error.to_string())
        }
        (Id::ShutdownDrainTimeout, Value::Number(seconds)) => {
            process.shutdown.set_drain_timeout(Duration::from_secs(*seconds as u64));
            Ok(())
        }
        (Id::Dir, Value::Text(new))
            if std::path::Path::new(&**new) != process.persistence.dir() =>
        {
            Err("the data folder can't change while the server runs".into())
        }
        _ => Ok(()),
    }
}
