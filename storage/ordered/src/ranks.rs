//! The number of members of a sorted set before a place in its order, without scanning up to it.
//!
//! This is a B-tree of counts over the by-score records, which are its leaves and do not refer to
//! it. The lowest nodes divide the records into *buckets* of at most [`BUCKET_MAX`], by bounds that
//! are as short as possible; the nodes above divide those in turn. A node is two records: its
//! bounds, which change when something is divided or removed, and its counts, which change with
//! every member. So adding a member writes one short record per level (two for a million members),
//! and a rank is the sum of the counts left of the path, plus a part of one bucket.
//!
//! The first bound of a node is the place from which its first member may be. A member below it
//! still belongs to the node, and lowers the bound. So a queue that is consumed from the front is
//! read from its current beginning and not from its first one, where an engine with tombstones
//! would have to visit them.

use super::codec::Ranks;
use super::keys;
use super::kv::Read;
use super::tx::OrderedTx;
use smallvec::SmallVec;
use storage::{Error, Result};

/// Sorted sets up to this size have no tree: they are walked.
pub(super) const TREE_FROM: u64 = if cfg!(test) { 16 } else { 256 };
/// Members at which a bucket is divided. Like the next, small in unit tests, for more levels.
const BUCKET_MAX: u64 = if cfg!(test) { 8 } else { 128 };
/// Entries of a node at most.
const NODE_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Longest bound, bytes. Where neighbours differ only behind this, a bucket stays undivided.
const BOUND_BYTES_MAX: usize = 255;
/// The node that all others hang from.
const ROOT: u32 = 0;

/// A place in score order: the last part of a by-score record's key.
pub(super) type Place = [u8];

/// The tree of one sorted set. What changes in `ranks` belongs into the metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) version: u64,
    pub(super) ranks: Ranks,
}

/// The bounds of a node: number of entries, then for each where its bound ends and which node it
/// leads to, then the bounds.
struct Bounds(Vec<u8>);

/// Bytes of an entry in [`Bounds`] before the bounds themselves.
const ENTRY_BYTES: usize = 6;

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

    fn u16_at(&self, at: usize) -> usize {
        let bytes = self.0.get(at..at + 2).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u16::from_be_bytes).into()
    }

    fn len(&self) -> usize {
        self.u16_at(0)
    }

    fn child(&self, index: usize) -> u32 {
        let at = 4 + index * ENTRY_BYTES;
        let bytes = self.0.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(ROOT, u32::from_be_bytes)
    }

    fn bound(&self, index: usize) -> &[u8] {
        let begin = if index == 0 { 0 } else { self.u16_at(2 + (index - 1) * ENTRY_BYTES) };
        let end = self.u16_at(2 + index * ENTRY_BYTES);
        let base = 2 + self.len() * ENTRY_BYTES;
        self.0.get(base + begin..base + end).unwrap_or_default()
    }

    /// The entry that a place belongs to: the last one that does not begin behind it, or the first.
    fn find(&self, place: &Place) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.bound(middle) <= place { low = middle + 1 } else { high = middle }
        }
        low.saturating_sub(1)
    }

    fn entries(&self, counts: &[u64]) -> Vec<Child> {
        let entry = |(index, &count): (usize, &u64)| Child {
            bound: self.bound(index).to_vec(),
            child: self.child(index),
            count,
        };
        counts.iter().enumerate().map(entry).collect()
    }
}

/// Counts in as few bytes each as the largest needs, the number of which comes first.
fn encode_counts(counts: &[u64]) -> Vec<u8> {
    let most = counts.iter().copied().max().unwrap_or_default();
    let width = (8 - most.leading_zeros() as usize / 8).max(1);
    let mut out = Vec::with_capacity(1 + counts.len() * width);
    out.push(width as u8);
    for count in counts {
        out.extend_from_slice(&count.to_be_bytes()[8 - width..]);
    }
    out
}

fn decode_counts(record: &[u8]) -> Option<Vec<u64>> {
    let (&width, counts) = record.split_first()?;
    let counts = counts.chunks_exact(usize::from(width.clamp(1, 8)));
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, &byte| number << 8 | u64::from(byte));
    Some(counts.map(number).collect())
}

/// One entry of a node: a bucket, or a node below.
#[derive(Clone, Debug)]
struct Child {
    bound: Vec<u8>,
    child: u32,
    count: u64,
}

/// A node on the way to a place, and which of its entries leads there.
struct Step {
    node: u32,
    bounds: Bounds,
    at: usize,
}

type Path = SmallVec<[Step; 3]>;

/// Counts of nodes, by node.
type NodeCounts = SmallVec<[(u32, Vec<u64>); 4]>;

/// A plan for updating the tree after a change. Everything that can fail for a damaged store has
/// been read, so that a change is not made by half.
pub(super) struct PreparedUpdate {
    old: Option<Path>,
    new: Option<Path>,
    /// Counts as they will be, of the nodes where they change.
    counts: NodeCounts,
    /// Members that stay in the bucket that one leaves.
    left: u64,
    /// Members of the bucket that one joins.
    joined: u64,
}

impl Tree {
    fn bounds(&self, read: &dyn Read, node: u32) -> Result<Bounds> {
        let record = read.get(keys::ELEMENTS, &keys::rank_bounds(self.version, node))?;
        let bounds = record.map(Bounds).filter(|bounds| bounds.len() > 0);
        bounds.ok_or_else(|| Error::corrupt("a sorted set misses a node of its ranks"))
    }

    fn counts(&self, read: &dyn Read, node: u32, bounds: &Bounds) -> Result<Vec<u64>> {
        let record = read.get(keys::ELEMENTS, &keys::rank_counts(self.version, node))?;
        let counts = record.as_deref().and_then(decode_counts);
        let counts = counts.filter(|counts| counts.len() == bounds.len());
        counts.ok_or_else(|| Error::corrupt("bounds and counts of a sorted set differ"))
    }

    fn path(&self, read: &dyn Read, place: &Place) -> Result<Path> {
        self.path_beside(read, place, &[])
    }

    /// The path to a place; nodes that it shares with another path are not read again.
    fn path_beside(&self, read: &dyn Read, place: &Place, other: &[Step]) -> Result<Path> {
        let (mut path, mut node) = (Path::new(), ROOT);
        for level in 0..usize::from(self.ranks.levels) {
            let bounds = match other.get(level).filter(|step| step.node == node) {
                Some(step) => Bounds(step.bounds.0.clone()),
                None => self.bounds(read, node)?,
            };
            let at = bounds.find(place);
            let child = bounds.child(at);
            path.push(Step { node, bounds, at });
            node = child;
        }
        Ok(path)
    }

    /// Members before a place.
    pub(super) fn before(&self, read: &dyn Read, place: &Place) -> Result<u64> {
        let (mut before, mut low) = (0, Vec::new());
        for step in self.path(read, place)? {
            let counts = self.counts(read, step.node, &step.bounds)?;
            before += counts.iter().take(step.at).sum::<u64>();
            low = step.bounds.bound(step.at).to_vec();
        }
        let lo = keys::at_place(self.version, &low);
        let hi = keys::at_place(self.version, place);
        read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, _| {
            before += 1;
            true
        })?;
        Ok(before)
    }

    /// A place, and the number of members to skip from there to the one of this rank.
    pub(super) fn seek(&self, read: &dyn Read, rank: u64) -> Result<(Vec<u8>, u64)> {
        let (mut node, mut low, mut left) = (ROOT, Vec::new(), rank);
        for _ in 0..self.ranks.levels {
            let bounds = self.bounds(read, node)?;
            let counts = self.counts(read, node, &bounds)?;
            let mut at = 0;
            while at + 1 < counts.len() && left >= counts[at] {
                left -= counts[at];
                at += 1;
            }
            low = bounds.bound(at).to_vec();
            node = bounds.child(at);
        }
        Ok((low, left))
    }

    /// A place that no member lies before.
    pub(super) fn first(&self, read: &dyn Read) -> Result<Vec<u8>> {
        let (mut node, mut low) = (ROOT, Vec::new());
        for _ in 0..self.ranks.levels {
            let bounds = self.bounds(read, node)?;
            low = bounds.bound(0).to_vec();
            node = bounds.child(0);
        }
        Ok(low)
    }

    // -- changes ---------------------------------------------------------------------------------

    fn put_counts(&self, tx: &mut OrderedTx<'_>, node: u32, counts: &[u64]) {
        let record = encode_counts(counts);
        tx.batch.put(keys::ELEMENTS, keys::rank_counts(self.version, node), record);
    }

    fn put_node(&self, tx: &mut OrderedTx<'_>, node: u32, entries: &[Child]) {
        let Bounds(record) = Bounds::encode(entries);
        tx.batch.put(keys::ELEMENTS, keys::rank_bounds(self.version, node), record);
        let counts: Vec<u64> = entries.iter().map(|entry| entry.count).collect();
        self.put_counts(tx, node, &counts);
    }

    fn delete_node(&self, tx: &mut OrderedTx<'_>, node: u32) {
        tx.batch.delete(keys::ELEMENTS, keys::rank_bounds(self.version, node));
        tx.batch.delete(keys::ELEMENTS, keys::rank_counts(self.version, node));
    }

    fn new_node(&mut self) -> u32 {
        self.ranks.next_node = self.ranks.next_node.max(ROOT + 1) + 1;
        self.ranks.next_node - 1
    }

    /// Reads what is needed to count a member at `new`, and no longer at `old`.
    pub(super) fn plan(
        &self,
        read: &dyn Read,
        old: Option<&Place>,
        new: Option<&Place>,
    ) -> Result<PreparedUpdate> {
        let old = old.map(|place| self.path(read, place)).transpose()?;
        let beside = old.as_deref().unwrap_or_default();
        let new = new.map(|place| self.path_beside(read, place, beside)).transpose()?;
        let shared = match (&old, &new) {
            (Some(old), Some(new)) => {
                let same = |(a, b): &(&Step, &Step)| (a.node, a.at) == (b.node, b.at);
                old.iter().zip(new).take_while(same).count()
            }
            _ => 0,
        };
        let mut plan =
            PreparedUpdate { old, new, counts: SmallVec::new(), left: u64::MAX, joined: 0 };
        for step in plan.new.iter().flatten().skip(shared) {
            plan.joined = self.adjust(read, &mut plan.counts, step, 1)?;
        }
        for step in plan.old.iter().flatten().skip(shared) {
            plan.left = self.adjust(read, &mut plan.counts, step, -1)?;
        }
        Ok(plan)
    }

    /// Adds to one count among those read, reading the node's first if need be; the sum.
    fn adjust(
        &self,
        read: &dyn Read,
        counts: &mut NodeCounts,
        step: &Step,
        by: i64,
    ) -> Result<u64> {
        let at = match counts.iter().position(|(node, _)| *node == step.node) {
            Some(at) => at,
            None => {
                counts.push((step.node, self.counts(read, step.node, &step.bounds)?));
                counts.len() - 1
            }
        };
        let count = &mut counts[at].1[step.at];
        *count = count.saturating_add_signed(by);
        Ok(*count)
    }

    /// Carries out a plan for the places `old` and `new`, whose records have been changed.
    pub(super) fn apply(
        &mut self,
        tx: &mut OrderedTx<'_>,
        plan: PreparedUpdate,
        old: Option<&Place>,
        new: Option<&Place>,
    ) -> Result<()> {
        plan.counts.iter().for_each(|(node, counts)| self.put_counts(tx, *node, counts));
        // A bucket that cannot be divided is looked at again when it has doubled.
        let divides = plan.joined >= BUCKET_MAX && plan.joined.is_power_of_two();
        if let (Some(path), Some(place)) = (plan.new, new) {
            self.lower(tx, &path, place)?;
            if divides {
                self.divide(tx, path, plan.joined)?;
            }
        }
        match (plan.old, old) {
            (Some(_), Some(place)) if plan.left == 0 && divides => {
                let path = self.path(tx, place)?;
                self.prune(tx, path)
            }
            (Some(path), _) if plan.left == 0 => self.prune(tx, path),
            _ => Ok(()),
        }
    }

    /// Sees to it that a bucket does not begin behind a member of it.
    fn lower(&self, tx: &mut OrderedTx<'_>, path: &Path, place: &Place) -> Result<()> {
        let Some((leaf, above)) = path.split_last() else { return Ok(()) };
        if leaf.bounds.bound(leaf.at) <= place {
            return Ok(());
        }
        // Everything left of the bucket lies before any bound on the way that is not behind.
        let mut bound = &place[..place.len().min(BOUND_BYTES_MAX)];
        for step in above {
            let floor = step.bounds.bound(step.at);
            if floor <= place {
                bound = bound.max(floor);
            }
        }
        let bound = bound.to_vec();
        let mut entries = self.entries(tx, leaf)?;
        entries[leaf.at].bound = bound;
        self.put_node(tx, leaf.node, &entries);
        Ok(())
    }

    fn entries(&self, tx: &OrderedTx<'_>, step: &Step) -> Result<Vec<Child>> {
        let bounds = self.bounds(tx, step.node)?;
        let counts = self.counts(tx, step.node, &bounds)?;
        match step.at < counts.len() {
            true => Ok(bounds.entries(&counts)),
            false => Err(Error::corrupt("a node of a sorted set's ranks is too short")),
        }
    }

    /// Divides the bucket that a path leads to, and the nodes above that this makes too large.
    fn divide(&mut self, tx: &mut OrderedTx<'_>, mut path: Path, count: u64) -> Result<()> {
        let Some(leaf) = path.pop() else { return Ok(()) };
        let mut entries = self.entries(tx, &leaf)?;
        let Some((bound, left)) = self.middle(tx, &entries[leaf.at].bound, count)? else {
            return Ok(());
        };
        entries[leaf.at].count = left;
        entries.insert(leaf.at + 1, Child { bound, child: ROOT, count: count - left });
        let mut node = leaf.node;
        while entries.len() > NODE_MAX {
            let right = entries.split_off(entries.len() / 2);
            let (low, high) = (self.put_half(tx, node, &entries), self.put_half(tx, ROOT, &right));
            let Some(parent) = path.pop() else {
                self.ranks.levels += 1;
                self.put_node(tx, ROOT, &[low, high]);
                return Ok(());
            };
            entries = self.entries(tx, &parent)?;
            entries[parent.at].count = low.count;
            entries.insert(parent.at + 1, high);
            node = parent.node;
        }
        self.put_node(tx, node, &entries);
        Ok(())
    }

    /// Writes half of a divided node in its place, or as a new one instead of the root; the entry
    /// that leads to it.
    fn put_half(&mut self, tx: &mut OrderedTx<'_>, node: u32, entries: &[Child]) -> Child {
        let child = if node == ROOT { self.new_node() } else { node };
        self.put_node(tx, child, entries);
        Child {
            bound: entries.first().map(|entry| entry.bound.clone()).unwrap_or_default(),
            child,
            count: entries.iter().map(|entry| entry.count).sum(),
        }
    }

    /// Finds where to divide the `count` members from `low` on: a bound near the middle that is not
    /// too long, and the number of members before it.
    fn middle(&self, read: &dyn Read, low: &Place, count: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let mut best: Option<(Vec<u8>, u64)> = None;
        self.each_bound(read, low, count, &mut |bound, before| {
            let off = |before: u64| before.abs_diff(count / 2);
            if best.as_ref().is_none_or(|(_, found)| off(before) < off(*found)) {
                best = Some((bound.to_vec(), before));
            }
        })?;
        Ok(best)
    }

    /// Visits the shortest bounds between neighbours among the `count` members from `low` on, with
    /// the number of members before each; those that are too long are left out.
    fn each_bound(
        &self,
        read: &dyn Read,
        low: &Place,
        count: u64,
        visit: &mut dyn FnMut(&Place, u64),
    ) -> Result<()> {
        let lo = keys::at_place(self.version, low);
        let (_, hi) = keys::all_by_score(self.version);
        let (mut last, mut seen) = (Vec::new(), 0);
        read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            let place = keys::place(key).unwrap_or_default();
            let shared = place.iter().zip(&last).take_while(|(a, b)| a == b).count();
            if seen > 0 && shared < BOUND_BYTES_MAX.min(place.len()) {
                visit(&place[..=shared], seen);
            }
            last.clear();
            last.extend_from_slice(place);
            seen += 1;
            seen < count
        })
    }

    /// Removes the empty bucket that a path leads to, and the nodes above that this leaves empty.
    fn prune(&mut self, tx: &mut OrderedTx<'_>, mut path: Path) -> Result<()> {
        while let Some(step) = path.pop() {
            let mut entries = self.entries(tx, &step)?;
            entries.remove(step.at);
            if !entries.is_empty() {
                self.put_node(tx, step.node, &entries);
                return Ok(());
            }
            self.delete_node(tx, step.node);
        }
        self.ranks = Ranks::default();
        Ok(())
    }

    /// Makes the tree of a sorted set that has none, from its `count` by-score records.
    pub(super) fn build(&mut self, tx: &mut OrderedTx<'_>, count: u64) -> Result<()> {
        let mut entries = vec![Child { bound: Vec::new(), child: ROOT, count }];
        let mut begun = 0;
        self.each_bound(tx, &[], count, &mut |bound, before| {
            if before - begun >= BUCKET_MAX / 2 {
                if let Some(last) = entries.last_mut() {
                    last.count = before - begun;
                }
                entries.push(Child { bound: bound.to_vec(), child: ROOT, count: count - before });
                begun = before;
            }
        })?;
        self.ranks = Ranks { levels: 1, next_node: ROOT + 1 };
        self.put_node(tx, ROOT, &entries);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
