//! A node of a sorted set's tree: its two records, and how a transaction reads and changes it.
//!
//! Nodes in use are kept in memory, decoded. A transaction has its changed nodes beside its batch. When it commits,
//! those with changed bounds become records, each once, and the others stay in memory.

use super::keys;
use crate::backend::OrderedBackend;
use crate::kept::Id;
use crate::kv::{Batch, Read};
use crate::tx::OrderedTx;
use std::collections::BTreeMap;
use std::sync::Arc;
use storage::{Error, Result};

/// The node that all others hang from; the child of an entry that leads to a bucket.
pub(super) const ROOT: u32 = 0;
/// Nodes whose counts are written at once.
const NODES_PER_BATCH: usize = 256;
/// Bytes of an entry in [`Bounds`] before the bounds themselves.
const ENTRY_BYTES: usize = 6;

/// A place in score order: the last part of a by-score record's key.
pub(crate) type Place = [u8];

/// The bounds of a node: number of entries, then for each where its bound ends and which node it
/// leads to, then the bounds.
pub(crate) struct Bounds(Vec<u8>);

#[cfg(test)]
impl From<Vec<u8>> for Bounds {
    fn from(record: Vec<u8>) -> Self {
        Bounds(record)
    }
}

impl Bounds {
    fn encode(entries: &[Child]) -> Self {
        let mut out = (entries.len() as u16).to_be_bytes().to_vec();
        let mut end = 0u16;
        for entry in entries {
            end += entry.bound.len() as u16;
            out.extend_from_slice(&end.to_be_bytes());
            out.extend_from_slice(&entry.child.to_be_bytes());
        }
        entries.iter().for_each(|entry| out.extend_from_slice(&entry.bound));
        Bounds(out)
    }

    pub(super) fn read(read: &dyn Read, (version, node): Id) -> Result<Self> {
        let bounds = read.get(keys::ELEMENTS, &keys::rank_bounds(version, node))?;
        let bounds = bounds.map(Bounds).filter(|bounds| bounds.len() > 0);
        bounds.ok_or_else(|| Error::corrupt("a sorted set misses a node of its ranks"))
    }

    fn u16_at(&self, at: usize) -> usize {
        let bytes = self.0.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes).into()
    }

    pub(super) fn len(&self) -> usize {
        self.u16_at(0)
    }

    pub(super) fn child(&self, index: usize) -> u32 {
        let at = 4 + index * ENTRY_BYTES;
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(ROOT, u32::from_be_bytes)
    }

    pub(super) fn bound(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.u16_at(2 + (index - 1) * ENTRY_BYTES) };
        let end = self.u16_at(2 + index * ENTRY_BYTES);
        let base = 2 + self.len() * ENTRY_BYTES;
        self.0.get(base + begin..base + end).unwrap_or_default()
    }

    /// The entry that a place belongs to: the last one that does not begin behind it, or the first.
    pub(super) fn find(&self, place: &Place) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.bound(middle) <= place { low = middle + 1 } else { high = middle }
        }
        low.saturating_sub(1)
    }
}

/// Counts in as few bytes each as the largest needs, the number of which comes first.
pub(super) fn encode_counts(counts: &[u64]) -> Vec<u8> {
    let most = counts.iter().copied().max().unwrap_or_default();
    let width = (8 - most.leading_zeros() as usize / 8).max(1);
    let mut out = Vec::with_capacity(1 + counts.len() * width);
    out.push(width as u8);
    for count in counts {
        out.extend_from_slice(&count.to_be_bytes()[8 - width..]);
    }
    out
}

pub(super) fn decode_counts(record: &[u8]) -> Option<Vec<u64>> {
    let (&width, counts) = record.split_first()?;
    let counts = counts.chunks_exact(usize::from(width.clamp(1, 8)));
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    Some(counts.map(number).collect())
}

/// One entry of a node: a bucket, or a node below.
#[derive(Clone, Debug)]
pub(super) struct Child {
    pub bound: Vec<u8>,
    pub child: u32,
    pub count: u64,
}

/// A node; a clone refers to the same bounds and counts.
#[derive(Clone)]
pub(crate) struct Node {
    pub(super) bounds: Arc<Bounds>,
    pub(super) counts: Arc<Vec<u64>>,
}

impl Node {
    /// Reads a node's records.
    pub(super) fn read(read: &dyn Read, (version, node): Id) -> Result<Self> {
        let bounds = Bounds::read(read, (version, node))?;
        let counts = read.get(keys::ELEMENTS, &keys::rank_counts(version, node))?;
        let counts = counts.as_deref().and_then(decode_counts);
        let counts = counts.filter(|counts| counts.len() == bounds.len());
        let counts =
            counts.ok_or_else(|| Error::corrupt("bounds and counts of a sorted set differ"))?;
        Ok(Node { bounds: Arc::new(bounds), counts: Arc::new(counts) })
    }

    fn of(entries: &[Child]) -> Self {
        let counts = entries.iter().map(|entry| entry.count).collect();
        Node { bounds: Arc::new(Bounds::encode(entries)), counts: Arc::new(counts) }
    }

    pub(super) fn entries(&self) -> Vec<Child> {
        let entry = |(index, &count): (usize, &u64)| Child {
            bound: self.bounds.bound(index).to_vec(),
            child: self.bounds.child(index),
            count,
        };
        self.counts.iter().enumerate().map(entry).collect()
    }

    /// The bytes it takes in memory, about.
    fn size(&self) -> usize {
        self.bounds.0.capacity() + self.counts.capacity() * 8 + 128
    }
}

/// A node as a transaction has changed it.
struct Change {
    /// `None` if it was removed.
    node: Option<Node>,
    /// Whether its bounds changed, not only its counts.
    bounds: bool,
    /// Whether it is committed without its record.
    pinned: bool,
}

/// The nodes that a transaction has changed, and the versions whose nodes are garbage.
#[derive(Default)]
pub(crate) struct Changes {
    nodes: BTreeMap<Id, Change>,
    dropped: Vec<u64>,
}

impl Changes {
    /// Notes that a version is garbage, so that nothing of it needs to be written.
    pub(crate) fn drop_tree(&mut self, version: u64) {
        self.dropped.push(version);
    }

    /// Puts records of changed nodes into the batch that is about to be written.
    pub(crate) fn encode(&mut self, backend: &OrderedBackend, batch: &mut Batch) {
        for (&(version, node), change) in &mut self.nodes {
            let (bounds_key, counts_key) =
                (keys::rank_bounds(version, node), keys::rank_counts(version, node));
            let Some(node) = &change.node else {
                batch.delete(keys::ELEMENTS, bounds_key);
                batch.delete(keys::ELEMENTS, counts_key);
                continue;
            };
            if change.bounds {
                batch.put(keys::ELEMENTS, bounds_key, node.bounds.0.clone());
            }
            change.pinned = !change.bounds && backend.nodes.may_pin();
            if !change.pinned {
                batch.put(keys::ELEMENTS, counts_key, encode_counts(&node.counts));
            }
        }
    }

    /// Keeps the changed nodes, which have been committed.
    pub(crate) fn keep(self, backend: &OrderedBackend) {
        for (id, change) in self.nodes {
            let Some(node) = change.node else {
                backend.nodes.take(id);
                continue;
            };
            let size = node.size();
            match change.pinned {
                true => backend.nodes.pin(id, node, size),
                false => backend.nodes.put(id, node, size),
            }
        }
        self.dropped.into_iter().for_each(|version| backend.nodes.forget(version));
    }
}

impl OrderedBackend {
    /// Writes the counts that are in memory only. All shards are locked, or nobody uses the store any more.
    ///
    /// # Errors
    /// Fails as the engine does; then counts may still be in memory only.
    pub(crate) fn write_counts(&self) -> Result<()> {
        for some in self.nodes.pinned().chunks(NODES_PER_BATCH) {
            let mut batch = Batch::default();
            for &((version, number), ref node) in some {
                // What is cleaned away must not come back: the root goes with the rest.
                if self.kv.get(keys::ELEMENTS, &keys::rank_bounds(version, ROOT))?.is_some() {
                    let record = encode_counts(&node.counts);
                    batch.put(keys::ELEMENTS, keys::rank_counts(version, number), record);
                }
            }
            self.write(batch)?;
            for (id, node) in some {
                self.nodes.put(*id, node.clone(), node.size());
            }
        }
        Ok(())
    }
}

impl OrderedTx<'_> {
    /// A node, as this transaction sees it.
    pub(super) fn node(&self, id: Id) -> Result<Node> {
        if let Some(change) = self.nodes.nodes.get(&id) {
            let node = change.node.clone();
            return node.ok_or_else(|| Error::corrupt("a removed node of ranks is referred to"));
        }
        if let Some(node) = self.backend.nodes.get(id) {
            return Ok(node);
        }
        let node = Node::read(self, id)?;
        self.backend.nodes.put(id, node.clone(), node.size());
        Ok(node)
    }

    pub(super) fn put_counts(&mut self, id: Id, counts: Vec<u64>) -> Result<()> {
        let bounds = self.nodes.nodes.get(&id).is_some_and(|change| change.bounds);
        let node = Node { counts: Arc::new(counts), ..self.node(id)? };
        self.change_node(id, Some(node), bounds);
        Ok(())
    }

    fn change_node(&mut self, id: Id, node: Option<Node>, bounds: bool) {
        self.nodes.nodes.insert(id, Change { node, bounds, pinned: false });
    }

    pub(super) fn put_node(&mut self, id: Id, entries: &[Child]) {
        self.change_node(id, Some(Node::of(entries)), true);
    }

    pub(super) fn delete_node(&mut self, id: Id) {
        self.change_node(id, None, true);
    }
}
