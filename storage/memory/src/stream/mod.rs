//! Streams: a deque of nodes of packed entries, found by binary search, and the consumer groups.

mod group;
mod handle;
mod node;

use group::Group;
use node::Node;
use std::collections::{BTreeMap, VecDeque};
use storage::rdb::{StreamId, StreamMeta, StreamObject};
use storage::stream::{Fields, StreamInfo, Trim, TrimTo, VisitEntry};
use storage::{EncodingLimits, rdb};

/// Nodes dropped per slice when a stream is taken apart.
pub const NODES_PER_SLICE: usize = 64;
/// Pending entries dropped per slice.
const PENDING_PER_SLICE: usize = 512;

/// A stream.
#[derive(Debug, Default)]
pub struct StreamValue {
    nodes: VecDeque<Node>,
    groups: BTreeMap<Box<[u8]>, Group>,
    len: u64,
    first_id: StreamId,
    top_id: StreamId,
    last_id: StreamId,
    max_deleted_id: StreamId,
    entries_added: u64,
    node_bytes: usize,
    group_bytes: usize,
}

impl StreamValue {
    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Allocated bytes, without the struct itself.
    pub fn bytes(&self) -> usize {
        self.node_bytes + self.group_bytes + self.nodes.capacity() * size_of::<Node>()
    }

    fn info(&self) -> StreamInfo {
        StreamInfo {
            len: self.len,
            first_id: self.first_id,
            top_id: self.top_id,
            last_id: self.last_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
            groups: self.groups.len() as u64,
            nodes: self.nodes.len() as u64,
        }
    }

    /// Adds an entry with a higher ID than all before.
    fn append(&mut self, limits: &EncodingLimits, id: StreamId, fields: &[(&[u8], &[u8])]) {
        let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        let (bytes_max, entries_max) = (limits.stream_node_bytes, limits.stream_node_entries);
        let fits = |node: &Node| node.has_room(id, bytes, bytes_max, entries_max);
        if !self.nodes.back().is_some_and(fits) {
            self.on_node(self.nodes.len().wrapping_sub(1), Node::close);
            let node = Node::new(id, fields);
            self.node_bytes += node.allocated();
            self.nodes.push_back(node);
        }
        self.on_node(self.nodes.len() - 1, |node| node.push(id, fields));
        if self.len == 0 {
            self.first_id = id;
        }
        self.len += 1;
        self.entries_added += 1;
        (self.top_id, self.last_id) = (id, id);
    }

    /// Runs `change` on a node, if it is there, and keeps the sizes right.
    fn on_node<T: Default>(&mut self, at: usize, change: impl FnOnce(&mut Node) -> T) -> T {
        let Some(node) = self.nodes.get_mut(at) else { return T::default() };
        let before = node.allocated();
        let result = change(node);
        self.node_bytes = self.node_bytes - before + node.allocated();
        result
    }

    /// The number of the node that an ID would be in.
    fn node_of(&self, id: StreamId) -> usize {
        self.nodes.partition_point(|node| node.base() <= id).saturating_sub(1)
    }

    fn contains(&self, id: StreamId) -> bool {
        self.nodes.get(self.node_of(id)).is_some_and(|node| node.find(id).is_some())
    }

    fn delete(&mut self, id: StreamId) -> bool {
        let at = self.node_of(id);
        if !self.on_node(at, |node| node.delete(id)) {
            return false;
        }
        if self.nodes.get(at).is_some_and(|node| node.len() == 0)
            && let Some(node) = self.nodes.remove(at)
        {
            self.node_bytes -= node.allocated();
        }
        self.len -= 1;
        self.max_deleted_id = self.max_deleted_id.max(id);
        if id == self.first_id {
            self.find_first();
        }
        if id == self.top_id {
            self.top_id = self.nodes.back().and_then(Node::last_id).unwrap_or_default();
        }
        true
    }

    /// Finds the first entry again after it went.
    fn find_first(&mut self) {
        let first = self.nodes.front().and_then(|node| node.entries().next());
        self.first_id = first.map_or(StreamId::MIN, |found| found.id);
    }

    /// Visits the entries from `first` to `last`.
    fn range(&self, first: StreamId, last: StreamId, reverse: bool, visit: VisitEntry<'_>) {
        if first > last || self.nodes.is_empty() {
            return;
        }
        let (from, to) = (self.node_of(first), self.node_of(last));
        let mut show =
            |id: StreamId, fields: Fields<'_>| id < first || id > last || visit(id, fields);
        let nodes = self.nodes.range(from..=to);
        if reverse {
            nodes.rev().all(|node| node.entries_reversed().all(|at| show(at.id, at.fields)));
        } else {
            nodes.into_iter().all(|node| {
                node.entries().take_while(|at| at.id <= last).all(|at| show(at.id, at.fields))
            });
        }
    }

    /// Removes the oldest entries; how many, and the nodes they were all of.
    fn trim(&mut self, trim: &Trim) -> (u64, VecDeque<Node>) {
        let (mut gone, mut whole) = (0, 0);
        let limit = if trim.limit == 0 { u64::MAX } else { trim.limit };
        for at in 0..self.nodes.len() {
            let node = &self.nodes[at];
            let entries = node.len() as u64;
            if self.len <= trim.keeps() || gone + entries > limit {
                break;
            }
            let all = match trim.to {
                TrimTo::MaxLen(max) => self.len - entries >= max,
                TrimTo::MinId(min) => self.last_of(at) < min,
            };
            if all {
                (gone, whole, self.len) = (gone + entries, whole + 1, self.len - entries);
                continue;
            }
            if !trim.approximate {
                let len = self.len;
                let part = self.on_node(at, |node| {
                    node.trim(|gone, id| match trim.to {
                        TrimTo::MaxLen(max) => len - gone > max,
                        TrimTo::MinId(min) => id < min,
                    })
                });
                (gone, self.len) = (gone + part, self.len - part);
            }
            break;
        }
        let kept = self.nodes.split_off(whole);
        let dropped = std::mem::replace(&mut self.nodes, kept);
        self.node_bytes -= dropped.iter().map(Node::allocated).sum::<usize>();
        if gone > 0 {
            self.find_first();
        }
        if self.len == 0 {
            self.top_id = StreamId::MIN;
        }
        (gone, dropped)
    }

    /// The ID of the last entry of a node.
    fn last_of(&self, at: usize) -> StreamId {
        match self.nodes.get(at + 1) {
            None => self.top_id,
            Some(_) => self.nodes[at].last_id().unwrap_or_default(),
        }
    }

    /// Appends the stream to an RDB value.
    pub fn dump(&self, mut writer: rdb::StreamWriter<'_>) -> Result<(), rdb::WriteError> {
        self.range(StreamId::MIN, StreamId::MAX, false, &mut |id, fields| {
            writer.packed_entry(id, fields);
            true
        });
        writer.finish(&self.meta())
    }

    fn meta(&self) -> StreamMeta {
        StreamMeta {
            last_id: self.last_id,
            first_id: self.first_id,
            max_deleted_id: self.max_deleted_id,
            entries_added: self.entries_added,
            groups: self.groups.iter().map(|(name, group)| group.meta(name)).collect(),
        }
    }

    /// The stream that a decoded one describes.
    pub fn build(object: &StreamObject, limits: &EncodingLimits) -> Self {
        let mut stream = StreamValue::default();
        let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
        for entry in &object.entries {
            fields.clear();
            fields.extend(entry.fields.iter().map(|(name, value)| (&name[..], &value[..])));
            stream.append(limits, entry.id, &fields);
        }
        let meta = &object.meta;
        stream.last_id = meta.last_id;
        stream.max_deleted_id = meta.max_deleted_id;
        stream.entries_added = meta.entries_added;
        for group in &meta.groups {
            let built = Group::build(group);
            stream.group_bytes += Group::own_bytes(&group.name) + built.bytes();
            stream.groups.insert(group.name.clone().into(), built);
        }
        stream
    }

    /// Takes apart one slice of a removed stream; true when something is left.
    pub fn dismantle(&mut self) -> bool {
        if !self.nodes.is_empty() {
            self.nodes.truncate(self.nodes.len().saturating_sub(NODES_PER_SLICE));
            return true;
        }
        let Some(mut group) = self.groups.first_entry() else { return false };
        if !group.get_mut().dismantle(PENDING_PER_SLICE) {
            group.remove();
        }
        true
    }

    /// A stream that consists only of parts to be freed, if that is worth doing in slices.
    fn remains(nodes: VecDeque<Node>, group: Option<Group>) -> Option<Box<Self>> {
        let pending = group.as_ref().map_or(0, |group| group.info().pending);
        (nodes.len() > NODES_PER_SLICE || pending > PENDING_PER_SLICE as u64).then(|| {
            let groups = group.into_iter().map(|group| (Box::default(), group)).collect();
            Box::new(StreamValue { nodes, groups, ..StreamValue::default() })
        })
    }

    /// Whether taking it apart is worth doing in slices.
    pub fn is_large(&self) -> bool {
        let pending: u64 = self.groups.values().map(|group| group.info().pending).sum();
        self.nodes.len() > NODES_PER_SLICE || pending > PENDING_PER_SLICE as u64
    }
}
