//! The number of members of a sorted set before a place in its order, without scanning up to it.
//!
//! This is a B-tree of counts over the by-score records, which are its leaves and do not refer to
//! it. The lowest nodes divide the records into *buckets* of at most [`BUCKET_MAX`], by bounds that
//! are as short as possible; the nodes above divide those in turn. A node is two records: its
//! bounds, which change when something is divided or removed, and its counts, which change with
//! every member. A rank is the sum of the counts left of the path, plus a part of one bucket.
//!
//! Bounds are written with the members that they divide. Counts follow from both, so they are kept in memory and
//! written when a bound of their node changes, when too many are kept, and at the end. After a crash, the start
//! counts again what the last session has changed.
//!
//! The first bound of a node is the place from which its first member may be. A member below it
//! still belongs to the node, and lowers the bound. So a queue that is consumed from the front is
//! read from its current beginning and not from its first one, where an engine with tombstones
//! would have to visit them.

mod node;
mod recount;

use super::codec::Ranks;
use super::keys;
use super::kv::Read;
use super::tx::OrderedTx;
use node::{Child, ROOT};
use smallvec::SmallVec;
use storage::{Error, Result};

pub(super) use node::{Changes, Node, Place};
pub(super) use recount::Stale;

/// Sorted sets up to this size have no tree: they are walked.
pub(super) const TREE_FROM: u64 = if cfg!(test) { 16 } else { 256 };
/// Members at which a bucket is divided. Like the next, small in unit tests, for more levels.
const BUCKET_MAX: u64 = if cfg!(test) { 8 } else { 128 };
/// Entries of a node at most.
const NODE_MAX: usize = if cfg!(test) { 4 } else { 256 };
/// Longest bound, bytes. Where neighbours differ only behind this, a bucket stays undivided.
const BOUND_BYTES_MAX: usize = 255;
/// The tree of one sorted set. What changes in `ranks` belongs into the metadata.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tree {
    pub(super) version: u64,
    pub(super) ranks: Ranks,
}

/// A node on the way to a place, and which of its entries leads there.
struct Step {
    number: u32,
    node: Node,
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
    fn node(&self, tx: &OrderedTx<'_>, number: u32) -> Result<Node> {
        tx.node((self.version, number))
    }

    fn path(&self, tx: &OrderedTx<'_>, place: &Place) -> Result<Path> {
        let (mut path, mut number) = (Path::new(), ROOT);
        for _ in 0..self.ranks.levels {
            let node = self.node(tx, number)?;
            let at = node.bounds.find(place);
            let child = node.bounds.child(at);
            path.push(Step { number, node, at });
            number = child;
        }
        Ok(path)
    }

    /// Members before a place.
    pub(super) fn before(&self, tx: &OrderedTx<'_>, place: &Place) -> Result<u64> {
        let (mut before, mut low) = (0, Vec::new());
        for step in self.path(tx, place)? {
            before += step.node.counts.iter().take(step.at).sum::<u64>();
            low = step.node.bounds.bound(step.at).to_vec();
        }
        let lo = keys::at_place(self.version, &low);
        let hi = keys::at_place(self.version, place);
        tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, _| {
            before += 1;
            true
        })?;
        Ok(before)
    }

    /// A place, and the number of members to skip from there to the one of this rank.
    pub(super) fn seek(&self, tx: &OrderedTx<'_>, rank: u64) -> Result<(Vec<u8>, u64)> {
        let (mut number, mut low, mut left) = (ROOT, Vec::new(), rank);
        for _ in 0..self.ranks.levels {
            let Node { bounds, counts } = self.node(tx, number)?;
            let mut at = 0;
            while at + 1 < counts.len() && left >= counts[at] {
                left -= counts[at];
                at += 1;
            }
            low = bounds.bound(at).to_vec();
            number = bounds.child(at);
        }
        Ok((low, left))
    }

    /// A place that no member lies before.
    pub(super) fn first(&self, tx: &OrderedTx<'_>) -> Result<Vec<u8>> {
        let (mut number, mut low) = (ROOT, Vec::new());
        for _ in 0..self.ranks.levels {
            let Node { bounds, .. } = self.node(tx, number)?;
            low = bounds.bound(0).to_vec();
            number = bounds.child(0);
        }
        Ok(low)
    }

    // -- changes ---------------------------------------------------------------------------------

    fn put_node(&self, tx: &mut OrderedTx<'_>, number: u32, entries: &[Child]) {
        tx.put_node((self.version, number), entries);
    }

    fn new_node(&mut self) -> u32 {
        self.ranks.next_node = self.ranks.next_node.max(ROOT + 1) + 1;
        self.ranks.next_node - 1
    }

    /// Reads what is needed to count a member at `new`, and no longer at `old`.
    pub(super) fn plan(
        &self,
        tx: &OrderedTx<'_>,
        old: Option<&Place>,
        new: Option<&Place>,
    ) -> Result<PreparedUpdate> {
        let old = old.map(|place| self.path(tx, place)).transpose()?;
        let new = new.map(|place| self.path(tx, place)).transpose()?;
        let shared = match (&old, &new) {
            (Some(old), Some(new)) => {
                let same = |(a, b): &(&Step, &Step)| (a.number, a.at) == (b.number, b.at);
                old.iter().zip(new).take_while(same).count()
            }
            _ => 0,
        };
        let mut plan =
            PreparedUpdate { old, new, counts: SmallVec::new(), left: u64::MAX, joined: 0 };
        for step in plan.new.iter().flatten().skip(shared) {
            plan.joined = adjust(&mut plan.counts, step, 1);
        }
        for step in plan.old.iter().flatten().skip(shared) {
            plan.left = adjust(&mut plan.counts, step, -1);
        }
        Ok(plan)
    }

    /// Carries out a plan for the places `old` and `new`, whose records have been changed.
    pub(super) fn apply(
        &mut self,
        tx: &mut OrderedTx<'_>,
        plan: PreparedUpdate,
        old: Option<&Place>,
        new: Option<&Place>,
    ) -> Result<()> {
        for (number, counts) in plan.counts {
            tx.put_counts((self.version, number), counts)?;
        }
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
        if leaf.node.bounds.bound(leaf.at) <= place {
            return Ok(());
        }
        // Everything left of the bucket lies before any bound on the way that is not behind.
        let mut bound = &place[..place.len().min(BOUND_BYTES_MAX)];
        for step in above {
            let floor = step.node.bounds.bound(step.at);
            if floor <= place {
                bound = bound.max(floor);
            }
        }
        let bound = bound.to_vec();
        let mut entries = self.entries(tx, leaf)?;
        entries[leaf.at].bound = bound;
        self.put_node(tx, leaf.number, &entries);
        Ok(())
    }

    /// The entries of a step's node as they are by now.
    fn entries(&self, tx: &OrderedTx<'_>, step: &Step) -> Result<Vec<Child>> {
        let node = self.node(tx, step.number)?;
        match step.at < node.counts.len() {
            true => Ok(node.entries()),
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
        let mut number = leaf.number;
        while entries.len() > NODE_MAX {
            let right = entries.split_off(entries.len() / 2);
            let (low, high) =
                (self.put_half(tx, number, &entries), self.put_half(tx, ROOT, &right));
            let Some(parent) = path.pop() else {
                self.ranks.levels += 1;
                self.put_node(tx, ROOT, &[low, high]);
                return Ok(());
            };
            entries = self.entries(tx, &parent)?;
            entries[parent.at].count = low.count;
            entries.insert(parent.at + 1, high);
            number = parent.number;
        }
        self.put_node(tx, number, &entries);
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
                self.put_node(tx, step.number, &entries);
                return Ok(());
            }
            tx.delete_node((self.version, step.number));
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
        self.ranks = Ranks { levels: 1, next_node: ROOT + 1, ..self.ranks };
        self.put_node(tx, ROOT, &entries);
        Ok(())
    }
}

/// Adds to one count among those that change; the sum.
fn adjust(counts: &mut NodeCounts, step: &Step, by: i64) -> u64 {
    let at = counts.iter().position(|(number, _)| *number == step.number).unwrap_or_else(|| {
        counts.push((step.number, step.node.counts.to_vec()));
        counts.len() - 1
    });
    let count = &mut counts[at].1[step.at];
    *count = count.saturating_add_signed(by);
    *count
}

#[cfg(test)]
mod tests;
