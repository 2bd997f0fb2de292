//! Intersections, unions and differences, answered, counted or stored.
//!
//! A transaction has one collection open at a time, so the sets are gone through one by one: what
//! is left (or new) so far is kept beside them.

use crate::members::Members;
use crate::waiting::counted_keys;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::ops::Range;
use storage::{Backend, Key, Open};

/// Computes the members of an operation on the sets whose keys are these arguments.
type Combine = fn(&mut Cx<'_>, Range<usize>) -> Result<Members, Failure>;

/// The size of the set at each argument, `None` if there is none.
fn sizes(cx: &mut Cx<'_>, keys: Range<usize>) -> Result<Vec<(usize, Option<u64>)>, Failure> {
    let mut sizes = Vec::with_capacity(keys.len());
    for i in keys {
        let key = cx.key(i);
        let len = match cx.tx.set(&key, Open::Existing)? {
            Some(mut set) => Some(set.len()?),
            None => None,
        };
        cx.looked_up(&key, len.is_some());
        sizes.push((i, len));
    }
    Ok(sizes)
}

fn members_of(cx: &mut Cx<'_>, index: usize) -> Result<Members, Failure> {
    let key = cx.key(index);
    Ok(match cx.tx.set(&key, Open::Existing)? {
        Some(mut set) => Members::of(&mut *set)?,
        None => Members::default(),
    })
}

/// Up to `limit` members that are in every set: those of the smallest, asked for in the others
/// from small to large.
fn intersection(cx: &mut Cx<'_>, keys: Range<usize>, limit: usize) -> Result<Members, Failure> {
    let mut sizes = sizes(cx, keys)?;
    if sizes.iter().any(|(_, len)| len.is_none()) {
        return Ok(Members::default());
    }
    sizes.sort_by_key(|&(_, len)| len);
    let Some((&(smallest, _), others)) = sizes.split_first() else {
        return Ok(Members::default());
    };
    let mut members = members_of(cx, smallest)?;
    for (nth, &(index, _)) in others.iter().enumerate() {
        let key = cx.key(index);
        let Some(mut set) = cx.tx.set(&key, Open::Existing)? else { continue };
        // Only the last look can tell when there are enough.
        let limit = if nth + 1 == others.len() { limit } else { usize::MAX };
        members.retain(limit, |member| set.contains(member))?;
    }
    if members.len() > limit {
        members.retain(limit, |_| Ok(true))?;
    }
    Ok(members)
}

fn whole_intersection(cx: &mut Cx<'_>, keys: Range<usize>) -> Result<Members, Failure> {
    intersection(cx, keys, usize::MAX)
}

/// Different members, found by their hash.
struct Distinct<'e> {
    backend: &'e dyn Backend,
    members: Members,
    /// Indices into `members`.
    known: HashTable<usize>,
}

impl<'e> Distinct<'e> {
    fn new(backend: &'e dyn Backend) -> Self {
        Distinct { backend, members: Members::default(), known: HashTable::new() }
    }

    fn insert(&mut self, member: &[u8]) {
        let Distinct { backend, members, known } = self;
        let same = |&index: &usize| members.get(index) == member;
        let rehash = |&index: &usize| backend.hash(members.get(index));
        if let Entry::Vacant(place) = known.entry(backend.hash(member), same, rehash) {
            place.insert(members.len());
            members.push(member);
        }
    }

    fn contains(&self, member: &[u8]) -> bool {
        let same = |&index: &usize| self.members.get(index) == member;
        self.known.find(self.backend.hash(member), same).is_some()
    }
}

/// Adds the members of the set at argument `index`.
fn gather(cx: &mut Cx<'_>, index: usize, into: &mut Distinct<'_>) -> Outcome {
    let key = cx.key(index);
    if let Some(mut set) = cx.tx.set(&key, Open::Existing)? {
        set.for_each(&mut |member| {
            into.insert(member);
            true
        })?;
    }
    Ok(())
}

fn union(cx: &mut Cx<'_>, keys: Range<usize>) -> Result<Members, Failure> {
    let mut all = Distinct::new(&*cx.engine.backend);
    sizes(cx, keys.clone())?;
    for index in keys {
        gather(cx, index, &mut all)?;
    }
    Ok(all.members)
}

/// The members of the first set that are in none of the others. For each of the others, either it
/// is asked for every remaining member, or its members are removed one by one, whichever is less
/// work.
fn difference(cx: &mut Cx<'_>, keys: Range<usize>) -> Result<Members, Failure> {
    let sizes = sizes(cx, keys.clone())?;
    let mut left = members_of(cx, keys.start)?;
    for &(index, len) in &sizes[1..] {
        let Some(len) = len.filter(|_| left.len() > 0) else { continue };
        if len.saturating_mul(2) < left.len() as u64 {
            let mut gone = Distinct::new(&*cx.engine.backend);
            gather(cx, index, &mut gone)?;
            left.retain(usize::MAX, |member| Ok(!gone.contains(member)))?;
        } else if let Some(mut set) = cx.tx.set(&cx.key(index), Open::Existing)? {
            left.retain(usize::MAX, |member| Ok(!set.contains(member)?))?;
        }
    }
    Ok(left)
}

/// Replies with what `combine` makes of the keys from argument 1 on.
fn answer(cx: &mut Cx<'_>, combine: Combine) -> Outcome {
    let members = combine(cx, 1..cx.argc())?;
    cx.reply.set(members.len());
    members.iter().for_each(|member| cx.reply.bulk(member));
    Ok(())
}

/// Stores what `combine` makes of the keys from argument 2 on under argument 1, and replies with
/// its size. An empty result leaves no key.
fn store(cx: &mut Cx<'_>, combine: Combine, event: &'static str) -> Outcome {
    let members = combine(cx, 2..cx.argc())?;
    let key = cx.key(1);
    let replaced = cx.tx.remove(&key)?;
    store_members(cx, &key, &members)?;
    if members.len() > 0 {
        cx.modified(&key, Class::Set, event);
    } else if replaced {
        cx.modified(&key, Class::Generic, "del");
    }
    cx.reply.integer(members.len() as i64);
    Ok(())
}

fn store_members(cx: &mut Cx<'_>, key: &Key<'_>, members: &Members) -> Outcome {
    if members.len() == 0 {
        return Ok(());
    }
    if let Some(mut set) = cx.tx.set(key, Open::Create)? {
        for member in members.iter() {
            set.insert(member)?;
        }
    }
    Ok(())
}

pub(super) fn sinter(cx: &mut Cx<'_>) -> Outcome {
    answer(cx, whole_intersection)
}

pub(super) fn sinterstore(cx: &mut Cx<'_>) -> Outcome {
    store(cx, whole_intersection, "sinterstore")
}

pub(super) fn sunion(cx: &mut Cx<'_>) -> Outcome {
    answer(cx, union)
}

pub(super) fn sunionstore(cx: &mut Cx<'_>) -> Outcome {
    store(cx, union, "sunionstore")
}

pub(super) fn sdiff(cx: &mut Cx<'_>) -> Outcome {
    answer(cx, difference)
}

pub(super) fn sdiffstore(cx: &mut Cx<'_>) -> Outcome {
    store(cx, difference, "sdiffstore")
}

/// The `[LIMIT limit]` of `SINTERCARD` from argument `at` on; 0 means none.
fn card_limit(cx: &Cx<'_>, at: usize) -> Result<usize, Failure> {
    let (mut args, mut limit) = (cx.args_from(at), 0);
    while !args.is_empty() {
        let value = args.option("LIMIT").ok_or(SYNTAX)?;
        let number = integer(value).ok().and_then(|number| usize::try_from(number).ok());
        limit = number.ok_or(failure("ERR LIMIT can't be negative"))?;
    }
    Ok(if limit == 0 { usize::MAX } else { limit })
}

pub(super) fn sintercard(cx: &mut Cx<'_>) -> Outcome {
    let keys = counted_keys(cx.args, 1)?;
    if keys.end > cx.argc() {
        return Err(failure("ERR Number of keys can't be greater than number of args"));
    }
    let limit = card_limit(cx, keys.end)?;
    let members = intersection(cx, keys, limit)?;
    cx.reply.integer(members.len() as i64);
    Ok(())
}
