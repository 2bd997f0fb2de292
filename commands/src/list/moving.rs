//! LMOVE, RPOPLPUSH, and BLMOVE, BRPOPLPUSH, which wait for something to move.

use super::{end_of, end_word, pop_event, push_event, removed};
use crate::waiting::{is_ready, timeout_us, wait};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, WRONG_TYPE};
use engine::notify::keyspace::Class;
use storage::types::End;
use storage::{Key, Kind, Open, Tx};

/// Which end is taken from, and which is added to.
#[derive(Clone, Copy)]
struct Ends {
    from: End,
    to: End,
}

const RIGHT_TO_LEFT: Ends = Ends { from: End::Tail, to: End::Head };

fn parse_ends(cx: &Cx<'_>) -> Result<Ends, Failure> {
    Ok(Ends { from: end_of(cx.args.arg(3))?, to: end_of(cx.args.arg(4))? })
}

/// The element that was moved, and the number of elements that the source has left.
struct Moved {
    element: Vec<u8>,
    left: u64,
}

/// Moves one element; `None` when there is no source.
fn move_element(
    tx: &mut dyn Tx,
    source: &Key<'_>,
    destination: &Key<'_>,
    ends: Ends,
) -> Result<Option<Moved>, Failure> {
    let Some(mut list) = tx.list(source, Open::Existing)? else { return Ok(None) };
    if source.bytes == destination.bytes {
        // Under one handle: a list of one element is not gone in between, and keeps its expiry.
        let Some(element) = list.pop(ends.from)? else { return Ok(None) };
        list.push(ends.to, &element)?;
        return Ok(Some(Moved { element, left: list.len()? }));
    }
    drop(list);
    if tx.kind(destination)?.is_some_and(|kind| kind != Kind::List) {
        return Err(WRONG_TYPE);
    }
    let Some(mut list) = tx.list(source, Open::Existing)? else { return Ok(None) };
    let Some(element) = list.pop(ends.from)? else { return Ok(None) };
    let left = list.len()?;
    drop(list);
    if let Some(mut list) = tx.list(destination, Open::Create)? {
        list.push(ends.to, &element)?;
    }
    Ok(Some(Moved { element, left }))
}

/// Moves one element from argument 1 to argument 2 and replies with it.
fn move_and_reply(cx: &mut Cx<'_>, ends: Ends) -> Outcome {
    let (source, destination) = (cx.key(1), cx.key(2));
    let Some(moved) = move_element(cx.tx, &source, &destination, ends)? else {
        cx.reply.null();
        return Ok(());
    };
    cx.modified(&destination, Class::List, push_event(ends.to));
    removed(cx, &source, pop_event(ends.from), 1, moved.left);
    cx.reply.bulk(&moved.element);
    Ok(())
}

pub(super) fn lmove(cx: &mut Cx<'_>) -> Outcome {
    let ends = parse_ends(cx)?;
    move_and_reply(cx, ends)
}

pub(super) fn rpoplpush(cx: &mut Cx<'_>) -> Outcome {
    move_and_reply(cx, RIGHT_TO_LEFT)
}

/// Moves now or later; true when it was now.
fn move_or_wait(cx: &mut Cx<'_>, ends: Ends, timeout: &[u8]) -> Result<bool, Failure> {
    let timeout = timeout_us(timeout, cx.now.wall_ms)?;
    let source = cx.key(1);
    if is_ready(cx, &source, Kind::List)? {
        move_and_reply(cx, ends)?;
        return Ok(true);
    }
    wait(cx, 1..2, timeout, |reply| reply.null())?;
    Ok(false)
}

pub(super) fn blmove(cx: &mut Cx<'_>) -> Outcome {
    let ends = parse_ends(cx)?;
    if move_or_wait(cx, ends, cx.args.arg(5))? {
        let (source, destination) = (cx.args.arg(1), cx.args.arg(2));
        cx.log(&[b"LMOVE", source, destination, end_word(ends.from), end_word(ends.to)]);
    }
    Ok(())
}

pub(super) fn brpoplpush(cx: &mut Cx<'_>) -> Outcome {
    if move_or_wait(cx, RIGHT_TO_LEFT, cx.args.arg(3))? {
        cx.log(&[b"RPOPLPUSH", cx.args.arg(1), cx.args.arg(2)]);
    }
    Ok(())
}
