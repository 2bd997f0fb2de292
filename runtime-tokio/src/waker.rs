//! The waker of one connection. It remembers events, and forwards wakes to the task's own waker.

use parking_lot::Mutex;
use runtime::{Events, RuntimeStats};
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::{AcqRel, Relaxed};
use std::task::{Wake, Waker};

const WAKE: u8 = 1;
const DRAIN: u8 = 2;

/// May outlive its task; waking then has no effect.
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

    /// Sets the task to wake. Events from before must be checked afterwards.
    pub fn set_task(&self, waker: Waker) {
        *self.task.lock() = Some(waker);
    }

    /// Forgets the task, which has ended, so that its memory is not kept by those who keep this
    /// waker.
    pub fn forget_task(&self) {
        let task = self.task.lock().take();
        drop(task);
    }

    /// Returns and resets the events.
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
