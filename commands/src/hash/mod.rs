//! Hash commands: fields and their values. Expiry of single fields is in [`expiry`], `HSCAN` and
//! `HRANDFIELD` are in [`iterate`].

pub mod expiry;
pub mod iterate;
mod rows;

pub use rows::COMMANDS;

use engine::cx::Cx;
use engine::failure::{Failure, NOT_FLOAT, Outcome, failure};
use engine::notify::keyspace::Class;
use engine::text::args::{integer, parse_i64};
use engine::text::long_double::{LongDouble, Parsed};
use resp::Reply;
use storage::types::{FieldExpiry, Hash};
use storage::{Key, Open};

const NOT_HASH_INTEGER: Failure = failure("ERR hash value is not an integer");
const NOT_HASH_FLOAT: Failure = failure("ERR hash value is not a float");
const OVERFLOW: Failure = failure("ERR increment or decrement would overflow");
const NOT_FINITE: Failure = failure("ERR value is NaN or Infinity");
const NOT_FINITE_SUM: Failure = failure("ERR increment would produce NaN or Infinity");

/// Sets the pairs from argument 2 on; how many fields are new.
fn set_pairs(cx: &mut Cx<'_>) -> Result<i64, Failure> {
    if cx.argc() % 2 == 1 {
        return Err(cx.wrong_arity());
    }
    let (key, args) = (cx.key(1), cx.args);
    let mut added = 0;
    if let Some(mut hash) = cx.tx.hash(&key, Open::Create)? {
        for at in (2..args.len()).step_by(2) {
            added += i64::from(hash.insert(args.arg(at), args.arg(at + 1))?);
        }
    }
    cx.modified_by(args.len() as u64 / 2 - 1, &key, Class::Hash, "hset");
    Ok(added)
}

fn hset(cx: &mut Cx<'_>) -> Outcome {
    let added = set_pairs(cx)?;
    cx.reply.integer(added);
    Ok(())
}

fn hmset(cx: &mut Cx<'_>) -> Outcome {
    set_pairs(cx)?;
    cx.reply.ok();
    Ok(())
}

fn hsetnx(cx: &mut Cx<'_>) -> Outcome {
    let (key, field, value) = (cx.key(1), cx.args.arg(2), cx.args.arg(3));
    let mut added = false;
    if let Some(mut hash) = cx.tx.hash(&key, Open::Create)? {
        added = hash.get(field)?.is_none() && hash.insert(field, value)?;
    }
    if added {
        cx.modified(&key, Class::Hash, "hset");
    }
    cx.reply.integer(added.into());
    Ok(())
}

crate::reading::reading!(hash, dyn Hash);

/// Replies with a number that is 0 without the key.
fn number(
    cx: &mut Cx<'_>,
    number: impl FnOnce(&mut dyn Hash) -> storage::Result<usize>,
) -> Outcome {
    reading(
        cx,
        |reply| reply.integer(0),
        |hash, reply| {
            reply.integer(number(hash)? as i64);
            Ok(())
        },
    )
}

fn write_value(reply: &mut Reply<'_>, value: Option<&[u8]>) {
    match value {
        Some(value) => reply.bulk(value),
        None => reply.null(),
    }
}

fn hget(cx: &mut Cx<'_>) -> Outcome {
    let field = cx.args.arg(2);
    reading(
        cx,
        |reply| reply.null(),
        |hash, reply| {
            write_value(reply, hash.get(field)?);
            Ok(())
        },
    )
}

fn hmget(cx: &mut Cx<'_>) -> Outcome {
    let args = cx.args;
    cx.reply.array(args.len() - 2);
    reading(
        cx,
        |reply| (2..args.len()).for_each(|_| reply.null()),
        |hash, reply| {
            for field in args.iter().skip(2) {
                write_value(reply, hash.get(field)?);
            }
            Ok(())
        },
    )
}

fn hexists(cx: &mut Cx<'_>) -> Outcome {
    let field = cx.args.arg(2);
    number(cx, |hash| Ok(hash.get(field)?.is_some().into()))
}

fn hstrlen(cx: &mut Cx<'_>) -> Outcome {
    let field = cx.args.arg(2);
    number(cx, |hash| Ok(hash.get(field)?.map_or(0, <[u8]>::len)))
}

fn hlen(cx: &mut Cx<'_>) -> Outcome {
    number(cx, |hash| Ok(hash.len()? as usize))
}

fn hgetall(cx: &mut Cx<'_>) -> Outcome {
    reading(
        cx,
        |reply| reply.map(0),
        |hash, reply| {
            reply.map(hash.len()? as usize);
            hash.for_each(&mut |field, value| {
                reply.bulk(field);
                reply.bulk(value);
                true
            })?;
            Ok(())
        },
    )
}

/// `HKEYS` and `HVALS`: one side of every pair.
fn one_side(cx: &mut Cx<'_>, side: for<'p> fn(&'p [u8], &'p [u8]) -> &'p [u8]) -> Outcome {
    reading(
        cx,
        |reply| reply.array(0),
        |hash, reply| {
            reply.array(hash.len()? as usize);
            hash.for_each(&mut |field, value| {
                reply.bulk(side(field, value));
                true
            })?;
            Ok(())
        },
    )
}

fn hkeys(cx: &mut Cx<'_>) -> Outcome {
    one_side(cx, |field, _| field)
}

fn hvals(cx: &mut Cx<'_>) -> Outcome {
    one_side(cx, |_, value| value)
}

fn hdel(cx: &mut Cx<'_>) -> Outcome {
    let (key, args) = (cx.key(1), cx.args);
    let (mut removed, mut emptied) = (0, false);
    if let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? {
        for field in args.iter().skip(2) {
            removed += u64::from(hash.remove(field)?);
        }
        emptied = hash.is_empty()?;
    }
    if removed > 0 {
        tell_removed(cx, &key, removed, emptied);
    }
    cx.reply.integer(removed as i64);
    Ok(())
}

/// Announces that fields went, and the key with the last of them.
fn tell_removed(cx: &mut Cx<'_>, key: &Key<'_>, removed: u64, emptied: bool) {
    cx.modified_by(removed, key, Class::Hash, "hdel");
    if emptied {
        cx.modified(key, Class::Generic, "del");
    }
}

fn hincrby(cx: &mut Cx<'_>) -> Outcome {
    let (key, field) = (cx.key(1), cx.args.arg(2));
    let by = integer(cx.args.arg(3))?;
    let mut sum = by;
    if let Some(mut hash) = cx.tx.hash(&key, Open::Create)? {
        if let Some(value) = hash.get(field)? {
            let value = parse_i64(value).ok_or(NOT_HASH_INTEGER)?;
            sum = value.checked_add(by).ok_or(OVERFLOW)?;
        }
        hash.update(field, itoa::Buffer::new().format(sum).as_bytes())?;
    }
    cx.modified(&key, Class::Hash, "hincrby");
    cx.reply.integer(sum);
    Ok(())
}

fn hincrbyfloat(cx: &mut Cx<'_>) -> Outcome {
    let (key, field) = (cx.key(1), cx.args.arg(2));
    let by = match LongDouble::parse(cx.args.arg(3)).ok_or(NOT_FLOAT)? {
        Parsed::Finite(by) => by,
        Parsed::Infinite => return Err(NOT_FINITE),
    };
    let mut sum = Vec::new();
    let mut expiry = FieldExpiry::NoField;
    if let Some(mut hash) = cx.tx.hash(&key, Open::Create)? {
        let value = match hash.get(field)?.map(LongDouble::parse) {
            None => LongDouble::ZERO,
            Some(Some(Parsed::Finite(value))) => value,
            Some(Some(Parsed::Infinite)) => return Err(NOT_FINITE_SUM),
            Some(None) => return Err(NOT_HASH_FLOAT),
        };
        value.plus(by).ok_or(NOT_FINITE_SUM)?.format(&mut sum);
        hash.update(field, &sum)?;
        expiry = hash.field_expiry(field)?;
    }
    cx.modified(&key, Class::Hash, "hincrbyfloat");
    // Floats are logged by result; `HSET` takes the field's expiry, which is put back.
    cx.log(&[b"HSET", key.bytes, field, &sum]);
    if let FieldExpiry::At(at_ms) = expiry {
        expiry::log_expiry(cx, &key, at_ms, &[field]);
    }
    cx.reply.bulk(&sum);
    Ok(())
}
