//! The order of a sorted set: members by score, then by bytes, with ranks.
//!
//! A B+-tree whose inner nodes know how many members each child holds, so that inserting, removing,
//! the rank of a member and the member of a rank each take one walk from the root. A member is a
//! score and a reference ([`MemberBytes`]) to the entry in the member table, so its bytes are stored
//! once. The owner of both (`sorted_set`) must remove a member from the order before it drops its entry.

use std::cmp::Ordering;

/// Members per leaf: one KiB.
const LEAF_MAX: usize = 64;
/// Children per inner node.
const INNER_MAX: usize = 32;

/// A reference to where a member's bytes are.
pub trait MemberBytes: Copy {
    /// The bytes. They stay the same while the member is in an order.
    fn bytes(&self) -> &[u8];
}

/// A member in the order.
#[derive(Clone, Copy, Debug)]
pub struct Item<M> {
    /// Its score, never NaN.
    pub score: f64,
    /// Where its bytes are.
    pub member: M,
}

impl<M: MemberBytes> Item<M> {
    /// The member's bytes.
    fn bytes(&self) -> &[u8] {
        self.member.bytes()
    }

    fn compare(&self, other: &Item<M>) -> Ordering {
        compare((self.score, self.bytes()), (other.score, other.bytes()))
    }
}

/// Score first, then bytes. Scores are never NaN; −0 equals 0.
pub fn compare(a: (f64, &[u8]), b: (f64, &[u8])) -> Ordering {
    a.0.partial_cmp(&b.0).unwrap_or(Ordering::Equal).then_with(|| a.1.cmp(b.1))
}

/// Whether a member is before some place; true for a prefix of the order.
pub type Before<'a> = &'a dyn Fn(f64, &[u8]) -> bool;

#[derive(Debug)]
enum Node<M> {
    Leaf(Vec<Item<M>>),
    Inner(Vec<Child<M>>),
}

#[derive(Debug)]
struct Child<M> {
    /// The first member below; kept exact, so that it never refers to an entry that is gone.
    first: Item<M>,
    /// Members below.
    count: usize,
    node: Box<Node<M>>,
}

/// The number of nodes, from which the size is computed.
#[derive(Debug, Default)]
struct Nodes {
    leaves: usize,
    inners: usize,
}

impl Nodes {
    fn of<M>(&mut self, node: &Node<M>) -> &mut usize {
        match node {
            Node::Leaf(_) => &mut self.leaves,
            Node::Inner(_) => &mut self.inners,
        }
    }
}

/// Members in order.
#[derive(Debug)]
pub struct Order<M> {
    root: Node<M>,
    len: usize,
    nodes: Nodes,
}

impl<M: MemberBytes> Node<M> {
    fn leaf() -> Vec<Item<M>> {
        Vec::with_capacity(LEAF_MAX)
    }

    /// Entries of the node itself.
    fn width(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// The first member; `None` only in an empty root.
    fn first(&self) -> Option<Item<M>> {
        match self {
            Node::Leaf(items) => items.first().copied(),
            Node::Inner(children) => children.first().map(|child| child.first),
        }
    }

    /// Members below.
    fn count(&self) -> usize {
        match self {
            Node::Leaf(items) => items.len(),
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    /// The node as a child; it must not be empty.
    fn into_child(self) -> Option<Child<M>> {
        Some(Child { first: self.first()?, count: self.count(), node: Box::new(self) })
    }

    /// Inserts; the right half when the node had to be split.
    fn insert(&mut self, item: Item<M>, nodes: &mut Nodes) -> Option<Node<M>> {
        match self {
            Node::Leaf(items) => {
                let at = items.partition_point(|other| other.compare(&item).is_lt());
                if items.len() < LEAF_MAX {
                    items.insert(at, item);
                    return None;
                }
                // Ascending insertion fills leaves to the brim; any other splits in the middle.
                let half = if at == LEAF_MAX { LEAF_MAX } else { LEAF_MAX / 2 };
                let mut right = Node::leaf();
                right.extend(items.drain(half..));
                match at.checked_sub(half) {
                    Some(at) if at > 0 || half == LEAF_MAX => right.insert(at, item),
                    _ => items.insert(at, item),
                }
                nodes.leaves += 1;
                Some(Node::Leaf(right))
            }
            Node::Inner(children) => {
                let at = child_for(children, &item);
                let child = &mut children[at];
                let split = child.node.insert(item, nodes);
                child.refresh();
                let new = split.and_then(Node::into_child)?;
                children.insert(at + 1, new);
                if children.len() <= INNER_MAX {
                    return None;
                }
                let mut right = Vec::with_capacity(INNER_MAX + 1);
                let half = if at + 2 == children.len() { INNER_MAX } else { INNER_MAX / 2 };
                right.extend(children.drain(half..));
                nodes.inners += 1;
                Some(Node::Inner(right))
            }
        }
    }

    /// Removes; false when the item is not there.
    fn remove(&mut self, item: &Item<M>, nodes: &mut Nodes) -> bool {
        match self {
            Node::Leaf(items) => {
                let at = items.partition_point(|other| other.compare(item).is_lt());
                let found = items.get(at).is_some_and(|other| other.compare(item).is_eq());
                if found {
                    items.remove(at);
                }
                found
            }
            Node::Inner(children) => {
                let at = child_for(children, item);
                let found = children[at].node.remove(item, nodes);
                if children[at].node.width() == 0 {
                    *nodes.of(&children.remove(at).node) -= 1;
                } else {
                    children[at].refresh();
                    merge_small(children, at, nodes);
                }
                found
            }
        }
    }

    /// Visits from the `rank`th member on; false when `visit` stopped it.
    fn visit(&self, rank: usize, visit: &mut dyn FnMut(f64, &[u8]) -> bool) -> bool {
        match self {
            Node::Leaf(items) => {
                items.iter().skip(rank).all(|item| visit(item.score, item.bytes()))
            }
            Node::Inner(children) => {
                let mut skip = rank;
                children.iter().all(|child| {
                    if skip >= child.count {
                        skip -= child.count;
                        return true;
                    }
                    child.node.visit(std::mem::take(&mut skip), visit)
                })
            }
        }
    }

    /// As `visit`, downwards; `skip` members at the high end are left out.
    fn visit_down(&self, skip: usize, visit: &mut dyn FnMut(f64, &[u8]) -> bool) -> bool {
        match self {
            Node::Leaf(items) => {
                items.iter().rev().skip(skip).all(|item| visit(item.score, item.bytes()))
            }
            Node::Inner(children) => {
                let mut skip = skip;
                children.iter().rev().all(|child| {
                    if skip >= child.count {
                        skip -= child.count;
                        return true;
                    }
                    child.node.visit_down(std::mem::take(&mut skip), visit)
                })
            }
        }
    }

    /// Drops the leaves of the last node above leaves; true when something is left.
    fn prune(&mut self) -> bool {
        let Node::Inner(children) = self else { return false };
        if let Some(last) = children.last_mut()
            && last.node.prune()
        {
            return true;
        }
        match children.first().map(|child| &*child.node) {
            Some(Node::Inner(_)) => drop(children.pop()),
            _ => children.clear(),
        }
        !children.is_empty()
    }
}

impl<M: MemberBytes> Child<M> {
    /// After a change below.
    fn refresh(&mut self) {
        self.count = self.node.count();
        if let Some(first) = self.node.first() {
            self.first = first;
        }
    }
}

/// The child an item is in, or belongs in.
fn child_for<M: MemberBytes>(children: &[Child<M>], item: &Item<M>) -> usize {
    children.partition_point(|child| child.first.compare(item).is_le()).saturating_sub(1)
}

/// Joins a child that has become small with a neighbour, if both then still have room.
fn merge_small<M: MemberBytes>(children: &mut Vec<Child<M>>, at: usize, nodes: &mut Nodes) {
    let max = if matches!(*children[at].node, Node::Leaf(_)) { LEAF_MAX } else { INNER_MAX };
    if children[at].node.width() >= max / 4 || children.len() < 2 {
        return;
    }
    let left = at.min(children.len() - 2);
    if children[left].node.width() + children[left + 1].node.width() > max * 3 / 4 {
        return;
    }
    let right = children.remove(left + 1);
    *nodes.of(&right.node) -= 1;
    match (&mut *children[left].node, *right.node) {
        (Node::Leaf(items), Node::Leaf(more)) => items.extend(more),
        (Node::Inner(below), Node::Inner(more)) => below.extend(more),
        _ => unreachable!("neighbours are of one level"),
    }
    children[left].refresh();
}

impl<M: MemberBytes> Order<M> {
    /// No members.
    pub fn new() -> Self {
        Order { root: Node::Leaf(Node::leaf()), len: 0, nodes: Nodes { leaves: 1, inners: 0 } }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        self.nodes.leaves * (LEAF_MAX * size_of::<Item<M>>() + size_of::<Node<M>>())
            + self.nodes.inners * ((INNER_MAX + 1) * size_of::<Child<M>>() + size_of::<Node<M>>())
    }

    /// The number of members for which `before` is true.
    pub fn partition(&self, before: Before<'_>) -> usize {
        let (mut node, mut rank) = (&self.root, 0);
        loop {
            match node {
                Node::Leaf(items) => {
                    return rank + items.partition_point(|item| before(item.score, item.bytes()));
                }
                Node::Inner(children) => {
                    let holds = |child: &Child<M>| before(child.first.score, child.first.bytes());
                    let at = children.partition_point(holds).saturating_sub(1);
                    rank += children[..at].iter().map(|child| child.count).sum::<usize>();
                    match children.get(at) {
                        Some(child) => node = &child.node,
                        None => return rank,
                    }
                }
            }
        }
    }

    /// Adds a member that is not there.
    pub fn insert(&mut self, item: Item<M>) {
        self.len += 1;
        let Some(right) = self.root.insert(item, &mut self.nodes) else { return };
        let left = std::mem::replace(&mut self.root, Node::Inner(Vec::new()));
        let mut children = Vec::with_capacity(INNER_MAX + 1);
        children.extend(left.into_child());
        children.extend(right.into_child());
        self.root = Node::Inner(children);
        self.nodes.inners += 1;
    }

    /// Removes a member with its score.
    pub fn remove(&mut self, item: &Item<M>) {
        self.len -= usize::from(self.root.remove(item, &mut self.nodes));
        let only = match &mut self.root {
            Node::Inner(children) if children.len() == 1 => children.pop(),
            Node::Inner(children) if children.is_empty() => {
                self.root = Node::Leaf(Node::leaf());
                self.nodes = Nodes { leaves: 1, inners: 0 };
                None
            }
            _ => None,
        };
        if let Some(child) = only {
            self.root = *child.node;
            self.nodes.inners -= 1;
        }
    }

    /// Visits from `rank < len` on, upwards or downwards, until `visit` says false.
    pub fn visit(&self, rank: usize, reverse: bool, visit: &mut dyn FnMut(f64, &[u8]) -> bool) {
        if reverse {
            self.root.visit_down(self.len.saturating_sub(rank + 1), visit);
        } else {
            self.root.visit(rank, visit);
        }
    }

    /// Frees a slice of an order that is no longer needed. Returns true if something is left. The
    /// order may refer to entries that are gone, so nothing else may be done with it.
    pub fn sweep(&mut self) -> bool {
        self.root.prune()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Entry, EntryRef, Payload};
    use storage::random::mix;
    use storage::tx::Kind;

    fn entries(n: u64) -> Vec<Entry> {
        let entry = |n: u64| {
            let name = format!("{:05}", mix(n) % 100_000);
            Entry::new(Kind::String, name.as_bytes(), Payload::Inline(&[]), None)
        };
        (0..n).map(entry).collect()
    }

    fn item(entry: &Entry, n: usize) -> Item<EntryRef> {
        Item { score: (mix(n as u64) % 50) as f64, member: entry.by_reference() }
    }

    /// Every count and first member agrees with the children, and all leaves are in order.
    fn check_order(order: &Order<EntryRef>) {
        check(&order.root);
        let mut nodes = Nodes::default();
        count(&order.root, &mut nodes);
        assert_eq!((nodes.leaves, nodes.inners), (order.nodes.leaves, order.nodes.inners));
    }

    fn count(node: &Node<EntryRef>, nodes: &mut Nodes) {
        *nodes.of(node) += 1;
        if let Node::Inner(children) = node {
            children.iter().for_each(|child| count(&child.node, nodes));
        }
    }

    fn check(node: &Node<EntryRef>) {
        if let Node::Inner(children) = node {
            for child in children {
                assert_eq!(child.count, child.node.count());
                assert!(child.first.compare(&child.node.first().unwrap()).is_eq());
                check(&child.node);
            }
            assert!(children.windows(2).all(|two| two[0].first.compare(&two[1].first).is_le()));
        }
    }

    #[test]
    fn stays_balanced_and_counted_through_growth_and_decline() {
        let entries = entries(5000);
        let mut order = Order::new();
        let mut model = Vec::new();
        for (n, entry) in entries.iter().enumerate() {
            order.insert(item(entry, n));
            model.push(item(entry, n));
        }
        model.sort_by(Item::compare);
        check_order(&order);
        for (n, entry) in entries.iter().enumerate() {
            if n % 7 != 0 {
                let gone = item(entry, n);
                order.remove(&gone);
                let at = model.iter().position(|other| other.compare(&gone).is_eq()).unwrap();
                model.remove(at);
            }
        }
        check_order(&order);
        assert_eq!(order.len(), model.len());
        let mut seen = Vec::new();
        order.visit(0, false, &mut |score, member| {
            seen.push((score, member.to_vec()));
            true
        });
        assert!(seen.iter().zip(&model).all(|(a, b)| a.0 == b.score && a.1 == b.bytes()));
        for rank in [0, 1, 300, model.len() - 1] {
            let at = model[rank];
            let before = |s: f64, m: &[u8]| compare((s, m), (at.score, at.bytes())).is_lt();
            let first = model.iter().position(|other| other.compare(&at).is_eq()).unwrap();
            assert_eq!(order.partition(&before), first);
            let mut down = Vec::new();
            order.visit(rank, true, &mut |score, member| {
                down.push((score, member.to_vec()));
                down.len() < 3
            });
            let expected: Vec<_> = model[..=rank].iter().rev().take(3).map(|i| i.score).collect();
            assert_eq!(down.iter().map(|(score, _)| *score).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn sweeps_in_slices() {
        let entries = entries(20_000);
        let mut order = Order::new();
        entries.iter().enumerate().for_each(|(n, entry)| order.insert(item(entry, n)));
        let slices = (0..10_000).take_while(|_| order.sweep()).count();
        assert!((5..5000).contains(&slices), "{slices}");
        assert_eq!(order.root.count(), 0);
    }
}
