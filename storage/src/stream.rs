//! Streams: entries in order of their IDs, and the consumer groups that read them.
//!
//! Unlike the other collections a stream may be empty: one opened with [`crate::Open::Create`] exists
//! from then on, and stays when its last entry goes.

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
    /// The ID of the last entry that is there, zero without entries.
    pub top_id: StreamId,
    /// The highest ID ever added.
    pub last_id: StreamId,
    /// The highest ID ever deleted (trimming does not count), zero when none was.
    pub max_deleted_id: StreamId,
    /// How many entries were ever added.
    pub entries_added: u64,
    /// Number of groups.
    pub groups: u64,
    /// How many nodes of entries there are, or would be in Redis.
    pub nodes: u64,
}

/// Which of the oldest entries go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrimTo {
    /// All but so many.
    MaxLen(u64),
    /// Those with smaller IDs.
    MinId(StreamId),
}

/// How to trim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trim {
    /// The entries that are removed.
    pub to: TrimTo,
    /// Only whole nodes go: what is cheap to remove.
    pub approximate: bool,
    /// How many entries may go, if not 0.
    pub limit: u64,
}

impl Trim {
    /// So many entries stay in any case.
    #[inline]
    pub fn keeps(&self) -> u64 {
        match self.to {
            TrimTo::MaxLen(max) => max,
            TrimTo::MinId(_) => 0,
        }
    }
}

/// A group, besides what is pending in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupInfo {
    /// Last ID delivered.
    pub last_id: StreamId,
    /// How many entries it has read of those ever added; `None` when that cannot be told.
    pub entries_read: Option<u64>,
    /// Number of pending entries.
    pub pending: u64,
    /// Number of consumers.
    pub consumers: u64,
}

/// A consumer, besides what is pending for it. Times are Unix milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerInfo {
    /// When it last tried.
    pub seen_ms: u64,
    /// When it last got something; `None` when it never did.
    pub active_ms: Option<u64>,
    /// Number of entries pending for it.
    pub pending: u64,
}

/// An entry that was delivered and not acknowledged; it may have been deleted since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending<'a> {
    /// The entry.
    pub id: StreamId,
    /// Who has it.
    pub consumer: &'a [u8],
    /// When it was last delivered, Unix milliseconds.
    pub delivered_ms: u64,
    /// How often it was delivered.
    pub deliveries: u64,
}

/// Visits entries; returning false stops the iteration.
pub type VisitEntry<'a> = &'a mut dyn FnMut(StreamId, Fields<'_>) -> bool;

/// Visits pending entries; returning false stops the iteration.
pub type VisitPending<'a> = &'a mut dyn FnMut(Pending<'_>) -> bool;

/// A stream. Groups are named; a method that is given the name of a group or consumer that does
/// not exist finds or changes nothing, unless it says otherwise.
pub trait Stream {
    /// Returns the counters and IDs of the stream.
    fn info(&mut self) -> Result<StreamInfo>;
    /// Replaces [`StreamInfo::last_id`], and what else is given.
    fn set_ids(
        &mut self,
        last_id: StreamId,
        max_deleted_id: Option<StreamId>,
        entries_added: Option<u64>,
    ) -> Result<()>;

    /// Adds an entry. The caller has seen to it that `id` is above [`StreamInfo::last_id`].
    fn append(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) -> Result<()>;
    /// Whether there is an entry of this ID.
    fn contains(&mut self, id: StreamId) -> Result<bool>;
    /// Deletes an entry; false when there is none.
    fn delete(&mut self, id: StreamId) -> Result<bool>;
    /// Visits the entries from `first` to `last` (both included), from `last` on when `reverse`.
    fn range(
        &mut self,
        first: StreamId,
        last: StreamId,
        reverse: bool,
        visit: VisitEntry<'_>,
    ) -> Result<()>;
    /// Removes the oldest entries; how many.
    fn trim(&mut self, trim: &Trim) -> Result<u64>;

    /// Visits the groups, by name.
    fn groups(&mut self, visit: &mut dyn FnMut(&[u8], &GroupInfo)) -> Result<()>;
    /// A group.
    fn group(&mut self, name: &[u8]) -> Result<Option<GroupInfo>>;
    /// Makes a group, or changes how far it has read; true when it is new.
    fn set_group(
        &mut self,
        name: &[u8],
        last_id: StreamId,
        entries_read: Option<u64>,
    ) -> Result<bool>;
    /// Removes a group with all it holds; false when there is none.
    fn remove_group(&mut self, name: &[u8]) -> Result<bool>;

    /// Visits a group's consumers, by name.
    fn consumers(
        &mut self,
        group: &[u8],
        visit: &mut dyn FnMut(&[u8], &ConsumerInfo),
    ) -> Result<()>;
    /// A consumer.
    fn consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<ConsumerInfo>>;
    /// Makes a consumer of a group, or sets its times; true when it is new.
    fn set_consumer(
        &mut self,
        group: &[u8],
        name: &[u8],
        seen_ms: u64,
        active_ms: Option<u64>,
    ) -> Result<bool>;
    /// Removes a consumer with all that is pending for it; how many that were.
    fn remove_consumer(&mut self, group: &[u8], name: &[u8]) -> Result<Option<u64>>;

    /// Visits what is pending in a group, or for one of its consumers, from `first` to `last`
    /// (both included).
    fn pending(
        &mut self,
        group: &[u8],
        consumer: Option<&[u8]>,
        first: StreamId,
        last: StreamId,
        visit: VisitPending<'_>,
    ) -> Result<()>;
    /// The first and the last ID pending in a group.
    fn pending_ends(&mut self, group: &[u8]) -> Result<Option<(StreamId, StreamId)>>;
    /// Makes an entry pending for a consumer that exists, taking it from another, or changes it.
    fn set_pending(&mut self, group: &[u8], pending: &Pending<'_>) -> Result<()>;
    /// Removes a pending entry; false when there is none.
    fn remove_pending(&mut self, group: &[u8], id: StreamId) -> Result<bool>;
}
