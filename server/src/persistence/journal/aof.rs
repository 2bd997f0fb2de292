//! The append-only file as the server's log.

use super::latency::LatencyObserver;
use super::loader;
use crate::StartError;
use crate::persistence::snapshot::Saver;
use crate::persistence::target::LoadTarget;
use crate::system::{self, cores};
use engine::config::{ConfigStore, Id};
use engine::peers::breaker::State;
use engine::peers::breakers::{Breakers, Kind};
use engine::replication::Cut;
use engine::tuning::durability;
use engine::{Engine, Environment, NoHost, Parts};
use parking_lot::Mutex;
use runtime::{Clock, Now};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use storage::rdb::KeyValue;
use storage::{Journal, Position};
use storage_aof::{Aof, Command, Options, Refused, Replay};

/// Held while a snapshot of the storage is taken.
type SnapshotLock = Arc<Mutex<()>>;

/// A log that is open.
pub(crate) struct Log {
    aof: Arc<Aof>,
    rewriting: Arc<AtomicBool>,
}

/// The contents of the log that was opened.
pub(crate) struct Opened {
    /// There was no log, and one was begun.
    pub fresh: bool,
    /// Keys of its base.
    pub keys: u64,
    /// Commands behind it.
    pub commands: u64,
    /// The position of its data in a replication stream, if it records one.
    pub position: Option<Cut>,
}

/// Loads the log into the storage and opens it for appending; begins one if there is none.
pub(crate) fn open(data: &LoadTarget, dir: &Path) -> Result<(Log, Opened), StartError> {
    let engine = loading_engine(data)?;
    let options = Options {
        image: data.backend.persistent().then(|| data.backend.clone()),
        ..options(&data.config, dir)
    };
    let (opened, trail) = loader::load(&engine, |loader| Aof::open(options, loader));
    let (aof, loaded) = opened.map_err(StartError::other)?;
    *data.libraries.lock() = engine.scripting.library_texts();
    let (keys, commands) = (loaded.entries, loaded.commands);
    let log = Log { aof, rewriting: Arc::default() };
    let position = trail.cut().filter(|_| !loaded.image_ahead);
    Ok((log, Opened { fresh: loaded.fresh, keys, commands, position }))
}

/// How a log is opened, in front of a storage that keeps nothing.
fn options(config: &Arc<ConfigStore>, dir: &Path) -> Options {
    let own = config.clone();
    Options {
        sync_begins: Box::new(move || cores::pin_background(&own, Id::BioCpulist)),
        appenddirname: config.text(Id::Appenddirname).to_string(),
        filename: config.text(Id::Appendfilename).to_string(),
        durability: durability(config.choice(Id::Appendfsync)),
        load_truncated: config.boolean(Id::AofLoadTruncated),
        ..Options::new(dir)
    }
}

/// Opens a log for a server that has run without one. Its contents are from an earlier run, and are
/// replaced by the first rewrite.
pub(crate) fn open_late(config: &Arc<ConfigStore>, dir: &Path) -> Result<Log, String> {
    let opened = Aof::open(options(config, dir), &mut Passed);
    let (aof, _) = opened.map_err(|error| error.to_string())?;
    Ok(Log { aof, rewriting: Arc::default() })
}

/// Ignores the contents of a log.
struct Passed;

impl Replay for Passed {
    fn entry(&mut self, _: KeyValue) -> Result<(), String> {
        Ok(())
    }

    fn function(&mut self, _: &[u8]) -> Result<(), String> {
        Ok(())
    }

    fn commands(&mut self, _: Position, _: u64, _: &[Command<'_>]) -> Result<(), Refused> {
        Ok(())
    }
}

/// An engine that only runs logged effects: the serving one is made with the opened log.
fn loading_engine(data: &LoadTarget) -> Result<Arc<Engine>, StartError> {
    let engine = Engine::new(Parts {
        backend: data.backend.clone(),
        journal: None,
        config: data.config.clone(),
        commands: data.commands.clone(),
        environment: Environment {
            stopwatch: system::stopwatch,
            seed: 0,
            started: Now::default(),
            host: Arc::new(NoHost),
        },
    });
    engine.map_err(StartError::other)
}

/// The condition of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    Sound,
    /// A write fails, which the log itself repeats every second; or a rewrite is under way.
    Failing,
    /// Only a rewrite mends it.
    Broken,
}

/// The name of the disk's breaker.
const DISK: &str = "appendonly";

/// Notes the log's condition in the disk's breaker. Returns whether a rewrite is to begin now, as a
/// probe.
fn is_probe_due(breakers: &Breakers, condition: Condition, now: Now) -> bool {
    let is_closed = breakers.state(Kind::Disk, DISK) == State::Closed;
    match condition {
        Condition::Sound if !is_closed => breakers.succeeded(Kind::Disk, DISK, now),
        Condition::Sound => {}
        Condition::Failing | Condition::Broken if is_closed => {
            breakers.failed(Kind::Disk, DISK, now);
        }
        Condition::Failing => {}
        // To look is no attempt, so it is not counted as a refused one.
        Condition::Broken => {
            return breakers.wait(Kind::Disk, DISK, now).is_zero()
                && breakers.admit(Kind::Disk, DISK, now);
        }
    }
    false
}

impl Log {
    /// The journal that the engine appends to.
    pub fn journal(&self) -> Arc<dyn Journal> {
        self.aof.clone()
    }

    /// Reports the times of the log's operations to the engine's latency monitor; once only.
    pub fn observe(&self, engine: &Engine, clock: Clock, saver: &Arc<Saver>) {
        let latency = engine.observe.latency.clone();
        let (saver, rewriting) = (saver.clone(), self.rewriting.clone());
        self.aof.observe(Box::new(LatencyObserver { latency, clock, saver, rewriting }));
    }

    /// Whether a rewrite is under way.
    pub fn is_rewriting(&self) -> bool {
        self.rewriting.load(Ordering::SeqCst)
    }

    /// Begins a rewrite in a thread of its own, which holds `lock` while it takes a snapshot.
    pub fn rewrite(&self, engine: &Arc<Engine>, lock: &SnapshotLock) -> Result<(), String> {
        self.rewrite_then(engine, lock, Engine::mark_log, |_, _| {})
    }

    /// As [`Log::rewrite`]; `at_cut` is called when everything that will be in the new base has
    /// happened and nothing else, and `done` at the end, with whether it went well.
    pub fn rewrite_then(
        &self,
        engine: &Arc<Engine>,
        lock: &SnapshotLock,
        at_cut: impl Fn(&Engine) + Send + 'static,
        done: impl FnOnce(&Engine, bool) + Send + 'static,
    ) -> Result<(), String> {
        if self.rewriting.swap(true, Ordering::SeqCst) {
            return Err("Background append only file rewriting already in progress".into());
        }
        let (aof, rewriting) = (self.aof.clone(), self.rewriting.clone());
        // The engine owns the process, which holds the lock of the data folder, so no other process
        // writes there before the thread has ended.
        let (engine, lock) = (engine.clone(), lock.clone());
        let work = move || {
            cores::pin_background(&engine.config, Id::AofRewriteCpulist);
            let lock = lock.lock();
            let rewritten = aof.rewrite(&engine.backend, &mut || {
                at_cut(&engine);
                engine.scripting.library_texts()
            });
            drop(lock);
            match &rewritten {
                Ok(()) => tracing::info!(bytes = aof.size(), "append-only file rewritten"),
                Err(error) => tracing::error!(%error, "rewriting the append-only file failed"),
            }
            done(&engine, rewritten.is_ok());
            rewriting.store(false, Ordering::SeqCst);
        };
        let thread = std::thread::Builder::new().name("aof-rewrite".into()).spawn(work);
        thread.map(drop).map_err(|error| {
            self.rewriting.store(false, Ordering::SeqCst);
            format!("can't start a thread: {error}")
        })
    }

    /// Fills the storage, which keeps nothing by itself, once more from the log; `empty` empties it.
    pub fn reload(
        &self,
        engine: &Engine,
        empty: &mut dyn FnMut() -> Result<(), String>,
    ) -> Result<(), String> {
        let (loaded, _) = loader::load(engine, |loader| self.aof.reload(empty, loader));
        loaded.map(drop).map_err(|error| error.to_string())
    }

    /// Rewrites on the calling thread: the contents of the storage become the base.
    pub fn rewrite_now(&self, data: &LoadTarget) -> Result<(), String> {
        let libraries = &mut || data.libraries.lock().clone();
        self.aof.rewrite(&data.backend, libraries).map_err(|error| error.to_string())
    }

    /// Begins a rewrite if the log has grown as `auto-aof-rewrite-percentage` says, or if only that
    /// mends it and the disk's breaker admits it.
    pub fn rewrite_when_due(&self, engine: &Arc<Engine>, lock: &SnapshotLock, clock: Clock) {
        let state = match self.aof.failure() {
            None => Condition::Sound,
            Some(_) if self.aof.is_broken() && !self.is_rewriting() => Condition::Broken,
            Some(_) => Condition::Failing,
        };
        if is_probe_due(&engine.peers.breakers, state, clock.now()) {
            let told = move |engine: &Engine, ok| {
                match ok {
                    true => engine.peers.breakers.succeeded(Kind::Disk, DISK, clock.now()),
                    false => drop(engine.peers.breakers.failed(Kind::Disk, DISK, clock.now())),
                };
            };
            tracing::info!("the append-only file is rewritten, because a sync of it failed");
            if let Err(error) = self.rewrite_then(engine, lock, Engine::mark_log, told) {
                tracing::warn!(error, "the append-only file cannot be rewritten now");
                engine.peers.breakers.failed(Kind::Disk, DISK, clock.now());
            }
        }
        if state != Condition::Sound {
            return;
        }
        let percentage = engine.config.integer(Id::AutoAofRewritePercentage) as u64;
        let min_size = engine.config.memory(Id::AutoAofRewriteMinSize);
        if self.aof.should_rewrite(percentage, min_size) {
            // The only refusal is that one is running already.
            let _ = self.rewrite(engine, lock);
        }
    }

    /// Makes everything appended durable, and ends. A persistent storage is brought up to date, so
    /// that the next start has nothing to replay.
    pub fn close(&self, engine: &Engine) -> Result<(), String> {
        if engine.backend.persistent()
            && !self.rewriting.load(Ordering::SeqCst)
            && let Err(error) =
                self.aof.rewrite(&engine.backend, &mut || engine.scripting.library_texts())
        {
            // Nothing is lost by that: the log is still there.
            tracing::warn!(%error, "no checkpoint at the end");
        }
        self.aof.close().map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_log_is_rewritten_after_a_rest_and_the_rests_grow() {
        let breakers = Breakers::default();
        let at = |s: u64| Now { wall_ms: 0, mono_us: s * 1_000_000 };
        let due = |condition, s| is_probe_due(&breakers, condition, at(s));
        let state = || breakers.state(Kind::Disk, DISK).name();
        assert!(!due(Condition::Sound, 0) && !due(Condition::Broken, 1));
        assert_eq!(state(), "open");
        assert!(due(Condition::Broken, 2), "one second later");
        assert!(!due(Condition::Failing, 3), "it is under way");
        breakers.failed(Kind::Disk, DISK, at(4));
        assert!(!due(Condition::Broken, 5) && due(Condition::Broken, 6), "two seconds later");
        assert!(!due(Condition::Sound, 7), "somebody else has rewritten it");
        assert_eq!(state(), "closed");
        assert_eq!(breakers.tally().refused, 0);
        // A full disk is the log's own business, and is shown.
        assert!(!due(Condition::Failing, 8) && !due(Condition::Failing, 90));
        assert_eq!(state(), "open");
    }
}
