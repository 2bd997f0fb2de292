//! XACK and XPENDING.

use super::ids::{first_id, last_id};
use super::{ids_from, no_group, write_id};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX};
use engine::text::args::integer;
use resp::Reply;
use storage::Open;
use storage::stream::{Pending, Stream, StreamId};

pub(super) fn xack(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, args) = (cx.key(1), cx.args.arg(2), cx.args);
    let mut acknowledged = 0;
    if let Some(mut stream) = cx.tx.stream(&key, Open::Existing)?
        && stream.group(group)?.is_some()
    {
        for id in ids_from(args, 3)? {
            acknowledged += u64::from(stream.remove_pending(group, id)?);
        }
    }
    cx.changed_silently(acknowledged);
    cx.reply.integer(acknowledged as i64);
    Ok(())
}

/// Which pending entries to show.
struct Filter<'a> {
    first: StreamId,
    last: StreamId,
    count: u64,
    idle_ms: i64,
    consumer: Option<&'a [u8]>,
}

/// `[[IDLE min-idle-time] start end count [consumer]]`
fn parse<'a>(cx: &Cx<'a>) -> Result<Option<Filter<'a>>, Failure> {
    if cx.argc() == 3 {
        return Ok(None);
    }
    if !(6..=9).contains(&cx.argc()) {
        return Err(SYNTAX);
    }
    let (mut at, mut idle_ms) = (3, 0);
    if cx.is(3, "IDLE") {
        idle_ms = integer(cx.args.arg(4))?;
        at = 5;
        if cx.argc() < 8 {
            return Err(SYNTAX);
        }
    }
    let count = integer(cx.args.arg(at + 2))?.max(0) as u64;
    let first = first_id(cx.args.arg(at))?;
    let last = last_id(cx.args.arg(at + 1))?;
    Ok(Some(Filter { first, last, count, idle_ms, consumer: cx.args.get(at + 3) }))
}

pub(super) fn xpending(cx: &mut Cx<'_>) -> Outcome {
    let filter = parse(cx)?;
    let (key, group, now_ms) = (cx.key(1), cx.args.arg(2), cx.now.wall_ms);
    let reply = &mut cx.reply;
    // Whether the key is there, and the group.
    let found = match cx.tx.stream(&key, Open::Existing)? {
        None => (false, false),
        Some(mut stream) => match (stream.group(group)?, filter) {
            (None, _) => (true, false),
            (Some(known), None) => {
                summary(reply, &mut *stream, group, known.pending)?;
                (true, true)
            }
            (Some(_), Some(filter)) => {
                list(reply, &mut *stream, group, &filter, now_ms)?;
                (true, true)
            }
        },
    };
    cx.looked_up(&key, found.0);
    if found.1 { Ok(()) } else { Err(no_group(key.bytes, group, "")) }
}

/// Replies with the number of pending entries, their lowest and highest IDs, and the number for
/// each consumer.
fn summary(reply: &mut Reply<'_>, stream: &mut dyn Stream, group: &[u8], pending: u64) -> Outcome {
    reply.array(4);
    reply.integer(pending as i64);
    if pending == 0 {
        reply.null();
        reply.null();
        reply.null_array();
        return Ok(());
    }
    let (first, last) = stream.pending_ends(group)?.unwrap_or_default();
    write_id(reply, first);
    write_id(reply, last);
    let mark = reply.deferred();
    let mut consumers = 0;
    stream.consumers(group, &mut |name, consumer| {
        if consumer.pending > 0 {
            reply.array(2);
            reply.bulk(name);
            reply.bulk_i64(consumer.pending as i64);
            consumers += 1;
        }
    })?;
    reply.finish_array(mark, consumers);
    Ok(())
}

fn list(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    group: &[u8],
    filter: &Filter<'_>,
    now_ms: u64,
) -> Outcome {
    let mark = reply.deferred();
    let mut shown = 0;
    if filter.count > 0 {
        stream.pending(group, filter.consumer, filter.first, filter.last, &mut |entry| {
            let idle_ms = now_ms as i64 - entry.delivered_ms as i64;
            if filter.idle_ms == 0 || idle_ms >= filter.idle_ms {
                write_pending(reply, &entry, idle_ms.max(0));
                shown += 1;
            }
            shown < filter.count
        })?;
    }
    reply.finish_array(mark, shown as usize);
    Ok(())
}

/// Replies with a pending entry; `time` is how long ago, or when, it was delivered.
pub(super) fn write_pending(reply: &mut Reply<'_>, entry: &Pending<'_>, time: i64) {
    reply.array(4);
    write_id(reply, entry.id);
    reply.bulk(entry.consumer);
    reply.integer(time);
    reply.integer(entry.deliveries as i64);
}
