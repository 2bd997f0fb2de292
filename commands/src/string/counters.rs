//! INCR, DECR and their kin: strings that are numbers.

use engine::cx::Cx;
use engine::failure::{NOT_FLOAT, NOT_INTEGER, Outcome, failure};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use engine::text::long_double::{LongDouble, Parsed};
use resp::parse_i64;
use storage::{Key, NewExpiry};

/// Adds to the integer at `key`, which counts as 0 when missing.
fn add(cx: &mut Cx<'_>, key: &Key<'_>, delta: i64) -> Outcome {
    let value = match cx.tx.string(key)? {
        Some(text) => parse_i64(text.as_bytes()).ok_or(NOT_INTEGER)?,
        None => 0,
    };
    let overflow = failure("ERR increment or decrement would overflow");
    let sum = value.checked_add(delta).ok_or(overflow)?;
    let mut digits = itoa::Buffer::new();
    cx.tx.set_string(key, digits.format(sum).as_bytes(), NewExpiry::Keep)?;
    cx.modified(key, Class::String, "incrby");
    cx.reply.integer(sum);
    Ok(())
}

pub(super) fn incr(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    add(cx, &key, 1)
}

pub(super) fn decr(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    add(cx, &key, -1)
}

pub(super) fn incrby(cx: &mut Cx<'_>) -> Outcome {
    let delta = integer(cx.args.arg(2))?;
    let key = cx.key(1);
    add(cx, &key, delta)
}

pub(super) fn decrby(cx: &mut Cx<'_>) -> Outcome {
    let delta = integer(cx.args.arg(2))?;
    let delta = delta.checked_neg().ok_or(failure("ERR decrement would overflow"))?;
    let key = cx.key(1);
    add(cx, &key, delta)
}

pub(super) fn incrbyfloat(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let value = match cx.tx.string(&key)? {
        Some(text) => LongDouble::parse(text.as_bytes()).ok_or(NOT_FLOAT)?,
        None => Parsed::Finite(LongDouble::ZERO),
    };
    let delta = LongDouble::parse(cx.args.arg(2)).ok_or(NOT_FLOAT)?;
    let sum = match (value, delta) {
        (Parsed::Finite(value), Parsed::Finite(delta)) => value.plus(delta),
        _ => None,
    };
    let sum = sum.ok_or(failure("ERR increment would produce NaN or Infinity"))?;
    let mut text = Vec::new();
    sum.format(&mut text);
    cx.tx.set_string(&key, &text, NewExpiry::Keep)?;
    cx.log(&[b"SET", key.bytes, &text, b"KEEPTTL"]);
    cx.modified(&key, Class::String, "incrbyfloat");
    cx.reply.bulk(&text);
    Ok(())
}
