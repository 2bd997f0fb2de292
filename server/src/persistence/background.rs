//! Background work that excludes each other: writing a snapshot, and rewriting the append-only
//! file. As in Redis, a request for one during the other is scheduled.

use super::{Persistence, log_switch};
use engine::Engine;
use engine::host::{Begun, When};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const SAVING: &str = "Background save already in progress";
const REWRITING: &str = "Background append only file rewriting already in progress";
const NOT_WITH_REWRITE: &str = "Another child process is active (AOF?): can't BGSAVE right now. \
    Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.";

impl Persistence {
    /// `BGSAVE`.
    pub fn begin_save(&self, engine: &Arc<Engine>, when: When) -> Result<Begun, String> {
        let _deciding = self.scheduled.deciding.lock();
        if self.saver.is_running() {
            return Err(SAVING.into());
        }
        if when == When::Later || (self.is_rewriting() && when == When::Soon) {
            self.scheduled.save.store(true, Ordering::SeqCst);
            return Ok(Begun::Scheduled);
        }
        if self.is_rewriting() {
            return Err(NOT_WITH_REWRITE.into());
        }
        self.saver.save_in_background(engine).map(|()| Begun::Started)
    }

    /// `BGREWRITEAOF`.
    pub fn begin_rewrite(&self, engine: &Arc<Engine>, when: When) -> Result<Begun, String> {
        let _deciding = self.scheduled.deciding.lock();
        if self.is_rewriting() {
            return Err(REWRITING.into());
        }
        log_switch::check_possible(self, engine)?;
        // Writing the base of a log is also a snapshot.
        let soon = self.saver.is_running() || self.scheduled.log.load(Ordering::SeqCst);
        if when == When::Later || soon {
            self.scheduled.rewrite.store(true, Ordering::SeqCst);
            return Ok(Begun::Scheduled);
        }
        self.rewrite(engine).map(|()| Begun::Started)
    }

    /// Rewrites the log. As in Redis this does not require `appendonly`: without it, the current
    /// data are written, and nothing is appended afterwards.
    fn rewrite(&self, engine: &Arc<Engine>) -> Result<(), String> {
        match self.log().filter(|_| engine.is_logging()) {
            Some(log) => log.rewrite(engine, &self.saver.lock),
            None => log_switch::open(self, engine).and_then(|()| log_switch::rewrite(self, engine)),
        }
    }

    /// The rewrite that a log begins with. One that is under way cannot serve: what happened since its
    /// cut is in no log.
    pub fn begin_log(&self, engine: &Arc<Engine>) -> Result<(), String> {
        let _deciding = self.scheduled.deciding.lock();
        if self.is_rewriting() || self.saver.is_running() {
            tracing::info!(
                "the append-only file was enabled while another background operation is under way: \
                 a rewrite is scheduled"
            );
            self.scheduled.log.store(true, Ordering::SeqCst);
            return Ok(());
        }
        log_switch::rewrite(self, engine)
    }

    /// Begins background work that is due: scheduled work, a snapshot, a rewrite of the log. To be
    /// called now and then.
    pub fn keep_house(&self) {
        self.begin_scheduled();
        self.save_when_due();
        self.rewrite_when_due();
    }

    /// Begins scheduled work, once it can.
    fn begin_scheduled(&self) {
        let Some(engine) = self.engine() else { return };
        let _deciding = self.scheduled.deciding.lock();
        if self.is_rewriting() || self.saver.is_running() {
            return;
        }
        let taken = |flag: &AtomicBool| flag.swap(false, Ordering::SeqCst);
        let begun = if taken(&self.scheduled.log) {
            log_switch::rewrite(self, &engine)
        } else if taken(&self.scheduled.rewrite) {
            self.rewrite(&engine)
        } else if taken(&self.scheduled.save) {
            self.saver.save_in_background(&engine)
        } else {
            return;
        };
        if let Err(error) = begun {
            tracing::warn!(error, "scheduled work in the background could not begin");
        }
    }

    /// Begins a `save` if one of the configured conditions holds.
    fn save_when_due(&self) {
        let Some(engine) = self.engine() else { return };
        let state = self.saver.state();
        // After a failure Redis waits five seconds before it tries again.
        let retry = state.last_ok || state.last_try.is_none_or(|at| at.elapsed().as_secs() >= 5);
        let rewriting = self.is_rewriting();
        if state.running_since.is_some() || rewriting || !retry {
            return;
        }
        let changes = engine.observe.stats.unsaved_changes();
        let since = state.last_try.unwrap_or(self.started).elapsed().as_secs();
        let due = self
            .config
            .save_points()
            .into_iter()
            .find(|point| changes >= point.changes && since > point.seconds);
        if let Some(point) = due {
            tracing::info!("{} changes in {} seconds: saving", point.changes, point.seconds);
            // A failure to begin is logged, and it is tried again.
            if let Err(error) = self.saver.save_in_background(&engine) {
                tracing::warn!(error, "saving could not begin");
            }
        }
    }

    /// Begins a rewrite of the log if it has grown enough.
    fn rewrite_when_due(&self) {
        if let (Some(log), Some(engine)) = (self.log(), self.engine())
            && engine.is_logging()
            && !self.saver.is_running()
        {
            log.rewrite_when_due(&engine, &self.saver.lock, self.clock);
        }
    }
}
