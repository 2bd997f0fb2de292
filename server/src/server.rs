//! [`Server`]: bound, loaded, ready to serve; [`Handle`]: one that serves in the background.

use crate::builder::ServerBuilder;
use crate::cluster::RunningNode;
use crate::error::StartError;
use crate::lifecycle::banner;
use crate::lifecycle::housekeeper::Housekeeper;
use crate::lifecycle::serving::Serving;
use crate::lifecycle::signals::SignalWatch;
use crate::listening::sockets::Bound;
use crate::process::Process;
use engine::Engine;
use parking_lot::Mutex;
use runtime::{Clock, Shutdown};
use socket2::Socket;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// A server that is ready to serve.
pub struct Server {
    pub(crate) engine: Arc<Engine>,
    pub(crate) process: Arc<Process>,
    pub(crate) bound: Bound,
    pub(crate) clock: Clock,
    pub(crate) serving: Serving,
    pub(crate) node: RunningNode,
}

impl Server {
    /// A server with all defaults, to be changed.
    pub fn builder() -> ServerBuilder {
        ServerBuilder::default()
    }

    /// The TCP addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.bound.addresses
    }

    /// A few lines of text: the choices that run, and how to change each.
    pub fn banner(&self) -> String {
        banner::text(&self.engine, &self.process)
    }

    /// Serves until `SHUTDOWN`, SIGTERM or SIGINT, whose handlers it installs for the process.
    ///
    /// # Errors
    /// Fails if serving cannot begin, or if the data cannot be made durable at the end.
    pub fn run(self) -> Result<(), StartError> {
        self.run_to_end().map(drop)
    }

    /// As [`Server::run`], and gives the engine back, so that its end can be left to the system.
    pub(crate) fn run_to_end(self) -> Result<Arc<Engine>, StartError> {
        let signals = SignalWatch::start(self.process.clone());
        let _signals = signals.map_err(|error| StartError::other(format!("signals: {error}")))?;
        self.serve()
    }

    /// Holds sockets at the end, when another program is to go on with them.
    pub(crate) fn successor(&self) -> Arc<Mutex<Option<Vec<Socket>>>> {
        self.process.successor.clone()
    }

    /// Serves on a thread of its own.
    ///
    /// # Errors
    /// Fails if the thread cannot be started.
    pub fn start(self) -> Result<Handle, StartError> {
        let (addresses, shutdown) = (self.bound.addresses.clone(), self.process.shutdown.clone());
        let thread = std::thread::Builder::new().name("varve".into());
        let thread = thread.spawn(move || self.serve().map(drop)).map_err(StartError::other)?;
        Ok(Handle { addresses, shutdown, thread: Some(thread) })
    }

    fn serve(self) -> Result<Arc<Engine>, StartError> {
        let Server { engine, process, mut bound, clock, serving, node } = self;
        let housekeeper = Housekeeper::start(engine.clone(), process.clone(), clock);
        let housekeeper = housekeeper.map_err(StartError::other)?;
        process.replicator.resume(&engine);
        let served = serving.finish();
        let goes_on = process.successor.lock().is_some();
        crate::system::supervisor::tell_stopping(&process.config, goes_on);
        if goes_on {
            // The socket's file stays for its next owner.
            std::mem::forget(bound.unix.take());
        }
        drop((bound, housekeeper));
        node.stop();
        process.replicator.stop();
        // Clients were served until now. Without this, the next program would begin with old data.
        let saved = process.ending.saved.load(Ordering::SeqCst);
        let owed = goes_on && process.is_in_memory_only();
        let mut last = Ok(());
        if owed || saved && engine.observe.stats.unsaved_changes() > 0 {
            last = process.persistence.saver.save_at_end(&engine);
        }
        process.persistence.saver.stop();
        let closed = process.persistence.close(&engine);
        if closed.is_ok() {
            crate::replication::kept::keep(&engine, process.persistence.dir());
        }
        served?;
        if let Err(error) = last {
            process.successor.lock().take();
            return Err(StartError::Other(format!("saving at the end: {error}")));
        }
        closed.map_err(StartError::Other)?;
        tracing::info!("bye");
        Ok(engine)
    }
}

/// A server that serves in the background. Dropping it stops the server and waits for that.
#[derive(Debug)]
pub struct Handle {
    addresses: Vec<SocketAddr>,
    shutdown: Shutdown,
    thread: Option<JoinHandle<Result<(), StartError>>>,
}

impl Handle {
    /// The TCP addresses it listens on.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Lets connections finish their requests, makes everything durable, and ends.
    ///
    /// # Errors
    /// Fails like [`Server::run`].
    pub fn shutdown(mut self) -> Result<(), StartError> {
        self.shutdown.request();
        self.wait()
    }

    /// Waits until the server ends by itself (`SHUTDOWN`).
    ///
    /// # Errors
    /// Fails like [`Server::run`].
    pub fn join(mut self) -> Result<(), StartError> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), StartError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(StartError::other("the server's thread panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shutdown.request();
        if let Err(error) = self.wait() {
            tracing::error!(%error, "the server did not end well");
        }
    }
}
