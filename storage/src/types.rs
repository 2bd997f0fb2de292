//! Element-level operations, one small trait per type.
//!
//! A handle is borrowed from the transaction for one key. Returned references to bytes are valid
//! until the next call on the handle. Unless stated otherwise, indices and ranges must be
//! normalised: not negative, and within bounds.

use crate::Result;

/// One of the ends of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The left end, index 0.
    Head,
    /// The right end.
    Tail,
}

/// Visits elements; returning false stops the iteration.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8]) -> bool;

/// Visits pairs (field and value); returning false stops the iteration.
pub type VisitPair<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> bool;

/// Visits members with their scores; returning false stops the iteration.
pub type VisitScored<'a> = &'a mut dyn FnMut(&[u8], f64) -> bool;

/// A list.
pub trait List {
    /// Number of elements.
    fn len(&mut self) -> Result<u64>;
    /// Whether there are none.
    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Adds one element at an end.
    fn push(&mut self, end: End, element: &[u8]) -> Result<()>;
    /// Removes one element at an end.
    fn pop(&mut self, end: End) -> Result<Option<Vec<u8>>>;
    /// Removes up to `count` elements at an end, and visits each. Returns how many there were. The
    /// return value of `visit` is ignored.
    fn take(&mut self, end: End, count: u64, visit: Visit<'_>) -> Result<u64> {
        let mut taken = 0;
        while taken < count
            && let Some(element) = self.pop(end)?
        {
            visit(&element);
            taken += 1;
        }
        Ok(taken)
    }
    /// The element at `index`.
    fn get(&mut self, index: u64) -> Result<Option<&[u8]>>;
    /// Replaces the element at `index`. Returns false if there is none.
    fn set(&mut self, index: u64, element: &[u8]) -> Result<bool>;
    /// Inserts before `index` (`index == len` appends).
    fn insert(&mut self, index: u64, element: &[u8]) -> Result<()>;
    /// Removes elements equal to `element`, at most `limit` (0: all), beginning at `from`. Returns
    /// how many were removed.
    fn remove(&mut self, element: &[u8], limit: u64, from: End) -> Result<u64>;
    /// Keeps only the elements `start..end`.
    fn trim(&mut self, start: u64, end: u64) -> Result<()>;
    /// Visits the elements `start..end`; backwards if `from` is the tail.
    fn range(&mut self, start: u64, end: u64, from: End, visit: Visit<'_>) -> Result<()>;
}

/// A set.
pub trait Set {
    /// Number of members.
    fn len(&mut self) -> Result<u64>;
    /// Whether there are none.
    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Adds a member. Returns false if it was in the set already.
    fn insert(&mut self, member: &[u8]) -> Result<bool>;
    /// Removes a member. Returns false if it was not in the set.
    fn remove(&mut self, member: &[u8]) -> Result<bool>;
    /// Whether `member` is in it.
    fn contains(&mut self, member: &[u8]) -> Result<bool>;
    /// Visits every member.
    fn for_each(&mut self, visit: Visit<'_>) -> Result<()>;
    /// Visits about `count` members from `cursor` on, and returns the next cursor, 0 at the end.
    /// Members that exist during the whole of a full scan are visited at least once.
    fn scan(&mut self, cursor: u64, count: usize, visit: Visit<'_>) -> Result<u64>;
    /// A member chosen by a random number.
    fn random(&mut self, random: u64) -> Result<Option<&[u8]>>;
}

/// The result of setting or clearing a field's expiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldExpiry {
    /// No such field.
    NoField,
    /// The field exists and has no expiry.
    Persistent,
    /// The field expires at this Unix time in milliseconds.
    At(u64),
}

/// A hash.
///
/// Expired fields are absent for every operation.
pub trait Hash {
    /// Number of fields.
    fn len(&mut self) -> Result<u64>;
    /// Whether there are none.
    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The value of a field.
    fn get(&mut self, field: &[u8]) -> Result<Option<&[u8]>>;
    /// Sets a field and removes its expiry. Returns true if it is new.
    fn insert(&mut self, field: &[u8], value: &[u8]) -> Result<bool>;
    /// Like [`Hash::insert`], but keeps a field's expiry (`HINCRBY`).
    fn update(&mut self, field: &[u8], value: &[u8]) -> Result<bool>;
    /// Removes a field. Returns false if there was none.
    fn remove(&mut self, field: &[u8]) -> Result<bool>;
    /// Visits every field; in insertion order while the hash is compact.
    fn for_each(&mut self, visit: VisitPair<'_>) -> Result<()>;
    /// Visits about `count` fields from `cursor` on, and returns the next cursor, 0 at the end.
    fn scan(&mut self, cursor: u64, count: usize, visit: VisitPair<'_>) -> Result<u64>;
    /// A field chosen by a random number, with its value.
    fn random(&mut self, random: u64) -> Result<Option<(&[u8], &[u8])>>;
    /// A field's expiry.
    fn field_expiry(&mut self, field: &[u8]) -> Result<FieldExpiry>;
    /// Sets or removes a field's expiry. Returns false if the field does not exist.
    fn set_field_expiry(&mut self, field: &[u8], at_ms: Option<u64>) -> Result<bool>;
}

/// The result of [`SortedSet::insert`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The member is new.
    Added,
    /// The member was there with another score.
    Updated,
    /// The member was there with this score.
    Unchanged,
}

/// One end of a score interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreBound {
    /// The score, possibly infinite, never NaN.
    pub score: f64,
    /// Whether the score itself is excluded.
    pub exclusive: bool,
}

/// One end of a lexicographical interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexBound<'a> {
    /// `-`: before every member.
    Min,
    /// `+`: after every member.
    Max,
    /// `[member`.
    Inclusive(&'a [u8]),
    /// `(member`.
    Exclusive(&'a [u8]),
}

/// Which members of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ZRange<'a> {
    /// Ranks `start..end` in ascending order (in descending order when visited in reverse).
    Rank {
        /// First rank.
        start: u64,
        /// One past the last rank.
        end: u64,
    },
    /// Scores between two bounds.
    Score {
        /// Lower bound.
        min: ScoreBound,
        /// Upper bound.
        max: ScoreBound,
    },
    /// Members between two bounds, meaningful when all scores are equal.
    Lex {
        /// Lower bound.
        min: LexBound<'a>,
        /// Upper bound.
        max: LexBound<'a>,
    },
}

/// A sorted set: members ordered by score, then by bytes.
pub trait SortedSet {
    /// Number of members.
    fn len(&mut self) -> Result<u64>;
    /// Whether there are none.
    fn is_empty(&mut self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
    /// The score of a member.
    fn score(&mut self, member: &[u8]) -> Result<Option<f64>>;
    /// Adds a member or changes its score. The score is not NaN.
    fn insert(&mut self, member: &[u8], score: f64) -> Result<Inserted>;
    /// Removes a member; its score.
    fn remove(&mut self, member: &[u8]) -> Result<Option<f64>>;
    /// The rank (from the highest score when `reverse`) and score of a member.
    fn rank(&mut self, member: &[u8], reverse: bool) -> Result<Option<(u64, f64)>>;
    /// The number of members in a range.
    fn count(&mut self, range: &ZRange<'_>) -> Result<u64>;
    /// Visits the members of a range, from the high end when `reverse`, leaving out the first
    /// `skip` and stopping after `limit`.
    fn range(
        &mut self,
        range: &ZRange<'_>,
        reverse: bool,
        skip: u64,
        limit: u64,
        visit: VisitScored<'_>,
    ) -> Result<()>;
    /// Removes the members of a range; how many.
    fn remove_range(&mut self, range: &ZRange<'_>) -> Result<u64>;
    /// Takes the member with the lowest (or highest) score.
    fn pop(&mut self, highest: bool) -> Result<Option<(Vec<u8>, f64)>>;
    /// Visits about `count` members from `cursor` on and returns the next cursor, 0 at the end.
    fn scan(&mut self, cursor: u64, count: usize, visit: VisitScored<'_>) -> Result<u64>;
    /// A member chosen by a random number, with its score.
    fn random(&mut self, random: u64) -> Result<Option<(&[u8], f64)>>;
}
