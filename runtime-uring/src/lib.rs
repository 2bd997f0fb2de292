//! The io_uring runtime: N reactor threads, each with its own ring and its own connections. Linux only.
//!
//! A thread tells the kernel once that it wants a socket's clients or bytes (multishot accept and receive), and the
//! kernel reports what has come, in buffers that the thread has provided. Everything that a turn of all connections has
//! to write is handed over with one system call, which also waits for what comes next.
//!
//! Promises: a connection is used by one thread at a time; an idle connection owns no buffer, but the replies of the last
//! turn are given up only when the thread wakes again. A thread provides [`BUFFERS`] buffers of [`BUFFER_SIZE`] bytes for
//! all of its connections; if all are in use, input stays in the sockets. Memory is lent to the kernel only by handing
//! over its owner, which comes back when the kernel is done with it. The crate sees only bytes and
//! [`runtime::Connection`]s: no commands, keys or storage.
//!
//! Modules: [`Config`] and [`UringRuntime`] are here. `ring` is all that talks to the kernel, with `buffers`, those
//! provided for receiving, and `loans`, the output lent for sending; `support` finds out whether the kernel can do it.
//! `reactor_thread` is the loop of a thread, and lets another thread take it over; `reactor` is the state of the loop,
//! made of `slot`s and the parts in [`runtime::reactors`], and in `reactor::leaving`, how it passes connections on. `accept`
//! keeps the listeners.

#![cfg(target_os = "linux")]

mod accept;
mod buffers;
mod loans;
mod reactor;
mod reactor_thread;
mod ring;
mod slot;
mod support;

pub use buffers::{BUFFER_SIZE, BUFFERS};
pub use runtime::reactors::THREADS_MAX;
pub use support::check as check_kernel;

use parking_lot::Mutex;
use reactor::Uring;
use runtime::reactors::{Group, check_threads};
use runtime::{Clock, Listener, Runtime, RuntimeContext, RuntimeStats, Shutdown};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The parameters of the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Reactor threads, from one to [`THREADS_MAX`].
    pub threads: usize,
    /// Whether each reactor thread is pinned to a core.
    pub pin: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config { threads: 1, pin: false }
    }
}

/// The runtime. `serve` may be called once at a time.
pub struct UringRuntime {
    config: Config,
    stats: Arc<RuntimeStats>,
    /// The reactors of the `serve` call in progress.
    serving: Mutex<Option<Arc<Group<Uring>>>>,
}

impl UringRuntime {
    /// Creates a runtime. It starts its threads when `serve` is called.
    ///
    /// # Errors
    /// Fails if the number of threads is zero or higher than [`THREADS_MAX`], and with `Unsupported` if this kernel
    /// does not offer io_uring, or not all that is needed of it.
    pub fn new(config: Config) -> io::Result<Self> {
        check_threads(config.threads)?;
        check_kernel()?;
        Ok(UringRuntime { config, stats: Arc::default(), serving: Mutex::new(None) })
    }
}

impl Runtime for UringRuntime {
    fn name(&self) -> &'static str {
        "uring"
    }

    fn serve(
        &self,
        listeners: Vec<Listener>,
        clock: Clock,
        shutdown: Shutdown,
        drain_timeout: Duration,
    ) -> io::Result<()> {
        let context = RuntimeContext { clock, stats: self.stats.clone() };
        let group = Group::new(Uring, context, shutdown, drain_timeout, self.config.pin);
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

    /// Adds threads at once. A surplus reactor passes its connections to the others and ends.
    fn resize(&self, threads: usize) -> io::Result<()> {
        check_threads(threads)?;
        match self.serving.lock().as_ref() {
            Some(group) => group.resize(threads),
            None => Err(io::Error::new(io::ErrorKind::NotConnected, "not serving")),
        }
    }
}
