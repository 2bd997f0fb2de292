//! [`Process`]: what commands about the process around the engine (`SHUTDOWN`, `SAVE`, `INFO`,
//! `CONFIG REWRITE` …) really do.

use crate::config::Reloader;
use crate::data_dir::DataDir;
use crate::journal::Log;
use crate::late_journal::LateJournal;
use crate::memory::Allocator;
use crate::peer::Errands;
use crate::replication::Replicator;
use crate::scheduled::Scheduled;
use crate::snapshot::{self, Saver, snapshot_path};
use crate::{config, fail_stop, info, mallctl, peer, system};
use engine::config::{ConfigStore, Id};
use engine::engine::Gate;
use engine::host::{Begun, When};
use engine::observe::figures::Sheet;
use engine::peers::{Answers, Errand, Requests, Target};
use engine::{Engine, Host};
use parking_lot::Mutex;
use runtime::{Clock, Now, Runtime, Shutdown};
use socket2::Socket;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The process around an engine.
pub(crate) struct Process {
    pub config: Arc<ConfigStore>,
    pub runtime: Arc<dyn Runtime>,
    pub shutdown: Shutdown,
    pub saver: Arc<Saver>,
    pub allocator: Allocator,
    /// The configuration file, for `CONFIG REWRITE`.
    pub file: Option<PathBuf>,
    /// Reads the configuration again.
    pub reloader: Reloader,
    dir: DataDir,
    /// Where clients find us.
    pub addresses: Vec<SocketAddr>,
    pub run_id: String,
    pub started: Instant,
    /// Bytes allocated before there was data.
    pub memory_at_start: AtomicU64,
    pub loaded_keys: AtomicU64,
    pub loaded_expired: AtomicU64,
    memory_peak: AtomicU64,
    /// Threads for replication.
    pub replicator: Replicator,
    /// TLS, for clients and for masters.
    #[cfg(feature = "tls")]
    pub encryption: Arc<crate::tls::Encryption>,
    /// WebSocket, for clients.
    #[cfg(feature = "websocket")]
    pub websocket: Arc<websocket::WebSocket>,
    engine: OnceLock<Weak<Engine>>,
    pub clock: Clock,
    errands: Arc<Errands>,
    log: OnceLock<Log>,
    /// Where a log goes that is opened later.
    late_journal: OnceLock<Arc<LateJournal>>,
    /// Done once before the end, while clients are still served.
    farewell: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Sockets for the program that takes this one's place at the end, when there is to be one.
    pub successor: Arc<Mutex<Option<Vec<Socket>>>>,
    /// The sockets came from a supervisor, which holds them, too.
    pub supervised_sockets: bool,
    /// The lines of `ACL LIST` at the start.
    pub users_at_start: OnceLock<Vec<Vec<u8>>>,
    /// Work that waits for other work in the background to end.
    pub scheduled: Scheduled,
    /// One reload or shutdown at a time.
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

    /// Tells the process which engine it surrounds. The engine owns the process, so only a weak
    /// reference goes this way.
    pub fn attach(self: &Arc<Self>, engine: &Arc<Engine>) {
        self.replicator.attach(self);
        let first = self.engine.set(Arc::downgrade(engine)).is_ok();
        debug_assert!(first, "a process has one engine");
    }

    /// Keeps where a log goes that is opened later, once.
    pub fn keep_late_journal(&self, late: Arc<LateJournal>) {
        let first = self.late_journal.set(late).is_ok();
        debug_assert!(first, "a process has one log");
    }

    /// Where a log goes that is opened later, in a binary that writes one.
    pub fn late_journal(&self) -> Option<&LateJournal> {
        self.late_journal.get().map(|late| &**late)
    }

    /// Has this done before the end, while clients are still served. It may take a moment.
    pub fn before_end(&self, farewell: impl Fn() + Send + Sync + 'static) {
        let first = self.farewell.set(Box::new(farewell)).is_ok();
        debug_assert!(first, "there is one farewell");
    }

    /// Keeps the log, once it is open.
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

    /// Begins a rewrite of the log when it has grown enough.
    pub fn rewrite_when_due(&self) {
        if let (Some(log), Some(engine)) = (self.log(), self.engine())
            && engine.is_logging()
            && !self.saver.is_running()
        {
            log.rewrite_when_due(&engine, &self.saver.turn);
        }
    }

    /// Makes durable what was promised, and closes the log; for the end.
    pub fn close_storage(&self, engine: &Engine) -> Result<(), String> {
        let closed = self.log().map_or(Ok(()), |log| log.close(engine));
        engine.backend.flush().map_err(|error| error.to_string()).and(closed)
    }

    /// Whether the end of the process is the end of its data, unless they are saved.
    pub fn is_in_memory_only(&self) -> bool {
        self.engine().is_some_and(|engine| !engine.backend.persistent() && !engine.is_logging())
    }

    /// Remembers the highest figure; what it is now.
    pub fn note_memory(&self, allocated: u64) -> u64 {
        self.memory_peak.fetch_max(allocated, Ordering::Relaxed).max(allocated)
    }

    /// Begins a `save` that its configured conditions ask for.
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
            // A failure to begin is in the log, and tried again.
            if let Err(error) = self.saver.save_in_background(&engine) {
                tracing::warn!(error, "saving could not begin");
            }
        }
    }

    fn alive(&self) -> Result<Arc<Engine>, String> {
        self.engine().ok_or_else(|| "the server is stopping".to_owned())
    }

    /// The engine, with all its data: while they are loading, what it holds is less than what the
    /// files hold, and must not replace them.
    fn loaded(&self) -> Result<Arc<Engine>, String> {
        let engine = self.alive()?;
        match is_loading(&engine) {
            true => Err("the dataset is being loaded".into()),
            false => Ok(engine),
        }
    }
}

impl Process {
    /// The engine, if its data are its own to replace.
    fn replaceable(&self) -> Result<Arc<Engine>, String> {
        let engine = self.loaded()?;
        match engine.is_in_cluster() {
            true => Err("in a cluster the data are what the group agreed on".into()),
            false => Ok(engine),
        }
    }

    /// Throws the data away and loads them again from the log (`DEBUG LOADAOF`). When the log turns
    /// out to be unreadable the data are only there, and nothing may be written over it: the server
    /// ends, as Redis does.
    fn reload_log(&self, engine: &Engine) -> Result<(), String> {
        let log = self.log().filter(|_| engine.is_logging());
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
    /// Puts the same program with the same arguments in this one's place; what is open is closed by that.
    /// Returns only if that cannot be, with the reason.
    fn restart_now(&self, graceful: bool) -> String {
        if graceful && let Err(error) = self.write_everything() {
            return error;
        }
        tracing::warn!(graceful, "the server begins anew: a client asked for it");
        let program = std::env::current_exe().unwrap_or_default();
        Command::new(program).args(std::env::args_os().skip(1)).exec().to_string()
    }

    /// Configuration, data and log, each where it is kept.
    fn write_everything(&self) -> Result<(), String> {
        let engine = self.loaded()?;
        if self.file.is_some() {
            self.rewrite_config(false)?;
        }
        if !self.config.save_points().is_empty() {
            self.saver.save(&engine)?;
        }
        self.close_storage(&engine)
    }
}

impl Host for Process {
    fn time_us(&self, _: Now) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        wall.as_micros() as u64
    }

    fn shutdown(&self, save: Option<bool>, now: bool, force: bool) -> Result<(), String> {
        let engine = self.alive()?;
        // Nobody waits for a script that may never end. What one has written is kept by a save.
        engine.end_slow_scripts(save == Some(false));
        let _one = self.busy.lock();
        let save = save.unwrap_or_else(|| !self.config.save_points().is_empty());
        if save
            && !is_loading(&engine)
            && let Err(error) = self.saver.save(&engine)
        {
            tracing::error!(error, force, "saving before the end failed");
            if !force {
                return Err("Errors trying to SHUTDOWN. Check logs.".into());
            }
        }
        tracing::info!(now, "user requested shutdown");
        self.farewell.get().into_iter().for_each(|farewell| farewell());
        self.shutdown.request();
        Ok(())
    }

    fn exchange(&self, target: &Target<'_>, requests: &Requests) -> Answers {
        peer::exchange(target, requests)
    }

    fn run_aside(&self, errand: Box<Errand>) -> Result<(), Box<Errand>> {
        match self.engine.get() {
            Some(engine) => self.errands.run(errand, engine, self.clock),
            None => Err(errand),
        }
    }

    fn save(&self) -> Result<(), String> {
        self.saver.save(&self.loaded()?)
    }

    fn save_in_background(&self, when: When) -> Result<Begun, String> {
        self.begin_save(&self.loaded()?, when)
    }

    fn rewrite_journal(&self, when: When) -> Result<Begun, String> {
        self.begin_rewrite(&self.loaded()?, when)
    }

    fn fail_stop(&self, cause: &str) {
        tracing::error!(
            cause,
            "data and log may not agree: the server ends at once, and the next start has what is logged"
        );
        fail_stop::end(self.log().map(|log| log.journal()));
    }

    fn rewrite_config(&self, all: bool) -> Result<(), String> {
        let Some(file) = &self.file else {
            return Err("The server is running without a config file".into());
        };
        let engine = self.alive()?;
        // With an `aclfile`, that is where users are.
        let users = match self.config.text(Id::Aclfile).is_empty() {
            true => engine.user_lines(),
            false => Vec::new(),
        };
        config::rewrite(file, &self.config, &users, all).map_err(|error| {
            tracing::warn!(%error, "CONFIG REWRITE failed");
            format!("Rewriting config file: {}", crate::error::plain(&error))
        })
    }

    fn read_acl_file(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(path).map_err(|error| crate::error::plain(&error))
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
        self.saver.save(&engine)?;
        clear(&engine)?;
        let path = snapshot_path(&engine);
        load(&engine, &path, true)
    }

    fn restart(&self, graceful: bool, delay: std::time::Duration) {
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
        load(&engine, &path, !keep || merge)
    }

    fn follow(&self, source: Option<(&str, u16)>, generation: u64) {
        self.replicator.follow(source, generation);
    }

    fn begin_sync(&self) {
        self.replicator.begin_sync();
    }

    fn sleep(&self, time: std::time::Duration) {
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

fn is_loading(engine: &Engine) -> bool {
    engine.gate().contains(Gate::LOADING)
}

/// Loads a snapshot into a running engine; `replaces` as in [`snapshot::load`].
fn load(engine: &Engine, path: &Path, replaces: bool) -> Result<(), String> {
    let library = &mut |text: &[u8]| engine.restore_library(text);
    let checksum = engine.switches.checksum();
    let (backend, databases) = (&*engine.backend, engine.databases());
    snapshot::load(backend, databases, path, 0, replaces, checksum, library).map(drop)
}

/// Removes every key of every database.
pub(crate) fn clear(engine: &Engine) -> Result<(), String> {
    let mut cleared = Ok(());
    let done = engine.transact("emptying the storage", storage::Locks::All, 0, &mut |tx| {
        cleared = (0..engine.databases()).try_for_each(|db| tx.clear(db).map(drop));
    });
    done.and(cleared).map_err(|error| error.to_string())
}
