//! XGROUP.

use super::ids::{id, id_text, strict_id};
use super::{changed_aside, no_such_group};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure, subcommand_syntax};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use storage::stream::{Stream, StreamId};
use storage::{Key, Open};

const NO_KEY: Failure = failure(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);

/// `[MKSTREAM] [ENTRIESREAD entries-read]` from argument 5 on.
fn options(cx: &Cx<'_>, may_make: bool) -> Result<(bool, Option<u64>), Failure> {
    let (mut make, mut read, mut args) = (false, None, cx.args_from(5));
    while !args.is_empty() {
        if may_make && args.keyword("MKSTREAM") {
            make = true;
        } else if let Some(value) = args.option("ENTRIESREAD") {
            read = match integer(value)? {
                -1 => None,
                count => Some(
                    u64::try_from(count)
                        .map_err(|_| failure("ERR value for ENTRIESREAD must be positive or -1"))?,
                ),
            };
        } else {
            return Err(subcommand_syntax(cx.args));
        }
    }
    Ok((make, read))
}

/// Opens the stream of a subcommand, which must be there.
fn open<'t>(cx: &'t mut Cx<'_>, key: &Key<'t>) -> Result<Box<dyn Stream + 't>, Failure> {
    cx.tx.stream(key, Open::Existing)?.ok_or(NO_KEY)
}

/// As [`open`]; the group must be there, too.
fn open_group<'t>(
    cx: &'t mut Cx<'_>,
    key: &Key<'t>,
    group: &[u8],
) -> Result<Box<dyn Stream + 't>, Failure> {
    let mut stream = open(cx, key)?;
    match stream.group(group)? {
        Some(_) => Ok(stream),
        None => Err(no_such_group(key.bytes, group)),
    }
}

pub(super) fn create(cx: &mut Cx<'_>) -> Outcome {
    let (make, entries_read) = options(cx, true)?;
    let (key, group, from) = (cx.key(2), cx.args.arg(3), cx.args.arg(4));
    let last_id = match cx.tx.stream(&key, Open::Existing)? {
        Some(mut stream) => Some(stream.info()?.last_id),
        None => None,
    };
    if last_id.is_none() && !make {
        return Err(NO_KEY);
    }
    if cx.argc() > 8 {
        return Err(subcommand_syntax(cx.args));
    }
    let id = match from {
        b"$" => last_id.unwrap_or_default(),
        text => strict_id(text, 0)?,
    };
    let Some(mut stream) = cx.tx.stream(&key, Open::Create)? else { return Err(NO_KEY) };
    if stream.group(group)?.is_some() {
        return Err(failure("BUSYGROUP Consumer Group name already exists"));
    }
    stream.set_group(group, id, entries_read)?;
    drop(stream);
    match last_id {
        Some(_) => changed_aside(cx, &key, "xgroup-create"),
        None => cx.modified(&key, Class::Stream, "xgroup-create"),
    }
    cx.reply.ok();
    Ok(())
}

pub(super) fn setid(cx: &mut Cx<'_>) -> Outcome {
    let (_, entries_read) = options(cx, false)?;
    let (key, group, from) = (cx.key(2), cx.args.arg(3), cx.args.arg(4));
    let args = cx.args;
    let mut stream = open_group(cx, &key, group)?;
    if !matches!(args.len(), 5 | 7) {
        return Err(subcommand_syntax(args));
    }
    let last_id = match from {
        b"$" => stream.info()?.last_id,
        text => id(text, 0)?,
    };
    stream.set_group(group, last_id, entries_read)?;
    drop(stream);
    changed_aside(cx, &key, "xgroup-setid");
    cx.reply.ok();
    Ok(())
}

pub(super) fn destroy(cx: &mut Cx<'_>) -> Outcome {
    let (key, group) = (cx.key(2), cx.args.arg(3));
    let gone = open(cx, &key)?.remove_group(group)?;
    if gone {
        changed_aside(cx, &key, "xgroup-destroy");
        // Those who wait for the group learn that it is gone.
        cx.wake_blocked(&key);
    }
    cx.reply.integer(gone.into());
    Ok(())
}

pub(super) fn createconsumer(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, name) = (cx.key(2), cx.args.arg(3), cx.args.arg(4));
    let now_ms = cx.now.wall_ms;
    let mut stream = open_group(cx, &key, group)?;
    let new = stream.consumer(group, name)?.is_none();
    if new {
        stream.set_consumer(group, name, now_ms, None)?;
    }
    drop(stream);
    if new {
        changed_aside(cx, &key, "xgroup-createconsumer");
    }
    cx.reply.integer(new.into());
    Ok(())
}

pub(super) fn delconsumer(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, name) = (cx.key(2), cx.args.arg(3), cx.args.arg(4));
    let pending = open_group(cx, &key, group)?.remove_consumer(group, name)?;
    if pending.is_some() {
        changed_aside(cx, &key, "xgroup-delconsumer");
    }
    cx.reply.integer(pending.unwrap_or(0) as i64);
    Ok(())
}

pub(super) fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help(
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
        ],
    );
    Ok(())
}

/// Logs how far a group has read.
pub(super) fn log_read(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    group: &[u8],
    last_id: StreamId,
    entries_read: Option<u64>,
) {
    let mut count = itoa::Buffer::new();
    let count = entries_read.map_or("-1", |read| count.format(read));
    let id = id_text(last_id);
    cx.log(&[b"XGROUP", b"SETID", key.bytes, group, &id, b"ENTRIESREAD", count.as_bytes()]);
}
