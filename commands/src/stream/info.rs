//! XINFO.

use super::counters::lag;
use super::pending::write_pending;
use super::{no_such_group, write_entry, write_id, write_range};
use engine::cx::Cx;
use engine::failure::{Failure, NO_SUCH_KEY, Outcome, subcommand_syntax};
use engine::text::args::integer;
use resp::Reply;
use storage::Open;
use storage::stream::{ConsumerInfo, GroupInfo, Stream, StreamId, StreamInfo};

/// Entries shown by `FULL` without `COUNT`.
const COUNT_DEFAULT: u64 = 10;

/// `[FULL [COUNT count]]`: how many entries `FULL` shows (0: all).
fn full_option(cx: &Cx<'_>) -> Result<Option<u64>, Failure> {
    match cx.argc() {
        3 => Ok(None),
        4 if cx.is(3, "FULL") => Ok(Some(COUNT_DEFAULT)),
        6 if cx.is(3, "FULL") && cx.is(4, "COUNT") => {
            Ok(Some(u64::try_from(integer(cx.args.arg(5))?).unwrap_or(COUNT_DEFAULT)))
        }
        _ => Err(subcommand_syntax(cx.args)),
    }
}

pub(super) fn stream(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(2);
    let option = full_option(cx);
    let reply = &mut cx.reply;
    let found = match cx.tx.stream(&key, Open::Existing)? {
        None => false,
        Some(mut stream) => {
            let full = option?;
            let info = stream.info()?;
            reply.map(if full.is_some() { 9 } else { 10 });
            write_numbers(reply, &info);
            match full {
                None => write_ends(reply, &mut *stream, &info)?,
                Some(count) => write_full(reply, &mut *stream, &info, count)?,
            }
            true
        }
    };
    cx.looked_up(&key, found);
    if found { Ok(()) } else { Err(NO_SUCH_KEY) }
}

/// The number of nodes of a radix tree with this many keys that differ at one place. Redis's tree
/// branches like the IDs; ours is not a tree.
fn tree_nodes(keys: u64) -> u64 {
    match keys {
        0 => 1,
        1 => 2,
        keys => 2 + 2 * keys,
    }
}

fn write_numbers(reply: &mut Reply<'_>, info: &StreamInfo) {
    for (name, number) in [
        ("length", info.len),
        ("radix-tree-keys", info.nodes),
        ("radix-tree-nodes", tree_nodes(info.nodes)),
    ] {
        reply.bulk(name.as_bytes());
        reply.integer(number as i64);
    }
    reply.bulk(b"last-generated-id");
    write_id(reply, info.last_id);
    reply.bulk(b"max-deleted-entry-id");
    write_id(reply, info.max_deleted_id);
    reply.bulk(b"entries-added");
    reply.integer(info.entries_added as i64);
    reply.bulk(b"recorded-first-entry-id");
    write_id(reply, info.first_id);
}

fn write_ends(reply: &mut Reply<'_>, stream: &mut dyn Stream, info: &StreamInfo) -> Outcome {
    reply.bulk(b"groups");
    reply.integer(info.groups as i64);
    for (name, reverse) in [("first-entry", false), ("last-entry", true)] {
        reply.bulk(name.as_bytes());
        if info.len == 0 {
            reply.null();
        }
        stream.range(StreamId::MIN, StreamId::MAX, reverse, &mut |id, fields| {
            write_entry(reply, id, &fields);
            false
        })?;
    }
    Ok(())
}

fn write_full(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    info: &StreamInfo,
    count: u64,
) -> Outcome {
    reply.bulk(b"entries");
    write_range(reply, stream, (StreamId::MIN, StreamId::MAX), false, count)?;
    reply.bulk(b"groups");
    let groups = groups_of(stream)?;
    reply.array(groups.len());
    for (name, group) in &groups {
        reply.map(7);
        reply.bulk(b"name");
        reply.bulk(name);
        write_progress(reply, info, group);
        reply.bulk(b"pel-count");
        reply.integer(group.pending as i64);
        reply.bulk(b"pending");
        write_all_pending(reply, stream, name, None, count)?;
        reply.bulk(b"consumers");
        write_consumers(reply, stream, name, count)?;
    }
    Ok(())
}

/// Up to `count` (0: all) pending entries: of a group with the consumers' names, of a consumer
/// without.
fn write_all_pending(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    group: &[u8],
    consumer: Option<&[u8]>,
    count: u64,
) -> Outcome {
    let mark = reply.deferred();
    let mut shown = 0;
    stream.pending(group, consumer, StreamId::MIN, StreamId::MAX, &mut |entry| {
        let time = entry.delivered_ms as i64;
        if consumer.is_none() {
            write_pending(reply, &entry, time);
        } else {
            reply.array(3);
            write_id(reply, entry.id);
            reply.integer(time);
            reply.integer(entry.deliveries as i64);
        }
        shown += 1;
        shown != count
    })?;
    reply.finish_array(mark, shown as usize);
    Ok(())
}

fn write_consumers(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    group: &[u8],
    count: u64,
) -> Outcome {
    let consumers = consumers_of(stream, group)?;
    reply.array(consumers.len());
    for (name, consumer) in &consumers {
        reply.map(5);
        reply.bulk(b"name");
        reply.bulk(name);
        reply.bulk(b"seen-time");
        reply.integer(consumer.seen_ms as i64);
        reply.bulk(b"active-time");
        reply.integer(active_ms(consumer).unwrap_or(-1));
        reply.bulk(b"pel-count");
        reply.integer(consumer.pending as i64);
        reply.bulk(b"pending");
        write_all_pending(reply, stream, group, Some(name), count)?;
    }
    Ok(())
}

fn groups_of(stream: &mut dyn Stream) -> Result<Vec<(Vec<u8>, GroupInfo)>, Failure> {
    let mut groups = Vec::new();
    stream.groups(&mut |name, group| groups.push((name.to_vec(), *group)))?;
    Ok(groups)
}

fn consumers_of(
    stream: &mut dyn Stream,
    group: &[u8],
) -> Result<Vec<(Vec<u8>, ConsumerInfo)>, Failure> {
    let mut consumers = Vec::new();
    stream.consumers(group, &mut |name, consumer| consumers.push((name.to_vec(), *consumer)))?;
    Ok(consumers)
}

/// Writes how far a group has read.
fn write_progress(reply: &mut Reply<'_>, info: &StreamInfo, group: &GroupInfo) {
    reply.bulk(b"last-delivered-id");
    write_id(reply, group.last_id);
    reply.bulk(b"entries-read");
    match group.entries_read {
        Some(read) => reply.integer(read as i64),
        None => reply.null(),
    }
    reply.bulk(b"lag");
    match lag(info, group) {
        Some(lag) => reply.integer(lag),
        None => reply.null(),
    }
}

pub(super) fn groups(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(2);
    let reply = &mut cx.reply;
    let found = match cx.tx.stream(&key, Open::Existing)? {
        None => false,
        Some(mut stream) => {
            let (info, groups) = (stream.info()?, groups_of(&mut *stream)?);
            reply.array(groups.len());
            for (name, group) in &groups {
                reply.map(6);
                reply.bulk(b"name");
                reply.bulk(name);
                reply.bulk(b"consumers");
                reply.integer(group.consumers as i64);
                reply.bulk(b"pending");
                reply.integer(group.pending as i64);
                write_progress(reply, &info, group);
            }
            true
        }
    };
    cx.looked_up(&key, found);
    if found { Ok(()) } else { Err(NO_SUCH_KEY) }
}

pub(super) fn consumers(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, now_ms) = (cx.key(2), cx.args.arg(3), cx.now.wall_ms as i64);
    let reply = &mut cx.reply;
    let found = match cx.tx.stream(&key, Open::Existing)? {
        None => false,
        Some(mut stream) => {
            if stream.group(group)?.is_none() {
                return Err(no_such_group(key.bytes, group));
            }
            let consumers = consumers_of(&mut *stream, group)?;
            reply.array(consumers.len());
            for (name, consumer) in &consumers {
                reply.map(4);
                reply.bulk(b"name");
                reply.bulk(name);
                reply.bulk(b"pending");
                reply.integer(consumer.pending as i64);
                reply.bulk(b"idle");
                reply.integer(idle_ms(consumer, now_ms));
                reply.bulk(b"inactive");
                reply.integer(active_ms(consumer).map_or(-1, |at| now_ms - at));
            }
            true
        }
    };
    cx.looked_up(&key, found);
    if found { Ok(()) } else { Err(NO_SUCH_KEY) }
}

/// The time since a consumer was last seen. One that was restored from a log without a time counts
/// as seen now, so that clients do not take it for dead.
fn idle_ms(consumer: &ConsumerInfo, now_ms: i64) -> i64 {
    match consumer.seen_ms {
        0 => 0,
        at => (now_ms - at as i64).max(0),
    }
}

/// When a consumer last got something; 0, of one that a log brought back, is no time either.
fn active_ms(consumer: &ConsumerInfo) -> Option<i64> {
    consumer.active_ms.filter(|at| *at > 0).map(|at| at as i64)
}

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help(
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
        ],
    );
    Ok(())
}
