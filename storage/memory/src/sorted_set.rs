//! Sorted sets: packed in order while small, otherwise a table by member and an order by score.

use super::entry::{Entry, EntryRef, Payload};
use super::hashing::Hasher;
use super::order::{Item, MemberBytes, Order, compare};
use super::packed::{Packed, Scratch, put_item, put_number};
use super::value::Elements;
use std::ops::Range;
use storage::EncodingLimits;
use storage::tx::Kind;
use storage::types::{Inserted, LexBound, ZRange};

impl MemberBytes for EntryRef {
    #[inline]
    fn bytes(&self) -> &[u8] {
        // SAFETY: a member is in an order only while its entry is in the member table: [`Scored`] owns both,
        // and takes it out of the order first.
        unsafe { self.key() }
    }
}

/// A sorted set's representation.
#[derive(Debug)]
pub enum SortedSetValue {
    /// Few, short members: records of member and score, in order.
    Small(Packed),
    /// Anything else.
    Large(Box<Scored>),
}

/// Members by name and by rank.
#[derive(Debug)]
pub struct Scored {
    /// Member → score, 8 bytes little-endian in the entry.
    elements: Elements,
    /// Refers to the entries of `elements`: out of here before out of there.
    order: Order<EntryRef>,
}

/// A record of the packed form.
struct Record {
    bytes: Range<usize>,
    member: Range<usize>,
    score: f64,
}

impl SortedSetValue {
    /// The empty sorted set.
    pub fn new() -> Self {
        SortedSetValue::Small(Packed::new())
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match self {
            SortedSetValue::Small(packed) => packed.count(),
            SortedSetValue::Large(scored) => scored.order.len(),
        }
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        match self {
            SortedSetValue::Small(packed) => packed.allocated(),
            SortedSetValue::Large(scored) => {
                size_of::<Scored>() + scored.elements.bytes() + scored.order.bytes()
            }
        }
    }

    /// Redis's name of the encoding.
    pub fn encoding(&self) -> &'static str {
        match self {
            SortedSetValue::Small(_) => "listpack",
            SortedSetValue::Large(_) => "skiplist",
        }
    }

    /// The score of a member.
    pub fn score(&self, hasher: &Hasher, member: &[u8]) -> Option<f64> {
        match self {
            SortedSetValue::Small(packed) => find(packed, member).map(|(_, record)| record.score),
            SortedSetValue::Large(scored) => scored.score(hasher, member),
        }
    }

    /// Adds a member or changes its score.
    pub fn insert(
        &mut self,
        hasher: &Hasher,
        limits: &EncodingLimits,
        member: &[u8],
        score: f64,
    ) -> Inserted {
        if let SortedSetValue::Small(packed) = self {
            let found = find(packed, member);
            match &found {
                Some((_, record)) if record.score == score => return Inserted::Unchanged,
                Some((_, record)) => {
                    packed.splice(record.bytes.clone(), &[]);
                    packed.add_count(-1);
                }
                None => {}
            }
            if packed.count() < limits.zset_entries && member.len() <= limits.zset_value {
                insert_packed(packed, member, score);
                return if found.is_some() { Inserted::Updated } else { Inserted::Added };
            }
            self.convert(hasher);
            let added = self.insert(hasher, limits, member, score);
            return if found.is_some() { Inserted::Updated } else { added };
        }
        let SortedSetValue::Large(scored) = self else { return Inserted::Unchanged };
        scored.insert(hasher, member, score)
    }

    fn convert(&mut self, hasher: &Hasher) {
        let SortedSetValue::Small(packed) = self else { return };
        let mut scored = Scored { elements: Elements::new(), order: Order::new() };
        let mut at = packed.start();
        while let Some((record, next)) = record(packed, at) {
            scored.insert(hasher, packed.get(record.member), record.score);
            at = next;
        }
        *self = SortedSetValue::Large(Box::new(scored));
    }

    /// Removes a member; its score.
    pub fn remove(&mut self, hasher: &Hasher, member: &[u8]) -> Option<f64> {
        match self {
            SortedSetValue::Small(packed) => {
                let (_, record) = find(packed, member)?;
                packed.splice(record.bytes, &[]);
                packed.add_count(-1);
                Some(record.score)
            }
            SortedSetValue::Large(scored) => scored.remove(hasher, member),
        }
    }

    /// The ascending rank and score of a member.
    pub fn rank(&self, hasher: &Hasher, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            SortedSetValue::Small(packed) => {
                find(packed, member).map(|(rank, record)| (rank, record.score))
            }
            SortedSetValue::Large(scored) => {
                let score = scored.score(hasher, member)?;
                let before = |s: f64, m: &[u8]| compare((s, m), (score, member)).is_lt();
                Some((scored.order.partition(&before), score))
            }
        }
    }

    /// The number of members for which `before` is true; it must be true of a prefix of the order.
    fn partition(&self, before: &dyn Fn(f64, &[u8]) -> bool) -> usize {
        match self {
            SortedSetValue::Small(packed) => {
                let (mut at, mut rank) = (packed.start(), 0);
                while let Some((record, next)) = record(packed, at) {
                    if !before(record.score, packed.get(record.member)) {
                        break;
                    }
                    (at, rank) = (next, rank + 1);
                }
                rank
            }
            SortedSetValue::Large(scored) => scored.order.partition(before),
        }
    }

    /// The ascending ranks that a range covers.
    pub fn ranks(&self, range: &ZRange<'_>) -> Range<usize> {
        let (start, end) = match *range {
            ZRange::Rank { start, end } => {
                (start.min(self.len() as u64) as usize, end.min(self.len() as u64) as usize)
            }
            ZRange::Score { min, max } => (
                self.partition(&|s, _| s < min.score || (min.exclusive && s == min.score)),
                self.partition(&|s, _| s < max.score || (!max.exclusive && s == max.score)),
            ),
            ZRange::Lex { min, max } => {
                (self.partition(&|_, m| below(m, min)), self.partition(&|_, m| !above(m, max)))
            }
        };
        start..end.max(start)
    }

    /// Visits members by ascending ranks, from the high end when `reverse`.
    pub fn visit(
        &self,
        ranks: Range<usize>,
        reverse: bool,
        visit: &mut dyn FnMut(&[u8], f64) -> bool,
    ) {
        if ranks.is_empty() {
            return;
        }
        match self {
            SortedSetValue::Small(packed) => {
                let records = records(packed);
                let chosen = records.iter().take(ranks.end).skip(ranks.start);
                let mut go = |r: &Record| visit(packed.get(r.member.clone()), r.score);
                let _ = if reverse { chosen.rev().all(&mut go) } else { { chosen }.all(&mut go) };
            }
            SortedSetValue::Large(scored) => {
                let mut left = ranks.len();
                let first = if reverse { ranks.end - 1 } else { ranks.start };
                scored.order.visit(first, reverse, &mut |score, member| {
                    left -= 1;
                    visit(member, score) && left > 0
                });
            }
        }
    }

    /// The member at an ascending rank.
    pub fn at(&self, rank: usize) -> Option<(Vec<u8>, f64)> {
        let mut found = None;
        self.visit(rank..(rank + 1).min(self.len()), false, &mut |member, score| {
            found = Some((member.to_vec(), score));
            false
        });
        found
    }

    /// Visits about `count` members; the next cursor. Compact ones are visited whole.
    pub fn scan(
        &self,
        hasher: &Hasher,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], f64) -> bool,
    ) -> u64 {
        match self {
            SortedSetValue::Small(_) => {
                self.visit(0..self.len(), false, visit);
                0
            }
            SortedSetValue::Large(scored) => {
                let mut going = true;
                scored.elements.table.scan(hasher, cursor, count, &mut |entry| {
                    going = going && visit(entry.key(), entry_score(entry));
                })
            }
        }
    }

    /// The table, to be swept in slices.
    pub fn into_parts(self) -> Option<(Elements, Order<EntryRef>)> {
        match self {
            SortedSetValue::Small(_) => None,
            SortedSetValue::Large(scored) => Some((scored.elements, scored.order)),
        }
    }
}

impl Scored {
    fn score(&self, hasher: &Hasher, member: &[u8]) -> Option<f64> {
        self.elements.table.get(hasher.hash(member), member).map(entry_score)
    }

    fn insert(&mut self, hasher: &Hasher, member: &[u8], score: f64) -> Inserted {
        let hash = hasher.hash(member);
        if let Some(mut found) = self.elements.table.find(hash, member) {
            let entry = found.get_mut();
            let old = entry_score(entry);
            if old == score {
                return Inserted::Unchanged;
            }
            self.order.remove(&Item { score: old, member: entry.by_reference() });
            // As long as before, so the entry stays where it is.
            entry.resize_inline(8, true).copy_from_slice(&score.to_le_bytes());
            self.order.insert(Item { score, member: entry.by_reference() });
            return Inserted::Updated;
        }
        let entry = Entry::new(Kind::String, member, Payload::Inline(&score.to_le_bytes()), None);
        self.elements.entry_bytes += entry.bytes();
        let entry = self.elements.table.insert(hasher, hash, entry);
        self.order.insert(Item { score, member: entry.by_reference() });
        Inserted::Added
    }

    fn remove(&mut self, hasher: &Hasher, member: &[u8]) -> Option<f64> {
        let found = self.elements.table.find(hasher.hash(member), member)?;
        let score = entry_score(found.get());
        self.order.remove(&Item { score, member: found.get().by_reference() });
        self.elements.entry_bytes -= found.remove(hasher).bytes();
        Some(score)
    }
}

fn entry_score(entry: &Entry) -> f64 {
    let bytes = entry.inline().and_then(|bytes| bytes.first_chunk()).copied();
    f64::from_le_bytes(bytes.unwrap_or_default())
}

fn below(member: &[u8], min: LexBound<'_>) -> bool {
    match min {
        LexBound::Min => false,
        LexBound::Max => true,
        LexBound::Inclusive(bound) => member < bound,
        LexBound::Exclusive(bound) => member <= bound,
    }
}

fn above(member: &[u8], max: LexBound<'_>) -> bool {
    match max {
        LexBound::Min => true,
        LexBound::Max => false,
        LexBound::Inclusive(bound) => member > bound,
        LexBound::Exclusive(bound) => member >= bound,
    }
}

/// The score follows the member: 0 and eight bytes, or one more than a small integer, zigzag.
fn put_score(out: &mut Scratch, score: f64) {
    let small = score as i32;
    if f64::from(small) == score && !(score == 0.0 && score.is_sign_negative()) {
        let zigzag = (i64::from(small) << 1) ^ (i64::from(small) >> 63);
        put_number(out, zigzag as u64 + 1);
    } else {
        out.push(0);
        out.extend_from_slice(&score.to_le_bytes());
    }
}

fn record(packed: &Packed, at: usize) -> Option<(Record, usize)> {
    let (member, middle) = packed.item(at)?;
    let (number, next) = packed.number(middle);
    if number > 0 {
        let zigzag = number - 1;
        let score = ((zigzag >> 1) as i64 ^ -((zigzag & 1) as i64)) as f64;
        return Some((Record { bytes: at..next, member, score }, next));
    }
    let score = packed.get(next..next + 8).first_chunk().copied().unwrap_or_default();
    let score = f64::from_le_bytes(score);
    Some((Record { bytes: at..next + 8, member, score }, next + 8))
}

fn records(packed: &Packed) -> Vec<Record> {
    let mut records = Vec::with_capacity(packed.count());
    let mut at = packed.start();
    while let Some((record, next)) = record(packed, at) {
        records.push(record);
        at = next;
    }
    records
}

fn find(packed: &Packed, member: &[u8]) -> Option<(usize, Record)> {
    let (mut at, mut rank) = (packed.start(), 0);
    while let Some((record, next)) = record(packed, at) {
        if packed.equals(&record.member, member) {
            return Some((rank, record));
        }
        (at, rank) = (next, rank + 1);
    }
    None
}

fn insert_packed(packed: &mut Packed, member: &[u8], score: f64) {
    let mut at = packed.start();
    while let Some((record, next)) = record(packed, at) {
        if compare((record.score, packed.get(record.member)), (score, member)).is_gt() {
            break;
        }
        at = next;
    }
    let mut scratch = Scratch::new();
    put_item(&mut scratch, member);
    put_score(&mut scratch, score);
    packed.splice(at..at, &scratch);
    packed.add_count(1);
}
