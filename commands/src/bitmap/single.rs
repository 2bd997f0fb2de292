//! SETBIT and GETBIT.

use super::{grow, offset};
use crate::string::unshare;
use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use engine::notify::keyspace::Class;
use resp::parse_i64;

/// The mask of a bit within its byte.
fn mask(bit: u64) -> u8 {
    0x80 >> (bit % 8)
}

pub(super) fn setbit(cx: &mut Cx<'_>) -> Outcome {
    let bit = offset(cx, cx.args.arg(2), None)?;
    let on = match parse_i64(cx.args.arg(3)) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(failure("ERR bit is not an integer or out of range")),
    };
    let key = cx.key(1);
    let at = bit / 8;
    let grew = grow(cx, &key, at)?;
    let mut byte = Vec::with_capacity(1);
    cx.tx.get_range(&key, at, at + 1, &mut byte)?;
    let before = byte.first().copied().unwrap_or_default();
    let was = before & mask(bit) != 0;
    if was != on {
        cx.tx.set_range(&key, at, &[before ^ mask(bit)])?;
    } else {
        unshare(cx, &key)?;
    }
    if grew || was != on {
        cx.modified(&key, Class::String, "setbit");
    }
    cx.reply.integer(i64::from(was));
    Ok(())
}

pub(super) fn getbit(cx: &mut Cx<'_>) -> Outcome {
    let bit = offset(cx, cx.args.arg(2), None)?;
    let key = cx.key(1);
    let mut byte = Vec::with_capacity(1);
    cx.tx.get_range(&key, bit / 8, bit / 8 + 1, &mut byte)?;
    let found = !byte.is_empty() || cx.tx.kind(&key)?.is_some();
    cx.looked_up(&key, found);
    let set = byte.first().is_some_and(|byte| byte & mask(bit) != 0);
    cx.reply.integer(i64::from(set));
    Ok(())
}
