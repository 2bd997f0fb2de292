//! Collections opened within a transaction: the trait objects handed to commands.
//!
//! A handle keeps its entry found. When it goes, the sizes are brought up to date, and a
//! collection left empty is removed: so nothing ever observes an empty collection.

use super::garbage::Garbage;
use super::hash::HashValue;
use super::hashing::Hasher;
use super::list::ListValue;
use super::set::SetValue;
use super::shard::{Live, Measure};
use super::sorted_set::SortedSetValue;
use super::stream::StreamValue;
use super::value::Value;
use std::marker::PhantomData;
use storage::hiding::ExpiringHash;
use storage::types::{
    End, FieldExpiry, Hash, Inserted, List, Set, SortedSet, Visit, VisitPair, VisitScored, ZRange,
};
use storage::{EncodingLimits, Result};

/// An open collection of type `T`.
#[derive(Debug)]
pub struct Handle<'t, T> {
    /// Only taken by `drop`.
    live: Option<Live<'t>>,
    before: Measure,
    scratch: Vec<u8>,
    kind: PhantomData<T>,
}

/// How a type is found in a [`Value`].
pub trait InValue {
    /// The collection, if the value is one of this type.
    fn get(value: &mut Value) -> Option<&mut Self>;
}

macro_rules! in_value {
    ($type:ty, $variant:ident) => {
        impl InValue for $type {
            fn get(value: &mut Value) -> Option<&mut Self> {
                match value {
                    Value::$variant(inner) => Some(inner),
                    _ => None,
                }
            }
        }
    };
}
in_value!(ListValue, List);
in_value!(SetValue, Set);
in_value!(HashValue, Hash);
in_value!(SortedSetValue, SortedSet);
in_value!(StreamValue, Stream);

impl<'t, T: InValue> Handle<'t, T> {
    /// A handle on an entry whose type has been checked.
    pub fn new(live: Live<'t>) -> Self {
        let before = Measure::of(live.found.get());
        Handle { live: Some(live), before, scratch: Vec::new(), kind: PhantomData }
    }

    /// As `parts`, for an operation that changes the collection.
    pub fn parts_mut(&mut self) -> (&mut T, &Hasher, &EncodingLimits, &mut Vec<u8>) {
        if let Some(live) = &mut self.live {
            live.before_change();
        }
        self.parts()
    }

    /// The collection, with what its operations need.
    fn parts(&mut self) -> (&mut T, &Hasher, &EncodingLimits, &mut Vec<u8>) {
        let Some(Live { found, common, .. }) = &mut self.live else {
            unreachable!("the entry is held until the handle is dropped")
        };
        let value = found.get_mut().boxed_mut().and_then(T::get);
        let value = value.unwrap_or_else(|| unreachable!("the type was checked when opening"));
        (value, &common.hasher, &common.limits, &mut self.scratch)
    }

    /// The collection, to be read.
    pub fn value(&mut self) -> &mut T {
        self.parts().0
    }

    /// The collection, to be changed.
    pub fn value_mut(&mut self) -> &mut T {
        self.parts_mut().0
    }

    /// Leaves something removed to be taken apart later.
    pub fn discard(&mut self, garbage: Option<Garbage>) {
        if let Some(live) = &mut self.live {
            live.common.garbage.extend(garbage);
        }
    }
}

impl<T> Drop for Handle<'_, T> {
    fn drop(&mut self) {
        let Some(live) = self.live.take() else { return };
        let entry = live.found.get();
        live.tally.changed(self.before, Measure::of(entry));
        if entry.boxed().is_some_and(Value::is_void) {
            live.remove();
        }
    }
}

impl List for Handle<'_, ListValue> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.value().len() as u64)
    }

    fn push(&mut self, end: End, element: &[u8]) -> Result<()> {
        let (list, _, limits, _) = self.parts_mut();
        list.push(limits, end, element);
        Ok(())
    }

    fn pop(&mut self, end: End) -> Result<Option<Vec<u8>>> {
        Ok(self.value_mut().pop(end))
    }

    fn take(&mut self, end: End, count: u64, visit: Visit<'_>) -> Result<u64> {
        Ok(self.value_mut().take(end, count, visit))
    }

    fn get(&mut self, index: u64) -> Result<Option<&[u8]>> {
        Ok(self.value().get(index as usize))
    }

    fn set(&mut self, index: u64, element: &[u8]) -> Result<bool> {
        let (list, _, limits, _) = self.parts_mut();
        Ok(list.set(limits, index as usize, element))
    }

    fn insert(&mut self, index: u64, element: &[u8]) -> Result<()> {
        let (list, _, limits, _) = self.parts_mut();
        list.insert(limits, index as usize, element);
        Ok(())
    }

    fn remove(&mut self, element: &[u8], limit: u64, from: End) -> Result<u64> {
        Ok(self.value_mut().remove(element, limit, from))
    }

    fn trim(&mut self, start: u64, end: u64) -> Result<()> {
        let gone = self.value_mut().trim(start as usize, end as usize);
        self.discard(Garbage::of_chunks(gone));
        Ok(())
    }

    fn range(&mut self, start: u64, end: u64, from: End, visit: Visit<'_>) -> Result<()> {
        self.value().range(start as usize, end as usize, from, visit);
        Ok(())
    }
}

impl Set for Handle<'_, SetValue> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.value().len() as u64)
    }

    fn insert(&mut self, member: &[u8]) -> Result<bool> {
        let (set, hasher, limits, _) = self.parts_mut();
        Ok(set.insert(hasher, limits, member))
    }

    fn remove(&mut self, member: &[u8]) -> Result<bool> {
        let (set, hasher, ..) = self.parts_mut();
        Ok(set.remove(hasher, member))
    }

    fn contains(&mut self, member: &[u8]) -> Result<bool> {
        let (set, hasher, ..) = self.parts();
        Ok(set.contains(hasher, member))
    }

    fn for_each(&mut self, visit: Visit<'_>) -> Result<()> {
        self.value().for_each(visit);
        Ok(())
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: Visit<'_>) -> Result<u64> {
        let (set, hasher, ..) = self.parts();
        Ok(set.scan(hasher, cursor, count, visit))
    }

    fn random(&mut self, random: u64) -> Result<Option<&[u8]>> {
        let (set, _, _, scratch) = self.parts();
        Ok(set.random(random, scratch).then_some(&**scratch))
    }
}

impl Hash for Handle<'_, HashValue> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.value().len() as u64)
    }

    fn get(&mut self, field: &[u8]) -> Result<Option<&[u8]>> {
        let (hash, hasher, ..) = self.parts();
        Ok(hash.get(hasher, field))
    }

    fn insert(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        let (hash, hasher, limits, _) = self.parts_mut();
        Ok(hash.insert(hasher, limits, field, value, false))
    }

    fn update(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        let (hash, hasher, limits, _) = self.parts_mut();
        Ok(hash.insert(hasher, limits, field, value, true))
    }

    fn remove(&mut self, field: &[u8]) -> Result<bool> {
        let (hash, hasher, ..) = self.parts_mut();
        Ok(hash.remove(hasher, field))
    }

    fn for_each(&mut self, visit: VisitPair<'_>) -> Result<()> {
        self.value().for_each(visit);
        Ok(())
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitPair<'_>) -> Result<u64> {
        let (hash, hasher, ..) = self.parts();
        Ok(hash.scan(hasher, cursor, count, visit))
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], &[u8])>> {
        Ok(self.value().random(random))
    }

    fn field_expiry(&mut self, field: &[u8]) -> Result<FieldExpiry> {
        let (hash, hasher, ..) = self.parts();
        Ok(hash.field_expiry(hasher, field))
    }

    fn set_field_expiry(&mut self, field: &[u8], at_ms: Option<u64>) -> Result<bool> {
        let (hash, hasher, ..) = self.parts_mut();
        Ok(hash.set_field_expiry(hasher, field, at_ms))
    }
}

impl ExpiringHash for Handle<'_, HashValue> {
    fn has_expired(&mut self, now_ms: u64) -> Result<bool> {
        Ok(self.value().next_due().is_some_and(|at_ms| at_ms <= now_ms))
    }

    fn expired(&mut self, now_ms: u64) -> Result<Vec<Box<[u8]>>> {
        Ok(self.value().due_by(now_ms))
    }
}

/// Ranks as they count from the high end become ranks from the low end.
fn ascending(range: &ZRange<'_>, reverse: bool, len: u64) -> ZRange<'static> {
    match *range {
        ZRange::Rank { start, end } if reverse => {
            ZRange::Rank { start: len - end.min(len), end: len - start.min(len) }
        }
        ZRange::Rank { start, end } => ZRange::Rank { start, end },
        _ => ZRange::Rank { start: 0, end: len },
    }
}

impl SortedSet for Handle<'_, SortedSetValue> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.value().len() as u64)
    }

    fn score(&mut self, member: &[u8]) -> Result<Option<f64>> {
        let (zset, hasher, ..) = self.parts();
        Ok(zset.score(hasher, member))
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Result<Inserted> {
        let (zset, hasher, limits, _) = self.parts_mut();
        Ok(zset.insert(hasher, limits, member, score))
    }

    fn remove(&mut self, member: &[u8]) -> Result<Option<f64>> {
        let (zset, hasher, ..) = self.parts_mut();
        Ok(zset.remove(hasher, member))
    }

    fn rank(&mut self, member: &[u8], reverse: bool) -> Result<Option<(u64, f64)>> {
        let (zset, hasher, ..) = self.parts();
        let last = zset.len().saturating_sub(1);
        Ok(zset
            .rank(hasher, member)
            .map(|(rank, score)| (if reverse { last - rank } else { rank } as u64, score)))
    }

    fn count(&mut self, range: &ZRange<'_>) -> Result<u64> {
        Ok(self.value().ranks(range).len() as u64)
    }

    fn range(
        &mut self,
        range: &ZRange<'_>,
        reverse: bool,
        skip: u64,
        limit: u64,
        visit: VisitScored<'_>,
    ) -> Result<()> {
        let zset = self.value();
        let mut ranks = match range {
            ZRange::Rank { .. } => zset.ranks(&ascending(range, reverse, zset.len() as u64)),
            _ => zset.ranks(range),
        };
        let skip = skip.min(ranks.len() as u64) as usize;
        let limit = limit.min((ranks.len() - skip) as u64) as usize;
        if reverse {
            ranks.end -= skip;
            ranks.start = ranks.end - limit;
        } else {
            ranks.start += skip;
            ranks.end = ranks.start + limit;
        }
        zset.visit(ranks, reverse, visit);
        Ok(())
    }

    fn remove_range(&mut self, range: &ZRange<'_>) -> Result<u64> {
        let (zset, hasher, ..) = self.parts_mut();
        let ranks = zset.ranks(range);
        let (mut members, count) = (Vec::with_capacity(ranks.len()), ranks.len());
        zset.visit(ranks, false, &mut |member, _| {
            members.push(member.to_vec());
            true
        });
        for member in members {
            zset.remove(hasher, &member);
        }
        Ok(count as u64)
    }

    fn pop(&mut self, highest: bool) -> Result<Option<(Vec<u8>, f64)>> {
        let (zset, hasher, ..) = self.parts_mut();
        let rank = if highest { zset.len().saturating_sub(1) } else { 0 };
        let popped = zset.at(rank);
        if let Some((member, _)) = &popped {
            zset.remove(hasher, member);
        }
        Ok(popped)
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitScored<'_>) -> Result<u64> {
        let (zset, hasher, ..) = self.parts();
        Ok(zset.scan(hasher, cursor, count, visit))
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], f64)>> {
        let (zset, _, _, scratch) = self.parts();
        let Some(rank) = random.checked_rem(zset.len() as u64) else { return Ok(None) };
        let Some((member, score)) = zset.at(rank as usize) else { return Ok(None) };
        *scratch = member;
        Ok(Some((scratch, score)))
    }
}
