//! Removed values that are too large to be dropped within one command.

use super::chunk::Chunk;
use super::hash::HashValue;
use super::order::Order;
use super::set::SetValue;
use super::shard::Common;
use super::stream::StreamValue;
use super::table::Table;
use super::value::Value;
use super::zset::SortedSetValue;
use std::collections::VecDeque;

/// Chunks of a list dropped per slice.
const CHUNKS_PER_SLICE: usize = 64;

/// Something to be taken apart in bounded slices.
#[derive(Debug)]
pub enum Grave {
    /// The elements of a set, hash or sorted set, or the keys of a database.
    Table(Box<Table>),
    /// A list.
    Chunks(VecDeque<Chunk>),
    /// The order of a sorted set.
    Order(Order),
    /// A stream, or parts of one.
    Stream(Box<StreamValue>),
}

impl Grave {
    /// The parts of a value that are large; what is small is dropped here.
    pub fn of(value: Value) -> impl Iterator<Item = Grave> {
        let (first, second) = match value {
            Value::Taken | Value::Str(_) => (None, None),
            Value::List(list) => (Grave::of_chunks(list.into_chunks()), None),
            Value::Set(SetValue::Large(elements)) => (Some(Grave::Table(elements.table)), None),
            Value::Set(_) => (None, None),
            Value::Stream(stream) => (stream.is_large().then_some(Grave::Stream(stream)), None),
            Value::Hash(hash) => {
                (HashValue::into_elements(hash).map(|e| Grave::Table(e.table)), None)
            }
            Value::SortedSet(zset) => match SortedSetValue::into_parts(zset) {
                Some((elements, order)) => {
                    (Some(Grave::Order(order)), Some(Grave::Table(elements.table)))
                }
                None => (None, None),
            },
        };
        first.into_iter().chain(second)
    }

    /// Chunks, if there are enough to be worth doing in slices; few are dropped here.
    pub fn of_chunks(chunks: VecDeque<Chunk>) -> Option<Grave> {
        (chunks.len() > CHUNKS_PER_SLICE).then_some(Grave::Chunks(chunks))
    }

    /// Takes apart one slice; true when something is left.
    pub fn sweep(&mut self, common: &mut Common) -> bool {
        match self {
            Grave::Table(table) => table.sweep(&mut |entry| common.bury(entry)),
            Grave::Chunks(chunks) => {
                chunks.truncate(chunks.len().saturating_sub(CHUNKS_PER_SLICE));
                !chunks.is_empty()
            }
            Grave::Order(order) => order.sweep(),
            Grave::Stream(stream) => stream.dismantle(),
        }
    }
}
