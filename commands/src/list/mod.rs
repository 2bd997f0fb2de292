//! List commands.

mod moving;
pub(crate) mod popping;
mod positions;
mod pushing;
mod rows;

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::notify::keyspace::Class;
use engine::text::args::{integer, is_word};
use std::ops::Range;
use storage::types::End;
use storage::{Key, Open};

pub use rows::COMMANDS;

/// The keyspace event of adding at an end.
fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

/// The keyspace event of taking off an end.
fn pop_event(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

/// `LEFT` or `RIGHT`.
fn end_of(argument: &[u8]) -> Result<End, Failure> {
    match argument {
        word if is_word(word, "LEFT") => Ok(End::Head),
        word if is_word(word, "RIGHT") => Ok(End::Tail),
        _ => Err(SYNTAX),
    }
}

/// The word [`end_of`] reads.
fn end_word(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LEFT",
        End::Tail => b"RIGHT",
    }
}

/// Reports that elements were removed and, if none are `left`, that the key was.
fn removed(cx: &mut Cx<'_>, key: &Key<'_>, event: &'static str, gone: u64, left: u64) {
    cx.modified_by(gone, key, Class::List, event);
    if left == 0 {
        cx.notify(key, Class::Generic, "del");
    }
}

/// The elements from `start` to `stop` (both included, from the end when negative) of `len`.
pub(crate) fn clamp(start: i64, stop: i64, len: u64) -> Range<u64> {
    let from_start = |index: i64| match index {
        0.. => index as u64,
        _ => len.saturating_sub(index.unsigned_abs()),
    };
    if stop < 0 && stop.unsigned_abs() > len {
        return 0..0;
    }
    let (start, end) = (from_start(start), from_start(stop).saturating_add(1).min(len));
    if start < end { start..end } else { 0..0 }
}

/// The place of an index, from the end when negative, among `len` elements.
fn place(index: i64, len: u64) -> Option<u64> {
    match index {
        0.. => Some(index as u64).filter(|&index| index < len),
        _ => len.checked_sub(index.unsigned_abs()),
    }
}

fn llen(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let len = match cx.tx.list(&key, Open::Existing)? {
        Some(mut list) => list.len()?,
        None => 0,
    };
    cx.looked_up(&key, len > 0);
    cx.reply.integer(len as i64);
    Ok(())
}

fn lrange(cx: &mut Cx<'_>) -> Outcome {
    let (start, stop) = (integer(cx.args.arg(2))?, integer(cx.args.arg(3))?);
    let key = cx.key(1);
    let reply = &mut cx.reply;
    let found = match cx.tx.list(&key, Open::Existing)? {
        Some(mut list) => {
            let range = clamp(start, stop, list.len()?);
            reply.array((range.end - range.start) as usize);
            list.range(range.start, range.end, End::Head, &mut |element| {
                reply.bulk(element);
                true
            })?;
            true
        }
        None => {
            reply.array(0);
            false
        }
    };
    cx.looked_up(&key, found);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{clamp, place};

    #[test]
    fn ranges_are_clamped() {
        assert_eq!(clamp(0, -1, 3), 0..3);
        assert_eq!(clamp(-2, -1, 3), 1..3);
        assert_eq!(clamp(-100, 100, 3), 0..3);
        assert_eq!(clamp(1, 1, 3), 1..2);
        for (start, stop) in [(2, 1), (3, 5), (0, -4), (-1, -2), (i64::MAX, i64::MIN)] {
            assert!(clamp(start, stop, 3).is_empty(), "{start} {stop}");
        }
        assert_eq!(clamp(i64::MIN, i64::MAX, 3), 0..3);
        assert!(clamp(0, -1, 0).is_empty());
    }

    #[test]
    fn places() {
        assert_eq!(place(0, 3), Some(0));
        assert_eq!(place(-1, 3), Some(2));
        assert_eq!(place(-3, 3), Some(0));
        assert_eq!(place(3, 3), None);
        assert_eq!(place(i64::MIN, 3), None);
    }
}
