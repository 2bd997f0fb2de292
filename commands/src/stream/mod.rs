//! Stream commands.

mod adding;
mod claiming;
mod counters;
mod groups;
mod ids;
mod info;
mod pending;
mod ranging;
mod reading;
mod rows;
mod trimming;

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure, shown};
use engine::notify::keyspace::Class;
use ids::{id_text, strict_id};
use resp::{Reply, Request};
use smallvec::SmallVec;
use storage::stream::{Fields, Stream, StreamId};
use storage::{Key, Open};

pub use rows::COMMANDS;

/// IDs among arguments.
type Ids = SmallVec<[StreamId; 8]>;

/// All arguments from `at` on as IDs.
fn ids_from(args: Request<'_>, at: usize) -> Result<Ids, Failure> {
    (at..args.len()).map(|i| strict_id(args.arg(i), 0)).collect()
}

/// Replies with an ID.
fn write_id(reply: &mut Reply<'_>, id: StreamId) {
    reply.bulk(&id_text(id));
}

/// Replies with an entry.
fn write_entry(reply: &mut Reply<'_>, id: StreamId, fields: &Fields<'_>) {
    reply.array(2);
    write_id(reply, id);
    reply.array(fields.len() * 2);
    fields.for_each(|name, value| {
        reply.bulk(name);
        reply.bulk(value);
    });
}

/// Replies with the entry of an ID; false, and no reply, when there is none.
fn write_one(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    id: StreamId,
) -> Result<bool, Failure> {
    let mut found = false;
    stream.range(id, id, false, &mut |id, fields| {
        write_entry(reply, id, &fields);
        found = true;
        false
    })?;
    Ok(found)
}

/// Replies with the entries from `first` to `last`, at most `count` (0: all).
fn write_range(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    (first, last): (StreamId, StreamId),
    reverse: bool,
    count: u64,
) -> Outcome {
    let mark = reply.deferred();
    let mut written = 0;
    stream.range(first, last, reverse, &mut |id, fields| {
        write_entry(reply, id, &fields);
        written += 1;
        written != count
    })?;
    reply.finish_array(mark, written as usize);
    Ok(())
}

/// `NOGROUP …` of commands that need key and group.
fn no_group(key: &[u8], group: &[u8], context: &str) -> Failure {
    let (key, group) = (shown(key), shown(group));
    Failure::text(format!("NOGROUP No such key '{key}' or consumer group '{group}'{context}"))
}

/// `NOGROUP …` of commands that have found the key.
fn no_such_group(key: &[u8], group: &[u8]) -> Failure {
    let (key, group) = (shown(key), shown(group));
    Failure::text(format!("NOGROUP No such consumer group '{group}' for key name '{key}'"))
}

/// A consumer about to be used: made when it is not there, and seen now. Returns when it was last
/// active, and whether it is new.
fn see_consumer(
    stream: &mut dyn Stream,
    group: &[u8],
    consumer: &[u8],
    now_ms: u64,
) -> Result<(Option<u64>, bool), Failure> {
    let active_ms = stream.consumer(group, consumer)?.and_then(|known| known.active_ms);
    let new = stream.set_consumer(group, consumer, now_ms, active_ms)?;
    Ok((active_ms, new))
}

/// Announces a change of a stream's groups. Redis does not count that as a change of the value:
/// there is an event, but `WATCH` does not notice it.
fn changed_aside(cx: &mut Cx<'_>, key: &Key<'_>, event: &'static str) {
    cx.changed_silently(1);
    cx.notify(key, Class::Stream, event);
}

/// Announces a consumer that a command has created as a side effect, and logs its creation
/// separately, because the command may do nothing else.
fn consumer_made(cx: &mut Cx<'_>, key: &Key<'_>, group: &[u8], consumer: &[u8]) {
    changed_aside(cx, key, "xgroup-createconsumer");
    cx.log(&[b"XGROUP", b"CREATECONSUMER", key.bytes, group, consumer]);
}

fn xlen(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let len = match cx.tx.stream(&key, Open::Existing)? {
        Some(mut stream) => Some(stream.info()?.len),
        None => None,
    };
    cx.looked_up(&key, len.is_some());
    cx.reply.integer(len.unwrap_or(0) as i64);
    Ok(())
}

fn xdel(cx: &mut Cx<'_>) -> Outcome {
    let (key, args) = (cx.key(1), cx.args);
    let mut deleted = 0;
    if let Some(mut stream) = cx.tx.stream(&key, Open::Existing)? {
        for id in ids_from(args, 2)? {
            deleted += u64::from(stream.delete(id)?);
        }
    }
    if deleted > 0 {
        cx.modified_by(deleted, &key, Class::Stream, "xdel");
    }
    cx.reply.integer(deleted as i64);
    Ok(())
}

/// The parsed arguments of `XSETID`.
struct SetIds {
    last_id: StreamId,
    max_deleted_id: Option<StreamId>,
    entries_added: Option<u64>,
}

fn parse_xsetid(cx: &Cx<'_>) -> Result<SetIds, Failure> {
    let last_id = strict_id(cx.args.arg(2), 0)?;
    let mut ids = SetIds { last_id, max_deleted_id: None, entries_added: None };
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        if let Some(value) = args.option("ENTRIESADDED") {
            let added =
                engine::text::args::non_negative(value, "ERR entries_added must be positive")?;
            ids.entries_added = Some(added);
        } else if let Some(value) = args.option("MAXDELETEDID") {
            let deleted = strict_id(value, 0)?;
            if last_id < deleted {
                return Err(failure(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
            // Zero means none, and changes nothing.
            ids.max_deleted_id = Some(deleted).filter(|id| *id != StreamId::MIN);
        } else {
            return Err(engine::failure::SYNTAX);
        }
    }
    Ok(ids)
}

fn xsetid(cx: &mut Cx<'_>) -> Outcome {
    let SetIds { last_id, max_deleted_id, entries_added } = parse_xsetid(cx)?;
    let key = cx.key(1);
    let Some(mut stream) = cx.tx.stream(&key, Open::Existing)? else {
        return Err(engine::failure::NO_SUCH_KEY);
    };
    let info = stream.info()?;
    if last_id < info.max_deleted_id {
        return Err(failure(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if info.len > 0 && last_id < info.top_id {
        return Err(failure(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if info.len > 0 && entries_added.is_some_and(|added| added < info.len) {
        return Err(failure(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    stream.set_ids(last_id, max_deleted_id, entries_added)?;
    drop(stream);
    changed_aside(cx, &key, "xsetid");
    cx.reply.ok();
    Ok(())
}
