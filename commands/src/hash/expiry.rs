//! Expiry of single hash fields, as in Redis 7.4: `HEXPIRE` and its kin, `HTTL` and its kin,
//! `HPERSIST`.

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::notify::keyspace::Class;
use engine::text::args::{integer, is_word, parse_i64};
use engine::text::expiry::{EX, EXAT, PX, PXAT, Unit, invalid_expire};
use resp::{Reply, Request};
use smallvec::SmallVec;
use storage::types::{FieldExpiry, Hash};
use storage::{Key, Open, Result};

/// The latest time a field may expire at, Unix milliseconds: Redis's `HFE_MAX_ABS_TIME_MSEC`.
const AT_MS_MAX: u64 = (1 << 46) - 1;

/// Replies, with Redis's numbers.
const NO_FIELD: i64 = -2;
const NO_EXPIRY: i64 = -1;
const CONDITION_NOT_MET: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

const NO_FIELDS_WORD: Failure =
    failure("ERR Mandatory argument FIELDS is missing or not at the right position");
const NUMFIELDS_MISMATCH: Failure =
    failure("ERR The `numfields` parameter must match the number of arguments");
const NUMFIELDS_TOO_SMALL: Failure = failure("ERR Parameter `numFields` should be greater than 0");
const NUMFIELDS_NOT_POSITIVE: Failure = failure("ERR Number of fields must be a positive integer");
const NEGATIVE: Failure = failure("ERR invalid expire time, must be >= 0");

/// Fields of a request; on the stack for all but the longest.
type Fields<'a> = SmallVec<[&'a [u8]; 8]>;

/// `FIELDS numfields field…` from argument `at` on.
fn fields<'a>(args: Request<'a>, at: usize, bad_count: Failure) -> Result<Fields<'a>, Failure> {
    if !args.get(at).is_some_and(|word| is_word(word, "FIELDS")) {
        return Err(NO_FIELDS_WORD);
    }
    let count = args.get(at + 1).and_then(parse_i64).filter(|&count| count > 0);
    let count = count.ok_or(bad_count)?;
    let fields: Fields<'a> = args.iter().skip(at + 2).collect();
    if count as u64 != fields.len() as u64 {
        return Err(NUMFIELDS_MISMATCH);
    }
    Ok(fields)
}

/// The condition on a field's present expiry (`NX`, `XX`, `GT`, `LT`).
#[derive(Clone, Copy)]
enum Condition {
    Any,
    None,
    Some,
    Earlier,
    Later,
}

impl Condition {
    fn parse(word: &[u8]) -> Option<Self> {
        let all =
            [("NX", Self::None), ("XX", Self::Some), ("GT", Self::Earlier), ("LT", Self::Later)];
        all.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, condition)| condition)
    }

    /// A field without expiry counts as expiring never.
    fn is_met(self, present: Option<u64>, at_ms: u64) -> bool {
        match self {
            Condition::Any => true,
            Condition::None => present.is_none(),
            Condition::Some => present.is_some(),
            Condition::Earlier => present.is_some_and(|present| present < at_ms),
            Condition::Later => present.is_none_or(|present| present > at_ms),
        }
    }
}

/// Argument 2 as a Unix time in milliseconds.
fn parse_time(cx: &Cx<'_>, unit: Unit, now_ms: u64) -> Result<u64, Failure> {
    let time = integer(cx.args.arg(2))?;
    if time < 0 {
        return Err(NEGATIVE);
    }
    let at_ms = unit.absolute(time, now_ms).map(|at_ms| at_ms as u64);
    at_ms.filter(|&at_ms| at_ms <= AT_MS_MAX).ok_or_else(|| invalid_expire(cx))
}

/// The fields that were changed, by what happened to them.
#[derive(Default)]
struct FieldChanges<'a> {
    answers: SmallVec<[i64; 8]>,
    set: Fields<'a>,
    deleted: Fields<'a>,
    emptied: bool,
}

/// Sets the expiry of fields, or deletes them if it has passed.
fn expire<'a>(
    hash: &mut dyn Hash,
    fields: &[&'a [u8]],
    at_ms: u64,
    now_ms: u64,
    condition: Condition,
) -> Result<FieldChanges<'a>> {
    let mut changes = FieldChanges::default();
    for &field in fields {
        let present = match hash.field_expiry(field)? {
            FieldExpiry::NoField => {
                changes.answers.push(NO_FIELD);
                continue;
            }
            FieldExpiry::Persistent => None,
            FieldExpiry::At(at_ms) => Some(at_ms),
        };
        changes.answers.push(if !condition.is_met(present, at_ms) {
            CONDITION_NOT_MET
        } else if at_ms <= now_ms {
            hash.remove(field)?;
            changes.deleted.push(field);
            DELETED
        } else {
            hash.set_field_expiry(field, Some(at_ms))?;
            changes.set.push(field);
            DONE
        });
    }
    changes.emptied = hash.is_empty()?;
    Ok(changes)
}

fn expire_command(cx: &mut Cx<'_>, unit: Unit) -> Outcome {
    let (key, args, now_ms) = (cx.key(1), cx.args, cx.tx.now_ms());
    // The type is checked before the arguments, as in Redis.
    cx.tx.hash(&key, Open::Existing)?;
    let at_ms = parse_time(cx, unit, now_ms)?;
    let condition = Condition::parse(args.arg(3));
    let fields = fields(args, 3 + usize::from(condition.is_some()), NUMFIELDS_TOO_SMALL)?;
    let condition = condition.unwrap_or(Condition::Any);
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        return answer_all(&mut cx.reply, NO_FIELD, fields.len());
    };
    let changes = expire(&mut *hash, &fields, at_ms, now_ms, condition)?;
    drop(hash);
    tell(cx, &key, at_ms, &changes);
    answer(&mut cx.reply, &changes.answers)
}

/// Logs and announces what [`expire`] did.
fn tell(cx: &mut Cx<'_>, key: &Key<'_>, at_ms: u64, changes: &FieldChanges<'_>) {
    if !changes.set.is_empty() {
        cx.modified(key, Class::Hash, "hexpire");
        log_expiry(cx, key, at_ms, &changes.set);
    }
    if !changes.deleted.is_empty() {
        let mut effect: SmallVec<[&[u8]; 10]> = SmallVec::from_slice(&[b"HDEL", key.bytes]);
        effect.extend_from_slice(&changes.deleted);
        super::tell_removed(cx, key, 1, changes.emptied);
        cx.log(&effect);
    }
}

/// Logs that `fields` expire at a Unix time in milliseconds.
pub(super) fn log_expiry(cx: &mut Cx<'_>, key: &Key<'_>, at_ms: u64, fields: &[&[u8]]) {
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let (time, count) = (time.format(at_ms), count.format(fields.len()));
    let mut effect: SmallVec<[&[u8]; 13]> =
        SmallVec::from_slice(&[b"HPEXPIREAT", key.bytes, time.as_bytes(), b"FIELDS"]);
    effect.push(count.as_bytes());
    effect.extend_from_slice(fields);
    cx.log(&effect);
}

fn answer(reply: &mut Reply<'_>, answers: &[i64]) -> Outcome {
    reply.array(answers.len());
    answers.iter().for_each(|&answer| reply.integer(answer));
    Ok(())
}

fn answer_all(reply: &mut Reply<'_>, answer: i64, count: usize) -> Outcome {
    reply.array(count);
    (0..count).for_each(|_| reply.integer(answer));
    Ok(())
}

pub(super) fn hexpire(cx: &mut Cx<'_>) -> Outcome {
    expire_command(cx, EX)
}

pub(super) fn hpexpire(cx: &mut Cx<'_>) -> Outcome {
    expire_command(cx, PX)
}

pub(super) fn hexpireat(cx: &mut Cx<'_>) -> Outcome {
    expire_command(cx, EXAT)
}

pub(super) fn hpexpireat(cx: &mut Cx<'_>) -> Outcome {
    expire_command(cx, PXAT)
}

/// Replies with a property of each field's expiry; `tell` gets the expiry and the current time.
fn ttl_command(cx: &mut Cx<'_>, tell: fn(u64, u64) -> u64) -> Outcome {
    let (key, now_ms) = (cx.key(1), cx.tx.now_ms());
    let found = cx.tx.hash(&key, Open::Existing)?.is_some();
    cx.looked_up(&key, found);
    let fields = fields(cx.args, 2, NUMFIELDS_NOT_POSITIVE)?;
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        return answer_all(&mut cx.reply, NO_FIELD, fields.len());
    };
    cx.reply.array(fields.len());
    for field in fields {
        cx.reply.integer(match hash.field_expiry(field)? {
            FieldExpiry::NoField => NO_FIELD,
            FieldExpiry::Persistent => NO_EXPIRY,
            FieldExpiry::At(at_ms) => tell(at_ms, now_ms) as i64,
        });
    }
    Ok(())
}

pub(super) fn httl(cx: &mut Cx<'_>) -> Outcome {
    ttl_command(cx, |at_ms, now_ms| at_ms.saturating_sub(now_ms).div_ceil(1000))
}

pub(super) fn hpttl(cx: &mut Cx<'_>) -> Outcome {
    ttl_command(cx, |at_ms, now_ms| at_ms.saturating_sub(now_ms))
}

pub(super) fn hexpiretime(cx: &mut Cx<'_>) -> Outcome {
    ttl_command(cx, |at_ms, _| at_ms.div_ceil(1000))
}

pub(super) fn hpexpiretime(cx: &mut Cx<'_>) -> Outcome {
    ttl_command(cx, |at_ms, _| at_ms)
}

pub(super) fn hpersist(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    cx.tx.hash(&key, Open::Existing)?;
    let fields = fields(cx.args, 2, NUMFIELDS_NOT_POSITIVE)?;
    let Some(mut hash) = cx.tx.hash(&key, Open::Existing)? else {
        return answer_all(&mut cx.reply, NO_FIELD, fields.len());
    };
    let mut answers: SmallVec<[i64; 8]> = SmallVec::new();
    for field in fields {
        answers.push(match hash.field_expiry(field)? {
            FieldExpiry::NoField => NO_FIELD,
            FieldExpiry::Persistent => NO_EXPIRY,
            FieldExpiry::At(_) => {
                hash.set_field_expiry(field, None)?;
                DONE
            }
        });
    }
    drop(hash);
    if answers.contains(&DONE) {
        cx.modified(&key, Class::Hash, "hpersist");
    }
    answer(&mut cx.reply, &answers)
}
