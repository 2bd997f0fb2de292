//! The tokio runtime: one task per connection on a work-stealing scheduler.
//!
//! Promises: a task that panics ends only its own connection; an idle connection owns neither a
//! buffer nor a timer; a turn runs in `block_in_place` only if the service says before it that it may
//! block, and for the rest of a call that turns out to take long. The crate sees only bytes and [`runtime::Connection`]s: no commands,
//! keys or storage.
//!
//! The number of threads can be changed while serving: all tasks move to another scheduler.
//!
//! Modules: [`TokioRuntime`] is here. `serving` is one call of `serve`, from its start to its drain. `home` is the
//! scheduler, `accept` accepts clients, `task` is one connection. `waker` reaches a task from any thread,
//! `registry` all tasks at once.

mod accept;
mod home;
mod registry;
mod serving;
mod task;
mod waker;

use parking_lot::Mutex;
use runtime::{Clock, Listener, Runtime, RuntimeContext, RuntimeStats, Shutdown};
use serving::Serving;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::task::Wake;
use std::thread::Thread;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::task::block_in_place;

/// The highest number of scheduler threads.
pub const THREADS_MAX: usize = 1024;

/// The time for which a thread in a long call waits until another one has taken its place.
const MAKE_WAY_MAX: Duration = Duration::from_secs(1);

/// The parameters of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Scheduler threads, from one to [`THREADS_MAX`].
    pub threads: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config { threads: 1 }
    }
}

/// The runtime; its scheduler exists while `serve` runs.
pub struct TokioRuntime {
    config: Config,
    stats: Arc<RuntimeStats>,
    serving: Mutex<Option<Serving>>,
}

impl TokioRuntime {
    /// Creates a runtime. It starts its threads when `serve` is called.
    ///
    /// # Errors
    /// Fails if the number of threads is zero or higher than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        check_threads(config.threads)?;
        Ok(TokioRuntime { config, stats: Arc::default(), serving: Mutex::new(None) })
    }
}

fn check_threads(threads: usize) -> io::Result<()> {
    if (1..=THREADS_MAX).contains(&threads) {
        return Ok(());
    }
    let text = format!("threads must be between 1 and {THREADS_MAX}, not {threads}");
    Err(io::Error::new(ErrorKind::InvalidInput, text))
}

/// Called when a call takes long: the scheduler goes on without this thread. Returns when another
/// thread has taken its place, that is, when a task runs there.
fn make_way() {
    let Ok(scheduler) = Handle::try_current() else { return };
    let (taken, seen) = sync_channel(1);
    scheduler.spawn(async move {
        // If that took too long, nobody waits any more.
        let _ = taken.try_send(());
    });
    block_in_place(|| {
        let _ = seen.recv_timeout(MAKE_WAY_MAX);
    });
}

impl Runtime for TokioRuntime {
    fn name(&self) -> &'static str {
        "tokio"
    }

    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()> {
        let context = Arc::new(RuntimeContext { clock, stats: self.stats.clone() });
        {
            // Whoever is served already may ask for other threads.
            let mut serving = self.serving.lock();
            *serving = Some(Serving::start(self.config.threads, listeners, context)?);
        }
        wait_for(&shutdown);
        let serving = self.serving.lock().take();
        let drain_timeout = shutdown.drain_timeout(drain_timeout);
        serving.into_iter().for_each(|serving| serving.stop(drain_timeout));
        Ok(())
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }

    /// Starts another scheduler, to which the connections move. A thread in a long call ends after it.
    fn resize(&self, threads: usize) -> io::Result<()> {
        check_threads(threads)?;
        match self.serving.lock().as_mut() {
            Some(serving) => serving.resize(threads),
            None => Err(io::Error::new(ErrorKind::NotConnected, "not serving")),
        }
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Waits until a stop is requested.
fn wait_for(shutdown: &Shutdown) {
    shutdown.subscribe(Arc::new(Unpark(std::thread::current())).into());
    while !shutdown.requested() {
        std::thread::park();
    }
}
