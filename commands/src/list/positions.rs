//! LINDEX, LSET, LINSERT, LREM, LTRIM, LPOS: elements by their index, and indices by their element.

use super::{clamp, place, removed};
use engine::cx::Cx;
use engine::failure::{Failure, INDEX_OUT_OF_RANGE, NO_SUCH_KEY, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use storage::types::{End, List};
use storage::{Open, Result as Stored};

pub(super) fn lindex(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let reply = &mut cx.reply;
    let found = match cx.tx.list(&key, Open::Existing)? {
        Some(mut list) => {
            let index = integer(cx.args.arg(2))?;
            let at = place(index, list.len()?);
            match at.map_or(Ok(None), |at| list.get(at))? {
                Some(element) => reply.bulk(element),
                None => reply.null(),
            }
            true
        }
        None => {
            reply.null();
            false
        }
    };
    cx.looked_up(&key, found);
    Ok(())
}

pub(super) fn lset(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let Some(mut list) = cx.tx.list(&key, Open::Existing)? else { return Err(NO_SUCH_KEY) };
    let index = integer(cx.args.arg(2))?;
    let at = place(index, list.len()?).ok_or(INDEX_OUT_OF_RANGE)?;
    list.set(at, cx.args.arg(3))?;
    drop(list);
    cx.modified(&key, Class::List, "lset");
    cx.reply.ok();
    Ok(())
}

/// The first index of `element`.
fn index_of(list: &mut dyn List, element: &[u8]) -> Stored<Option<u64>> {
    let (mut index, mut found) = (0, None);
    let len = list.len()?;
    list.range(0, len, End::Head, &mut |candidate| {
        if candidate == element {
            found = Some(index);
        }
        index += 1;
        found.is_none()
    })?;
    Ok(found)
}

pub(super) fn linsert(cx: &mut Cx<'_>) -> Outcome {
    let after = match () {
        () if cx.is(2, "AFTER") => 1,
        () if cx.is(2, "BEFORE") => 0,
        () => return Err(SYNTAX),
    };
    let key = cx.key(1);
    let Some(mut list) = cx.tx.list(&key, Open::Existing)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let Some(pivot) = index_of(&mut *list, cx.args.arg(3))? else {
        cx.reply.integer(-1);
        return Ok(());
    };
    list.insert(pivot + after, cx.args.arg(4))?;
    let len = list.len()?;
    drop(list);
    cx.modified(&key, Class::List, "linsert");
    cx.reply.integer(len as i64);
    Ok(())
}

pub(super) fn lrem(cx: &mut Cx<'_>) -> Outcome {
    let count = integer(cx.args.arg(2))?;
    let from = if count < 0 { End::Tail } else { End::Head };
    let key = cx.key(1);
    let Some(mut list) = cx.tx.list(&key, Open::Existing)? else {
        cx.reply.integer(0);
        return Ok(());
    };
    let gone = list.remove(cx.args.arg(3), count.unsigned_abs(), from)?;
    let left = list.len()?;
    drop(list);
    if gone > 0 {
        removed(cx, &key, "lrem", gone, left);
    }
    cx.reply.integer(gone as i64);
    Ok(())
}

pub(super) fn ltrim(cx: &mut Cx<'_>) -> Outcome {
    let (start, stop) = (integer(cx.args.arg(2))?, integer(cx.args.arg(3))?);
    let key = cx.key(1);
    let Some(mut list) = cx.tx.list(&key, Open::Existing)? else {
        cx.reply.ok();
        return Ok(());
    };
    let len = list.len()?;
    let kept = clamp(start, stop, len);
    let left = kept.end - kept.start;
    if left < len {
        list.trim(kept.start, kept.end)?;
    }
    drop(list);
    if left < len {
        removed(cx, &key, "ltrim", len - left, left);
    } else {
        // Redis tells of a trim that trims nothing.
        cx.notify(&key, Class::List, "ltrim");
    }
    cx.reply.ok();
    Ok(())
}

/// The parsed options of `LPOS`.
#[derive(Clone, Copy)]
struct Search {
    from: End,
    /// Matches to pass over.
    skip: u64,
    /// Matches to report (0: all); without it only the first, and not as an array.
    count: Option<u64>,
    /// Elements to compare (0: all).
    compared_max: u64,
}

fn parse_search(cx: &Cx<'_>) -> Result<Search, Failure> {
    let mut search = Search { from: End::Head, skip: 0, count: None, compared_max: 0 };
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        if let Some(value) = args.option("RANK") {
            let rank = parse_rank(value)?;
            search.from = if rank < 0 { End::Tail } else { End::Head };
            search.skip = rank.unsigned_abs() - 1;
        } else if let Some(value) = args.option("COUNT") {
            search.count = Some(not_negative(value, "ERR COUNT can't be negative")?);
        } else if let Some(value) = args.option("MAXLEN") {
            search.compared_max = not_negative(value, "ERR MAXLEN can't be negative")?;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(search)
}

fn parse_rank(value: &[u8]) -> Result<i64, Failure> {
    match integer(value)? {
        0 => Err(failure(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
        )),
        i64::MIN => Err(failure(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}

/// A number, with one error for whatever is none or negative.
fn not_negative(value: &[u8], error: &'static str) -> Result<u64, Failure> {
    integer(value).ok().and_then(|value| u64::try_from(value).ok()).ok_or(failure(error))
}

/// The indices of `element` that `search` asks for, in the order they are met.
fn positions(list: &mut dyn List, element: &[u8], search: Search) -> Stored<Vec<u64>> {
    let len = list.len()?;
    let compared = if search.compared_max == 0 { len } else { search.compared_max.min(len) };
    let (start, end) = match search.from {
        End::Head => (0, compared),
        End::Tail => (len - compared, len),
    };
    let wanted = match search.count.unwrap_or(1) {
        0 => usize::MAX,
        count => usize::try_from(count).unwrap_or(usize::MAX),
    };
    let (mut met, mut skip, mut found) = (0, search.skip, Vec::new());
    list.range(start, end, search.from, &mut |candidate| {
        let matches = candidate == element;
        if matches && skip == 0 {
            found.push(if search.from == End::Head { met } else { len - 1 - met });
        } else if matches {
            skip -= 1;
        }
        met += 1;
        found.len() < wanted
    })?;
    Ok(found)
}

pub(super) fn lpos(cx: &mut Cx<'_>) -> Outcome {
    let search = parse_search(cx)?;
    let key = cx.key(1);
    let found = match cx.tx.list(&key, Open::Existing)? {
        Some(mut list) => Some(positions(&mut *list, cx.args.arg(2), search)?),
        None => None,
    };
    cx.looked_up(&key, found.is_some());
    let found = found.unwrap_or_default();
    match (search.count, found.first()) {
        (Some(_), _) => {
            cx.reply.array(found.len());
            found.iter().for_each(|&at| cx.reply.integer(at as i64));
        }
        (None, Some(&at)) => cx.reply.integer(at as i64),
        (None, None) => cx.reply.null(),
    }
    Ok(())
}
