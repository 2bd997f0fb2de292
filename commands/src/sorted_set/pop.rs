//! Taking the lowest or highest members: `ZPOPMIN`, `ZMPOP`, and their blocking kin.

use super::{Scored, Shape, tell_removed};
use crate::waiting::{counted_keys, is_ready, timeout_us, wait};
use engine::command::{Flag::*, Group, SPEC, Spec, key, key_range, numkeys};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{is_word, parse_i64};
use std::ops::Range;
use storage::{Key, Kind, Open};

const NOT_POSITIVE: Failure = failure("ERR value is out of range, must be positive");
const NO_COUNT: Failure = failure("ERR count should be greater than 0");

/// Takes up to `count` members from one end, announces that, and logs it as one `ZPOP…`. `None`
/// without the key.
fn take(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    highest: bool,
    count: u64,
) -> Result<Option<Vec<Scored>>, Failure> {
    let mut taken = Vec::new();
    let emptied = {
        let Some(mut zset) = cx.tx.sorted_set(key, Open::Existing)? else { return Ok(None) };
        for _ in 0..count.min(zset.len()?) {
            taken.extend(zset.pop(highest)?);
        }
        zset.is_empty()?
    };
    if !taken.is_empty() {
        let (name, event): (&[u8], _) = match highest {
            true => (b"ZPOPMAX", "zpopmax"),
            false => (b"ZPOPMIN", "zpopmin"),
        };
        tell_removed(cx, key, event, taken.len() as u64, emptied);
        cx.log_number(&[name, key.bytes], taken.len() as u64);
    }
    Ok(Some(taken))
}

fn pop(cx: &mut Cx<'_>, highest: bool) -> Outcome {
    if cx.argc() > 3 {
        return Err(SYNTAX);
    }
    let count = match cx.args.get(2) {
        Some(arg) => parse_i64(arg).and_then(|count| u64::try_from(count).ok()),
        None => Some(1),
    };
    let taken = take(cx, &cx.key(1), highest, count.ok_or(NOT_POSITIVE)?)?.unwrap_or_default();
    // Pairs only where a count was given: a single member never was an array of pairs.
    let shape = if cx.argc() > 2 { Shape::new(&cx.reply, true) } else { Shape::Flat };
    shape.write_all(&mut cx.reply, &taken);
    Ok(())
}

fn zpopmin(cx: &mut Cx<'_>) -> Outcome {
    pop(cx, false)
}

fn zpopmax(cx: &mut Cx<'_>) -> Outcome {
    pop(cx, true)
}

/// Takes from the first of several keys that has members: which key, and what.
fn take_first(
    cx: &mut Cx<'_>,
    keys: Range<usize>,
    highest: bool,
    count: u64,
) -> Result<Option<(usize, Vec<Scored>)>, Failure> {
    for index in keys {
        let key = cx.key(index);
        if is_ready(cx, &key, Kind::SortedSet)?
            && let Some(taken) = take(cx, &key, highest, count)?
        {
            return Ok(Some((index, taken)));
        }
    }
    Ok(None)
}

fn blocking_pop(cx: &mut Cx<'_>, highest: bool) -> Outcome {
    let last = cx.argc() - 1;
    let timeout_us = timeout_us(cx.args.arg(last), cx.now.wall_ms)?;
    match take_first(cx, 1..last, highest, 1)? {
        Some((index, taken)) => {
            let key = cx.args.arg(index);
            cx.reply.array(1 + 2 * taken.len());
            cx.reply.bulk(key);
            taken
                .iter()
                .for_each(|(member, score)| Shape::Flat.write(&mut cx.reply, member, *score));
        }
        None => wait(cx, 1..last, timeout_us, |reply| reply.null_array())?,
    }
    Ok(())
}

fn bzpopmin(cx: &mut Cx<'_>) -> Outcome {
    blocking_pop(cx, false)
}

fn bzpopmax(cx: &mut Cx<'_>) -> Outcome {
    blocking_pop(cx, true)
}

/// `numkeys key [key ...] MIN|MAX [COUNT count]`.
struct MultiPop {
    keys: Range<usize>,
    highest: bool,
    count: u64,
}

impl MultiPop {
    fn parse(cx: &Cx<'_>, at: usize) -> Result<Self, Failure> {
        let args = cx.args;
        let keys = counted_keys(args, at)?;
        let end = keys.end;
        if end >= args.len() {
            return Err(SYNTAX);
        }
        let highest = match args.arg(end) {
            word if is_word(word, "MIN") => false,
            word if is_word(word, "MAX") => true,
            _ => return Err(SYNTAX),
        };
        let count = match (args.get(end + 1), args.get(end + 2), args.len() - end) {
            (None, ..) => 1,
            (Some(word), Some(count), rest) if is_word(word, "COUNT") => {
                let count = parse_i64(count).filter(|&count| count > 0).ok_or(NO_COUNT)? as u64;
                if rest > 3 {
                    return Err(SYNTAX);
                }
                count
            }
            _ => return Err(SYNTAX),
        };
        Ok(MultiPop { keys, highest, count })
    }

    /// Takes and replies; false when all keys are missing.
    fn run(&self, cx: &mut Cx<'_>) -> Result<bool, Failure> {
        let taken = take_first(cx, self.keys.clone(), self.highest, self.count)?;
        let Some((index, taken)) = taken else { return Ok(false) };
        let key = cx.args.arg(index);
        cx.reply.array(2);
        cx.reply.bulk(key);
        Shape::Pairs.write_all(&mut cx.reply, &taken);
        Ok(true)
    }
}

fn zmpop(cx: &mut Cx<'_>) -> Outcome {
    if !MultiPop::parse(cx, 1)?.run(cx)? {
        cx.reply.null_array();
    }
    Ok(())
}

fn bzmpop(cx: &mut Cx<'_>) -> Outcome {
    let command = MultiPop::parse(cx, 2)?;
    let timeout_us = timeout_us(cx.args.arg(1), cx.now.wall_ms)?;
    if !command.run(cx)? {
        wait(cx, command.keys, timeout_us, |reply| reply.null_array())?;
    }
    Ok(())
}

/// The rows of this part of the family.
pub const COMMANDS: &[Spec] = &[
    Spec {
        name: "zpopmin",
        summary: "Returns the lowest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
        arity: -2,
        group: Group::SortedSet,
        flags: &[Write, Fast],
        keys: &[key("RW ACCESS DELETE", 1)],
        syntax: "key [count]",
        handler: zpopmin,
        ..SPEC
    },
    Spec {
        name: "zpopmax",
        summary: "Returns the highest-scoring members from a sorted set after removing them. Deletes the sorted set if the last member was popped.",
        since: "5.0.0",
        complexity: "O(log(N)*M) with N being the number of elements in the sorted set, and M being the number of elements popped.",
        arity: -2,
        group: Group::SortedSet,
        flags: &[Write, Fast],
        keys: &[key("RW ACCESS DELETE", 1)],
        syntax: "key [count]",
        handler: zpopmax,
        ..SPEC
    },
    Spec {
        name: "bzpopmin",
        summary: "Removes and returns the member with the lowest score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Write, Blocking, Fast],
        keys: &[key_range("RW ACCESS DELETE", 1, -2, 1)],
        syntax: "key [key ...] timeout",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        handler: bzpopmin,
        ..SPEC
    },
    Spec {
        name: "bzpopmax",
        summary: "Removes and returns the member with the highest score from one or more sorted sets. Blocks until a member available otherwise.  Deletes the sorted set if the last element was popped.",
        since: "5.0.0",
        complexity: "O(log(N)) with N being the number of elements in the sorted set.",
        arity: -3,
        group: Group::SortedSet,
        flags: &[Write, Blocking, Fast],
        keys: &[key_range("RW ACCESS DELETE", 1, -2, 1)],
        syntax: "key [key ...] timeout",
        history: &[("6.0.0", "`timeout` is interpreted as a double instead of an integer.")],
        handler: bzpopmax,
        ..SPEC
    },
    Spec {
        name: "zmpop",
        summary: "Returns the highest- or lowest-scoring members from one or more sorted sets after removing them. Deletes the sorted set if the last member was popped.",
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
        arity: -4,
        group: Group::SortedSet,
        flags: &[Write],
        keys: &[numkeys("RW ACCESS DELETE", 1)],
        syntax: "numkeys key [key ...] <MIN|MAX> [COUNT count]",
        handler: zmpop,
        ..SPEC
    },
    Spec {
        name: "bzmpop",
        summary: "Removes and returns a member by score from one or more sorted sets. Blocks until a member is available otherwise. Deletes the sorted set if the last element was popped.",
        since: "7.0.0",
        complexity: "O(K) + O(M*log(N)) where K is the number of provided keys, N being the number of elements in the sorted set, and M being the number of elements popped.",
        arity: -5,
        group: Group::SortedSet,
        flags: &[Write, Blocking],
        keys: &[numkeys("RW ACCESS DELETE", 2)],
        syntax: "timeout numkeys key [key ...] <MIN|MAX> [COUNT count]",
        handler: bzmpop,
        ..SPEC
    },
];
