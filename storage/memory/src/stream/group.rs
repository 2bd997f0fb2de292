//! A consumer group: how far it has read, its consumers, and its pending entries.

use std::collections::{BTreeMap, BTreeSet};
use storage::rdb::{self, StreamId};
use storage::stream::{ConsumerInfo, GroupInfo, Pending, VisitPending};

/// Bytes a group takes without its name, about.
const GROUP_BYTES: usize = 240;
/// Bytes a consumer takes without its names, about.
const CONSUMER_BYTES: usize = 160;
/// Bytes a pending entry takes in both trees, about: ascending insertions leave them half full.
const PENDING_BYTES: usize = 112;

/// A group.
#[derive(Debug, Default)]
pub struct Group {
    /// Last ID delivered.
    pub last_id: StreamId,
    /// The number of entries that it has read, if that is known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Delivery>,
    /// The number of each consumer.
    names: BTreeMap<Box<[u8]>, u32>,
    /// Consumers by number.
    consumers: Vec<Option<Consumer>>,
    free: Vec<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Delivery {
    consumer: u32,
    at_ms: u64,
    count: u64,
}

#[derive(Debug)]
struct Consumer {
    name: Box<[u8]>,
    seen_ms: u64,
    active_ms: Option<u64>,
    pending: BTreeSet<StreamId>,
}

/// The change of the memory held, in bytes.
pub type Change = isize;

impl Group {
    /// A group without consumers.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Self {
        Group { last_id, entries_read, ..Group::default() }
    }

    /// Bytes of an empty group of this name, about.
    pub fn own_bytes(name: &[u8]) -> usize {
        GROUP_BYTES + name.len()
    }

    /// Bytes of consumers and pending entries, about.
    pub fn bytes(&self) -> usize {
        let names: usize = self.names.keys().map(|name| CONSUMER_BYTES + 2 * name.len()).sum();
        names + self.pending.len() * PENDING_BYTES
    }

    /// Returns the facts that `XINFO` reports of it.
    pub fn info(&self) -> GroupInfo {
        GroupInfo {
            last_id: self.last_id,
            entries_read: self.entries_read,
            pending: self.pending.len() as u64,
            consumers: self.names.len() as u64,
        }
    }

    fn number(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).copied()
    }

    fn at(&mut self, number: u32) -> Option<&mut Consumer> {
        self.consumers.get_mut(number as usize)?.as_mut()
    }

    /// A consumer.
    pub fn consumer(&self, name: &[u8]) -> Option<ConsumerInfo> {
        let number = self.number(name)?;
        Some(self.consumers.get(number as usize)?.as_ref()?.info())
    }

    /// Visits the consumers, by name.
    pub fn consumers(&self, visit: &mut dyn FnMut(&[u8], &ConsumerInfo)) {
        for (name, number) in &self.names {
            if let Some(Some(consumer)) = self.consumers.get(*number as usize) {
                visit(name, &consumer.info());
            }
        }
    }

    /// Makes a consumer, or sets its times; true when it is new.
    pub fn set_consumer(
        &mut self,
        name: &[u8],
        seen_ms: u64,
        active_ms: Option<u64>,
    ) -> (bool, Change) {
        if let Some(number) = self.number(name) {
            if let Some(consumer) = self.at(number) {
                (consumer.seen_ms, consumer.active_ms) = (seen_ms, active_ms);
            }
            return (false, 0);
        }
        let consumer = Consumer { name: name.into(), seen_ms, active_ms, pending: BTreeSet::new() };
        let number = self.free.pop().unwrap_or(self.consumers.len() as u32);
        match self.consumers.get_mut(number as usize) {
            Some(slot) => *slot = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        self.names.insert(name.into(), number);
        (true, (CONSUMER_BYTES + 2 * name.len()) as Change)
    }

    /// Removes a consumer with its pending entries. Returns how many these were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<(u64, Change)> {
        let number = self.names.remove(name)?;
        let consumer = self.consumers.get_mut(number as usize)?.take()?;
        self.free.push(number);
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        let count = consumer.pending.len();
        let bytes = CONSUMER_BYTES + 2 * name.len() + count * PENDING_BYTES;
        Some((count as u64, -(bytes as Change)))
    }

    /// Visits the pending entries, of one consumer or of all.
    pub fn pending(
        &self,
        consumer: Option<&[u8]>,
        first: StreamId,
        last: StreamId,
        visit: VisitPending<'_>,
    ) {
        if first > last {
            return;
        }
        let mut show = |id: StreamId, delivery: &Delivery| {
            let Some(Some(owner)) = self.consumers.get(delivery.consumer as usize) else {
                return true;
            };
            let Delivery { at_ms, count, .. } = *delivery;
            visit(Pending { id, consumer: &owner.name, delivered_ms: at_ms, deliveries: count })
        };
        let Some(name) = consumer else {
            self.pending.range(first..=last).all(|(id, delivery)| show(*id, delivery));
            return;
        };
        let consumer = self.number(name).and_then(|at| self.consumers.get(at as usize));
        let Some(Some(consumer)) = consumer else { return };
        consumer
            .pending
            .range(first..=last)
            .all(|id| self.pending.get(id).is_none_or(|delivery| show(*id, delivery)));
    }

    /// The first and the last ID that are pending.
    pub fn pending_ends(&self) -> Option<(StreamId, StreamId)> {
        Some((*self.pending.first_key_value()?.0, *self.pending.last_key_value()?.0))
    }

    /// Makes an entry pending for a consumer that exists, taking it from another.
    pub fn set_pending(&mut self, pending: &Pending<'_>) -> Change {
        let Some(number) = self.number(pending.consumer) else { return 0 };
        let delivery =
            Delivery { consumer: number, at_ms: pending.delivered_ms, count: pending.deliveries };
        let before = self.pending.insert(pending.id, delivery);
        if let Some(before) = before
            && before.consumer != number
            && let Some(other) = self.at(before.consumer)
        {
            other.pending.remove(&pending.id);
        }
        if before.is_none_or(|before| before.consumer != number)
            && let Some(consumer) = self.at(number)
        {
            consumer.pending.insert(pending.id);
        }
        if before.is_none() { PENDING_BYTES as Change } else { 0 }
    }

    /// Removes a pending entry; false when there is none.
    pub fn remove_pending(&mut self, id: StreamId) -> bool {
        let Some(delivery) = self.pending.remove(&id) else { return false };
        if let Some(consumer) = self.at(delivery.consumer) {
            consumer.pending.remove(&id);
        }
        true
    }

    /// Bytes of a pending entry, about.
    pub fn pending_bytes() -> usize {
        PENDING_BYTES
    }

    /// Drops up to `limit` pending entries, for taking a removed group apart; true when more are
    /// left.
    pub fn dismantle(&mut self, limit: usize) -> bool {
        for _ in 0..limit {
            let Some((id, delivery)) = self.pending.pop_first() else { return false };
            if let Some(consumer) = self.at(delivery.consumer) {
                consumer.pending.remove(&id);
            }
        }
        !self.pending.is_empty()
    }

    /// The group as RDB files have it.
    pub fn meta(&self, name: &[u8]) -> rdb::StreamGroup {
        let mut places = vec![0; self.consumers.len()];
        let mut consumers = Vec::with_capacity(self.names.len());
        for number in self.names.values() {
            let Some(Some(consumer)) = self.consumers.get(*number as usize) else { continue };
            places[*number as usize] = consumers.len();
            consumers.push(rdb::StreamConsumer {
                name: consumer.name.to_vec(),
                seen_time_ms: consumer.seen_ms,
                active_time_ms: consumer.active_ms,
            });
        }
        let pending = |(id, delivery): (&StreamId, &Delivery)| rdb::PendingEntry {
            id: *id,
            consumer: places[delivery.consumer as usize],
            delivery_time_ms: delivery.at_ms,
            delivery_count: delivery.count,
        };
        rdb::StreamGroup {
            name: name.to_vec(),
            last_id: self.last_id,
            entries_read: self.entries_read,
            pending: self.pending.iter().map(pending).collect(),
            consumers,
        }
    }

    /// The group that a decoded one describes.
    pub fn build(group: &rdb::StreamGroup) -> Self {
        let mut built = Group::new(group.last_id, group.entries_read);
        for consumer in &group.consumers {
            built.set_consumer(&consumer.name, consumer.seen_time_ms, consumer.active_time_ms);
        }
        for entry in &group.pending {
            let Some(consumer) = group.consumers.get(entry.consumer) else { continue };
            built.set_pending(&Pending {
                id: entry.id,
                consumer: &consumer.name,
                delivered_ms: entry.delivery_time_ms,
                deliveries: entry.delivery_count,
            });
        }
        built
    }
}

impl Consumer {
    fn info(&self) -> ConsumerInfo {
        ConsumerInfo {
            seen_ms: self.seen_ms,
            active_ms: self.active_ms,
            pending: self.pending.len() as u64,
        }
    }
}
