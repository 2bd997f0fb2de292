//! Accepts clients: one task per listener.

use crate::serving::Shared;
use crate::task::Task;
use runtime::{Listener, accept_failed_for_good};
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinHandle;

/// The pause after `accept` failed: without a free file descriptor it fails again at once.
const BACK_OFF: Duration = Duration::from_millis(80);

/// The tasks that accept.
pub(crate) struct Accepting(Vec<JoinHandle<()>>);

impl Accepting {
    /// Starts accepting on every listener, with the scheduler of the moment.
    pub fn start(listeners: &[Arc<Listener>], shared: &Arc<Shared>) -> io::Result<Self> {
        let home = shared.home();
        let _context = home.handle.enter();
        let polled: io::Result<Vec<_>> = listeners.iter().cloned().map(Polled::new).collect();
        let run = |listener: Polled| home.handle.spawn(listener.run(shared.clone()));
        Ok(Accepting(polled?.into_iter().map(run).collect()))
    }

    /// Stops accepting, soon.
    pub fn abort(self) {
        self.0.iter().for_each(JoinHandle::abort);
    }

    /// Stops accepting.
    pub async fn stop(self) {
        for task in self.0 {
            task.abort();
            let _ = task.await;
        }
    }
}

/// A listening socket known to tokio's poller.
struct Polled(AsyncFd<Arc<Listener>>);

impl Polled {
    fn new(listener: Arc<Listener>) -> io::Result<Self> {
        // SAFETY: the AsyncFd shares the listener, whose socket stays open and the same until all
        // owners have dropped it.
        let registered = unsafe { AsyncFd::register_with_interest(listener, Interest::READABLE) };
        registered.map(Polled).map_err(|failed| failed.into_parts().1)
    }

    async fn run(self, shared: Arc<Shared>) {
        loop {
            match self.accept_one(&shared).await {
                Ok(()) => {}
                Err(error) => {
                    shared.context.stats.accept_errors.fetch_add(1, Relaxed);
                    if accept_failed_for_good(&error) {
                        tracing::warn!(%error, "cannot accept connections, trying again shortly");
                        tokio::time::sleep(BACK_OFF).await;
                    }
                }
            }
        }
    }

    async fn accept_one(&self, shared: &Arc<Shared>) -> io::Result<()> {
        let mut guard = self.0.readable().await?;
        let listener = self.0.get_ref();
        match listener.stream.accept() {
            Ok(accepted) => Task::spawn(shared, &listener.service, accepted),
            Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
