//! Begins and ends waits.

use super::Waiter;
use crate::clients::Event;
use crate::engine::Engine;
use std::sync::Arc;

impl Engine {
    /// Registers a waiter; see [`Blocking`].
    pub(crate) fn park(&self, waiter: &Arc<Waiter>) {
        self.notify.keyspace.add_interest();
        self.notify.blocking.add(waiter);
        if waiter.late.is_some() {
            self.replication.add_waiter(waiter);
        }
    }

    /// Ends a client's wait with its time-out reply, or with an error. Returns false if the client
    /// does not wait. Once this returns, no key is given to the client.
    pub fn unblock(&self, id: u64, error: Option<&'static str>) -> bool {
        let Some(waiter) = self.notify.blocking.of_client(id).filter(|waiter| waiter.end()) else {
            return false;
        };
        self.unpark(&waiter);
        waiter.client.send(Event::Unblocked { error }, 0);
        true
    }

    /// Removes a waiter from all its queues.
    pub(crate) fn unpark(&self, waiter: &Arc<Waiter>) {
        self.notify.blocking.remove(waiter);
        if waiter.late.is_some() {
            self.replication.remove_waiter(waiter);
        }
        self.notify.keyspace.release_interest();
    }
}
