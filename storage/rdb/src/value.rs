//! The neutral model of values, independent of the layout in a file or a backend.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The value of one key.
#[derive(Debug, Clone, PartialEq)]
pub enum Object {
    /// Any bytes.
    String(Vec<u8>),
    /// Head first.
    List(Vec<Vec<u8>>),
    /// In file order; duplicates are not looked for.
    Set(Vec<Vec<u8>>),
    /// In file order; duplicates are not looked for.
    Hash(Vec<HashField>),
    /// Members and scores (never NaN) in file order, which need not be the order of scores.
    SortedSet(Vec<(Vec<u8>, f64)>),
    /// Entries, and what consumer groups know.
    Stream(Box<StreamObject>),
}

impl Object {
    /// The name `TYPE` gives it.
    pub fn type_name(&self) -> &'static str {
        match self {
            Object::String(_) => "string",
            Object::List(_) => "list",
            Object::Set(_) => "set",
            Object::Hash(_) => "hash",
            Object::SortedSet(_) => "zset",
            Object::Stream(_) => "stream",
        }
    }
}

/// One field of a hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashField {
    /// The field's name.
    pub field: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
    /// Absolute unix time in milliseconds when the field goes, if it does.
    pub expiry_ms: Option<u64>,
}

/// The ID of a stream entry.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct StreamId {
    /// Unix time in milliseconds, or a number that the client chose.
    pub ms: u64,
    /// Order within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// The smallest ID.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The largest ID.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// The ID right after this one, `None` after the last.
    #[inline]
    pub fn next(self) -> Option<StreamId> {
        match (self.ms, self.seq) {
            (u64::MAX, u64::MAX) => None,
            (ms, u64::MAX) => Some(StreamId { ms: ms + 1, seq: 0 }),
            (ms, seq) => Some(StreamId { ms, seq: seq + 1 }),
        }
    }

    /// The ID right before this one, `None` before the first.
    #[inline]
    pub fn previous(self) -> Option<StreamId> {
        match (self.ms, self.seq) {
            (0, 0) => None,
            (ms, 0) => Some(StreamId { ms: ms - 1, seq: u64::MAX }),
            (ms, seq) => Some(StreamId { ms, seq: seq - 1 }),
        }
    }

    /// The sixteen big-endian bytes that stand for an ID in files.
    pub fn to_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The inverse of [`StreamId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }
}

/// One entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamEntry {
    /// Its ID.
    pub id: StreamId,
    /// Fields and values in the order they were given. Files store field names that repeat once;
    /// sharing them here keeps a small file from becoming a large value.
    pub fields: Vec<(Bytes, Vec<u8>)>,
}

/// A stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamObject {
    /// Entries in strictly ascending order of ID; deleted ones are not among them.
    pub entries: Vec<StreamEntry>,
    /// Everything else.
    pub meta: StreamMeta,
}

/// The counters and IDs of a stream, besides its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamMeta {
    /// Highest ID ever added; at least that of the last entry.
    pub last_id: StreamId,
    /// ID of the first entry; zero when there is none.
    pub first_id: StreamId,
    /// Highest ID ever deleted with `XDEL`; zero when none was.
    pub max_deleted_id: StreamId,
    /// The number of entries ever added.
    pub entries_added: u64,
    /// Consumer groups.
    pub groups: Vec<StreamGroup>,
}

/// A consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamGroup {
    /// Its name.
    pub name: Vec<u8>,
    /// Last ID delivered.
    pub last_id: StreamId,
    /// The logical read counter; `None` when Redis cannot know it.
    pub entries_read: Option<u64>,
    /// Delivered and not acknowledged, in ascending order of ID.
    pub pending: Vec<PendingEntry>,
    /// Consumers; `pending` names them by their index here.
    pub consumers: Vec<StreamConsumer>,
}

/// An entry that was delivered to a consumer and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingEntry {
    /// The entry's ID; the entry itself may have been deleted since.
    pub id: StreamId,
    /// Index into [`StreamGroup::consumers`].
    pub consumer: usize,
    /// Unix time in milliseconds of the last delivery.
    pub delivery_time_ms: u64,
    /// The number of times it was delivered.
    pub delivery_count: u64,
}

/// A member of a consumer group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConsumer {
    /// Its name.
    pub name: Vec<u8>,
    /// Unix time in milliseconds of its last attempt.
    pub seen_time_ms: u64,
    /// Unix time in milliseconds of its last success; `None` when it never had one.
    pub active_time_ms: Option<u64>,
}
