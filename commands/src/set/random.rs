//! SPOP and SRANDMEMBER: members that chance picks.

use super::removed;
use crate::list::popping::pop_count;
use crate::members::Members;
use crate::sampling::{Count, pick};
use engine::cx::Cx;
use engine::failure::{Outcome, SYNTAX};
use smallvec::SmallVec;
use storage::types::Set;
use storage::{Key, Open, Result as Stored};

/// Most members one logged `SREM` names; Redis logs in portions of 1024 as well.
const LOGGED_MAX: usize = 1024;

pub(super) fn spop(cx: &mut Cx<'_>) -> Outcome {
    match cx.argc() {
        2 => spop_one(cx),
        3 => spop_many(cx),
        _ => Err(SYNTAX),
    }
}

fn spop_one(cx: &mut Cx<'_>) -> Outcome {
    let (key, seed) = (cx.key(1), cx.random());
    let Some(mut set) = cx.tx.set(&key, Open::Existing)? else {
        cx.reply.null();
        return Ok(());
    };
    let Some(member) = set.random(seed)? else {
        cx.reply.null();
        return Ok(());
    };
    let member = SmallVec::<[u8; 64]>::from_slice(member);
    set.remove(&member)?;
    let left = set.len()?;
    drop(set);
    cx.reply.bulk(&member);
    cx.log(&[b"SREM", key.bytes, &member]);
    removed(cx, &key, "spop", 1, left);
    Ok(())
}

fn spop_many(cx: &mut Cx<'_>) -> Outcome {
    let count = pop_count(cx.args.arg(2))?;
    let key = cx.key(1);
    let seed = cx.random();
    let Some(mut set) = cx.tx.set(&key, Open::Existing)? else {
        cx.reply.set(0);
        return Ok(());
    };
    let len = set.len()?;
    let popped = match count {
        _ if count >= len => Members::of(&mut *set)?,
        _ => take_random(&mut *set, count, seed)?,
    };
    drop(set);
    cx.reply.set(popped.len());
    popped.iter().for_each(|member| cx.reply.bulk(member));
    match popped.len() as u64 {
        0 => {}
        all if all == len => pop_whole(cx, &key, all)?,
        some => {
            log_removal(cx, &key, &popped);
            removed(cx, &key, "spop", some, len - some);
        }
    }
    Ok(())
}

/// Removes the key with all its `len` members.
fn pop_whole(cx: &mut Cx<'_>, key: &Key<'_>, len: u64) -> Outcome {
    cx.tx.remove(key)?;
    cx.log(&[b"DEL", key.bytes]);
    removed(cx, key, "spop", len, 0);
    Ok(())
}

/// Takes `count` members, fewer than there are.
fn take_random(set: &mut dyn Set, count: u64, seed: u64) -> Stored<Members> {
    let mut taken = Members::default();
    for (member, ()) in pick(set, Count::Distinct(count), seed)? {
        set.remove(&member)?;
        taken.push(&member);
    }
    Ok(taken)
}

fn log_removal(cx: &mut Cx<'_>, key: &Key<'_>, gone: &Members) {
    if cx.engine.journal().is_none() {
        return;
    }
    for from in (0..gone.len()).step_by(LOGGED_MAX) {
        let mut effect: Vec<&[u8]> = vec![b"SREM", key.bytes];
        effect.extend((from..gone.len().min(from + LOGGED_MAX)).map(|index| gone.get(index)));
        cx.log(&effect);
    }
}

pub(super) fn srandmember(cx: &mut Cx<'_>) -> Outcome {
    let count = match cx.argc() {
        2 => None,
        3 => Some(Count::parse(cx.args.arg(2))?),
        _ => return Err(SYNTAX),
    };
    let (key, seed) = (cx.key(1), cx.random());
    let reply = &mut cx.reply;
    let found = match (cx.tx.set(&key, Open::Existing)?, count) {
        (Some(mut set), None) => {
            match set.random(seed)? {
                Some(member) => reply.bulk(member),
                None => reply.null(),
            }
            true
        }
        (Some(mut set), Some(count)) => {
            let picked = pick(&mut *set, count, seed)?;
            reply.array(picked.len());
            picked.iter().for_each(|(member, ())| reply.bulk(member));
            true
        }
        (None, None) => {
            reply.null();
            false
        }
        (None, Some(_)) => {
            reply.array(0);
            false
        }
    };
    cx.looked_up(&key, found);
    Ok(())
}
