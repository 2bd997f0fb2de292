//! Sorted sets: members with scores, and a second record per member in score order.
//!
//! Members and scores are found and changed in O(1) records, score and lexicographical ranges by a
//! seek. An ordered engine does not count what it skips: a rank is found by walking from an end.

use super::codec::Form;
use super::elements::OpenedMap;
use super::keys;
use super::kv::{KEY_BYTES_MAX, Read};
use crate::types::{Inserted, LexBound, VisitScored, ZRange};
use crate::{Error, Result, SortedSet};

/// An opened sorted set.
pub(super) struct OrderedSortedSet<'t, 'b>(pub(super) OpenedMap<'t, 'b>);

/// The value of a by-score record whose score is −0, which sorts as 0 and prints as `-0`.
const NEGATIVE_ZERO: &[u8] = b"-";

/// Records in score order: the bounds, how many to leave out, how many to visit.
struct Span {
    lo: Vec<u8>,
    hi: Vec<u8>,
    skip: u64,
    limit: u64,
}

fn score_value(score: f64) -> [u8; 8] {
    score.to_be_bytes()
}

/// The score in a member's record.
pub(super) fn read_score(value: &[u8]) -> Result<f64> {
    let bytes = value.try_into().map_err(|_| Error::corrupt("a score is not eight bytes"))?;
    Ok(f64::from_be_bytes(bytes))
}

/// Score and member of a by-score record.
pub(super) fn read_by_score<'a>(key: &'a [u8], value: &[u8]) -> Result<(f64, &'a [u8])> {
    let (score, member) =
        keys::by_score_parts(key).ok_or_else(|| Error::corrupt("a short score record"))?;
    Ok((if value == NEGATIVE_ZERO { -0.0 } else { score }, member))
}

impl OrderedSortedSet<'_, '_> {
    fn version(&self) -> Result<u64> {
        Ok(self.0.meta()?.version)
    }

    fn put_by_score(&mut self, member: &[u8], score: f64) -> Result<()> {
        let key = keys::by_score(self.version()?, keys::score_order(score), member);
        let negative_zero = score == 0.0 && score.is_sign_negative();
        let value = if negative_zero { NEGATIVE_ZERO.to_vec() } else { Vec::new() };
        self.0.0.tx.batch.put(keys::ELEMENTS, key, value);
        Ok(())
    }

    fn delete_by_score(&mut self, member: &[u8], score: f64) -> Result<()> {
        let key = keys::by_score(self.version()?, keys::score_order(score), member);
        self.0.0.tx.batch.delete(keys::ELEMENTS, key);
        Ok(())
    }

    fn take(&mut self, member: &[u8]) -> Result<Option<f64>> {
        let Some(old) = self.0.find(member)? else { return Ok(None) };
        let score = read_score(old.inline())?;
        self.0.take(member, &old)?;
        self.delete_by_score(member, score)?;
        Ok(Some(score))
    }

    /// Where a range lies in score order.
    fn span(&self, range: &ZRange<'_>) -> Result<Span> {
        let version = self.version()?;
        let (mut lo, mut hi) = keys::all_by_score(version);
        let (mut skip, mut limit) = (0, u64::MAX);
        match *range {
            ZRange::Rank { start, end } => {
                skip = start;
                limit = end.saturating_sub(start);
            }
            ZRange::Score { min, max } => {
                let from = keys::score_order(min.score) + u64::from(min.exclusive);
                let to = keys::score_order(max.score) + u64::from(!max.exclusive);
                lo = keys::by_score(version, from, &[]);
                hi = keys::by_score(version, to, &[]);
            }
            ZRange::Lex { min, max } => {
                let order = self.first_order(version)?;
                if let Some(from) = lex_key(version, order, min, false) {
                    lo = from;
                }
                if let Some(to) = lex_key(version, order, max, true) {
                    hi = to;
                }
                if min == LexBound::Max || max == LexBound::Min {
                    limit = 0;
                }
            }
        }
        Ok(Span { lo, hi, skip, limit })
    }

    /// The score all members have, when ranges over members make sense.
    fn first_order(&self, version: u64) -> Result<u64> {
        let (lo, hi) = keys::all_by_score(version);
        let mut order = 0;
        self.0.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, _| {
            order = keys::member_hash(key).unwrap_or_default();
            false
        })?;
        Ok(order)
    }

    /// Visits members in score order. A rank beyond the middle is walked to from the other end.
    fn walk(
        &self,
        span: &Span,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], f64) -> bool,
    ) -> Result<()> {
        let (mut skip, mut left) = (span.skip, span.limit);
        if left == 0 {
            return Ok(());
        }
        let mut result = Ok(true);
        self.0.0.tx.scan(keys::ELEMENTS, &span.lo, &span.hi, reverse, &mut |key, value| {
            if skip > 0 {
                skip -= 1;
                return true;
            }
            result = read_by_score(key, value).map(|(score, member)| visit(member, score));
            left -= 1;
            left > 0 && matches!(result, Ok(true))
        })?;
        result.map(|_| ())
    }

    /// The members of a rank range found from the far end, in the asked order.
    fn far_end(&self, mut span: Span, reverse: bool) -> Result<Vec<(Vec<u8>, f64)>> {
        let len = self.0.meta()?.len;
        let end = span.skip.saturating_add(span.limit).min(len);
        span.limit = end.saturating_sub(span.skip);
        span.skip = len - end;
        let mut found = Vec::new();
        self.walk(&span, !reverse, &mut |member, score| {
            found.push((member.to_vec(), score));
            true
        })?;
        found.reverse();
        Ok(found)
    }
}

/// The key that a lexicographical bound lies just before; `past`: of an upper bound.
fn lex_key(version: u64, order: u64, bound: LexBound<'_>, past: bool) -> Option<Vec<u8>> {
    let (member, after) = match bound {
        LexBound::Min | LexBound::Max => return None,
        LexBound::Inclusive(member) => (member, past),
        LexBound::Exclusive(member) => (member, !past),
    };
    let mut key = keys::by_score(version, order, member);
    if after {
        key.push(0);
    }
    Some(key)
}

impl SortedSet for OrderedSortedSet<'_, '_> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.0.meta()?.len)
    }

    fn score(&mut self, member: &[u8]) -> Result<Option<f64>> {
        self.0.find(member)?.map(|element| read_score(element.inline())).transpose()
    }

    fn insert(&mut self, member: &[u8], score: f64) -> Result<Inserted> {
        if member.len() > KEY_BYTES_MAX {
            return Err(Error::TooLarge);
        }
        let old = self.0.find(member)?;
        let old_score = old.as_ref().map(|old| read_score(old.inline())).transpose()?;
        if old_score.is_some_and(|old| old == score) {
            return Ok(Inserted::Unchanged);
        }
        self.0.put(member, old.as_ref(), 0, &score_value(score))?;
        if let Some(old) = old_score {
            self.delete_by_score(member, old)?;
        }
        self.put_by_score(member, score)?;
        Ok(if old.is_some() { Inserted::Updated } else { Inserted::Added })
    }

    fn remove(&mut self, member: &[u8]) -> Result<Option<f64>> {
        self.take(member)
    }

    fn rank(&mut self, member: &[u8], reverse: bool) -> Result<Option<(u64, f64)>> {
        let Some(score) = self.score(member)? else { return Ok(None) };
        let version = self.version()?;
        let key = keys::by_score(version, keys::score_order(score), member);
        let (lo, hi) = keys::all_by_score(version);
        let after = [&key[..], &[0]].concat();
        let (lo, hi) = if reverse { (after, hi) } else { (lo, key) };
        let mut rank = 0;
        self.0.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, _| {
            rank += 1;
            true
        })?;
        Ok(Some((rank, score)))
    }

    fn count(&mut self, range: &ZRange<'_>) -> Result<u64> {
        if let ZRange::Rank { start, end } = *range {
            return Ok(end.min(self.0.meta()?.len).saturating_sub(start));
        }
        let span = self.span(range)?;
        let mut count = 0;
        self.walk(&span, false, &mut |_, _| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    fn range(
        &mut self,
        range: &ZRange<'_>,
        reverse: bool,
        skip: u64,
        limit: u64,
        visit: VisitScored<'_>,
    ) -> Result<()> {
        let mut span = self.span(range)?;
        span.skip = span.skip.saturating_add(skip);
        span.limit = span.limit.saturating_sub(skip).min(limit);
        let far = matches!(range, ZRange::Rank { .. }) && span.skip > self.0.meta()?.len / 2;
        if !far {
            return self.walk(&span, reverse, visit);
        }
        for (member, score) in self.far_end(span, reverse)? {
            if !visit(&member, score) {
                break;
            }
        }
        Ok(())
    }

    fn remove_range(&mut self, range: &ZRange<'_>) -> Result<u64> {
        let span = self.span(range)?;
        let mut gone = Vec::new();
        self.walk(&span, false, &mut |member, _| {
            gone.push(member.to_vec());
            true
        })?;
        for member in &gone {
            self.take(member)?;
        }
        Ok(gone.len() as u64)
    }

    fn pop(&mut self, highest: bool) -> Result<Option<(Vec<u8>, f64)>> {
        let span = Span { limit: 1, ..self.span(&ZRange::Rank { start: 0, end: 1 })? };
        let mut found = None;
        self.walk(&span, highest, &mut |member, score| {
            found = Some((member.to_vec(), score));
            false
        })?;
        if let Some((member, _)) = &found {
            self.take(member)?;
        }
        Ok(found)
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitScored<'_>) -> Result<u64> {
        if self.0.meta()?.form != Form::Table {
            let all = self.span(&ZRange::Rank { start: 0, end: u64::MAX })?;
            self.walk(&all, false, visit)?;
            return Ok(0);
        }
        let mut result = Ok(());
        let next = self.0.scan_from(cursor, count, &mut |member, value| {
            match read_score(value) {
                Ok(score) => return visit(member, score),
                Err(error) => result = Err(error),
            }
            false
        })?;
        result.map(|()| next)
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], f64)>> {
        let len = self.0.meta()?.len;
        if self.0.meta()?.form != Form::Table && len > 0 {
            let rank = random % len;
            let mut found = None;
            let span = self.span(&ZRange::Rank { start: rank, end: rank + 1 })?;
            self.walk(&span, false, &mut |member, score| {
                found = Some((member.to_vec(), score));
                false
            })?;
            let Some((member, score)) = found else { return Ok(None) };
            self.0.0.lent.0 = member;
            return Ok(Some((&self.0.0.lent.0, score)));
        }
        if !self.0.draw(random)? {
            return Ok(None);
        }
        let score = read_score(&self.0.0.lent.1)?;
        Ok(Some((&self.0.0.lent.0, score)))
    }
}
