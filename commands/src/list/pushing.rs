//! LPUSH, RPUSH, LPUSHX, RPUSHX.

use super::push_event;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome};
use engine::notify::keyspace::Class;
use storage::types::End;
use storage::{Key, Open};

/// Adds the arguments from the second on; the new length, `None` when there is no list and `open`
/// does not create one.
fn push_all(cx: &mut Cx<'_>, key: &Key<'_>, end: End, open: Open) -> Result<Option<u64>, Failure> {
    let Some(mut list) = cx.tx.list(key, open)? else { return Ok(None) };
    for i in 2..cx.args.len() {
        list.push(end, cx.args.arg(i))?;
    }
    Ok(Some(list.len()?))
}

fn push(cx: &mut Cx<'_>, end: End, open: Open) -> Outcome {
    let key = cx.key(1);
    let len = push_all(cx, &key, end, open)?;
    if len.is_some() {
        cx.modified_by(cx.argc() as u64 - 2, &key, Class::List, push_event(end));
    }
    cx.reply.integer(len.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn lpush(cx: &mut Cx<'_>) -> Outcome {
    push(cx, End::Head, Open::Create)
}

pub(super) fn rpush(cx: &mut Cx<'_>) -> Outcome {
    push(cx, End::Tail, Open::Create)
}

pub(super) fn lpushx(cx: &mut Cx<'_>) -> Outcome {
    push(cx, End::Head, Open::Existing)
}

pub(super) fn rpushx(cx: &mut Cx<'_>) -> Outcome {
    push(cx, End::Tail, Open::Existing)
}
