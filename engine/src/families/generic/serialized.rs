//! DUMP and RESTORE.

use crate::args::integer;
use crate::cx::Cx;
use crate::expiry::{PX, PXAT, is_past};
use crate::failure::{Failure, Outcome, SYNTAX, failure};
use crate::keyspace::Class;
use storage::rdb;

pub(super) fn dump(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let mut payload = Vec::new();
    let found = cx.tx.dump(&key, &mut payload)?;
    cx.looked_up(&key, found);
    if found {
        rdb::seal_payload(&mut payload);
        cx.reply.bulk_shared(payload.into());
    } else {
        cx.reply.null();
    }
    Ok(())
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_time: bool,
    freq: bool,
}

/// `IDLETIME` and `FREQ` are checked and then dropped: a restored key counts as just used.
fn parse(cx: &Cx<'_>) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut i = 4;
    while i < cx.argc() {
        let more = i + 1 < cx.argc();
        if cx.is(i, "REPLACE") {
            options.replace = true;
        } else if cx.is(i, "ABSTTL") {
            options.absolute = true;
        } else if cx.is(i, "IDLETIME") && more && !options.freq {
            if integer(cx.args.arg(i + 1))? < 0 {
                return Err(failure("ERR Invalid IDLETIME value, must be >= 0"));
            }
            options.idle_time = true;
            i += 1;
        } else if cx.is(i, "FREQ") && more && !options.idle_time {
            if !(0..=255).contains(&integer(cx.args.arg(i + 1))?) {
                return Err(failure("ERR Invalid FREQ value, must be >= 0 and <= 255"));
            }
            options.freq = true;
            i += 1;
        } else {
            return Err(SYNTAX);
        }
        i += 1;
    }
    Ok(options)
}

/// The expiry argument 2 means: 0 is none.
fn expiry(cx: &Cx<'_>, options: &Options) -> Result<Option<i64>, Failure> {
    let invalid = failure("ERR Invalid TTL value, must be >= 0");
    let ttl = integer(cx.args.arg(2))?;
    if ttl < 0 {
        return Err(invalid);
    }
    let unit = if options.absolute { PXAT } else { PX };
    let at = unit.absolute(ttl, cx.now.wall_ms).ok_or(invalid)?;
    Ok((ttl != 0).then_some(at))
}

pub(super) fn restore(cx: &mut Cx<'_>) -> Outcome {
    let options = parse(cx)?;
    let key = cx.key(1);
    if !options.replace && cx.tx.kind(&key)?.is_some() {
        return Err(failure("BUSYKEY Target key name already exists."));
    }
    let expiry = expiry(cx, &options)?;
    let payload = cx.args.arg(3);
    let object =
        rdb::decode_payload(payload).map_err(|error| Failure::text(format!("ERR {error}")))?;
    if expiry.is_some_and(|at| is_past(cx, at)) {
        if cx.tx.remove(&key)? {
            cx.log(&[b"DEL", key.bytes]);
            cx.modified(&key, Class::Generic, "del");
        }
        cx.reply.ok();
        return Ok(());
    }
    let expiry = expiry.map(|at| at as u64);
    cx.tx.restore(&key, object, expiry)?;
    let mut digits = itoa::Buffer::new();
    let at = digits.format(expiry.unwrap_or(0)).as_bytes();
    cx.log(&[b"RESTORE", key.bytes, at, payload, b"REPLACE", b"ABSTTL"]);
    cx.created(&key);
    cx.modified(&key, Class::Generic, "restore");
    cx.reply.ok();
    Ok(())
}
