//! How a reactor parts with its connections: the server drains, the reactor retires, or others were added that have fewer.

use super::{Message, Passed, Reactor};
use mio::unix::SourceFd;
use runtime::Events;
use runtime::reactors::{Key, Leaving, Parting};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

impl Reactor {
    /// Checks for a requested shutdown, and whether this reactor is to pass connections on.
    pub fn notice_orders(&mut self) {
        if self.drain_until_us.is_some() {
            return;
        }
        if self.group.shutdown.requested() {
            return self.drain();
        }
        let slots = &self.slots;
        self.leaving.notice(&self.group, &self.mailbox, || slots.keys());
        if !self.leaving.is_empty() {
            self.hand_connections_on();
        }
    }

    fn drain(&mut self) {
        self.leaving = Leaving::default();
        self.listeners.close();
        let timeout_us =
            self.group.shutdown.drain_timeout(self.group.drain_timeout).as_micros() as u64;
        self.drain_until_us = Some(self.now.mono_us.saturating_add(timeout_us));
        for key in self.slots.keys() {
            self.enqueue(key, Events::DRAIN);
        }
    }

    /// Passes on the connections that are to leave and are not with a worker.
    #[cold]
    fn hand_connections_on(&mut self) {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.part(|key| self.part_with(key));
        self.leaving = leaving;
    }

    /// Passes one connection to another reactor, if it is here and has to leave. Its new reactor gives it a turn, with
    /// the events that it has missed.
    fn part_with(&mut self, key: Key) -> Parting {
        let Some(slot) = self.slots.get_mut(key) else { return Parting::Over };
        if slot.driver.is_none() {
            return Parting::Later;
        }
        if !self.group.is_to_part(&self.mailbox) {
            return Parting::Over;
        }
        let Some(slot) = self.slots.remove(key) else { return Parting::Over };
        let Some(driver) = slot.driver else { return Parting::Over };
        let fd = driver.socket().as_raw_fd();
        if let Err(error) = self.poll.registry().deregister(&mut SourceFd(&fd)) {
            tracing::warn!(%error, "cannot stop polling a connection");
        }
        let moved = Box::new((driver, slot.waker, slot.events));
        self.mailbox.load.fetch_sub(1, Relaxed);
        self.group.with_least_loaded(|other| other.send(Message::Own(Passed::Moved(moved))));
        Parting::Moved
    }

    /// Whether the server has drained, or this reactor has passed on all its connections.
    pub fn finished(&self) -> bool {
        let empty = self.slots.len() == 0;
        match self.drain_until_us {
            Some(until_us) => {
                self.now.mono_us >= until_us || (empty && self.group.dismiss(&self.mailbox))
            }
            None => {
                empty && self.mailbox.retire.load(SeqCst) && self.mailbox.load.load(SeqCst) == 0
            }
        }
    }
}
