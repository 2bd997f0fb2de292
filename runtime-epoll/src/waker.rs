//! The waker of one connection: finds the reactor it lives on now.

use crate::mailbox::Mailbox;
use crate::slots::Key;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::task::Wake;

/// Outlives its connection in whoever keeps it; waking then reaches a key that no longer exists.
pub(crate) struct ConnectionWaker {
    /// A wake is on its way and not yet taken: further ones add nothing.
    queued: AtomicBool,
    /// Where the connection is; none before it was placed.
    home: Mutex<Option<(Arc<Mailbox>, Key)>>,
}

impl ConnectionWaker {
    pub fn new() -> Arc<Self> {
        Arc::new(ConnectionWaker { queued: AtomicBool::new(false), home: Mutex::new(None) })
    }

    /// Tells where the connection lives from now on. A wake that was sent elsewhere meanwhile may
    /// be lost: the caller must give the connection a turn.
    pub fn settle(&self, mailbox: Arc<Mailbox>, key: Key) {
        *self.home.lock() = Some((mailbox, key));
        self.take();
    }

    /// Takes the wake, just before the connection is resumed: one that comes later counts anew.
    pub fn take(&self) {
        self.queued.swap(false, AcqRel);
    }
}

impl Wake for ConnectionWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.queued.swap(true, AcqRel) {
            return;
        }
        let home = self.home.lock();
        if let Some((mailbox, key)) = home.as_ref() {
            mailbox.wake_connection(*key);
        }
    }
}
