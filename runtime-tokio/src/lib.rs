//! The tokio runtime: one task per connection on a work-stealing scheduler.
//!
//! Promises: a task that panics takes its own connection down only; an idle connection owns
//! neither buffer nor timer; `block_in_place` is used only for services that say they may block.
//! This crate sees bytes and [`runtime::Connection`]s only: no command, no key, no storage.
//!
//! Map: [`TokioRuntime`] here builds the scheduler and drains it; `accept` lets clients in; `task`
//! is one connection; `waker` reaches a task from anywhere, `registry` all of them at once.

mod accept;
mod registry;
mod task;
mod waker;

use registry::Registry;
use runtime::{Clock, Host, Listener, Runtime, RuntimeStats, Shutdown};
use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// The most scheduler threads anyone may ask for.
pub const THREADS_MAX: usize = 1024;

/// How often the drain looks whether all connections have ended.
const DRAIN_POLL: Duration = Duration::from_millis(5);

/// How long a thread may take to leave, blocked as it may be, once the server has drained.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// How the runtime is set up.
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

/// What all tasks of one `serve` call share.
struct Shared {
    host: Arc<Host>,
    registry: Registry,
    /// Whether tasks may use `block_in_place`: the service blocks, and other threads can take over.
    blocking: bool,
}

impl TokioRuntime {
    /// A runtime that starts threads once `serve` is called.
    ///
    /// # Errors
    /// No threads, or more than [`THREADS_MAX`].
    pub fn new(config: Config) -> io::Result<Self> {
        if !(1..=THREADS_MAX).contains(&config.threads) {
            let text = format!("threads must be between 1 and {THREADS_MAX}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(TokioRuntime { config, stats: Arc::default() })
    }

    /// One thread needs no work stealing: the current-thread scheduler saves the cross-thread
    /// wake-ups. It cannot move other tasks away from one that blocks, so services that may block
    /// get the multi-thread scheduler at any size.
    fn scheduler(&self, blocking: bool) -> Builder {
        if self.config.threads == 1 && !blocking {
            return Builder::new_current_thread();
        }
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(self.config.threads).thread_name("tokio-worker");
        builder
    }
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
        let scheduler = self.scheduler(blocking).enable_io().enable_time().build()?;
        let host = Arc::new(Host { clock, stats: self.stats.clone() });
        let shared = Arc::new(Shared { host, registry: Registry::default(), blocking });
        self.stats.threads.store(self.config.threads as u64, Relaxed);
        let result = scheduler.block_on(async {
            let accepting = accept::start(listeners, &shared)?;
            requested(&shutdown).await;
            accepting.stop().await;
            drain(&shared, drain_timeout).await;
            Ok(())
        });
        // Tasks that did not finish are dropped, which closes their connections. A thread that
        // is blocked inside one is not waited for.
        scheduler.shutdown_timeout(LEAVE_MAX);
        self.stats.threads.store(0, Relaxed);
        result
    }

    fn stats(&self) -> Arc<RuntimeStats> {
        self.stats.clone()
    }
}

/// Waits for the request to stop.
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

/// Tells every connection to finish and waits for that, within bounds.
async fn drain(shared: &Shared, timeout: Duration) {
    let until = Instant::now() + timeout;
    shared.registry.drain();
    while !shared.registry.is_empty() && Instant::now() < until {
        tokio::time::sleep(DRAIN_POLL).await;
    }
}
