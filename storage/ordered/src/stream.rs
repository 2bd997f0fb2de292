//! Streams: entries in order of their IDs; groups, consumers and pending entries as records.
//!
//! Entries and groups are records of the stream's version. A group's consumers and pending entries
//! are records of a version of their own, to which the group's record refers as a long value refers
//! to its chunks. So when a group, or a stream with groups, is dropped, the cleaner deletes them.
//! Every pending entry is stored twice: by ID, and by consumer and ID.

mod trimming;

use super::codec::{self, Body, ElementHead, StreamHead};
use super::elements::{Element, Opened};
use super::keys;
use super::kv::{KEY_BYTES_MAX, Read};
use super::tx::OrderedTx;
use serde::{Deserialize, Serialize};
use storage::fields::{Fields, put_fields};
use storage::stream::{
    ConsumerInfo, GroupInfo, Pending, Stream, StreamId, StreamInfo, Trim, VisitEntry, VisitPending,
};
use storage::{Error, Key, Open, Result};

/// The record of a group.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct GroupHead {
    last_id: StreamId,
    entries_read: Option<u64>,
    pending: u64,
    consumers: u64,
    /// A consumer number not used before.
    next_consumer: u64,
}

/// The record of a consumer.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct ConsumerHead {
    number: u64,
    seen_ms: u64,
    active_ms: Option<u64>,
    pending: u64,
}

/// The record of a pending entry; the consumer's name follows.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct PendingHead {
    consumer: u64,
    delivered_ms: u64,
    deliveries: u64,
}

/// A group as it was read.
pub(super) struct GroupRecord {
    /// Where its consumers and pending entries are.
    version: u64,
    head: GroupHead,
}

/// An opened stream.
pub(super) struct OrderedStream<'t, 'b>(Opened<'t, 'b>);

impl GroupRecord {
    fn decode(record: &[u8]) -> Result<Self> {
        let (outer, _, at) = codec::decode_element(record)?;
        let (version, _) = outer.chunks.ok_or_else(|| Error::corrupt("a group without version"))?;
        let (head, _) = codec::decode(&record[at..], "group")?;
        Ok(GroupRecord { version, head })
    }

    fn encode(&self) -> Vec<u8> {
        let outer = ElementHead { chunks: Some((self.version, 0)), ..ElementHead::default() };
        codec::encode(&outer, &[&codec::encode(&self.head, &[])])
    }

    fn info(&self) -> GroupInfo {
        let GroupHead { last_id, entries_read, pending, consumers, .. } = self.head;
        GroupInfo { last_id, entries_read, pending, consumers }
    }
}

impl ConsumerHead {
    fn info(&self) -> ConsumerInfo {
        let ConsumerHead { seen_ms, active_ms, pending, .. } = *self;
        ConsumerInfo { seen_ms, active_ms, pending }
    }
}

/// Visits the entries of a stream's version from `first` to `last`.
pub(super) fn each_entry(
    read: &dyn Read,
    version: u64,
    (first, last): (StreamId, StreamId),
    reverse: bool,
    chunk_bytes: usize,
    visit: VisitEntry<'_>,
) -> Result<()> {
    let (lo, hi) = keys::stream_entries(version, first, last);
    let mut result = Ok(true);
    read.scan(keys::ELEMENTS, &lo, &hi, reverse, &mut |key, record| {
        let id = keys::stream_id(key);
        result = Element::decode(record).and_then(|element| match element.head.chunks {
            None => Ok(visit(id, Fields::whole(element.inline()))),
            Some(_) => Ok(visit(id, Fields::whole(&element.value(read, chunk_bytes)?))),
        });
        matches!(result, Ok(true))
    })?;
    result.map(drop)
}

/// Visits the groups of a stream's version.
pub(super) fn each_group(
    read: &dyn Read,
    version: u64,
    visit: &mut dyn FnMut(&[u8], &GroupRecord) -> Result<()>,
) -> Result<()> {
    let (lo, hi) = keys::stream_groups(version);
    let mut result = Ok(());
    read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
        let name = key.get(keys::STREAM_NAME_AT..).unwrap_or_default();
        result = GroupRecord::decode(record).and_then(|group| visit(name, &group));
        result.is_ok()
    })?;
    result
}

fn each_consumer(
    read: &dyn Read,
    version: u64,
    visit: &mut dyn FnMut(&[u8], &ConsumerHead),
) -> Result<()> {
    let (lo, hi) = keys::stream_consumers(version);
    let mut result = Ok(());
    read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
        let name = key.get(keys::STREAM_NAME_AT..).unwrap_or_default();
        result = codec::decode(record, "consumer").map(|(head, _)| visit(name, &head));
        result.is_ok()
    })?;
    result
}

fn each_pending(
    read: &dyn Read,
    version: u64,
    (first, last): (StreamId, StreamId),
    visit: VisitPending<'_>,
) -> Result<()> {
    let (lo, hi) = keys::stream_pendings(version, first, last);
    let mut result = Ok(true);
    read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
        result = show_pending(keys::stream_id(key), record, visit);
        matches!(result, Ok(true))
    })?;
    result.map(drop)
}

fn show_pending(id: StreamId, record: &[u8], visit: VisitPending<'_>) -> Result<bool> {
    let (head, at) = codec::decode::<PendingHead>(record, "pending entry")?;
    let PendingHead { delivered_ms, deliveries, .. } = head;
    Ok(visit(Pending { id, consumer: &record[at..], delivered_ms, deliveries }))
}

/// A group as RDB files have it.
pub(super) fn group_meta(
    read: &dyn Read,
    name: &[u8],
    group: &GroupRecord,
) -> Result<storage::rdb::StreamGroup> {
    let mut consumers = Vec::new();
    each_consumer(read, group.version, &mut |name, head| {
        consumers.push(storage::rdb::StreamConsumer {
            name: name.to_vec(),
            seen_time_ms: head.seen_ms,
            active_time_ms: head.active_ms,
        });
    })?;
    let mut pending = Vec::new();
    let mut stray = false;
    each_pending(read, group.version, (StreamId::MIN, StreamId::MAX), &mut |entry| {
        // Consumers come in order of their names.
        match consumers.binary_search_by(|one| one.name[..].cmp(entry.consumer)) {
            Ok(consumer) => pending.push(storage::rdb::PendingEntry {
                id: entry.id,
                consumer,
                delivery_time_ms: entry.delivered_ms,
                delivery_count: entry.deliveries,
            }),
            Err(_) => stray = true,
        }
        !stray
    })?;
    if stray {
        return Err(Error::corrupt("a pending entry of no consumer"));
    }
    let GroupHead { last_id, entries_read, .. } = group.head;
    Ok(storage::rdb::StreamGroup { name: name.to_vec(), last_id, entries_read, pending, consumers })
}

impl<'t, 'b> OrderedStream<'t, 'b> {
    pub(super) fn open(
        tx: &'t mut OrderedTx<'b>,
        key: &Key<'_>,
        open: Open,
    ) -> Result<Option<Self>> {
        let create = |version| Body::Stream(StreamHead { version, ..StreamHead::default() });
        Ok(Opened::open(tx, key, open, storage::Kind::Stream, create)?.map(OrderedStream))
    }

    fn head(&self) -> Result<&StreamHead> {
        match &self.0.head.body {
            Body::Stream(head) => Ok(head),
            _ => Err(Error::WrongType),
        }
    }

    /// The head, to be changed.
    fn head_mut(&mut self) -> Result<&mut StreamHead> {
        self.0.changed = true;
        match &mut self.0.head.body {
            Body::Stream(head) => Ok(head),
            _ => Err(Error::WrongType),
        }
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.0.tx.get(keys::ELEMENTS, key)
    }

    fn put(&mut self, key: Vec<u8>, record: Vec<u8>) {
        self.0.tx.batch.put(keys::ELEMENTS, key, record);
    }

    fn erase(&mut self, key: Vec<u8>) {
        self.0.tx.batch.delete(keys::ELEMENTS, key);
    }

    /// Removes the record of an entry, and what it refers to.
    fn erase_entry(&mut self, key: Vec<u8>, record: &[u8]) -> Result<()> {
        let element = Element::decode(record)?;
        self.0.discard_chunks(&element.head);
        self.erase(key);
        Ok(())
    }

    /// The ID of the first entry at or after `from`, or of the last one.
    fn edge(&self, from: StreamId, last: bool) -> Result<StreamId> {
        let mut found = StreamId::MIN;
        let (lo, hi) = keys::stream_entries(self.head()?.version, from, StreamId::MAX);
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, last, &mut |key, _| {
            found = keys::stream_id(key);
            false
        })?;
        Ok(found)
    }

    fn entries_per_node(&self) -> u64 {
        match self.0.tx.backend.limits.read().stream_node_entries as u64 {
            0 => u64::MAX,
            entries => entries,
        }
    }

    // -- groups ----------------------------------------------------------------------------------

    fn group_key(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(keys::stream_group(self.head()?.version, name))
    }

    fn find_group(&self, name: &[u8]) -> Result<Option<GroupRecord>> {
        let record = self.get(&self.group_key(name)?)?;
        record.map(|record| GroupRecord::decode(&record)).transpose()
    }

    fn put_group(&mut self, name: &[u8], group: &GroupRecord) -> Result<()> {
        let key = self.group_key(name)?;
        self.put(key, group.encode());
        Ok(())
    }

    fn find_consumer(&self, version: u64, name: &[u8]) -> Result<Option<ConsumerHead>> {
        let record = self.get(&keys::stream_consumer(version, name))?;
        record.map(|record| Ok(codec::decode(&record, "consumer")?.0)).transpose()
    }

    fn put_consumer(&mut self, version: u64, name: &[u8], head: &ConsumerHead) {
        self.put(keys::stream_consumer(version, name), codec::encode(head, &[]));
    }

    /// Takes a pending entry from the consumer that has it; false when it is not pending.
    fn take_pending(&mut self, version: u64, id: StreamId) -> Result<bool> {
        let key = keys::stream_pending(version, id);
        let Some(record) = self.get(&key)? else { return Ok(false) };
        let (head, at) = codec::decode::<PendingHead>(&record, "pending entry")?;
        let name = &record[at..];
        if let Some(mut consumer) = self.find_consumer(version, name)? {
            consumer.pending = consumer.pending.saturating_sub(1);
            self.put_consumer(version, name, &consumer);
        }
        self.erase(key);
        self.erase(keys::stream_owned(version, head.consumer, id));
        Ok(true)
    }

    /// The IDs pending for a consumer.
    fn owned(
        &self,
        version: u64,
        number: u64,
        first: StreamId,
        last: StreamId,
    ) -> Result<Vec<StreamId>> {
        let (lo, hi) = keys::stream_all_owned(version, number, first, last);
        let mut ids = Vec::new();
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            ids.push(keys::stream_id(key));
            true
        })?;
        Ok(ids)
    }
}

/// Names are part of records' keys, which engines bound.
fn check_name(name: &[u8]) -> Result<()> {
    if name.len() > KEY_BYTES_MAX { Err(Error::TooLarge) } else { Ok(()) }
}

impl Stream for OrderedStream<'_, '_> {
    fn info(&mut self) -> Result<StreamInfo> {
        let per_node = self.entries_per_node();
        let head = self.head()?;
        Ok(StreamInfo {
            len: head.len,
            first_id: head.first_id,
            top_id: head.top_id,
            last_id: head.last_id,
            max_deleted_id: head.max_deleted_id,
            entries_added: head.entries_added,
            groups: head.groups,
            nodes: head.len.div_ceil(per_node),
        })
    }

    fn set_ids(
        &mut self,
        last_id: StreamId,
        max_deleted_id: Option<StreamId>,
        entries_added: Option<u64>,
    ) -> Result<()> {
        let head = self.head_mut()?;
        head.last_id = last_id;
        head.max_deleted_id = max_deleted_id.unwrap_or(head.max_deleted_id);
        head.entries_added = entries_added.unwrap_or(head.entries_added);
        Ok(())
    }

    fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) -> Result<()> {
        let mut packed = Vec::new();
        put_fields(&mut packed, fields);
        let (record, overflow) = self.0.encode_element(ElementHead::default(), &[], &packed)?;
        let key = keys::stream_entry(self.head()?.version, id);
        self.put(key, record);
        let head = self.head_mut()?;
        if head.len == 0 {
            head.first_id = id;
        }
        (head.top_id, head.last_id) = (id, id);
        head.len += 1;
        head.entries_added += 1;
        head.overflow |= overflow;
        Ok(())
    }

    fn contains(&mut self, id: StreamId) -> Result<bool> {
        let key = keys::stream_entry(self.head()?.version, id);
        Ok(self.get(&key)?.is_some())
    }

    fn delete(&mut self, id: StreamId) -> Result<bool> {
        let key = keys::stream_entry(self.head()?.version, id);
        let Some(record) = self.get(&key)? else { return Ok(false) };
        self.erase_entry(key, &record)?;
        let StreamHead { first_id, top_id, .. } = *self.head()?;
        let first_id = if id == first_id { self.edge(first_id, false)? } else { first_id };
        let top_id = if id == top_id { self.edge(first_id, true)? } else { top_id };
        let head = self.head_mut()?;
        head.len = head.len.saturating_sub(1);
        head.max_deleted_id = head.max_deleted_id.max(id);
        (head.first_id, head.top_id) = (first_id, top_id);
        Ok(true)
    }

    fn range(
        &mut self,
        first: StreamId,
        last: StreamId,
        reverse: bool,
        visit: VisitEntry<'_>,
    ) -> Result<()> {
        let head = self.head()?;
        // Engines with tombstones need not visit those of trimmed entries.
        let bounds = (first.max(head.first_id), last.min(head.top_id));
        if head.len == 0 || bounds.0 > bounds.1 {
            return Ok(());
        }
        let chunk_bytes = self.0.chunk_bytes();
        each_entry(self.0.tx, head.version, bounds, reverse, chunk_bytes, visit)
    }

    fn trim(&mut self, trim: &Trim) -> Result<u64> {
        self.trim_front(trim)
    }

    fn groups(&mut self, visit: &mut dyn FnMut(&[u8], &GroupInfo)) -> Result<()> {
        each_group(self.0.tx, self.head()?.version, &mut |name, group| {
            visit(name, &group.info());
            Ok(())
        })
    }

    fn group(&mut self, name: &[u8]) -> Result<Option<GroupInfo>> {
        Ok(self.find_group(name)?.map(|group| group.info()))
    }

    fn set_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<bool> {
        check_name(name)?;
        if let Some(mut group) = self.find_group(name)? {
            (group.head.last_id, group.head.entries_read) = (last_id, entries_read);
            self.put_group(name, &group)?;
            return Ok(false);
        }
        let version = self.0.tx.new_version()?;
        let head = GroupHead { last_id, entries_read, pending: 0, consumers: 0, next_consumer: 0 };
        self.put_group(name, &GroupRecord { version, head })?;
        self.head_mut()?.groups += 1;
        Ok(true)
    }

    fn remove_group(&mut self, name: &[u8]) -> Result<bool> {
        let Some(group) = self.find_group(name)? else { return Ok(false) };
        let key = self.group_key(name)?;
        self.erase(key);
        self.0.tx.discard(group.version, false);
        let head = self.head_mut()?;
        head.groups = head.groups.saturating_sub(1);
        Ok(true)
    }

    fn consumers(
        &mut self,
        group: &[u8],
        visit: &mut dyn FnMut(&[u8], &ConsumerInfo),
    ) -> Result<()> {
        let Some(group) = self.find_group(group)? else { return Ok(()) };
        each_consumer(self.0.tx, group.version, &mut |name, head| visit(name, &head.info()))
    }

    fn consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<ConsumerInfo>> {
        let Some(group) = self.find_group(group)? else { return Ok(None) };
        Ok(self.find_consumer(group.version, name)?.map(|head| head.info()))
    }

    fn set_consumer(
        &mut self,
        group: &[u8],
        name: &[u8],
        seen_ms: u64,
        active_ms: Option<u64>,
    ) -> Result<bool> {
        check_name(name)?;
        let Some(mut record) = self.find_group(group)? else { return Ok(false) };
        if let Some(mut head) = self.find_consumer(record.version, name)? {
            (head.seen_ms, head.active_ms) = (seen_ms, active_ms);
            self.put_consumer(record.version, name, &head);
            return Ok(false);
        }
        let number = record.head.next_consumer;
        record.head.next_consumer += 1;
        record.head.consumers += 1;
        self.put_group(group, &record)?;
        let head = ConsumerHead { number, seen_ms, active_ms, pending: 0 };
        self.put_consumer(record.version, name, &head);
        Ok(true)
    }

    fn remove_consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<u64>> {
        let Some(mut record) = self.find_group(group)? else { return Ok(None) };
        let version = record.version;
        let Some(consumer) = self.find_consumer(version, name)? else { return Ok(None) };
        let ids = self.owned(version, consumer.number, StreamId::MIN, StreamId::MAX)?;
        for &id in &ids {
            self.erase(keys::stream_pending(version, id));
            self.erase(keys::stream_owned(version, consumer.number, id));
        }
        self.erase(keys::stream_consumer(version, name));
        record.head.consumers = record.head.consumers.saturating_sub(1);
        record.head.pending = record.head.pending.saturating_sub(ids.len() as u64);
        self.put_group(group, &record)?;
        Ok(Some(ids.len() as u64))
    }

    fn pending(
        &mut self,
        group: &[u8],
        consumer: Option<&[u8]>,
        first: StreamId,
        last: StreamId,
        visit: VisitPending<'_>,
    ) -> Result<()> {
        let Some(group) = self.find_group(group)? else { return Ok(()) };
        let Some(name) = consumer else {
            return each_pending(self.0.tx, group.version, (first, last), visit);
        };
        let Some(consumer) = self.find_consumer(group.version, name)? else { return Ok(()) };
        let (lo, hi) = keys::stream_all_owned(group.version, consumer.number, first, last);
        let mut result = Ok(true);
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            let id = keys::stream_id(key);
            result = self.get(&keys::stream_pending(group.version, id)).and_then(|record| {
                record.map_or(Ok(true), |record| show_pending(id, &record, visit))
            });
            matches!(result, Ok(true))
        })?;
        result.map(drop)
    }

    fn pending_ends(&mut self, group: &[u8]) -> Result<Option<(StreamId, StreamId)>> {
        let Some(group) = self.find_group(group)? else { return Ok(None) };
        let (lo, hi) = keys::stream_pendings(group.version, StreamId::MIN, StreamId::MAX);
        let mut ends = [None, None];
        for (end, reverse) in ends.iter_mut().zip([false, true]) {
            self.0.tx.scan(keys::ELEMENTS, &lo, &hi, reverse, &mut |key, _| {
                *end = Some(keys::stream_id(key));
                false
            })?;
        }
        Ok(ends[0].zip(ends[1]))
    }

    fn set_pending(&mut self, group: &[u8], pending: &Pending<'_>) -> Result<()> {
        let Some(mut record) = self.find_group(group)? else { return Ok(()) };
        let (version, id) = (record.version, pending.id);
        if self.find_consumer(version, pending.consumer)?.is_none() {
            return Ok(());
        }
        if !self.take_pending(version, id)? {
            record.head.pending += 1;
            self.put_group(group, &record)?;
        }
        let Some(mut consumer) = self.find_consumer(version, pending.consumer)? else {
            return Ok(());
        };
        consumer.pending += 1;
        self.put_consumer(version, pending.consumer, &consumer);
        let head = PendingHead {
            consumer: consumer.number,
            delivered_ms: pending.delivered_ms,
            deliveries: pending.deliveries,
        };
        self.put(keys::stream_pending(version, id), codec::encode(&head, &[pending.consumer]));
        self.put(keys::stream_owned(version, consumer.number, id), Vec::new());
        Ok(())
    }

    fn remove_pending(&mut self, group: &[u8], id: StreamId) -> Result<bool> {
        let Some(mut record) = self.find_group(group)? else { return Ok(false) };
        if !self.take_pending(record.version, id)? {
            return Ok(false);
        }
        record.head.pending = record.head.pending.saturating_sub(1);
        self.put_group(group, &record)?;
        Ok(true)
    }
}
