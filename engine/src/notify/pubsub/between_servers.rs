//! Messages between the servers of a cluster.

use super::{PubSub, Space};
use crate::clients::Event;
use crate::commit::slot;
use crate::tuning::{OutputClass, Tuning};
use hashbrown::HashSet;
use std::ops::Range;

impl PubSub {
    /// Delivers a message that was published at another server to the subscribers at this one.
    /// Returns their number.
    pub fn deliver(&self, tuning: &Tuning, shard: bool, channel: &[u8], payload: &[u8]) -> usize {
        let limit = tuning.push_limit(OutputClass::PubSub);
        self.publish(shard, channel, payload, limit, None)
    }

    /// Ends the subscriptions of clients that have subscribed to shard channels of these slots, and tells
    /// them: another server has the slots now.
    pub fn oust_shards(&self, slots: Range<u16>) {
        let mut told = HashSet::new();
        let ours = |name: &[u8]| slots.contains(&slot(name));
        for client in self.listeners_where(Space::Shard, ours) {
            if told.insert(client.id) {
                client.send(Event::Ousted, 0);
            }
        }
    }
}
