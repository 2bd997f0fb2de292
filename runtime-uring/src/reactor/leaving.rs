//! How a reactor parts with its connections: the server drains, the reactor retires, or others were added that have fewer.

use super::{Message, Passed, Reactor};
use crate::ring::Ring;
use crate::slot::Stay;
use runtime::Events;
use runtime::reactors::{Key, Leaving, NEVER, Parting};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};

impl Reactor {
    /// Checks for a requested shutdown, and whether this reactor is to pass connections on.
    pub fn notice_orders(&mut self, ring: &mut Ring) {
        if self.drain_until_us.is_some() {
            return;
        }
        if self.group.shutdown.requested() {
            return self.drain(ring);
        }
        let slots = &self.slots;
        self.leaving.notice(&self.group, &self.mailbox, || slots.keys());
        if !self.leaving.is_empty() {
            self.hand_connections_on(ring);
        }
    }

    fn drain(&mut self, ring: &mut Ring) {
        self.leaving = Leaving::default();
        self.listeners.close(ring);
        let timeout_us =
            self.group.shutdown.drain_timeout(self.group.drain_timeout).as_micros() as u64;
        self.drain_until_us = Some(self.now.mono_us.saturating_add(timeout_us));
        for key in self.slots.keys() {
            if let Some(slot) = self.slots.get_mut(key).filter(|slot| slot.stay == Stay::Moves) {
                slot.stay = Stay::Here;
            }
            self.enqueue(key, Events::DRAIN);
        }
    }

    /// Passes on the connections that are to leave.
    #[cold]
    fn hand_connections_on(&mut self, ring: &mut Ring) {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.part(|key| self.part_with(key, ring));
        self.leaving = leaving;
    }

    /// Passes one connection to another reactor, if it has to leave, is here and has no operation under way; the
    /// operations end. Its new reactor gives it a turn.
    fn part_with(&mut self, key: Key, ring: &mut Ring) -> Parting {
        let Some(slot) = self.slots.get_mut(key) else { return Parting::Over };
        if slot.stay == Stay::Ended {
            return Parting::Over;
        }
        let rests = slot.exchange.is_some() && slot.is_quiet();
        if slot.stay == Stay::Moves && !rests {
            return Parting::Begun;
        }
        if !self.group.is_to_part(&self.mailbox) {
            slot.stay = Stay::Here;
            self.enqueue(key, Events::empty());
            return Parting::Over;
        }
        // This is also for one that is lent: it would be, whenever asked, as long as it gets turns.
        slot.stay = Stay::Moves;
        if !rests {
            slot.stop_all(key, ring);
            return Parting::Begun;
        }
        let Some(mut slot) = self.slots.remove(key) else { return Parting::Over };
        (slot.stay, slot.queued, slot.to_transmit) = (Stay::Here, false, false);
        slot.armed_us = NEVER;
        self.mailbox.load.fetch_sub(1, Relaxed);
        let moved = Message::Own(Passed::Moved(Box::new(slot)));
        self.group.with_least_loaded(|other| other.send(moved));
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
