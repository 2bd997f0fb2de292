//! MGET, MSET, MSETNX: several strings at once.

use engine::cx::Cx;
use engine::failure::Outcome;
use engine::notify::keyspace::Class;
use storage::{Error, NewExpiry, Str};

/// `MGET`: a key of another type answers like one that is not there.
pub(super) fn mget(cx: &mut Cx<'_>) -> Outcome {
    cx.reply.array(cx.argc() - 1);
    for i in 1..cx.argc() {
        let key = cx.key(i);
        let found = match cx.tx.string(&key) {
            Ok(Some(Str::Bytes(value))) => {
                cx.reply.bulk(value);
                true
            }
            Ok(Some(Str::Shared(value))) => {
                cx.reply.bulk_shared(value.clone());
                true
            }
            Ok(None) => {
                cx.reply.null();
                false
            }
            Err(Error::WrongType) => {
                cx.reply.null();
                true
            }
            Err(other) => return Err(other.into()),
        };
        cx.looked_up(&key, found);
    }
    Ok(())
}

pub(super) fn mset(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc().is_multiple_of(2) {
        return Err(cx.wrong_arity());
    }
    set_all(cx)?;
    cx.reply.ok();
    Ok(())
}

pub(super) fn msetnx(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc().is_multiple_of(2) {
        return Err(cx.wrong_arity());
    }
    for i in (1..cx.argc()).step_by(2) {
        let key = cx.key(i);
        if cx.tx.kind(&key)?.is_some() {
            cx.reply.integer(0);
            return Ok(());
        }
    }
    set_all(cx)?;
    cx.reply.integer(1);
    Ok(())
}

fn set_all(cx: &mut Cx<'_>) -> Outcome {
    for i in (1..cx.argc()).step_by(2) {
        let key = cx.key(i);
        cx.tx.set_string(&key, cx.args.arg(i + 1), NewExpiry::Clear)?;
        cx.modified(&key, Class::String, "set");
    }
    Ok(())
}
