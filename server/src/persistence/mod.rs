//! [`Persistence`]: data on disk. The folder, snapshots, the append-only file, and their order in time.
//!
//! Promises: only one server uses a folder. What was logged or saved is loaded at the next start,
//! or the start fails with the reason. Snapshots and rewrites of the log are written one at a time,
//! while commands go on.
//!
//! The module knows nothing of the formats of the files (`storage-rdb` and `storage-aof`), clients,
//! sockets and the process.
//!
//! | module | what |
//! | --- | --- |
//! | `data_dir` | the data folder, locked against a second server |
//! | `target`, `loading` | loading at start: the destination of the data, and their sources |
//! | `progress` | how far loading is |
//! | `replacing` | deleting or replacing the data of a serving engine |
//! | `snapshot` | writing the data to a file, and reading them |
//! | `journal` | the append-only file as the server's log |
//! | `log_switch` | beginning and ending the log while the server runs |
//! | `background`, `scheduled` | snapshots and rewrites in the background, one after the other |

mod background;
pub(crate) mod data_dir;
pub(crate) mod journal;
pub(crate) mod loading;
pub(crate) mod log_switch;
pub(crate) mod progress;
pub(crate) mod replacing;
pub(crate) mod scheduled;
pub(crate) mod snapshot;
pub(crate) mod target;

use data_dir::DataDir;
use engine::Engine;
use engine::config::ConfigStore;
use journal::Log;
use journal::late::LateJournal;
use runtime::Clock;
use scheduled::Scheduled;
use snapshot::Saver;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

/// The data of a server on disk.
pub(crate) struct Persistence {
    config: Arc<ConfigStore>,
    /// The server's clock.
    pub clock: Clock,
    started: Instant,
    dir: DataDir,
    /// Writes snapshots.
    pub saver: Arc<Saver>,
    /// Background work that waits for other background work to end.
    pub scheduled: Scheduled,
    engine: OnceLock<Weak<Engine>>,
    log: OnceLock<Log>,
    /// The destination of a log that is opened later.
    late_journal: OnceLock<Arc<LateJournal>>,
    /// The number of keys that the start loaded.
    pub loaded_keys: AtomicU64,
    /// The number of keys that the start left out because they had expired.
    pub loaded_expired: AtomicU64,
}

impl Persistence {
    /// Keeps data in a folder. Nothing is loaded or written yet.
    pub fn new(config: Arc<ConfigStore>, dir: DataDir, clock: Clock) -> Self {
        Persistence {
            config,
            clock,
            started: Instant::now(),
            dir,
            saver: Arc::new(Saver::new()),
            scheduled: Scheduled::default(),
            engine: OnceLock::new(),
            log: OnceLock::new(),
            late_journal: OnceLock::new(),
            loaded_keys: AtomicU64::new(0),
            loaded_expired: AtomicU64::new(0),
        }
    }

    /// Sets the engine whose data these are. The engine owns the process and all of this, so the
    /// reference is weak.
    pub fn attach(&self, engine: &Arc<Engine>) {
        let first = self.engine.set(Arc::downgrade(engine)).is_ok();
        debug_assert!(first, "there is one engine");
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    /// The data folder, absolute.
    pub fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// Sets the destination of a log that is opened later, once.
    pub fn keep_late_journal(&self, late: Arc<LateJournal>) {
        let first = self.late_journal.set(late).is_ok();
        debug_assert!(first, "there is one log");
    }

    /// The destination of a log that is opened later, in a binary with the feature `aof`.
    pub fn late_journal(&self) -> Option<&LateJournal> {
        self.late_journal.get().map(|late| &**late)
    }

    /// Sets the log, once it is open.
    pub fn keep_log(&self, log: Log) {
        if let Some(engine) = self.engine() {
            log.observe(&engine, self.clock, &self.saver);
        }
        let first = self.log.set(log).is_ok();
        debug_assert!(first, "there is one log");
    }

    /// The log, if there is one or was.
    pub fn log(&self) -> Option<&Log> {
        self.log.get()
    }

    /// Whether the log is being rewritten.
    pub fn is_rewriting(&self) -> bool {
        self.log().is_some_and(|log| log.is_rewriting())
    }

    /// Makes durable what was promised, and closes the log. For the end of the process.
    ///
    /// # Errors
    /// Returns the reason why something may not be durable.
    pub fn close(&self, engine: &Engine) -> Result<(), String> {
        let closed = self.log().map_or(Ok(()), |log| log.close(engine));
        engine.backend.flush().map_err(|error| error.to_string()).and(closed)
    }
}
