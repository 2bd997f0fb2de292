//! [`Process`]: the process around the engine, and the effects of commands on it.
//!
//! Promises: a command that affects the process is executed, or refused with Redis's error. The
//! files are not replaced while their contents are still being loaded.
//!
//! The module knows nothing of sockets, and of the command and the client behind a call.
//!
//! | module | what |
//! | --- | --- |
//! | `host` | the engine's interface to the process (`SHUTDOWN`, `SAVE`, `CONFIG REWRITE` …) |
//! | `info` | the figures that only the process knows |
//! | `resources` | system resources that depend on directives: descriptors, threads |
//! | `peers` | requests to other servers, for `MIGRATE` |

mod host;
mod info;
mod peers;
pub(crate) mod resources;

use crate::config::Reloader;
use crate::persistence::data_dir::DataDir;
use crate::persistence::journal::Log;
use crate::persistence::journal::late::LateJournal;
use crate::persistence::scheduled::Scheduled;
use crate::persistence::snapshot::Saver;
use crate::replication::Replicator;
use crate::system;
use crate::system::memory::Allocator;
use engine::Engine;
use engine::config::ConfigStore;
use engine::engine::Gate;
use parking_lot::Mutex;
use peers::Errands;
use runtime::{Clock, Runtime, Shutdown};
use socket2::Socket;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The process around an engine.
pub(crate) struct Process {
    pub config: Arc<ConfigStore>,
    pub runtime: Arc<dyn Runtime>,
    pub shutdown: Shutdown,
    pub saver: Arc<Saver>,
    pub allocator: Allocator,
    /// The configuration file, for `CONFIG REWRITE`.
    pub file: Option<PathBuf>,
    /// Reloads the configuration.
    pub reloader: Reloader,
    dir: DataDir,
    /// The addresses at which clients reach this server.
    pub addresses: Vec<SocketAddr>,
    pub run_id: String,
    pub started: Instant,
    /// The bytes that were allocated before there were any data.
    pub memory_at_start: AtomicU64,
    pub loaded_keys: AtomicU64,
    pub loaded_expired: AtomicU64,
    memory_peak: AtomicU64,
    /// Threads for replication.
    pub replicator: Replicator,
    /// TLS, for clients and for masters.
    #[cfg(feature = "tls")]
    pub encryption: Arc<crate::listening::tls::Encryption>,
    /// WebSocket, for clients.
    #[cfg(feature = "websocket")]
    pub websocket: Arc<websocket::WebSocket>,
    engine: OnceLock<Weak<Engine>>,
    pub clock: Clock,
    errands: Arc<Errands>,
    log: OnceLock<Log>,
    /// The destination of a log that is opened later.
    late_journal: OnceLock<Arc<LateJournal>>,
    /// Called once before the end, while clients are still served.
    farewell: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The sockets for the program that replaces this one at the end, if there is to be one.
    pub successor: Arc<Mutex<Option<Vec<Socket>>>>,
    /// Whether the sockets came from a supervisor, which holds them, too.
    pub supervised_sockets: bool,
    /// The lines of `ACL LIST` at the start.
    pub users_at_start: OnceLock<Vec<Vec<u8>>>,
    /// Background work that waits for other background work to end.
    pub scheduled: Scheduled,
    /// Held during a reload or a shutdown, of which there is one at a time.
    busy: Mutex<()>,
}

/// The configuration of a process.
pub(crate) struct Configuration {
    pub store: Arc<ConfigStore>,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    pub reloader: Reloader,
}

impl Process {
    pub fn new(
        configuration: Configuration,
        runtime: Arc<dyn Runtime>,
        allocator: Allocator,
        addresses: Vec<SocketAddr>,
        dir: DataDir,
        clock: Clock,
    ) -> Self {
        let Configuration { store: config, file, reloader } = configuration;
        Process {
            config,
            reloader,
            runtime,
            shutdown: Shutdown::new(),
            saver: Arc::new(Saver::new()),
            allocator,
            file,
            dir,
            addresses,
            run_id: system::run_id(),
            started: Instant::now(),
            memory_at_start: AtomicU64::new((allocator.figures)().allocated),
            loaded_keys: AtomicU64::new(0),
            loaded_expired: AtomicU64::new(0),
            memory_peak: AtomicU64::new(0),
            replicator: Replicator::default(),
            #[cfg(feature = "tls")]
            encryption: Arc::default(),
            #[cfg(feature = "websocket")]
            websocket: Arc::default(),
            engine: OnceLock::new(),
            clock,
            errands: Arc::default(),
            log: OnceLock::new(),
            late_journal: OnceLock::new(),
            farewell: OnceLock::new(),
            successor: Arc::default(),
            supervised_sockets: false,
            users_at_start: OnceLock::new(),
            scheduled: Scheduled::default(),
            busy: Mutex::new(()),
        }
    }

    /// Sets the engine that this process surrounds. The engine owns the process, so the reference
    /// is weak.
    pub fn attach(self: &Arc<Self>, engine: &Arc<Engine>) {
        self.replicator.attach(self);
        let first = self.engine.set(Arc::downgrade(engine)).is_ok();
        debug_assert!(first, "a process has one engine");
    }

    /// Sets the destination of a log that is opened later, once.
    pub fn keep_late_journal(&self, late: Arc<LateJournal>) {
        let first = self.late_journal.set(late).is_ok();
        debug_assert!(first, "a process has one log");
    }

    /// The destination of a log that is opened later, in a binary with the feature `aof`.
    pub fn late_journal(&self) -> Option<&LateJournal> {
        self.late_journal.get().map(|late| &**late)
    }

    /// Sets a function that is called before the end, while clients are still served. It may take a
    /// moment.
    pub fn before_end(&self, farewell: impl Fn() + Send + Sync + 'static) {
        let first = self.farewell.set(Box::new(farewell)).is_ok();
        debug_assert!(first, "there is one farewell");
    }

    /// Sets the log, once it is open.
    pub fn keep_log(&self, log: Log) {
        if let Some(engine) = self.engine() {
            log.observe(&engine, self.clock, &self.saver);
        }
        let first = self.log.set(log).is_ok();
        debug_assert!(first, "a process has one log");
    }

    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    /// The log, if there is one or was.
    pub fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    /// The data folder, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Begins a rewrite of the log if it has grown enough.
    pub fn rewrite_when_due(&self) {
        if let (Some(log), Some(engine)) = (self.log(), self.engine())
            && engine.is_logging()
            && !self.saver.is_running()
        {
            log.rewrite_when_due(&engine, &self.saver.turn);
        }
    }

    /// Makes durable what was promised, and closes the log. For the end of the process.
    pub fn close_storage(&self, engine: &Engine) -> Result<(), String> {
        let closed = self.log().map_or(Ok(()), |log| log.close(engine));
        engine.backend.flush().map_err(|error| error.to_string()).and(closed)
    }

    /// Whether the data are lost when the process ends, unless they are saved.
    pub fn is_in_memory_only(&self) -> bool {
        self.engine().is_some_and(|engine| !engine.backend.persistent() && !engine.is_logging())
    }

    /// Updates the highest figure, and returns it.
    pub fn note_memory(&self, allocated: u64) -> u64 {
        self.memory_peak.fetch_max(allocated, Ordering::Relaxed).max(allocated)
    }

    /// Begins a `save` if one of the configured conditions holds.
    pub fn save_when_due(&self) {
        let Some(engine) = self.engine() else { return };
        let state = self.saver.state();
        // After a failure Redis waits five seconds before it tries again.
        let retry = state.last_ok || state.last_try.is_none_or(|at| at.elapsed().as_secs() >= 5);
        let rewriting = self.log().is_some_and(|log| log.is_rewriting());
        if state.running_since.is_some() || rewriting || !retry {
            return;
        }
        let changes = engine.stats.unsaved_changes();
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

    fn alive(&self) -> Result<Arc<Engine>, String> {
        self.engine().ok_or_else(|| "the server is stopping".to_owned())
    }

    /// The engine, once its data are loaded. Before, it has only a part of the files' contents, and
    /// must not replace them.
    fn loaded(&self) -> Result<Arc<Engine>, String> {
        let engine = self.alive()?;
        match is_loading(&engine) {
            true => Err("the dataset is being loaded".into()),
            false => Ok(engine),
        }
    }
}

fn is_loading(engine: &Engine) -> bool {
    engine.gate().contains(Gate::LOADING)
}
