//! The epoll runtime: N reactor threads, each with its own poller and its own connections.
//!
//! Two ways to execute: *inline*, the reactor itself calls its connections, the Redis way on many
//! threads; *pool*, the reactor hands a connection with something to do to a rayon pool and goes
//! back to polling, so that a slow call stalls nobody else.
//!
//! Promises: a connection is with one thread at a time; an idle connection owns no buffer; the
//! path of a readable event allocates nothing and takes no lock when inline. This crate sees bytes and
//! [`runtime::Connection`]s only: no command, no key, no storage.
//!
//! Map: [`Config`] and [`EpollRuntime`] here; `group` starts, stops and resizes reactors; `reactor_thread` is
//! the loop of a thread, and how another takes it over; `reactor` is what it goes round; `slots` its
//! connections, `timers` their deadlines, `waker` and `mailbox` how others reach it; `pool` calls
//! connections elsewhere; `accept` lets clients in; `pin` ties threads to cores.

mod accept;
mod group;
mod mailbox;
mod pin;
mod pool;
mod reactor;
mod reactor_thread;
mod slots;
mod timers;
mod waker;

use group::Group;
use parking_lot::Mutex;
use runtime::{Clock, Listener, Runtime, RuntimeStats, Shutdown};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The most reactor threads anyone may ask for.
pub const THREADS_MAX: usize = 1024;

/// Who calls the connections.
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

/// How the runtime is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Reactor threads, from one to [`THREADS_MAX`].
    pub threads: usize,
    /// Who calls the connections.
    pub execution: Execution,
    /// Whether reactor threads are tied to one core each, where the system can.
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
    serving: Mutex<Option<Arc<Group>>>,
}

impl EpollRuntime {
    /// A runtime that starts threads once `serve` is called.
    ///
    /// # Errors
    /// No threads, or more than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        check_threads(config.threads)?;
        if let Execution::Pool { workers } = config.execution {
            check_threads(workers)?;
        }
        Ok(EpollRuntime { config, stats: Arc::default(), serving: Mutex::new(None) })
    }
}

fn check_threads(threads: usize) -> io::Result<()> {
    if (1..=THREADS_MAX).contains(&threads) {
        return Ok(());
    }
    let text = format!("threads must be between 1 and {THREADS_MAX}, not {threads}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
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
        let group = Group::start(self, listeners, clock, shutdown, drain_timeout)?;
        *self.serving.lock() = Some(group.clone());
        group.join();
        *self.serving.lock() = None;
        Ok(())
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }

    /// Grows at once; a surplus reactor hands its connections to the others and ends.
    fn resize(&self, threads: usize) -> io::Result<()> {
        check_threads(threads)?;
        match self.serving.lock().as_ref() {
            Some(group) => group.resize(threads),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "not serving")),
        }
    }
}
