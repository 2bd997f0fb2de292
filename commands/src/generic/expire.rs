//! EXPIRE and its kin: when keys go, and when they would.

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure, shown};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use engine::text::expiry::{EX, EXAT, PX, PXAT, Unit, invalid_expire, is_past};
use storage::Key;

/// On which condition the expiry is set.
#[derive(Default)]
struct Condition {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Condition {
    fn parse(cx: &Cx<'_>) -> Result<Self, Failure> {
        let mut condition = Condition::default();
        let mut args = cx.args_from(3);
        while let Some(option) = args.peek() {
            if args.keyword("NX") {
                condition.nx = true;
            } else if args.keyword("XX") {
                condition.xx = true;
            } else if args.keyword("GT") {
                condition.gt = true;
            } else if args.keyword("LT") {
                condition.lt = true;
            } else {
                return Err(Failure::text(format!("ERR Unsupported option {}", shown(option))));
            }
        }
        if condition.nx && (condition.xx || condition.gt || condition.lt) {
            return Err(failure(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if condition.gt && condition.lt {
            return Err(failure("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(condition)
    }

    /// Whether `at_ms` may replace the expiry a key has. A key without one never expires: nothing
    /// is later than that, and everything earlier.
    fn allows(&self, current: Option<u64>, at_ms: i64) -> bool {
        let later = current.is_some_and(|current| at_ms > current as i64);
        let earlier = current.is_none_or(|current| at_ms < current as i64);
        !(self.nx && current.is_some()
            || self.xx && current.is_none()
            || self.gt && !later
            || self.lt && !earlier)
    }
}

/// Sets the expiry of an existing key, or deletes the key if that has passed. Reports and logs the
/// change.
///
/// # Errors
/// Fails if the storage does.
pub fn expire_at(cx: &mut Cx<'_>, key: &Key<'_>, at_ms: i64) -> Outcome {
    if is_past(cx, at_ms) {
        cx.tx.remove(key)?;
        cx.log(&[b"DEL", key.bytes]);
        cx.modified(key, Class::Generic, "del");
        return Ok(());
    }
    // In a replay a time before 1970 can still come by: it is as past as 0.
    let at_ms = at_ms.max(0) as u64;
    cx.tx.set_expiry(key, Some(at_ms))?;
    cx.log_number(&[b"PEXPIREAT", key.bytes], at_ms);
    cx.modified(key, Class::Generic, "expire");
    Ok(())
}

/// Takes a key's expiry away; false when it has none. Tells and logs.
///
/// # Errors
/// Fails if the storage does.
pub fn persist_key(cx: &mut Cx<'_>, key: &Key<'_>) -> Result<bool, Failure> {
    if !matches!(cx.tx.expiry(key)?, Some(Some(_))) {
        return Ok(false);
    }
    cx.tx.set_expiry(key, None)?;
    cx.log(&[b"PERSIST", key.bytes]);
    cx.modified(key, Class::Generic, "persist");
    Ok(true)
}

fn set(cx: &mut Cx<'_>, unit: Unit) -> Outcome {
    let condition = Condition::parse(cx)?;
    let value = integer(cx.args.arg(2))?;
    let at_ms = unit.absolute(value, cx.now.wall_ms).ok_or_else(|| invalid_expire(cx))?;
    let key = cx.key(1);
    let current = cx.tx.expiry(&key)?;
    let set = current.is_some_and(|current| condition.allows(current, at_ms));
    if set {
        expire_at(cx, &key, at_ms)?;
    }
    cx.reply.integer(set.into());
    Ok(())
}

pub(super) fn expire(cx: &mut Cx<'_>) -> Outcome {
    set(cx, EX)
}

pub(super) fn pexpire(cx: &mut Cx<'_>) -> Outcome {
    set(cx, PX)
}

pub(super) fn expireat(cx: &mut Cx<'_>) -> Outcome {
    set(cx, EXAT)
}

pub(super) fn pexpireat(cx: &mut Cx<'_>) -> Outcome {
    set(cx, PXAT)
}

pub(super) fn persist(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let persisted = persist_key(cx, &key)?;
    cx.reply.integer(persisted.into());
    Ok(())
}

/// Replies −2 without the key, −1 without an expiry, else what `show` makes of it.
fn show(cx: &mut Cx<'_>, show: impl FnOnce(i64, i64) -> i64) -> Outcome {
    let key = cx.key(1);
    let expiry = cx.tx.expiry(&key)?;
    cx.looked_up(&key, expiry.is_some());
    let now = cx.now.wall_ms as i64;
    cx.reply.integer(match expiry {
        None => -2,
        Some(None) => -1,
        Some(Some(at)) => show(i64::try_from(at).unwrap_or(i64::MAX), now),
    });
    Ok(())
}

/// Redis rounds half seconds up.
fn seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

pub(super) fn ttl(cx: &mut Cx<'_>) -> Outcome {
    show(cx, |at, now| seconds((at - now).max(0)))
}

pub(super) fn pttl(cx: &mut Cx<'_>) -> Outcome {
    show(cx, |at, now| (at - now).max(0))
}

pub(super) fn expiretime(cx: &mut Cx<'_>) -> Outcome {
    show(cx, |at, _| seconds(at))
}

pub(super) fn pexpiretime(cx: &mut Cx<'_>) -> Outcome {
    show(cx, |at, _| at)
}
