//! The epoll runtime: N reactor threads, each with its own poller and its own connections.
//!
//! There are two ways to execute. *Inline*: the reactor itself calls its connections, as Redis
//! does, but on many threads. *Pool*: the reactor passes a connection that has work to a rayon pool
//! and returns to polling, so that a slow call delays no other connection.
//!
//! Promises: a connection is used by one thread at a time; an idle connection owns no buffer; the
//! path of a readable event, when inline, allocates nothing and takes no lock. The crate sees only
//! bytes and [`runtime::Connection`]s: no commands, keys or storage.
//!
//! Modules: [`Config`] and [`EpollRuntime`] are here. `reactor_thread` is the loop of a thread, and
//! lets another thread take it over; `reactor` is the state of the loop, made of the parts in
//! [`runtime::reactors`], and in `reactor::leaving`, how it passes connections on. `pool` calls connections on other threads. `accept` accepts clients.

mod accept;
mod pool;
mod reactor;
mod reactor_thread;

use parking_lot::Mutex;
use reactor::Epoll;
pub use runtime::reactors::THREADS_MAX;
use runtime::reactors::{Group, check_threads};
use runtime::{Clock, Listener, Runtime, RuntimeContext, RuntimeStats, Shutdown};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Which threads call the connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// The reactor thread that read the event.
    #[default]
    Inline,
    /// A pool of worker threads shared by all reactors.
    Pool {
        /// Threads of the pool, at least one.
        workers: usize,
    },
}

/// The parameters of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Reactor threads, from one to [`THREADS_MAX`].
    pub threads: usize,
    /// Which threads call the connections.
    pub execution: Execution,
    /// Whether each reactor thread is pinned to a core, where the system can do that.
    pub pin: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { threads: 1, execution: Execution::Inline, pin: false }
    }
}

/// The runtime. `serve` may be called once at a time.
pub struct EpollRuntime {
    config: Config,
    stats: Arc<RuntimeStats>,
    /// The reactors of the `serve` call in progress.
    serving: Mutex<Option<Arc<Group<Epoll>>>>,
}

impl EpollRuntime {
    /// Creates a runtime. It starts its threads when `serve` is called.
    ///
    /// # Errors
    /// Fails if the number of threads is zero or higher than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        check_threads(config.threads)?;
        if let Execution::Pool { workers } = config.execution {
            check_threads(workers)?;
        }
        Ok(EpollRuntime { config, stats: Arc::default(), serving: Mutex::new(None) })
    }
}

impl Runtime for EpollRuntime {
    fn name(&self) -> &'static str {
        "epoll"
    }

    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()> {
        let own = Epoll::new(self.config.execution)?;
        let context = RuntimeContext { clock, stats: self.stats.clone() };
        let group = Group::new(own, context, shutdown, drain_timeout, self.config.pin);
        {
            // Whoever is served already may ask for other threads.
            let mut serving = self.serving.lock();
            group.start(listeners, self.config.threads)?;
            *serving = Some(group.clone());
        }
        group.join();
        *self.serving.lock() = None;
        Ok(())
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }

    /// Adds threads at once. A surplus reactor passes its connections to the others and ends. A pool gets as many
    /// workers.
    fn resize(&self, threads: usize) -> io::Result<()> {
        check_threads(threads)?;
        match self.serving.lock().as_ref() {
            Some(group) => {
                group.own.pool.as_ref().map_or(Ok(()), |pool| pool.resize(threads))?;
                group.resize(threads)
            }
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "not serving")),
        }
    }
}
