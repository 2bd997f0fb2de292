//! Removed values that are too large to be dropped within one command.

use super::chunk::Chunk;
use super::entry::{Entry, EntryRef};
use super::hash::HashValue;
use super::order::Order;
use super::set::SetValue;
use super::shard::Common;
use super::sorted_set::SortedSetValue;
use super::stream::StreamValue;
use super::table::Table;
use super::value::Value;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use storage::backend::LazilyFreed;

/// Chunks of a list dropped per slice.
const CHUNKS_PER_SLICE: usize = 64;

/// Elements above which freeing a value counts as work.
const LABOUR_MIN: usize = 64;

/// Counts of objects that are freed later, and of those that were freed.
#[derive(Debug, Default)]
pub struct Freed {
    pending: AtomicU64,
    freed: AtomicU64,
}

impl Freed {
    /// Counts objects that are to be freed.
    fn begun(&self, objects: u64) {
        self.pending.fetch_add(objects, Ordering::Relaxed);
    }

    /// Counts objects that were freed.
    fn ended(&self, objects: u64) {
        self.freed.fetch_add(objects, Ordering::Relaxed);
        self.pending.fetch_sub(objects, Ordering::Relaxed);
    }

    /// The counts.
    pub fn counts(&self) -> LazilyFreed {
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        LazilyFreed { pending: count(&self.pending), freed: count(&self.freed) }
    }
}

impl Common {
    /// Forgets an entry: drops it, or leaves the taking apart of a large one to `maintain`.
    pub fn discard(&mut self, entry: Entry) {
        let before = self.garbage.len();
        self.discard_part(entry);
        if self.garbage.iter().skip(before).any(Garbage::is_laborious) {
            self.end_with(1);
        }
    }

    /// Like [`Common::discard`], for parts that are not counted.
    fn discard_part(&mut self, mut entry: Entry) {
        if let Some(value) = entry.take_boxed() {
            self.garbage.extend(Garbage::of(value));
        }
    }

    /// Leaves the taking apart of a database's keys to `maintain`.
    pub fn discard_keys(&mut self, table: Table) {
        let keys = table.len() as u64;
        self.garbage.push_back(Garbage::Table(Box::new(table)));
        self.end_with(keys);
    }

    /// Counts objects as freed once the garbage added last is gone.
    fn end_with(&mut self, objects: u64) {
        self.freed.begun(objects);
        self.garbage.push_back(Garbage::End(objects));
    }
}

/// Something to be taken apart in bounded slices.
#[derive(Debug)]
pub enum Garbage {
    /// The elements of a set, hash or sorted set, or the keys of a database.
    Table(Box<Table>),
    /// A list.
    Chunks(VecDeque<Chunk>),
    /// The order of a sorted set.
    Order(Order<EntryRef>),
    /// A stream, or parts of one.
    Stream(Box<StreamValue>),
    /// Nothing. Once the garbage before it is gone, this number of objects is freed.
    End(u64),
}

impl Garbage {
    /// The large parts of a value; small parts are dropped here.
    pub fn of(value: Value) -> impl Iterator<Item = Garbage> {
        let (first, second) = match value {
            Value::Taken | Value::Str(_) => (None, None),
            Value::List(list) => (Garbage::of_chunks(list.into_chunks()), None),
            Value::Set(SetValue::Large(elements)) => (Some(Garbage::Table(elements.table)), None),
            Value::Set(_) => (None, None),
            Value::Stream(stream) => (stream.is_large().then_some(Garbage::Stream(stream)), None),
            Value::Hash(hash) => {
                (HashValue::into_elements(hash).map(|e| Garbage::Table(e.table)), None)
            }
            Value::SortedSet(zset) => match SortedSetValue::into_parts(zset) {
                Some((elements, order)) => {
                    (Some(Garbage::Order(order)), Some(Garbage::Table(elements.table)))
                }
                None => (None, None),
            },
        };
        first.into_iter().chain(second)
    }

    /// Chunks, if there are enough to be worth doing in slices; few are dropped here.
    pub fn of_chunks(chunks: VecDeque<Chunk>) -> Option<Garbage> {
        (chunks.len() > CHUNKS_PER_SLICE).then_some(Garbage::Chunks(chunks))
    }

    /// Whether it holds more than Redis frees at once (`LAZYFREE_THRESHOLD`).
    fn is_laborious(&self) -> bool {
        match self {
            Garbage::Table(table) => table.len() > LABOUR_MIN,
            Garbage::Chunks(chunks) => chunks.len() > LABOUR_MIN,
            Garbage::Stream(_) => true,
            Garbage::Order(_) | Garbage::End(_) => false,
        }
    }

    /// Takes apart one slice; true when something is left.
    pub fn sweep(&mut self, common: &mut Common) -> bool {
        match self {
            Garbage::Table(table) => table.sweep(&mut |entry| common.discard_part(entry)),
            Garbage::Chunks(chunks) => {
                chunks.truncate(chunks.len().saturating_sub(CHUNKS_PER_SLICE));
                !chunks.is_empty()
            }
            Garbage::Order(order) => order.sweep(),
            Garbage::Stream(stream) => stream.dismantle(),
            Garbage::End(objects) => {
                common.freed.ended(*objects);
                false
            }
        }
    }
}
