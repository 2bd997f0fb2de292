//! RENAME, RENAMENX, MOVE, COPY: values that get another place.

use super::{SAME_OBJECT, database};
use crate::string::unshare;
use engine::cx::Cx;
use engine::failure::{Failure, NO_SUCH_KEY, Outcome, SYNTAX};
use engine::notify::keyspace::Class;
use storage::{Error, Key, Kind, rdb};

/// Renames argument 1 to argument 2; false when the target was there and had to stay.
fn rename_key(cx: &mut Cx<'_>, replace: bool) -> Result<bool, Failure> {
    let (from, to) = (cx.key(1), cx.key(2));
    if cx.tx.kind(&from)?.is_none() {
        return Err(NO_SUCH_KEY);
    }
    if from.bytes == to.bytes {
        return Ok(replace);
    }
    if !replace && cx.tx.kind(&to)?.is_some() {
        return Ok(false);
    }
    cx.tx.rename(&from, &to)?;
    cx.created(&to);
    cx.modified(&from, Class::Generic, "rename_from");
    cx.modified(&to, Class::Generic, "rename_to");
    Ok(true)
}

pub(super) fn rename(cx: &mut Cx<'_>) -> Outcome {
    rename_key(cx, true)?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn renamenx(cx: &mut Cx<'_>) -> Outcome {
    let renamed = rename_key(cx, false)?;
    cx.reply.integer(renamed.into());
    Ok(())
}

pub(super) fn move_key(cx: &mut Cx<'_>) -> Outcome {
    let db = database(cx, 2)?;
    let from = cx.key(1);
    // A key has the same hash, and so the same shard, in every database.
    let to = Key { db, ..from };
    if db == from.db {
        return Err(SAME_OBJECT);
    }
    let moved = cx.tx.kind(&from)?.is_some() && cx.tx.kind(&to)?.is_none();
    if moved {
        cx.tx.rename(&from, &to)?;
        cx.created(&to);
        cx.modified(&from, Class::Generic, "move_from");
        cx.modified(&to, Class::Generic, "move_to");
    }
    cx.reply.integer(moved.into());
    Ok(())
}

pub(super) fn copy(cx: &mut Cx<'_>) -> Outcome {
    let (mut db, mut replace) = (cx.session.db, false);
    let mut args = cx.args_from(3);
    while !args.is_empty() {
        if args.keyword("REPLACE") {
            replace = true;
        } else if args.keyword_before("DB", 1) {
            db = database(cx, args.at())?;
            args.expect()?;
        } else {
            return Err(SYNTAX);
        }
    }
    let from = cx.key(1);
    let to = Key { db, ..cx.key(2) };
    if from.db == to.db && from.bytes == to.bytes {
        return Err(SAME_OBJECT);
    }
    let found = cx.tx.kind(&from)?.is_some();
    cx.looked_up(&from, found);
    let copied = found && (replace || cx.tx.kind(&to)?.is_none());
    if copied {
        copy_value(cx, &from, &to)?;
        cx.created(&to);
        cx.modified(&to, Class::Generic, "copy_to");
    }
    cx.reply.integer(copied.into());
    Ok(())
}

/// Value and expiry, by way of the encoding all backends share.
fn copy_value(cx: &mut Cx<'_>, from: &Key<'_>, to: &Key<'_>) -> Outcome {
    let expiry = cx.tx.expiry(from)?.flatten();
    let mut payload = Vec::new();
    cx.tx.dump(from, &mut payload)?;
    rdb::seal_payload(&mut payload);
    let object = rdb::decode_payload(&payload).map_err(Error::corrupt)?;
    cx.tx.restore(to, object, expiry)?;
    // The payload does not tell how a string was made.
    match cx.tx.kind(from)? {
        Some(Kind::String) if cx.tx.info(from, 0)?.is_some_and(|info| info.encoding == "raw") => {
            unshare(cx, to)
        }
        _ => Ok(()),
    }
}
