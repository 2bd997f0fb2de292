//! The scheduler that runs all tasks, and how it gives way to another one.
//!
//! Tokio cannot change the number of a scheduler's threads. So another scheduler is started, and each task moves
//! to it when it is polled next. The old one ends when no task is left on it.

use crate::make_way;
use runtime::stand_in;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};

/// The time that a thread, which may be blocked, gets to end.
const LEAVE_MAX: Duration = Duration::from_secs(1);

/// The interval at which it is checked whether all tasks have moved.
const MOVE_POLL: Duration = Duration::from_millis(5);

/// A scheduler as its tasks see it. Each of them has a reference, so that the scheduler knows how many there are.
pub(crate) struct Home {
    pub handle: Handle,
    left: AtomicBool,
}

impl Home {
    /// Whether tasks have to move to another scheduler.
    #[inline]
    pub fn is_left(&self) -> bool {
        self.left.load(Relaxed)
    }
}

/// A scheduler with its threads.
pub(crate) struct Scheduler {
    runtime: Runtime,
    home: Arc<Home>,
}

impl Scheduler {
    /// Starts threads.
    ///
    /// This is always the multi-thread scheduler. The other one is slightly cheaper on one thread,
    /// but cannot move its tasks away from a call that takes long.
    pub fn start(threads: usize) -> io::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(threads).thread_name("tokio-worker").enable_io().enable_time();
        builder.on_thread_start(|| stand_in::provide(make_way));
        let runtime = builder.build()?;
        let home = Home { handle: runtime.handle().clone(), left: AtomicBool::new(false) };
        Ok(Scheduler { runtime, home: Arc::new(home) })
    }

    pub fn home(&self) -> &Arc<Home> {
        &self.home
    }

    /// Makes its tasks move when they are polled next.
    pub fn leave(&self) {
        self.home.left.store(true, SeqCst);
    }

    /// Waits until all its tasks have moved, or the server has drained, and ends its threads.
    pub fn end_once_left(self, drained: &AtomicBool) {
        while Arc::strong_count(&self.home) > 1 && !drained.load(SeqCst) {
            std::thread::sleep(MOVE_POLL);
        }
        self.end();
    }

    /// Ends its threads. Tasks that are left are dropped, which closes their connections. A thread that is
    /// blocked in one of them is not waited for.
    pub fn end(self) {
        self.runtime.shutdown_timeout(LEAVE_MAX);
    }
}
