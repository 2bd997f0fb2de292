//! The tokio runtime: one task per connection on a work-stealing scheduler.
//!
//! Promises: a task that panics ends only its own connection; an idle connection owns neither a
//! buffer nor a timer; `block_in_place` is used only for services that may block, and for calls
//! that turn out to take long. The crate sees only bytes and [`runtime::Connection`]s: no commands,
//! keys or storage.
//!
//! Modules: [`TokioRuntime`], here, creates the scheduler and drains it. `accept` accepts clients.
//! `task` is one connection. `waker` reaches a task from any thread, `registry` all tasks at once.

mod accept;
mod registry;
mod task;
mod waker;

use registry::Registry;
use runtime::{Clock, Listener, Runtime, RuntimeContext, RuntimeStats, Shutdown, stand_in};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::sync_channel;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Handle};
use tokio::task::block_in_place;

/// The highest number of scheduler threads.
pub const THREADS_MAX: usize = 1024;

/// The interval at which draining checks whether all connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// The time that a thread, which may be blocked, gets to end once the server has drained.
const LEAVE_MAX: Duration = Duration::from_secs(1);

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
}

/// The state that all tasks of one `serve` call share.
struct Shared {
    context: Arc<RuntimeContext>,
    registry: Registry,
    /// Whether turns run in `block_in_place`, because the service may block in any of them.
    blocking: bool,
}

impl TokioRuntime {
    /// Creates a runtime. It starts its threads when `serve` is called.
    ///
    /// # Errors
    /// Fails if the number of threads is zero or higher than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        if !(1..=THREADS_MAX).contains(&config.threads) {
            let text = format!("threads must be between 1 and {THREADS_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(TokioRuntime { config, stats: Arc::default() })
    }

    /// This is always the multi-thread scheduler. The other one is slightly cheaper on one thread,
    /// but cannot move its tasks away from a call that takes long.
    fn scheduler(&self) -> Builder {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.config.threads).thread_name("tokio-worker");
        builder.on_thread_start(|| stand_in::provide(make_way));
        builder
    }
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
        let blocking = listeners.iter().any(|listener| listener.service.may_block());
        let scheduler = self.scheduler().enable_io().enable_time().build()?;
        let context = Arc::new(RuntimeContext { clock, stats: self.stats.clone() });
        let shared = Arc::new(Shared { context, registry: Registry::default(), blocking });
        self.stats.threads.store(self.config.threads as u64, Relaxed);
        let result = scheduler.block_on(async {
            let accepting = accept::start(listeners, &shared)?;
            requested(&shutdown).await;
            accepting.stop().await;
            drain(&shared, drain_timeout).await;
            Ok(())
        });
        // Tasks that did not finish are dropped, which closes their connections. A thread that is
        // blocked in one of them is not waited for.
        scheduler.shutdown_timeout(LEAVE_MAX);
        self.stats.threads.store(0, Relaxed);
        result
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }
}

/// Waits until a stop is requested.
async fn requested(shutdown: &Shutdown) {
    let mut subscribed = false;
    poll_fn(|cx| {
        if shutdown.requested() {
            return Poll::Ready(());
        }
        if !std::mem::replace(&mut subscribed, true) {
            shutdown.subscribe(cx.waker().clone());
        }
        Poll::Pending
    })
    .await;
}

/// Tells every connection to finish, and waits for that, but at most for `timeout`.
async fn drain(shared: &Shared, timeout: Duration) {
    let until = Instant::now() + timeout;
    shared.registry.drain();
    while !shared.registry.is_empty() && Instant::now() < until {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
