//! All open connections, so that a stop reaches them. It is used only when one begins or ends.

use crate::waker::ConnectionWaker;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::Wake;

/// The connections by number.
#[derive(Default)]
pub(crate) struct Registry(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    next: u64,
    draining: bool,
    wakers: HashMap<u64, Arc<ConnectionWaker>>,
}

impl Registry {
    /// Adds a connection and returns its number. One that is added while draining is told at once.
    pub fn add(&self, waker: Arc<ConnectionWaker>) -> u64 {
        let mut inner = self.0.lock();
        if inner.draining {
            waker.drain();
        }
        inner.next += 1;
        let number = inner.next;
        inner.wakers.insert(number, waker);
        number
    }

    pub fn remove(&self, number: u64) {
        self.0.lock().wakers.remove(&number);
    }

    pub fn is_empty(&self) -> bool {
        self.0.lock().wakers.is_empty()
    }

    /// Has every connection's task polled.
    pub fn wake_all(&self) {
        let inner = self.0.lock();
        inner.wakers.values().for_each(|waker| waker.wake_by_ref());
    }

    /// Tells every connection that the server stops.
    pub fn drain(&self) {
        let mut inner = self.0.lock();
        inner.draining = true;
        inner.wakers.values().for_each(|waker| waker.drain());
    }
}
