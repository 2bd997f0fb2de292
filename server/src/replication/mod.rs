//! The threads of replication: one that follows a master ([`link`]), one that sends all data to
//! replicas ([`sync`]). The protocol is in the crate `replication` and in the engine.

mod connection;
pub(crate) mod kept;
mod link;
mod receive;
mod sync;

#[cfg(feature = "tls")]
use crate::listening::tls::Encryption;
use crate::persistence::Persistence;
use engine::Engine;
use engine::config::Id;
use engine::replication::Cut;
use parking_lot::Mutex;
use runtime::Now;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;

/// The threads, and how to begin and end them.
pub(crate) struct Replicator {
    /// The data on disk, which a master's data replace.
    persistence: Arc<Persistence>,
    /// TLS, for connections to a master.
    #[cfg(feature = "tls")]
    pub encryption: Arc<Encryption>,
    /// The TCP port at which clients reach this server; 0 if they cannot.
    port: u16,
    engine: OnceLock<Weak<Engine>>,
    link: Mutex<Option<JoinHandle<()>>>,
    sync: Mutex<Option<JoinHandle<()>>>,
    syncing: AtomicBool,
    stopped: AtomicBool,
}

impl Replicator {
    /// No thread runs yet.
    pub fn new(persistence: Arc<Persistence>, port: u16) -> Self {
        Replicator {
            persistence,
            #[cfg(feature = "tls")]
            encryption: Arc::default(),
            port,
            engine: OnceLock::new(),
            link: Mutex::default(),
            sync: Mutex::default(),
            syncing: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        }
    }

    /// Sets the engine that follows, or is followed. The engine owns the process and all of this,
    /// so the reference is weak.
    pub fn attach(&self, engine: &Arc<Engine>) {
        let first = self.engine.set(Arc::downgrade(engine)).is_ok();
        debug_assert!(first, "there is one engine");
    }

    fn engine(&self) -> Option<Arc<Engine>> {
        self.engine.get().and_then(Weak::upgrade)
    }

    /// Whether the server ends.
    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// The flag that is set when the server ends.
    pub fn stop_flag(&self) -> &AtomicBool {
        &self.stopped
    }

    /// Follows the configured master, when serving begins.
    pub fn resume(self: &Arc<Self>, engine: &Engine) {
        if let Some(source) = engine.replication.source() {
            let generation = engine.replication.generation();
            self.follow(Some((&source.host, source.port)), generation);
        }
    }

    /// Follows a master in a thread of its own. The thread of an earlier one ends by itself.
    pub fn follow(self: &Arc<Self>, source: Option<(&str, u16)>, generation: u64) {
        let (Some((host, port)), false) = (source, self.is_stopped()) else { return };
        let mut link = self.link.lock();
        let (before, host, replicator) = (link.take(), host.to_owned(), self.clone());
        let work = move || {
            // The previous link ends first, so that its work does not mix with this one's.
            if let Some(before) = before {
                let _ = before.join(); // a panic there was reported when it happened
            }
            link::follow(&replicator, &host, port, generation);
        };
        match std::thread::Builder::new().name("replication".into()).spawn(work) {
            Ok(thread) => *link = Some(thread),
            Err(error) => tracing::error!(%error, "cannot start a thread to follow the master"),
        }
    }

    /// Sends all data to the replicas that wait for them, unless that is being done.
    pub fn begin_sync(self: &Arc<Self>) {
        if self.is_stopped() || self.syncing.swap(true, Ordering::SeqCst) {
            return;
        }
        let replicator = self.clone();
        let work = move || sync::serve(&replicator, &replicator.syncing);
        match std::thread::Builder::new().name("sync".into()).spawn(work) {
            Ok(thread) => *self.sync.lock() = Some(thread),
            Err(error) => {
                tracing::error!(%error, "cannot start a thread to synchronize replicas");
                self.syncing.store(false, Ordering::SeqCst);
            }
        }
    }

    /// Ends the threads, and waits for that.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        let threads = [self.link.lock().take(), self.sync.lock().take()];
        for thread in threads.into_iter().flatten() {
            let _ = thread.join(); // a panic there was reported when it happened
        }
    }
}

/// Restores at start the master that was followed, and the position of the data.
pub(crate) fn restore(engine: &Engine, dir: &Path, position: Option<Cut>, now: Now) {
    let position = kept::take(engine, dir).or(position);
    let text = engine.config.text(Id::Replicaof);
    let source = text.rsplit_once(' ');
    let source = source.and_then(|(host, port)| Some((host, port.parse().ok()?)));
    if let Some((host, port)) = source {
        engine.follow(host, port, now.wall_ms);
    }
    if let Some(position) = position {
        engine.restore_history(position, source.is_some());
    }
}
