//! The implementation of commands about the process around the engine (`SHUTDOWN`, `SAVE`,
//! `CONFIG REWRITE`, `DEBUG RELOAD` …).

use super::{Process, info, peers};
use crate::config;
use crate::error::plain;
use crate::persistence::replacing::{clear, load};
use crate::persistence::snapshot::snapshot_path;
use crate::system::{self, fail_stop, mallctl};
use engine::config::Id;
use engine::gate::Gate;
use engine::host::{Begun, End, When};
use engine::observe::figures::Sheet;
use engine::peers::{Answers, Errand, PeerError, Requests, Target};
use engine::{Engine, Host};
use runtime::Now;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use storage::Existing;

impl Process {
    /// The engine, if its data may be replaced from here.
    fn replaceable(&self) -> Result<Arc<Engine>, String> {
        let engine = self.loaded()?;
        match engine.is_in_cluster() {
            true => Err("in a cluster the data are what the group agreed on".into()),
            false => Ok(engine),
        }
    }

    /// Deletes the data and loads them again from the log (`DEBUG LOADAOF`). If the log turns out
    /// to be unreadable, it is the only place with the data and nothing may be written over it, so
    /// the server ends, as Redis does.
    fn reload_log(&self, engine: &Engine) -> Result<(), String> {
        let log = self.persistence.log().filter(|_| engine.is_logging());
        let log = log.ok_or("The append only file is disabled")?;
        if engine.backend.persistent() {
            let name = engine.backend.name();
            return Err(format!(
                "The append only file does not hold all of what storage {name} has"
            ));
        }
        engine.set_gate(Gate::LOADING, true);
        let mut emptied = false;
        let reloaded = log.reload(engine, &mut || {
            emptied = true;
            clear(engine)
        });
        if let (Err(error), true) = (&reloaded, emptied) {
            tracing::error!(error, "the log cannot be read again: the server ends");
            self.shutdown.request();
            return reloaded;
        }
        engine.set_gate(Gate::LOADING, false);
        reloaded
    }
}

impl Process {
    /// Replaces this program by the same one with the same arguments, which closes everything that
    /// is open. Returns only if that is not possible, with the reason.
    fn restart_now(&self, graceful: bool) -> String {
        if graceful && let Err(error) = self.write_everything() {
            return error;
        }
        tracing::warn!(graceful, "the server begins anew: a client asked for it");
        let program = std::env::current_exe().unwrap_or_default();
        Command::new(program).args(std::env::args_os().skip(1)).exec().to_string()
    }

    /// Writes configuration, data and log, each to its place.
    fn write_everything(&self) -> Result<(), String> {
        let engine = self.loaded()?;
        if self.file.is_some() {
            self.rewrite_config(false)?;
        }
        if !self.config.save_points().is_empty() {
            self.persistence.saver.save(&engine)?;
        }
        self.persistence.close(&engine)
    }
}

impl Host for Process {
    fn time_us(&self, _: Now) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.as_micros() as u64
    }

    fn shutdown(&self, end: End) -> Result<bool, String> {
        self.begin_end(end)
    }

    fn shutdown_is_under_way(&self) -> Result<(), String> {
        self.end_is_pending()
    }

    fn abort_shutdown(&self) -> Result<(), String> {
        self.abort_end()
    }

    fn exchange(&self, target: &Target<'_>, requests: &Requests) -> Answers {
        match self.engine() {
            Some(engine) => peers::exchange(&engine.peers.breakers, self.clock, target, requests),
            None => Answers::none(PeerError::Connecting),
        }
    }

    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        match self.engine() {
            Some(engine) => self.errands.run(errand, &engine, self.clock),
            None => Err(errand),
        }
    }

    fn save(&self) -> Result<(), String> {
        self.persistence.saver.save(&self.loaded()?)
    }

    fn save_in_background(&self, when: When) -> Result<Begun, String> {
        self.persistence.begin_save(&self.loaded()?, when)
    }

    fn rewrite_journal(&self, when: When) -> Result<Begun, String> {
        self.persistence.begin_rewrite(&self.loaded()?, when)
    }

    fn fail_stop(&self, cause: &str) {
        tracing::error!(
            cause,
            "data and log may not agree: the server ends at once, and the next start has what is logged"
        );
        fail_stop::end(self.persistence.log().map(|log| log.journal()));
    }

    fn rewrite_config(&self, all: bool) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err("The server is running without a config file".into());
        };
        let engine = self.alive()?;
        // With an `aclfile`, users are kept there.
        let users = match self.config.text(Id::Aclfile).is_empty() {
            true => engine.acl.user_lines(),
            false => Vec::new(),
        };
        config::rewrite(file, &self.config, &users, all).map_err(|error| {
            tracing::warn!(%error, "CONFIG REWRITE failed");
            format!("Rewriting config file: {}", plain(&error))
        })
    }

    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| plain(&error))
    }

    fn write_acl_file(&self, path: &str, text: &[u8]) -> Result<(), String> {
        config::replace_file(Path::new(path), text).map_err(|error| error.to_string())
    }

    fn fill_random(&self, bytes: &mut [u8], _: &mut dyn FnMut() -> u64) -> Result<(), String> {
        system::fill_random(bytes).map_err(|error| format!("ERR no randomness: {error}"))
    }

    fn reload(&self, from_journal: bool) -> Result<(), String> {
        let engine = self.replaceable()?;
        let _one = self.busy.lock();
        if from_journal {
            return self.reload_log(&engine);
        }
        self.persistence.saver.save(&engine)?;
        clear(&engine)?;
        let path = snapshot_path(&engine);
        load(&engine, &path, Existing::Replaced)
    }

    fn restart(&self, graceful: bool, delay: Duration) {
        std::thread::sleep(delay);
        let error = self.restart_now(graceful);
        tracing::error!(error, "the server cannot be restarted");
    }

    fn allocator_number(&self, name: &[u8], new: Option<i64>) -> Result<Option<i64>, String> {
        mallctl::number(name, new)
    }

    fn allocator_text(&self, name: &[u8], new: Option<&[u8]>) -> Result<Option<Vec<u8>>, String> {
        mallctl::text(name, new)
    }

    fn allocator_report(&self) -> Option<String> {
        (self.allocator.report)()
    }

    fn crash(&self, why: &str) -> &'static str {
        tracing::error!("the server ends at once: a client asked for DEBUG {why}");
        std::process::abort()
    }

    fn load_snapshot(&self, keep: bool, merge: bool) -> Result<(), String> {
        let engine = self.replaceable()?;
        let _one = self.busy.lock();
        if !keep {
            clear(&engine)?;
        }
        let path = snapshot_path(&engine);
        load(&engine, &path, if keep && !merge { Existing::Refused } else { Existing::Replaced })
    }

    fn follow(&self, source: Option<(&str, u16)>, generation: u64) {
        self.replicator.follow(source, generation);
    }

    fn begin_sync(&self) {
        self.replicator.begin_sync();
    }

    fn sleep(&self, time: Duration) {
        std::thread::sleep(time);
    }

    fn figures(&self, section: &str, sheet: &mut Sheet) {
        info::section(self, section, sheet);
    }

    fn memory_used(&self) -> u64 {
        let allocated = (self.allocator.figures)().allocated;
        self.note_memory(allocated);
        allocated
    }

    fn allocated_here(&self) -> i64 {
        (self.allocator.here)()
    }
}
