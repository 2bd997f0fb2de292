//! Streams: entries in order of their IDs, and the consumer groups that read them.
//!
//! Unlike other collections, a stream may be empty: if it is opened with [`crate::Open::Create`] it
//! exists from then on, and it remains when its last entry is deleted.

use crate::Result;
pub use crate::fields::Fields;
pub use crate::rdb::StreamId;

/// The counters and IDs of a stream, besides its entries and groups.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// Number of entries.
    pub len: u64,
    /// The ID of the first entry, zero without entries.
    pub first_id: StreamId,
    /// The ID of the last existing entry, zero without entries.
    pub top_id: StreamId,
    /// The highest ID ever added.
    pub last_id: StreamId,
    /// The highest ID ever deleted (not counting trimming), zero if none was.
    pub max_deleted_id: StreamId,
    /// The number of entries ever added.
    pub entries_added: u64,
    /// Number of groups.
    pub groups: u64,
    /// The number of nodes into which Redis divides the entries; an estimate where there are no
    /// nodes.
    pub nodes: u64,
}

/// The bound for trimming the oldest entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// Keep at most this number of entries.
    MaxLen(u64),
    /// Remove the entries with smaller IDs.
    MinId(StreamId),
}

/// The options for trimming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The entries that are removed.
    pub to: TrimTo,
    /// Whether only whole nodes are removed, which is cheap.
    pub approximate: bool,
    /// The highest number of entries to remove; 0 for no limit.
    pub limit: u64,
}

impl Trim {
    /// The number of entries that remain in any case.
    #[inline]
    pub fn keeps(&self) -> u64 {
        match self.to {
            TrimTo::MaxLen(max) => max,
            TrimTo::MinId(_) => 0,
        }
    }
}

/// A consumer group, without its pending entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Last ID delivered.
    pub last_id: StreamId,
    /// The number of entries, of those ever added, that it has read; `None` if that is not known.
    pub entries_read: Option<u64>,
    /// Number of pending entries.
    pub pending: u64,
    /// Number of consumers.
    pub consumers: u64,
}

/// A consumer, without its pending entries. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// The time of its last attempt to read.
    pub seen_ms: u64,
    /// The time when it last got entries; `None` if it never did.
    pub active_ms: Option<u64>,
    /// Number of entries pending for it.
    pub pending: u64,
}

/// An entry that was delivered and not acknowledged. It may have been deleted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending<'a> {
    /// The entry.
    pub id: StreamId,
    /// The consumer to which it was delivered.
    pub consumer: &'a [u8],
    /// The time of its last delivery, in Unix milliseconds.
    pub delivered_ms: u64,
    /// The number of its deliveries.
    pub deliveries: u64,
}

/// Visits entries; returning false stops the iteration.
pub type VisitEntry<'a> = &'a mut dyn FnMut(StreamId, Fields<'_>) -> bool;

/// Visits pending entries; returning false stops the iteration.
pub type VisitPending<'a> = &'a mut dyn FnMut(Pending<'_>) -> bool;

/// A stream. Groups and consumers are given by name. Unless stated otherwise, a method finds or
/// changes nothing if the group or consumer does not exist.
pub trait Stream {
    /// Returns the counters and IDs of the stream.
    fn info(&mut self) -> Result<StreamInfo>;
    /// Sets [`StreamInfo::last_id`], and the other values that are given.
    fn set_ids(
        &mut self,
        last_id: StreamId,
        max_deleted_id: Option<StreamId>,
        entries_added: Option<u64>,
    ) -> Result<()>;

    /// Adds an entry. The caller must ensure that `id` is above [`StreamInfo::last_id`].
    fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) -> Result<()>;
    /// Whether there is an entry of this ID.
    fn contains(&mut self, id: StreamId) -> Result<bool>;
    /// Deletes an entry. Returns false if there is none.
    fn delete(&mut self, id: StreamId) -> Result<bool>;
    /// Visits the entries from `first` to `last` (both included), in reverse order if `reverse`.
    fn range(
        &mut self,
        first: StreamId,
        last: StreamId,
        reverse: bool,
        visit: VisitEntry<'_>,
    ) -> Result<()>;
    /// Removes the oldest entries. Returns how many were removed.
    fn trim(&mut self, trim: &Trim) -> Result<u64>;

    /// Visits the groups, by name.
    fn groups(&mut self, visit: &mut dyn FnMut(&[u8], &GroupInfo)) -> Result<()>;
    /// A group.
    fn group(&mut self, name: &[u8]) -> Result<Option<GroupInfo>>;
    /// Creates a group, or changes how far it has read. Returns true if it is new.
    fn set_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<bool>;
    /// Removes a group with everything in it. Returns false if there is none.
    fn remove_group(&mut self, name: &[u8]) -> Result<bool>;

    /// Visits a group's consumers, by name.
    fn consumers(
        &mut self,
        group: &[u8],
        visit: &mut dyn FnMut(&[u8], &ConsumerInfo),
    ) -> Result<()>;
    /// A consumer.
    fn consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<ConsumerInfo>>;
    /// Creates a consumer of a group, or sets its times. Returns true if it is new.
    fn set_consumer(
        &mut self,
        group: &[u8],
        name: &[u8],
        seen_ms: u64,
        active_ms: Option<u64>,
    ) -> Result<bool>;
    /// Removes a consumer with its pending entries. Returns how many were pending.
    fn remove_consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<u64>>;

    /// Visits the pending entries of a group, or of one of its consumers, from `first` to `last`
    /// (both included).
    fn pending(
        &mut self,
        group: &[u8],
        consumer: Option<&[u8]>,
        first: StreamId,
        last: StreamId,
        visit: VisitPending<'_>,
    ) -> Result<()>;
    /// The first and the last pending ID of a group.
    fn pending_ends(&mut self, group: &[u8]) -> Result<Option<(StreamId, StreamId)>>;
    /// Makes an entry pending for an existing consumer, taking it from another one if necessary, or
    /// changes it.
    fn set_pending(&mut self, group: &[u8], pending: &Pending<'_>) -> Result<()>;
    /// Removes a pending entry. Returns false if there is none.
    fn remove_pending(&mut self, group: &[u8], id: StreamId) -> Result<bool>;
}
