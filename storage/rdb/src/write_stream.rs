//! A stream, encoded: entries packed into listpacks as Redis would, then IDs, counters and groups.

use crate::fields::Fields;
use std::ops::Range;

use super::codes::{STREAM_ITEM_SAMEFIELDS, types};
use super::packed::listpack::ListpackBuilder;
use super::value::{StreamGroup, StreamId, StreamMeta};
use super::write_value::{Options, WriteError, put_length, put_string};

/// A node takes no more entries when it has this many (`stream-node-max-entries` of Redis) …
const NODE_ENTRIES_MAX: u64 = 100;
/// … or bytes (`stream-node-max-bytes`).
const NODE_BYTES_MAX: usize = 4096;
/// The first RDB version that has [`types::STREAM_LISTPACKS_3`].
const VERSION_WITH_ACTIVE_TIME: u16 = 11;

/// Takes the entries of a stream.
pub struct StreamWriter<'a> {
    out: &'a mut Vec<u8>,
    options: Options,
    /// Finished nodes, encoded; their number must stand before them.
    nodes: Vec<u8>,
    node_count: u64,
    length: u64,
    current: Option<Node>,
    too_large: bool,
    /// A buffer for unpacking fields.
    scratch: Vec<u8>,
}

impl<'a> StreamWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>, options: Options) -> Self {
        StreamWriter {
            out,
            options,
            nodes: Vec::new(),
            node_count: 0,
            length: 0,
            current: None,
            too_large: false,
            scratch: Vec::new(),
        }
    }

    /// The next entry; IDs ascend.
    pub fn entry<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, id: StreamId, fields: &[(F, V)]) {
        if self.current.as_ref().is_some_and(Node::is_full) {
            self.close_node();
        }
        self.current.get_or_insert_with(|| Node::new(id, fields)).push(id, fields);
        self.length += 1;
    }

    /// The next entry, with fields as storage has them.
    pub fn packed_entry(&mut self, id: StreamId, fields: Fields<'_>) {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let mut ranges: Vec<[Range<usize>; 2]> = Vec::with_capacity(fields.len());
        fields.for_each(|name, value| {
            let (start, middle) = (bytes.len(), bytes.len() + name.len());
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(value);
            ranges.push([start..middle, middle..bytes.len()]);
        });
        let fields: Vec<_> =
            ranges.into_iter().map(|[name, value]| (&bytes[name], &bytes[value])).collect();
        self.entry(id, &fields);
        self.scratch = bytes;
    }

    fn close_node(&mut self) {
        let Some(node) = self.current.take() else { return };
        put_string(&mut self.nodes, &node.master.to_bytes(), self.options.compress);
        match node.finish() {
            Some(listpack) => put_string(&mut self.nodes, &listpack, self.options.compress),
            None => self.too_large = true,
        }
        self.node_count += 1;
    }

    /// Appends the stream to the buffer.
    ///
    /// # Errors
    /// Fails if an entry was too large, or `meta` contradicts itself; what was appended must then
    /// be thrown away.
    pub fn finish(mut self, meta: &StreamMeta) -> Result<(), WriteError> {
        self.close_node();
        if self.too_large {
            return Err(WriteError::TooLarge);
        }
        let with_active_time = self.options.version >= VERSION_WITH_ACTIVE_TIME;
        self.out.push(match with_active_time {
            true => types::STREAM_LISTPACKS_3,
            false => types::STREAM_LISTPACKS_2,
        });
        put_length(self.out, self.node_count);
        self.out.extend_from_slice(&self.nodes);
        put_length(self.out, self.length);
        for id in [meta.last_id, meta.first_id, meta.max_deleted_id] {
            put_id(self.out, id);
        }
        put_length(self.out, meta.entries_added);
        put_length(self.out, meta.groups.len() as u64);
        meta.groups.iter().try_for_each(|group| self.group(group, with_active_time))
    }

    fn group(&mut self, group: &StreamGroup, with_active_time: bool) -> Result<(), WriteError> {
        put_string(self.out, &group.name, self.options.compress);
        put_id(self.out, group.last_id);
        // −1 as an unsigned number means "unknown".
        put_length(self.out, group.entries_read.unwrap_or(u64::MAX));
        put_length(self.out, group.pending.len() as u64);
        for entry in &group.pending {
            self.out.extend_from_slice(&entry.id.to_bytes());
            self.out.extend_from_slice(&entry.delivery_time_ms.to_le_bytes());
            put_length(self.out, entry.delivery_count);
        }
        put_length(self.out, group.consumers.len() as u64);
        for (consumer, pending) in group.consumers.iter().zip(pending_by_consumer(group)?) {
            put_string(self.out, &consumer.name, self.options.compress);
            self.out.extend_from_slice(&consumer.seen_time_ms.to_le_bytes());
            if with_active_time {
                let active = consumer.active_time_ms.unwrap_or(u64::MAX);
                self.out.extend_from_slice(&active.to_le_bytes());
            }
            put_length(self.out, pending.len() as u64);
            pending.iter().for_each(|id| self.out.extend_from_slice(&id.to_bytes()));
        }
        Ok(())
    }
}

fn put_id(out: &mut Vec<u8>, id: StreamId) {
    put_length(out, id.ms);
    put_length(out, id.seq);
}

fn pending_by_consumer(group: &StreamGroup) -> Result<Vec<Vec<StreamId>>, WriteError> {
    let mut lists = vec![Vec::new(); group.consumers.len()];
    for entry in &group.pending {
        lists.get_mut(entry.consumer).ok_or(WriteError::UnknownConsumer)?.push(entry.id);
    }
    Ok(lists)
}

/// Entries on their way into one listpack. IDs are stored relative to that of the first, and field
/// names are left out where they equal those of the first.
struct Node {
    master: StreamId,
    shared: Vec<Vec<u8>>,
    entries: ListpackBuilder,
    count: u64,
}

impl Node {
    fn new<F: AsRef<[u8]>, V>(master: StreamId, fields: &[(F, V)]) -> Self {
        let shared = fields.iter().map(|(field, _)| field.as_ref().to_vec()).collect();
        Node { master, shared, entries: ListpackBuilder::default(), count: 0 }
    }

    fn is_full(&self) -> bool {
        self.count >= NODE_ENTRIES_MAX || self.entries.size() >= NODE_BYTES_MAX
    }

    fn push<F: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, id: StreamId, fields: &[(F, V)]) {
        let names = fields.iter().map(|(field, _)| field.as_ref());
        let same = names.eq(self.shared.iter().map(Vec::as_slice));
        let entries = &mut self.entries;
        entries.push_int(if same { STREAM_ITEM_SAMEFIELDS } else { 0 });
        entries.push_int(id.ms.wrapping_sub(self.master.ms) as i64);
        entries.push_int(id.seq.wrapping_sub(self.master.seq) as i64);
        if !same {
            entries.push_int(fields.len() as i64);
        }
        for (field, value) in fields {
            if !same {
                entries.push(field.as_ref());
            }
            entries.push(value.as_ref());
        }
        // How many elements this entry took, for walking backwards.
        entries.push_int((if same { fields.len() + 3 } else { 2 * fields.len() + 4 }) as i64);
        self.count += 1;
    }

    fn finish(self) -> Option<Vec<u8>> {
        let mut listpack = ListpackBuilder::default();
        listpack.push_int(self.count as i64);
        listpack.push_int(0); // deleted entries
        listpack.push_int(self.shared.len() as i64);
        self.shared.iter().for_each(|field| listpack.push(field));
        listpack.push_int(0); // end of the master entry
        listpack.append(&self.entries);
        listpack.finish()
    }
}
