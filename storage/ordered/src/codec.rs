//! The heads of stored records, and the one place that knows how they are encoded (serde and
//! bincode, variable-length integers). A record is its head followed by raw bytes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use storage::{Error, Kind, Result, StreamId};

/// The head of a key's metadata record; after it come a long name, then a short string's bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Unix milliseconds, 0 for none.
    pub expiry_ms: u64,
    /// Length of the key's name when it is kept here, else 0.
    pub name_bytes: u32,
    /// The type of the value, and its facts.
    pub body: Body,
}

/// The type-specific part of a [`Head`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Body {
    /// A string, stored after the head. `raw` when it was edited in place (`OBJECT ENCODING`).
    Inline {
        /// Edited in place since it was set.
        raw: bool,
    },
    /// A string in chunks of the engine's chunk size; missing bytes are zeros.
    Chunked {
        /// Where the chunks are.
        version: u64,
        /// Bytes.
        len: u64,
    },
    /// A list at consecutive positions.
    List {
        /// Where the elements are.
        version: u64,
        /// Position of the first element.
        head: i64,
        /// Elements.
        len: u64,
        /// Bytes the elements would take in a listpack.
        packed_bytes: u64,
        /// Whether Redis would have a quicklist.
        quick: bool,
        /// Whether an element was ever stored in chunks.
        overflow: bool,
    },
    /// Named elements.
    Map(Map),
    /// A stream.
    Stream(StreamHead),
}

/// A stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StreamHead {
    /// Where the entries and groups are.
    pub version: u64,
    /// Entries.
    pub len: u64,
    /// ID of the first entry, zero without entries.
    pub first_id: StreamId,
    /// ID of the last entry there, zero without entries.
    pub top_id: StreamId,
    /// Highest ID ever added.
    pub last_id: StreamId,
    /// Highest ID ever deleted.
    pub max_deleted_id: StreamId,
    /// Entries ever added.
    pub entries_added: u64,
    /// Groups.
    pub groups: u64,
    /// Whether an entry was ever stored in chunks.
    pub overflow: bool,
}

/// A set, hash or sorted set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// Which of the three.
    pub kind: MapKind,
    /// Where the elements are.
    pub version: u64,
    /// Elements.
    pub len: u64,
    /// The encoding that Redis would use; only ever grows.
    pub form: Form,
    /// The number the next element of a compact collection gets: its insertion order.
    pub next_order: u32,
    /// Nothing in it expires before this time (Unix milliseconds); 0: nothing does.
    pub next_expiry_ms: u64,
    /// Whether an element was ever stored in chunks.
    pub overflow: bool,
    /// The tree of counts by score, of a large sorted set.
    pub ranks: Ranks,
}

/// A sorted set's tree of counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Ranks {
    /// Levels of nodes; 0: there is no tree.
    pub levels: u8,
    /// A node number not used before.
    pub next_node: u32,
    /// The last session in which the tree changed, whose counts may be in memory only; 0: all are in records.
    pub session: u32,
}

/// The kinds of [`Map`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MapKind {
    /// Members.
    Set,
    /// Fields with values.
    Hash,
    /// Members with scores.
    SortedSet,
}

/// The encoding that Redis would use for a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Form {
    /// `intset`: visited in numeric order.
    Ints,
    /// `listpack`: visited in insertion order (sorted sets: by score).
    Packed,
    /// `hashtable`, `skiplist`: visited in hash order.
    Table,
}

/// The head of an element's record; after it come a long name, then the value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ElementHead {
    /// Insertion order, meaningful while the collection is compact.
    pub order: u32,
    /// Unix milliseconds, 0 for none.
    pub expiry_ms: u64,
    /// Length of the name when it is kept here, else 0.
    pub name_bytes: u32,
    /// Version and length of a value kept in chunks.
    pub chunks: Option<(u64, u64)>,
}

/// Which physical database each logical one is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DbMap {
    /// By logical number.
    pub physical: Vec<u32>,
    /// A number not used before.
    pub next: u32,
}

/// Numbers of keys at a clean stop, so that the next start need not count: by shard, by database,
/// all keys and those with expiry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CleanCounts {
    /// Shards the counts are for.
    pub shards: u32,
    /// `shard × databases + database`.
    pub counts: Vec<(u64, u64)>,
}

impl Body {
    /// The type.
    pub fn kind(&self) -> Kind {
        match self {
            Body::Inline { .. } | Body::Chunked { .. } => Kind::String,
            Body::List { .. } => Kind::List,
            Body::Stream(_) => Kind::Stream,
            Body::Map(map) => match map.kind {
                MapKind::Set => Kind::Set,
                MapKind::Hash => Kind::Hash,
                MapKind::SortedSet => Kind::SortedSet,
            },
        }
    }

    /// The version of the records outside the metadata record, and whether elements there may have
    /// chunks of their own.
    pub fn version(&self) -> Option<(u64, bool)> {
        match self {
            Body::Inline { .. } => None,
            Body::Chunked { version, .. } => Some((*version, false)),
            Body::List { version, overflow, .. } => Some((*version, *overflow)),
            Body::Map(map) => Some((map.version, map.overflow)),
            // A group refers to a version as an element does to its chunks.
            Body::Stream(head) => Some((head.version, head.overflow || head.groups > 0)),
        }
    }
}

impl Head {
    /// The time at which the key must be examined again, because it or one of its fields expires; 0
    /// for never.
    pub fn due_ms(&self) -> u64 {
        let field = match &self.body {
            Body::Map(map) => map.next_expiry_ms,
            _ => 0,
        };
        match (self.expiry_ms, field) {
            (0, other) | (other, 0) => other,
            (key, field) => key.min(field),
        }
    }
}

/// A head followed by raw bytes.
pub fn encode(head: &impl Serialize, tail: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(24 + tail.iter().map(|part| part.len()).sum::<usize>());
    // Writing to memory cannot fail, and no type here refuses to be serialised.
    bincode::serde::encode_into_std_write(head, &mut out, bincode::config::standard())
        .expect("heads always encode");
    tail.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A head, and where the raw bytes start.
///
/// # Errors
/// [`Error::Corrupt`] when the record is not one.
pub fn decode<T: DeserializeOwned>(record: &[u8], what: &str) -> Result<(T, usize)> {
    bincode::serde::decode_from_slice(
        record,
        bincode::config::standard().with_limit::<{ 16 << 20 }>(),
    )
    .map_err(|cause| Error::corrupt(format_args!("{what} record: {cause}")))
}

/// As [`decode`], for records that end with a kept name and then a value: head, name, value offset.
fn decode_named<T: DeserializeOwned>(
    record: &[u8],
    what: &str,
    name_bytes: impl FnOnce(&T) -> u32,
) -> Result<(T, usize, usize)> {
    let (head, name_at) = decode::<T>(record, what)?;
    let value_at = name_at + name_bytes(&head) as usize;
    if value_at > record.len() {
        return Err(Error::corrupt(format_args!("{what} record: too short for its name")));
    }
    Ok((head, name_at, value_at))
}

/// A metadata record: head, where a kept name starts, where the value starts.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode_meta(record: &[u8]) -> Result<(Head, usize, usize)> {
    decode_named(record, "metadata", |head: &Head| head.name_bytes)
}

/// An element record: head, where a kept name starts, where the value starts.
///
/// # Errors
/// [`Error::Corrupt`].
pub fn decode_element(record: &[u8]) -> Result<(ElementHead, usize, usize)> {
    decode_named(record, "element", |head: &ElementHead| head.name_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn damaged_records_are_errors_not_panics(bytes: Vec<u8>) {
            let _ = decode_meta(&bytes);
            let _ = decode_element(&bytes);
            let _ = decode::<DbMap>(&bytes, "map");
        }
    }

    #[test]
    fn heads_round_trip() {
        let map = Map {
            kind: MapKind::Hash,
            version: 1 << 40,
            len: 3,
            form: Form::Packed,
            next_order: 3,
            next_expiry_ms: 77,
            overflow: false,
            ranks: Ranks { levels: 2, next_node: 70, session: 7 },
        };
        let head = Head { expiry_ms: 99, name_bytes: 2, body: Body::Map(map) };
        let record = encode(&head, &[b"ab", b"value"]);
        let (back, name_at, value_at) = decode_meta(&record).expect("decodes");
        assert_eq!(
            (back, &record[name_at..value_at], &record[value_at..]),
            (head, &b"ab"[..], &b"value"[..])
        );
        assert!(decode_meta(&record[..name_at + 1]).is_err());
    }
}
