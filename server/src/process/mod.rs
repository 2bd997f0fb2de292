//! [`Process`]: the process around the engine, and the effects of commands on it.
//!
//! Promises: a command that affects the process is executed, or refused with Redis's error. The
//! files are not replaced while their contents are still being loaded.
//!
//! The module knows nothing of sockets, and of the command and the client behind a call.
//!
//! | module | what |
//! | --- | --- |
//! | `ending` | the end: waiting for replicas, saving, stopping |
//! | `host` | the engine's interface to the process (`SHUTDOWN`, `SAVE`, `CONFIG REWRITE` …) |
//! | `info` | the figures that only the process knows |
//! | `resources` | system resources that depend on directives: descriptors, threads |
//! | `peers` | requests to other servers, for `MIGRATE` |

mod ending;
mod host;
mod info;
mod peers;
pub(crate) mod resources;

use crate::config::Reloader;
use crate::persistence::Persistence;
use crate::persistence::data_dir::DataDir;
use crate::replication::Replicator;
use crate::system;
use crate::system::memory::Allocator;
use ending::Ending;
use engine::Engine;
use engine::config::ConfigStore;
use engine::gate::Gate;
use parking_lot::Mutex;
use peers::Errands;
use runtime::{Clock, Runtime, Shutdown};
use socket2::Socket;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// The process around an engine.
pub(crate) struct Process {
    pub config: Arc<ConfigStore>,
    pub runtime: Arc<dyn Runtime>,
    pub shutdown: Shutdown,
    /// The data on disk.
    pub persistence: Arc<Persistence>,
    pub allocator: Allocator,
    /// The configuration file, for `CONFIG REWRITE`.
    pub file: Option<PathBuf>,
    /// Reloads the configuration.
    pub reloader: Reloader,
    /// The addresses at which clients reach this server.
    pub addresses: Vec<SocketAddr>,
    pub run_id: String,
    /// The bytes that were allocated before there were any data.
    pub memory_at_start: AtomicU64,
    memory_peak: AtomicU64,
    /// Threads for replication.
    pub replicator: Arc<Replicator>,
    /// TLS, for clients and for masters.
    #[cfg(feature = "tls")]
    pub encryption: Arc<crate::listening::tls::Encryption>,
    /// WebSocket, for clients.
    #[cfg(feature = "websocket")]
    pub websocket: Arc<websocket::WebSocket>,
    engine: OnceLock<Weak<Engine>>,
    pub clock: Clock,
    errands: Arc<Errands>,
    /// Called once before the end, while clients are still served.
    farewell: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// The sockets for the program that replaces this one at the end, if there is to be one.
    pub successor: Arc<Mutex<Option<Vec<Socket>>>>,
    /// Whether the sockets came from a supervisor, which holds them, too.
    pub supervised_sockets: bool,
    /// The lines of `ACL LIST` at the start.
    pub users_at_start: OnceLock<Vec<Vec<u8>>>,
    /// How far the end is, once it was asked for.
    pub(crate) ending: Ending,
    this: OnceLock<Weak<Process>>,
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
        let persistence = Arc::new(Persistence::new(config.clone(), dir, clock));
        let port = addresses.first().map_or(0, SocketAddr::port);
        let replicator = Arc::new(Replicator::new(persistence.clone(), port));
        Process {
            config,
            reloader,
            runtime,
            shutdown: Shutdown::new(),
            persistence,
            allocator,
            file,
            addresses,
            run_id: system::run_id(),
            memory_at_start: AtomicU64::new((allocator.figures)().allocated),
            memory_peak: AtomicU64::new(0),
            #[cfg(feature = "tls")]
            encryption: replicator.encryption.clone(),
            replicator,
            #[cfg(feature = "websocket")]
            websocket: Arc::default(),
            engine: OnceLock::new(),
            clock,
            errands: Arc::default(),
            farewell: OnceLock::new(),
            successor: Arc::default(),
            supervised_sockets: false,
            users_at_start: OnceLock::new(),
            ending: Ending::default(),
            this: OnceLock::new(),
            busy: Mutex::new(()),
        }
    }

    /// Sets the engine that this process surrounds. The engine owns the process, so the reference
    /// is weak.
    pub fn attach(self: &Arc<Self>, engine: &Arc<Engine>) {
        self.persistence.attach(engine);
        self.replicator.attach(engine);
        let first = self.engine.set(Arc::downgrade(engine)).is_ok()
            && self.this.set(Arc::downgrade(self)).is_ok();
        debug_assert!(first, "a process has one engine");
    }

    /// Sets a function that is called before the end, while clients are still served. It may take a
    /// moment.
    pub fn before_end(&self, farewell: impl Fn() + Send + Sync + 'static) {
        let first = self.farewell.set(Box::new(farewell)).is_ok();
        debug_assert!(first, "there is one farewell");
    }

    pub fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    /// Whether the data are lost when the process ends, unless they are saved.
    pub fn is_in_memory_only(&self) -> bool {
        self.engine().is_some_and(|engine| !engine.backend.persistent() && !engine.is_logging())
    }

    /// Updates the highest figure, and returns it.
    pub fn note_memory(&self, allocated: u64) -> u64 {
        self.memory_peak.fetch_max(allocated, Ordering::Relaxed).max(allocated)
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
