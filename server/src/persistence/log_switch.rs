//! `CONFIG SET appendonly`: begins and ends the log of a running server.
//!
//! As in Redis, a log begins with a rewrite. Effects are logged from the moment of its cut, when
//! every shard is locked, so there is no gap between the new base and the effects appended behind
//! it. The file stays open when logging ends. It is outdated from then on, and replaced when
//! logging begins again.

use super::journal::late::LateJournal;
use super::{Persistence, journal};
use engine::Engine;
use engine::config::{Id, Value, by_id};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Follows `CONFIG SET appendonly` from now on. Without `late`, where a log would go, it is refused.
pub(crate) fn follow(persistence: &Arc<Persistence>, late: Option<Arc<LateJournal>>) {
    if let Some(late) = late {
        persistence.keep_late_journal(late);
    }
    let weak = Arc::downgrade(persistence);
    persistence.config.on_change(Box::new(move |id, value| {
        let (Id::Appendonly, Value::Number(wanted)) = (id, value) else { return Ok(()) };
        let Some(persistence) = weak.upgrade() else { return Ok(()) };
        let Some(engine) = persistence.engine() else { return Ok(()) };
        match (engine.is_logging(), *wanted != 0) {
            (false, true) => begin(&persistence, &engine),
            (true, false) => end(&persistence, &engine),
            _ => Ok(()),
        }
    }));
}

/// A storage that keeps its data relies on what its log says of it, all of the time.
fn check_storage(engine: &Engine) -> Result<(), String> {
    let storage = engine.backend.name();
    match engine.backend.persistent() {
        true => Err(format!(
            "with storage {storage} it can't be changed at runtime, only when the server starts"
        )),
        false => Ok(()),
    }
}

fn begin(persistence: &Persistence, engine: &Arc<Engine>) -> Result<(), String> {
    open(persistence, engine)?;
    persistence.begin_log(engine)
}

/// Whether a log can be written, be it on or off.
pub(super) fn check_possible(persistence: &Persistence, engine: &Engine) -> Result<(), String> {
    if engine.is_logging() {
        return Ok(());
    }
    check_storage(engine)?;
    let there = persistence.log().is_some() || persistence.late_journal().is_some();
    there
        .then_some(())
        .ok_or_else(|| "this binary writes no log: build it with `--features aof`".into())
}

/// Opens the log, if it is not open yet. Nothing is logged before a [`rewrite`] begins it.
pub(super) fn open(persistence: &Persistence, engine: &Engine) -> Result<(), String> {
    check_possible(persistence, engine)?;
    if let (None, Some(late)) = (persistence.log(), persistence.late_journal()) {
        let log = journal::open_late(&engine.config, persistence.dir())?;
        late.open(log.journal());
        persistence.keep_log(log);
    }
    Ok(())
}

/// Begins the rewrite that a log begins with: effects are logged from its cut on.
pub(super) fn rewrite(persistence: &Persistence, engine: &Arc<Engine>) -> Result<(), String> {
    let log = persistence.log().ok_or("The append only file is not open")?;
    let done = |engine: &Engine, rewritten: bool| {
        if !rewritten {
            engine.set_logging(false);
            // The value in force; the reason has been logged. A choice of two words is never
            // refused.
            let _ = engine.config.load(by_id(Id::Appendonly), &["no"]);
        } else if !engine.config.boolean(Id::Appendonly) {
            engine.set_logging(false);
        } else {
            engine.log_began();
        }
    };
    log.rewrite_then(engine, &persistence.saver.lock, Engine::begin_log, done)
}

fn end(persistence: &Persistence, engine: &Engine) -> Result<(), String> {
    check_storage(engine)?;
    persistence.scheduled.log.store(false, Ordering::SeqCst);
    persistence.scheduled.rewrite.store(false, Ordering::SeqCst);
    engine.set_logging(false);
    // Sessions that wait for a logged position are released, and logged effects are kept.
    persistence.log().map_or(Ok(()), |log| log.journal().sync().map_err(|error| error.to_string()))
}
