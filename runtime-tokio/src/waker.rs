//! The waker of one connection: remembers what happened and forwards to the task's own waker.

use parking_lot::Mutex;
use runtime::{Events, RuntimeStats};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::task::{Wake, Waker};

const WAKE: u8 = 1;
const DRAIN: u8 = 2;

/// Lives as long as anyone keeps it; without a task, waking does nothing.
pub(crate) struct ConnectionWaker {
    /// The flags that the task has not yet seen.
    flags: AtomicU8,
    task: Mutex<Option<Waker>>,
    stats: Arc<RuntimeStats>,
}

impl ConnectionWaker {
    pub fn new(stats: Arc<RuntimeStats>) -> Arc<Self> {
        Arc::new(ConnectionWaker { flags: AtomicU8::new(0), task: Mutex::new(None), stats })
    }

    /// Says which task to wake. What happened before must be looked for afterwards.
    pub fn set_task(&self, waker: Waker) {
        *self.task.lock() = Some(waker);
    }

    /// Forgets the task, which has ended: whoever keeps this no longer keeps the task's memory.
    pub fn forget_task(&self) {
        let task = self.task.lock().take();
        drop(task);
    }

    /// Takes what has happened.
    #[inline]
    pub fn take(&self) -> Events {
        if self.flags.load(Relaxed) == 0 {
            return Events::empty();
        }
        let flags = self.flags.swap(0, AcqRel);
        Events::WAKE.when(flags & WAKE != 0) | Events::DRAIN.when(flags & DRAIN != 0)
    }

    /// Tells the connection that the server stops.
    pub fn drain(&self) {
        self.raise(DRAIN);
    }

    fn raise(&self, flag: u8) {
        if self.flags.fetch_or(flag, AcqRel) & flag == 0
            && let Some(task) = &*self.task.lock()
        {
            task.wake_by_ref();
        }
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.stats.wakes.fetch_add(1, Relaxed);
        self.raise(WAKE);
    }
}
