//! String commands.

mod counters;
mod lcs;
mod multi;
mod parts;
mod rows;
mod set;

use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::notify::keyspace::Class;
use storage::{Key, NewExpiry, Str};

pub use rows::COMMANDS;

/// Replies with a value, or with nothing; whether there was one.
#[inline]
fn reply_value(cx: &mut Cx<'_>, key: &Key<'_>) -> Result<bool, Failure> {
    let found = match cx.tx.string(key)? {
        Some(Str::Bytes(value)) => {
            cx.reply.bulk(value);
            true
        }
        Some(Str::Shared(value)) => {
            cx.reply.bulk_shared(value.clone());
            true
        }
        None => {
            cx.reply.null();
            false
        }
    };
    cx.looked_up(key, found);
    Ok(found)
}

/// Redis's longest `embstr`.
const EMBSTR_MAX: u64 = 44;

/// Sets a key to a string that Redis would have built in place, and so reports as `raw`.
pub(super) fn set_raw(cx: &mut Cx<'_>, key: &Key<'_>, value: &[u8], expiry: NewExpiry) -> Outcome {
    cx.tx.set_string(key, value, expiry)?;
    unshare(cx, key)
}

/// A string that was to be changed in place is `raw` from then on, whether or not it changed.
pub(super) fn unshare(cx: &mut Cx<'_>, key: &Key<'_>) -> Outcome {
    let len = cx.tx.string_len(key)?;
    if (1..=EMBSTR_MAX).contains(&len) {
        let mut first = Vec::with_capacity(1);
        cx.tx.get_range(key, 0, 1, &mut first)?;
        cx.tx.set_range(key, 0, &first)?;
    }
    Ok(())
}

/// Refuses a string that would exceed `proto-max-bulk-len`. As in Redis, this applies to every
/// client.
fn check_len(cx: &Cx<'_>, len: u64, more: u64) -> Outcome {
    let total = len.checked_add(more);
    match total.is_some_and(|total| total <= cx.engine.config.memory(Id::ProtoMaxBulkLen)) {
        true => Ok(()),
        false => Err(failure("ERR string exceeds maximum allowed size (proto-max-bulk-len)")),
    }
}

fn get(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    reply_value(cx, &key)?;
    Ok(())
}

fn getdel(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    if reply_value(cx, &key)? {
        cx.tx.remove(&key)?;
        cx.log(&[b"DEL", key.bytes]);
        cx.modified(&key, Class::Generic, "del");
    }
    Ok(())
}

fn strlen(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let len = cx.tx.string_len(&key)?;
    let found = len > 0 || cx.tx.kind(&key)?.is_some();
    cx.looked_up(&key, found);
    cx.reply.integer(len as i64);
    Ok(())
}
