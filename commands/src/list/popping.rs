//! LPOP, RPOP, LMPOP, and BLPOP, BRPOP, BLMPOP, which wait for something to pop.

use super::{end_of, pop_event, removed};
use crate::waiting::{counted_keys, is_ready, timeout_us, wait};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::integer;
use std::ops::Range;
use storage::types::End;
use storage::{Key, Kind, Open};

/// The form of the reply with the popped elements.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One element.
    Bulk,
    /// An array of at most this many elements.
    Array(u64),
}

/// Pops from a list and replies with it; how many, `None` without the list.
fn pop(cx: &mut Cx<'_>, key: &Key<'_>, end: End, shape: Shape) -> Result<Option<u64>, Failure> {
    let reply = &mut cx.reply;
    let Some(mut list) = cx.tx.list(key, Open::Existing)? else { return Ok(None) };
    let len = list.len()?;
    let count = match shape {
        Shape::Bulk => 1,
        Shape::Array(count) => {
            reply.array(count.min(len) as usize);
            count.min(len)
        }
    };
    let popped = list.take(end, count, &mut |element| {
        reply.bulk(element);
        true
    })?;
    drop(list);
    if popped > 0 {
        removed(cx, key, pop_event(end), popped, len - popped);
    }
    Ok(Some(popped))
}

fn pop_command(cx: &mut Cx<'_>, end: End) -> Outcome {
    let shape = match cx.argc() {
        2 => Shape::Bulk,
        3 => Shape::Array(pop_count(cx.args.arg(2))?),
        _ => return Err(cx.wrong_arity()),
    };
    let key = cx.key(1);
    if pop(cx, &key, end, shape)?.is_none() {
        match shape {
            Shape::Bulk => cx.reply.null(),
            Shape::Array(_) => cx.reply.null_array(),
        }
    }
    Ok(())
}

/// The count of a command that pops; whatever is none has the same error.
pub(crate) fn pop_count(argument: &[u8]) -> Result<u64, Failure> {
    let count = integer(argument).ok().and_then(|count| u64::try_from(count).ok());
    count.ok_or(failure("ERR value is out of range, must be positive"))
}

pub(super) fn lpop(cx: &mut Cx<'_>) -> Outcome {
    pop_command(cx, End::Head)
}

pub(super) fn rpop(cx: &mut Cx<'_>) -> Outcome {
    pop_command(cx, End::Tail)
}

/// The parsed arguments of `LMPOP` and `BLMPOP`.
struct ManyPop {
    keys: Range<usize>,
    end: End,
    count: u64,
}

/// `numkeys key [key ...] <LEFT|RIGHT> [COUNT count]`, from argument `at` on.
fn parse_many(cx: &Cx<'_>, at: usize) -> Result<ManyPop, Failure> {
    let keys = counted_keys(cx.args, at)?;
    let end = end_of(cx.args.get(keys.end).ok_or(SYNTAX)?)?;
    let options = keys.end + 1;
    let count = match cx.argc() - options {
        0 => 1,
        given @ 2.. if cx.is(options, "COUNT") => {
            let count = integer(cx.args.arg(options + 1)).ok().filter(|&count| count > 0);
            let count = count.ok_or(failure("ERR count should be greater than 0"))? as u64;
            if given > 2 {
                return Err(SYNTAX);
            }
            count
        }
        _ => return Err(SYNTAX),
    };
    Ok(ManyPop { keys, end, count })
}

/// Pops from the first of the keys that is a list, replies with key and element(s), and logs a
/// plain pop of that key. Returns false if none of the keys is a list.
fn pop_first(cx: &mut Cx<'_>, keys: Range<usize>, end: End, shape: Shape) -> Result<bool, Failure> {
    for i in keys {
        let key = cx.key(i);
        if !is_ready(cx, &key, Kind::List)? {
            continue;
        }
        cx.reply.array(2);
        cx.reply.bulk(key.bytes);
        let popped = pop(cx, &key, end, shape)?.unwrap_or(0);
        log_pop(cx, &key, end, shape, popped);
        return Ok(true);
    }
    Ok(false)
}

fn log_pop(cx: &mut Cx<'_>, key: &Key<'_>, end: End, shape: Shape, popped: u64) {
    let name: &[u8] = if end == End::Head { b"LPOP" } else { b"RPOP" };
    match shape {
        Shape::Bulk => cx.log(&[name, key.bytes]),
        Shape::Array(_) => cx.log_number(&[name, key.bytes], popped),
    }
}

pub(super) fn lmpop(cx: &mut Cx<'_>) -> Outcome {
    let ManyPop { keys, end, count } = parse_many(cx, 1)?;
    if !pop_first(cx, keys, end, Shape::Array(count))? {
        cx.reply.null_array();
    }
    Ok(())
}

pub(super) fn blmpop(cx: &mut Cx<'_>) -> Outcome {
    let ManyPop { keys, end, count } = parse_many(cx, 2)?;
    let timeout = timeout_us(cx.args.arg(1), cx.now.wall_ms)?;
    if pop_first(cx, keys.clone(), end, Shape::Array(count))? {
        return Ok(());
    }
    wait(cx, keys, timeout, |reply| reply.null_array())
}

fn blocking_pop(cx: &mut Cx<'_>, end: End) -> Outcome {
    let keys = 1..cx.argc() - 1;
    let timeout = timeout_us(cx.args.arg(keys.end), cx.now.wall_ms)?;
    if pop_first(cx, keys.clone(), end, Shape::Bulk)? {
        return Ok(());
    }
    wait(cx, keys, timeout, |reply| reply.null_array())
}

pub(super) fn blpop(cx: &mut Cx<'_>) -> Outcome {
    blocking_pop(cx, End::Head)
}

pub(super) fn brpop(cx: &mut Cx<'_>) -> Outcome {
    blocking_pop(cx, End::Tail)
}
