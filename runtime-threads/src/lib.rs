//! The threads runtime: a fixed pool of blocking threads, each with one client at a time.
//!
//! This is the classic design. A client keeps its worker until it leaves. Clients beyond the number
//! of workers wait in a bounded queue, and further ones in the kernel's. The number of workers can
//! be changed while running; a busy worker ends only when its client has left.
//!
//! Promises: one thread per connection, with nothing shared between them but the queue. The crate
//! sees only bytes and [`runtime::Connection`]s: no commands, keys or storage.
//!
//! Modules: [`ThreadsRuntime`], here, accepts clients and queues them. `pool` holds the queue and
//! the number of workers. `worker` serves one client. `waker` is how other threads reach a worker.

mod pool;
mod waker;
mod worker;

use parking_lot::Mutex;
use pool::{Newcomer, Pool};
use runtime::{
    Clock, Listener, Runtime, RuntimeContext, RuntimeStats, Shutdown, accept_failed_for_good,
};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Waker;
use std::time::Duration;
use waker::{PollWaker, Wanted, poll};

/// The highest number of workers.
pub const THREADS_MAX: usize = 16 * 1024;

/// The pause after `accept` failed: without a free file descriptor it fails again at once.
const BACK_OFF: Duration = Duration::from_millis(80);

/// The parameters of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// The number of workers, and thus of clients served at once, from one to [`THREADS_MAX`].
    pub threads: usize,
    /// The number of accepted clients that may wait for a worker.
    pub queue_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { threads: 64, queue_max: 1024 }
    }
}

/// The runtime; its workers exist while `serve` runs.
pub struct ThreadsRuntime {
    config: Config,
    stats: Arc<RuntimeStats>,
    serving: Mutex<Option<Arc<Pool>>>,
}

impl ThreadsRuntime {
    /// Creates a runtime. It starts its threads when `serve` is called.
    ///
    /// # Errors
    /// Fails if the number of threads is zero or higher than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        check_threads(config.threads)?;
        Ok(ThreadsRuntime { config, stats: Arc::default(), serving: Mutex::new(None) })
    }
}

fn check_threads(threads: usize) -> io::Result<()> {
    if (1..=THREADS_MAX).contains(&threads) {
        return Ok(());
    }
    let text = format!("threads must be between 1 and {THREADS_MAX}, not {threads}");
    Err(io::Error::new(ErrorKind::InvalidInput, text))
}

impl Runtime for ThreadsRuntime {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()> {
        let context = Arc::new(RuntimeContext { clock, stats: self.stats.clone() });
        let poll_waker = Arc::new(PollWaker::new()?);
        shutdown.subscribe(Waker::from(poll_waker.clone()));
        let pool = Pool::new(context, shutdown, drain_timeout, self.config.queue_max);
        *self.serving.lock() = Some(pool.clone());
        let started = pool.resize(self.config.threads);
        if started.is_ok() {
            accept_until_shutdown(&listeners, &pool, &poll_waker);
        }
        drop(listeners);
        *self.serving.lock() = None;
        pool.close();
        started
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }

    /// Adds workers at once. A surplus worker ends as soon as it has no client.
    fn resize(&self, threads: usize) -> io::Result<()> {
        check_threads(threads)?;
        match self.serving.lock().as_ref() {
            Some(pool) => pool.resize(threads),
            None => Err(io::Error::new(ErrorKind::NotConnected, "not serving")),
        }
    }
}

/// Accepts on the calling thread.
fn accept_until_shutdown(listeners: &[Listener], pool: &Pool, poll_waker: &PollWaker) {
    let wanted = Wanted { read: true, ..Wanted::default() };
    let listening = listeners.iter().map(|listener| (listener.as_raw_fd(), wanted));
    let sources: Vec<_> = listening.chain([(poll_waker.as_raw_fd(), wanted)]).collect();

    while !pool.shutdown.requested() {
        poll(&sources, None);
        poll_waker.reset();
        for listener in listeners {
            if let Err(error) = accept_from(listener, pool) {
                tracing::warn!(%error, "cannot accept connections, trying again shortly");
                poll(&sources[listeners.len()..], Some(BACK_OFF));
            }
        }
    }
}

/// Accepts all clients that wait on one listener, but pauses while the queue is full.
fn accept_from(listener: &Listener, pool: &Pool) -> io::Result<()> {
    while pool.wait_for_room() {
        match listener.stream.accept() {
            Ok(accepted) => pool.push(Newcomer::new(accepted, listener.service.clone())),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => {
                pool.context.stats.accept_errors.fetch_add(1, Relaxed);
                if accept_failed_for_good(&error) {
                    return Err(error);
                }
            }
        }
    }
    Ok(())
}
