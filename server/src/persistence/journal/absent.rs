//! The log of a server without the feature `aof`: there is none.

use crate::StartError;
use crate::persistence::snapshot::Saver;
use crate::persistence::target::LoadTarget;
use engine::Engine;
use engine::config::ConfigStore;
use parking_lot::Mutex;
use runtime::Clock;
use std::path::Path;
use std::sync::Arc;
use storage::Journal;

/// Never one; `appendonly yes` was refused before.
pub(crate) enum Log {}

/// Refuses.
pub(crate) fn open(_data: &LoadTarget, _dir: &Path) -> Result<(Log, Opened), StartError> {
    Err(StartError::other("this binary writes no log: build it with `--features aof`"))
}

/// Refuses.
pub(crate) fn open_late(_config: &ConfigStore, _dir: &Path) -> Result<Log, String> {
    Err("this binary writes no log: build it with `--features aof`".into())
}

/// The contents of the log that was opened.
pub(crate) struct Opened {
    pub fresh: bool,
    pub keys: u64,
    pub commands: u64,
    pub position: Option<engine::replication::Cut>,
}

impl Log {
    pub fn journal(&self) -> Arc<dyn Journal> {
        match *self {}
    }

    pub fn observe(&self, _engine: &Engine, _clock: Clock, _saver: &Arc<Saver>) {
        match *self {}
    }

    pub fn is_rewriting(&self) -> bool {
        match *self {}
    }

    pub fn rewrite(&self, _engine: &Arc<Engine>, _lock: &Arc<Mutex<()>>) -> Result<(), String> {
        match *self {}
    }

    pub fn rewrite_then(
        &self,
        _engine: &Arc<Engine>,
        _lock: &Arc<Mutex<()>>,
        _at_cut: impl Fn(&Engine) + Send + 'static,
        _done: impl FnOnce(&Engine, bool) + Send + 'static,
    ) -> Result<(), String> {
        match *self {}
    }

    pub fn reload(
        &self,
        _engine: &Engine,
        _empty: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        match *self {}
    }

    pub fn rewrite_now(&self, _data: &LoadTarget) -> Result<(), String> {
        match *self {}
    }

    pub fn rewrite_when_due(&self, _engine: &Arc<Engine>, _lock: &Arc<Mutex<()>>, _clock: Clock) {
        match *self {}
    }

    pub fn close(&self, _engine: &Engine) -> Result<(), String> {
        match *self {}
    }
}
