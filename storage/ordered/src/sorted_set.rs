//! Sorted sets: members with scores, and a second record per member in score order.
//!
//! Members and scores are found and changed with O(1) records, and ranges of scores or members by a
//! seek. An ordered engine does not count the records that it skips, so a large set has a tree of
//! counts.

use super::codec::{Form, Map, Ranks};
use super::elements::OpenedMap;
use super::keys;
use super::kv::{KEY_BYTES_MAX, Read, VisitRecord};
use super::ranks::{PreparedUpdate, TREE_FROM, Tree};
use storage::types::{Inserted, LexBound, VisitScored, ZRange};
use storage::{Error, Result, SortedSet};

/// An opened sorted set.
pub(super) struct OrderedSortedSet<'t, 'b>(pub(super) OpenedMap<'t, 'b>);

/// The value of a by-score record whose score is −0, which sorts as 0 and prints as `-0`.
const NEGATIVE_ZERO: &[u8] = b"-";

/// The largest distance that is walked rather than looked up in the tree, in records.
const WALK_MAX: u64 = 64;

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

    /// The tree of counts, `None` while the set is small.
    fn tree(&self) -> Result<Option<Tree>> {
        let map = self.0.meta()?;
        Ok((map.ranks.levels > 0).then_some(Tree { version: map.version, ranks: map.ranks }))
    }

    /// The change that the tree, if there is one, needs to follow a member from one key to another.
    fn plan(&self, old: Option<&[u8]>, new: Option<&[u8]>) -> Result<Option<PreparedUpdate>> {
        let (old, new) = (old.map(place), new.map(place));
        self.tree()?.map(|tree| tree.plan(self.0.tx, old, new)).transpose()
    }

    /// Updates the tree after a change of records. Creates it for a set that has become large.
    fn recount(
        &mut self,
        plan: Option<PreparedUpdate>,
        old: Option<&[u8]>,
        new: Option<&[u8]>,
    ) -> Result<()> {
        let map = self.0.meta()?;
        let len = map.len;
        let mut tree = Tree { version: map.version, ranks: map.ranks };
        match plan {
            Some(plan) => tree.apply(self.0.tx, plan, old.map(place), new.map(place))?,
            None if len > TREE_FROM && new.is_some() => {
                tree.build(self.0.tx, len)?;
                self.0.tx.forget_small_set(tree.version);
            }
            None => return Ok(()),
        }
        tree.ranks.session = self.0.tx.backend.session;
        self.0.map()?.ranks = tree.ranks;
        Ok(())
    }

    /// Changes records in score order: a member's from one key to another, with the value behind it.
    fn move_by_score(&mut self, old: Option<&[u8]>, new: Option<(&[u8], &[u8])>) -> Result<()> {
        let Map { version, len, ranks, .. } = *self.0.meta()?;
        let tx = &mut *self.0.tx;
        if let Some(old) = old {
            tx.batch.delete(keys::ELEMENTS, old.to_vec());
        }
        if let Some((new, value)) = new {
            tx.batch.put(keys::ELEMENTS, new.to_vec(), value.to_vec());
        }
        if ranks.levels == 0 {
            let was_empty = len == 1 && old.is_none();
            tx.change_small_set(version, was_empty, |small| {
                old.into_iter().for_each(|old| small.remove(place(old)));
                new.into_iter().for_each(|(new, value)| small.put(place(new), value));
            });
        }
        Ok(())
    }

    /// Visits records in score order.
    fn scan_by_score(
        &self,
        (lo, hi): (&[u8], &[u8]),
        reverse: bool,
        visit: VisitRecord<'_>,
    ) -> Result<()> {
        let Map { version, ranks, .. } = *self.0.meta()?;
        let small = if ranks.levels == 0 { self.0.tx.small_set(version)? } else { None };
        match small {
            Some(small) => small.scan(lo, hi, reverse, visit),
            None => self.0.tx.scan(keys::ELEMENTS, lo, hi, reverse, visit)?,
        }
        Ok(())
    }

    fn by_score(&self, member: &[u8], score: f64) -> Result<Vec<u8>> {
        Ok(keys::by_score(self.version()?, keys::score_order(score), member))
    }

    fn take(&mut self, member: &[u8]) -> Result<Option<f64>> {
        let Some(old) = self.0.find(member)? else { return Ok(None) };
        let score = read_score(old.inline())?;
        let key = self.by_score(member, score)?;
        let plan = self.plan(Some(&key), None)?;
        self.0.take(member, &old)?;
        self.move_by_score(Some(&key), None)?;
        self.recount(plan, Some(&key), None)?;
        Ok(Some(score))
    }

    /// The position of a range in score order.
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
        self.scan_by_score((&lo, &hi), false, &mut |key, _| {
            order = keys::member_hash(key).unwrap_or_default();
            false
        })?;
        Ok(order)
    }

    /// Visits members in score order.
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
        self.scan_by_score((&span.lo, &span.hi), reverse, &mut |key, value| {
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

    /// The number of members in a span; `None` if there are more than `most`.
    fn count_few(&self, span: &Span, most: u64) -> Result<Option<u64>> {
        let mut count = 0;
        self.walk(span, false, &mut |_, _| {
            count += 1;
            count <= most
        })?;
        Ok((count <= most).then_some(count))
    }

    /// How many members lie before a by-score key, or before what ends the last one.
    fn before(&self, tree: &Tree, key: &[u8]) -> Result<u64> {
        match keys::place(key) {
            Some(place) => tree.before(self.0.tx, place),
            None => Ok(self.0.meta()?.len),
        }
    }

    /// Moves the beginning of a scan past (most of) the members to skip, if these are many.
    fn jump(&self, mut span: Span, reverse: bool) -> Result<Span> {
        let Some(tree) = self.tree()?.filter(|_| span.skip > WALK_MAX && span.limit > 0) else {
            return Ok(span);
        };
        let (from, to) = (self.before(&tree, &span.lo)?, self.before(&tree, &span.hi)?);
        if span.skip >= to.saturating_sub(from) {
            return Ok(Span { limit: 0, ..span });
        }
        let rank = if reverse { to - 1 - span.skip } else { from + span.skip };
        let (low, skip) = tree.seek(self.0.tx, rank)?;
        let low = keys::at_place(tree.version, &low);
        if !reverse {
            return Ok(Span { lo: low, skip, ..span });
        }
        let (_, end) = keys::all_by_score(tree.version);
        let mut last = None;
        let mut left = skip;
        self.0.tx.scan(keys::ELEMENTS, &low, &end, false, &mut |key, _| {
            last = (left == 0).then(|| key.to_vec());
            left = left.saturating_sub(1);
            last.is_none()
        })?;
        span.hi = last.ok_or_else(|| Error::corrupt("the ranks of a sorted set count too much"))?;
        // The member itself belongs to the range.
        span.hi.push(0);
        Ok(Span { skip: 0, ..span })
    }

    /// Removes every member at once; the cleaner deletes their records.
    fn remove_all(&mut self) -> Result<u64> {
        let version = self.0.tx.new_version()?;
        let map = self.0.map()?;
        let (old, len, overflow) = (map.version, map.len, map.overflow);
        (map.version, map.len, map.ranks) = (version, 0, Ranks::default());
        self.0.changed = true;
        self.0.tx.discard(old, overflow);
        self.0.tx.nodes.drop_tree(old);
        Ok(len)
    }
}

/// The place in score order of a by-score key.
fn place(key: &[u8]) -> &[u8] {
    keys::place(key).unwrap_or_default()
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
        let old_key = old_score.map(|old| self.by_score(member, old)).transpose()?;
        let key = self.by_score(member, score)?;
        let plan = self.plan(old_key.as_deref(), Some(&key))?;
        self.0.put(member, old.as_ref(), 0, &score_value(score))?;
        let negative_zero = score == 0.0 && score.is_sign_negative();
        let value = if negative_zero { NEGATIVE_ZERO } else { &[] };
        self.move_by_score(old_key.as_deref(), Some((&key, value)))?;
        self.recount(plan, old_key.as_deref(), Some(&key))?;
        Ok(if old.is_some() { Inserted::Updated } else { Inserted::Added })
    }

    fn remove(&mut self, member: &[u8]) -> Result<Option<f64>> {
        self.take(member)
    }

    fn rank(&mut self, member: &[u8], reverse: bool) -> Result<Option<(u64, f64)>> {
        let Some(score) = self.score(member)? else { return Ok(None) };
        let key = self.by_score(member, score)?;
        let rank = match self.tree()? {
            Some(tree) => self.before(&tree, &key)?,
            None => {
                let (lo, _) = keys::all_by_score(self.version()?);
                let before = Span { lo, hi: key, skip: 0, limit: u64::MAX };
                self.count_few(&before, u64::MAX)?.unwrap_or_default()
            }
        };
        let last = self.0.meta()?.len.saturating_sub(1);
        Ok(Some((if reverse { last.saturating_sub(rank) } else { rank }, score)))
    }

    fn count(&mut self, range: &ZRange<'_>) -> Result<u64> {
        if let ZRange::Rank { start, end } = *range {
            return Ok(end.min(self.0.meta()?.len).saturating_sub(start));
        }
        let (span, tree) = (self.span(range)?, self.tree()?);
        let most = if tree.is_some() { WALK_MAX } else { u64::MAX };
        match (self.count_few(&span, most)?, tree) {
            (None, Some(tree)) => {
                let (from, to) = (self.before(&tree, &span.lo)?, self.before(&tree, &span.hi)?);
                Ok(to.saturating_sub(from))
            }
            (few, _) => Ok(few.unwrap_or_default()),
        }
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
        let span = self.jump(span, reverse)?;
        self.walk(&span, reverse, visit)
    }

    fn remove_range(&mut self, range: &ZRange<'_>) -> Result<u64> {
        let len = self.0.meta()?.len;
        if len > WALK_MAX && self.count(range)? == len {
            return self.remove_all();
        }
        let span = self.jump(self.span(range)?, false)?;
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
        let mut span = Span { limit: 1, ..self.span(&ZRange::Rank { start: 0, end: 1 })? };
        if let Some(tree) = self.tree()?.filter(|_| !highest) {
            span.lo = keys::at_place(tree.version, &tree.first(self.0.tx)?);
        }
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
            let span = self.jump(span, false)?;
            self.walk(&span, false, &mut |member, score| {
                found = Some((member.to_vec(), score));
                false
            })?;
            let Some((member, score)) = found else { return Ok(None) };
            self.0.lent.name = member;
            return Ok(Some((&self.0.lent.name, score)));
        }
        if !self.0.draw(random)? {
            return Ok(None);
        }
        let score = read_score(&self.0.lent.value)?;
        Ok(Some((&self.0.lent.name, score)))
    }
}
