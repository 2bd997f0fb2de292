//! DUMP and RESTORE.

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use engine::text::expiry::{PX, PXAT, is_past};
use std::borrow::Cow;
use storage::rdb::{self, Checksum};

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
    idle_s: Option<u64>,
    freq: Option<u8>,
}

fn parse(cx: &Cx<'_>) -> Result<Options, Failure> {
    let mut options = Options::default();
    let mut args = cx.args_from(4);
    while !args.is_empty() {
        if args.keyword("REPLACE") {
            options.replace = true;
        } else if args.keyword("ABSTTL") {
            options.absolute = true;
        } else if options.freq.is_none()
            && let Some(value) = args.option("IDLETIME")
        {
            let idle_s = u64::try_from(integer(value)?);
            let invalid = failure("ERR Invalid IDLETIME value, must be >= 0");
            options.idle_s = Some(idle_s.map_err(|_| invalid)?);
        } else if options.idle_s.is_none()
            && let Some(value) = args.option("FREQ")
        {
            let freq = u8::try_from(integer(value)?);
            let invalid = failure("ERR Invalid FREQ value, must be >= 0 and <= 255");
            options.freq = Some(freq.map_err(|_| invalid)?);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

const INVALID_TTL: Failure = failure("ERR Invalid TTL value, must be >= 0");

/// Argument 2, not negative.
fn ttl(cx: &Cx<'_>) -> Result<i64, Failure> {
    Some(integer(cx.args.arg(2))?).filter(|ttl| *ttl >= 0).ok_or(INVALID_TTL)
}

/// The expiry that a time to live means: 0 is none.
fn expiry(cx: &Cx<'_>, ttl: i64, options: &Options) -> Result<Option<i64>, Failure> {
    let unit = if options.absolute { PXAT } else { PX };
    let at = unit.absolute(ttl, cx.now.wall_ms).ok_or(INVALID_TTL)?;
    Ok((ttl != 0).then_some(at))
}

/// A payload as it is logged. Its checksum is verified when the log is replayed.
fn sealed(payload: &[u8], checksum: Checksum) -> Cow<'_, [u8]> {
    match checksum {
        Checksum::Compared => payload.into(),
        Checksum::Ignored => rdb::seal_payload_again(payload).into(),
    }
}

pub(super) fn restore(cx: &mut Cx<'_>) -> Outcome {
    let options = parse(cx)?;
    let key = cx.key(1);
    if !options.replace && cx.tx.kind(&key)?.is_some() {
        return Err(failure("BUSYKEY Target key name already exists."));
    }
    let ttl = ttl(cx)?;
    let payload = cx.args.arg(3);
    let object = rdb::decode_payload_with(payload, cx.engine.tuning.switches.checksum())
        .map_err(|error| Failure::text(format!("ERR {error}")))?;
    let expiry = expiry(cx, ttl, &options)?;
    if expiry.is_some_and(|at| is_past(cx, at)) {
        if cx.tx.remove(&key)? {
            cx.log(&[b"DEL", key.bytes]);
            cx.modified(&key, Class::Generic, "del");
        }
        cx.reply.ok();
        return Ok(());
    }
    let expiry = expiry.map(|at| at as u64);
    cx.restore(&key, object, expiry)?;
    let idle_ms = options.idle_s.map(|idle_s| idle_s.saturating_mul(1000));
    cx.tx.set_access(&key, idle_ms, options.freq);
    let mut digits = itoa::Buffer::new();
    let at = digits.format(expiry.unwrap_or(0)).as_bytes();
    let payload = sealed(payload, cx.engine.tuning.switches.checksum());
    cx.log(&[b"RESTORE", key.bytes, at, &payload, b"REPLACE", b"ABSTTL"]);
    cx.reply.ok();
    Ok(())
}
