//! [`Value`]: what an entry holds when it is not a short string.

use super::directory::Source;
use super::hash::HashValue;
use super::list::ListValue;
use super::set::SetValue;
use super::sorted_set::SortedSetValue;
use super::stream::StreamValue;
use super::table::Table;
use bytes::Bytes;

/// A value outside its entry. One variant per type.
#[derive(Debug)]
pub enum Value {
    /// Moved away: the entry is about to be dropped.
    Taken,
    /// A large string, shared with replies.
    Str(Box<Bytes>),
    /// A list.
    List(Box<ListValue>),
    /// A set.
    Set(SetValue),
    /// A hash.
    Hash(HashValue),
    /// A sorted set.
    SortedSet(SortedSetValue),
    /// A stream.
    Stream(Box<StreamValue>),
}

impl Value {
    /// Bytes held outside the entry.
    #[inline]
    pub fn bytes(&self) -> usize {
        match self {
            Value::Taken => 0,
            Value::Str(bytes) => size_of::<Bytes>() + bytes.len(),
            Value::List(list) => size_of::<ListValue>() + list.bytes(),
            Value::Set(set) => set.bytes(),
            Value::Hash(hash) => hash.bytes(),
            Value::SortedSet(zset) => zset.bytes(),
            Value::Stream(stream) => size_of::<StreamValue>() + stream.bytes(),
        }
    }

    /// Redis's name of the encoding, for collections.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Taken | Value::Str(_) => "raw",
            Value::List(list) => list.encoding(),
            Value::Set(set) => set.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::SortedSet(zset) => zset.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// The number of elements; none for strings.
    #[inline]
    pub fn len(&self) -> usize {
        match self {
            Value::Taken | Value::Str(_) => 0,
            Value::List(list) => list.len(),
            Value::Set(set) => set.len(),
            Value::Hash(hash) => hash.len(),
            Value::SortedSet(zset) => zset.len(),
            Value::Stream(stream) => stream.len(),
        }
    }

    /// Whether it is a collection that must not be there without elements, and has none.
    #[inline]
    pub fn is_void(&self) -> bool {
        !matches!(self, Value::Stream(_)) && self.len() == 0
    }
}

/// A table of elements. Nothing in it is prefetched, so its directories need no pool.
pub fn element_table() -> Box<Table> {
    Box::new(Table::new(Source::Heap))
}

/// An element table with the bytes of its entries counted.
#[derive(Debug)]
pub struct Elements {
    /// The elements.
    pub table: Box<Table>,
    /// Allocated bytes of the entries.
    pub entry_bytes: usize,
}

impl Elements {
    /// No elements.
    pub fn new() -> Self {
        Elements { table: element_table(), entry_bytes: 0 }
    }

    /// Bytes of table and entries.
    pub fn bytes(&self) -> usize {
        size_of::<Table>() + self.table.own_bytes() + self.entry_bytes
    }
}
