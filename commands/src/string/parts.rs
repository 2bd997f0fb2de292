//! APPEND, GETRANGE, SETRANGE: parts of a string.

use super::check_len;
use engine::cx::Cx;
use engine::failure::{Outcome, failure};
use engine::notify::keyspace::Class;
use engine::text::args::integer;

pub(super) fn append(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let suffix = cx.args.arg(2);
    let before = cx.tx.string_len(&key)?;
    check_len(cx, before, suffix.len() as u64)?;
    let len = cx.tx.append(&key, suffix)?;
    cx.modified(&key, Class::String, "append");
    cx.reply.integer(len as i64);
    Ok(())
}

/// The bytes `start..end` of `len` that Redis's inclusive, possibly negative indices mean.
fn slice(start: i64, end: i64, len: u64) -> Option<(u64, u64)> {
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return None;
    }
    let from_end = |index: i64| match index {
        0.. => index as u64,
        _ => len.saturating_sub(index.unsigned_abs()),
    };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    (start <= end).then_some((start, end + 1))
}

pub(super) fn getrange(cx: &mut Cx<'_>) -> Outcome {
    let (start, end) = (integer(cx.args.arg(2))?, integer(cx.args.arg(3))?);
    let key = cx.key(1);
    let len = cx.tx.string_len(&key)?;
    let found = len > 0 || cx.tx.kind(&key)?.is_some();
    cx.looked_up(&key, found);
    match slice(start, end, len) {
        Some((start, end)) => {
            let tx = &mut *cx.tx;
            let len = (end - start) as usize;
            cx.reply.bulk_with(len, |out| tx.get_range(&key, start, end, out))?;
        }
        None => cx.reply.bulk(b""),
    }
    Ok(())
}

pub(super) fn setrange(cx: &mut Cx<'_>) -> Outcome {
    let offset = integer(cx.args.arg(2))?;
    let offset = u64::try_from(offset).map_err(|_| failure("ERR offset is out of range"))?;
    let key = cx.key(1);
    let bytes = cx.args.arg(3);
    // Asked for its type first: nothing to write is no excuse for a list.
    let before = cx.tx.string_len(&key)?;
    if bytes.is_empty() {
        cx.reply.integer(before as i64);
        return Ok(());
    }
    check_len(cx, offset, bytes.len() as u64)?;
    let len = cx.tx.set_range(&key, offset, bytes)?;
    cx.modified(&key, Class::String, "setrange");
    cx.reply.integer(len as i64);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::slice;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn slices_are_those_of_clamped_indices(start in -9i64..9, end in -9i64..9, len in 0u64..7) {
            let clamp = |index: i64| if index < 0 { (index + len as i64).max(0) } else { index };
            let wanted: Vec<i64> = (0..len as i64)
                .filter(|i| *i >= clamp(start) && *i <= clamp(end))
                .collect();
            let both_before = start < 0 && end < 0 && start > end;
            match slice(start, end, len) {
                Some((from, to)) => prop_assert_eq!((from as i64..to as i64).collect::<Vec<_>>(), wanted),
                None => prop_assert!(wanted.is_empty() || both_before),
            }
        }
    }
}
