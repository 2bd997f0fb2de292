//! The waker of one connection, which finds the reactor that has the connection now.

use super::mailbox::Mailbox;
use super::slots::Key;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::AcqRel;
use std::task::Wake;

/// May outlive its connection; waking then has no effect.
pub struct ConnectionWaker<M> {
    /// Whether a wake is on its way; then further ones have no effect.
    queued: AtomicBool,
    /// The mailbox and the key of the connection; `None` before it has a place.
    home: Mutex<Option<(Arc<Mailbox<M>>, Key)>>,
}

impl<M> ConnectionWaker<M> {
    /// A waker of a connection that has no place yet.
    pub fn new() -> Arc<Self> {
        Arc::new(ConnectionWaker { queued: AtomicBool::new(false), home: Mutex::new(None) })
    }

    /// Sets the place of the connection. A wake that was sent elsewhere meanwhile may be lost, so
    /// the caller must give the connection a turn.
    pub fn settle(&self, mailbox: Arc<Mailbox<M>>, key: Key) {
        *self.home.lock() = Some((mailbox, key));
        self.take();
    }

    /// Resets the wake just before the connection is resumed, so that a later one has an effect.
    pub fn take(&self) {
        self.queued.swap(false, AcqRel);
    }
}

impl<M: Send + 'static> Wake for ConnectionWaker<M> {
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
