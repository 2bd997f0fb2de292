//! XCLAIM and XAUTOCLAIM: pending entries that get another consumer.

use super::ids::{first_id, id_text, strict_id};
use super::{Ids, consumer_made, no_group, see_consumer, write_id, write_one};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure, shown};
use engine::text::args::integer;
use resp::Reply;
use smallvec::SmallVec;
use storage::stream::{Pending, Stream, StreamId};
use storage::{Key, Open};

/// Entries `XAUTOCLAIM` looks at, for each that it may claim.
const ATTEMPTS: u64 = 10;
/// The largest `COUNT`.
const COUNT_MAX: i64 = i64::MAX / 16;

/// The options of `XCLAIM`.
#[derive(Default)]
struct Claim {
    ids: Ids,
    min_idle_ms: i64,
    /// When the entries count as delivered; `None` for now.
    time_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

fn min_idle(argument: &[u8], error: &'static str) -> Result<i64, Failure> {
    Ok(integer(argument).map_err(|_| failure(error))?.max(0))
}

fn parse(cx: &Cx<'_>) -> Result<Claim, Failure> {
    let min_idle_ms = min_idle(cx.args.arg(4), "ERR Invalid min-idle-time argument for XCLAIM")?;
    let mut claim = Claim { min_idle_ms, ..Claim::default() };
    let mut args = cx.args_from(5);
    while let Some(Ok(id)) = args.peek().map(|text| strict_id(text, 0)) {
        claim.ids.push(id);
        args.next();
    }
    let number = |value, error| integer(value).map_err(|_| failure(error));
    while let Some(word) = args.peek() {
        if args.keyword("FORCE") {
            claim.force = true;
        } else if args.keyword("JUSTID") {
            claim.just_id = true;
        } else if let Some(value) = args.option("IDLE") {
            let idle = number(value, "ERR Invalid IDLE option argument for XCLAIM")?;
            claim.time_ms = Some((cx.now.wall_ms as i64).wrapping_sub(idle));
        } else if let Some(value) = args.option("TIME") {
            claim.time_ms = Some(number(value, "ERR Invalid TIME option argument for XCLAIM")?);
        } else if let Some(value) = args.option("RETRYCOUNT") {
            let count = number(value, "ERR Invalid RETRYCOUNT option argument for XCLAIM")?;
            claim.deliveries = u64::try_from(count).ok();
        } else if let Some(value) = args.option("LASTID") {
            claim.last_id = strict_id(value, 0)?;
        } else {
            let word = shown(word);
            return Err(Failure::text(format!("ERR Unrecognized XCLAIM option '{word}'")));
        }
    }
    Ok(claim)
}

/// The entries that were looked at: those claimed, and those that turned out to be gone.
#[derive(Default)]
struct Claimed {
    /// Claimed, and how often they are delivered by now.
    taken: Vec<(StreamId, u64)>,
    /// Pending although they were deleted: not any more.
    gone: Vec<StreamId>,
}

impl Claimed {
    fn log(&self, cx: &mut Cx<'_>, key: &Key<'_>, whose: (&[u8], &[u8]), time_ms: u64) {
        cx.changed_silently((self.taken.len() + self.gone.len()) as u64);
        for same in self.taken.chunk_by(|a, b| a.1 == b.1) {
            let ids: Vec<_> = same.iter().map(|(id, _)| *id).collect();
            log_claim(cx, key, whose, &ids, time_ms, same[0].1);
        }
        if !self.gone.is_empty() {
            let ids: Vec<_> = self.gone.iter().map(|id| id_text(*id)).collect();
            let mut effect: SmallVec<[&[u8]; 16]> =
                SmallVec::from_slice(&[b"XACK", key.bytes, whose.0]);
            effect.extend(ids.iter().map(|id| &id[..]));
            cx.log(&effect);
        }
    }
}

/// Logs that entries became pending for a consumer.
pub(super) fn log_claim(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    (group, consumer): (&[u8], &[u8]),
    ids: &[StreamId],
    time_ms: u64,
    deliveries: u64,
) {
    if cx.engine.journal().is_none() {
        return;
    }
    let (mut time, mut count) = (itoa::Buffer::new(), itoa::Buffer::new());
    let ids: Vec<_> = ids.iter().map(|id| id_text(*id)).collect();
    let mut effect: SmallVec<[&[u8]; 16]> =
        SmallVec::from_slice(&[b"XCLAIM", key.bytes, group, consumer, b"0"]);
    effect.extend(ids.iter().map(|id| &id[..]));
    effect.extend([&b"TIME"[..], time.format(time_ms).as_bytes()]);
    effect.extend([&b"RETRYCOUNT"[..], count.format(deliveries).as_bytes()]);
    effect.extend([&b"FORCE"[..], b"JUSTID"]);
    cx.log(&effect);
}

/// The pending entry of an ID: its consumer, when and how often it was delivered.
fn find_pending(
    stream: &mut dyn Stream,
    group: &[u8],
    id: StreamId,
) -> Result<Option<(u64, u64)>, Failure> {
    let mut found = None;
    stream.pending(group, None, id, id, &mut |entry| {
        found = Some((entry.delivered_ms, entry.deliveries));
        false
    })?;
    Ok(found)
}

/// Replies with the claimed entries, or their IDs.
fn write_claimed(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    claimed: &Claimed,
    just_id: bool,
) -> Outcome {
    reply.array(claimed.taken.len());
    for &(id, _) in &claimed.taken {
        if just_id {
            write_id(reply, id);
        } else {
            write_one(reply, stream, id)?;
        }
    }
    Ok(())
}

impl Claim {
    /// Gives the entries that may be claimed to a consumer, as delivered at `time_ms`.
    fn take(
        &self,
        stream: &mut dyn Stream,
        (group, consumer): (&[u8], &[u8]),
        time_ms: u64,
        now_ms: u64,
    ) -> Result<Claimed, Failure> {
        let mut claimed = Claimed::default();
        for &id in &self.ids {
            let pending = find_pending(stream, group, id)?;
            if !stream.contains(id)? {
                if stream.remove_pending(group, id)? {
                    claimed.gone.push(id);
                }
                continue;
            }
            let fresh = pending.is_none();
            if fresh && !self.force {
                continue;
            }
            let (delivered_ms, deliveries) = pending.unwrap_or((now_ms, 1));
            if !fresh
                && self.min_idle_ms > 0
                && now_ms as i64 - (delivered_ms as i64) < self.min_idle_ms
            {
                continue;
            }
            let once_more = deliveries.saturating_add(u64::from(!self.just_id));
            let deliveries = self.deliveries.unwrap_or(once_more);
            let pending = Pending { id, consumer, delivered_ms: time_ms, deliveries };
            stream.set_pending(group, &pending)?;
            claimed.taken.push((id, deliveries));
        }
        Ok(claimed)
    }
}

pub(super) fn xclaim(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, consumer) = (cx.key(1), cx.args.arg(2), cx.args.arg(3));
    let known = match cx.tx.stream(&key, Open::Existing)? {
        Some(mut stream) => stream.group(group)?,
        None => None,
    };
    let Some(known) = known else { return Err(no_group(key.bytes, group, "")) };
    let claim = parse(cx)?;
    let now_ms = cx.now.wall_ms;
    // When a log is replayed, the times in it are taken as they are.
    let latest_ms = if cx.session.is_timeless() { u64::MAX } else { now_ms };
    let time_ms = claim.time_ms.filter(|at| *at >= 0).map_or(now_ms, |at| at as u64);
    let time_ms = if time_ms > latest_ms { now_ms } else { time_ms };
    let seen_ms = if cx.session.is_timeless() { time_ms } else { now_ms };
    let reply = &mut cx.reply;
    let Some(mut stream) = cx.tx.stream(&key, Open::Existing)? else { return Ok(()) };
    let reads_on = claim.last_id > known.last_id;
    if reads_on {
        stream.set_group(group, claim.last_id, known.entries_read)?;
    }
    let (_, new) = see_consumer(&mut *stream, group, consumer, seen_ms)?;
    let claimed = claim.take(&mut *stream, (group, consumer), time_ms, now_ms)?;
    if !claimed.taken.is_empty() {
        stream.set_consumer(group, consumer, seen_ms, Some(seen_ms))?;
    }
    write_claimed(reply, &mut *stream, &claimed, claim.just_id)?;
    drop(stream);
    if new {
        consumer_made(cx, &key, group, consumer);
    }
    claimed.log(cx, &key, (group, consumer), time_ms);
    if reads_on {
        cx.changed_silently(1);
        super::groups::log_read(cx, &key, group, claim.last_id, known.entries_read);
    }
    Ok(())
}

/// The options of `XAUTOCLAIM`.
struct AutoClaim {
    min_idle_ms: i64,
    first: StreamId,
    count: u64,
    just_id: bool,
}

impl AutoClaim {
    /// Gives pending entries to a consumer. Returns them, and the ID at which the next call goes on.
    fn take(
        &self,
        stream: &mut dyn Stream,
        (group, consumer): (&[u8], &[u8]),
        now_ms: u64,
    ) -> Result<(Claimed, StreamId), Failure> {
        // One more than is looked at: where the next call goes on.
        let attempts = self.count.saturating_mul(ATTEMPTS);
        let mut candidates = Vec::new();
        stream.pending(group, None, self.first, StreamId::MAX, &mut |entry| {
            candidates.push((entry.id, entry.delivered_ms, entry.deliveries));
            candidates.len() as u64 <= attempts
        })?;
        let mut claimed = Claimed::default();
        let (mut left, mut at) = (self.count, 0);
        while left > 0
            && (at as u64) < attempts
            && let Some(&(id, delivered_ms, deliveries)) = candidates.get(at)
        {
            at += 1;
            if !stream.contains(id)? {
                stream.remove_pending(group, id)?;
                claimed.gone.push(id);
                left -= 1;
                continue;
            }
            let idle_ms = now_ms as i64 - delivered_ms as i64;
            if self.min_idle_ms > 0 && idle_ms < self.min_idle_ms {
                continue;
            }
            let deliveries = deliveries.saturating_add(u64::from(!self.just_id));
            let pending = Pending { id, consumer, delivered_ms: now_ms, deliveries };
            stream.set_pending(group, &pending)?;
            claimed.taken.push((id, deliveries));
            left -= 1;
        }
        let next = candidates.get(at).map_or(StreamId::MIN, |(id, ..)| *id);
        Ok((claimed, next))
    }
}

fn parse_auto(cx: &Cx<'_>) -> Result<AutoClaim, Failure> {
    let error = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
    let min_idle_ms = min_idle(cx.args.arg(4), error)?;
    let first = first_id(cx.args.arg(5))?;
    let mut claim = AutoClaim { min_idle_ms, first, count: 100, just_id: false };
    let mut args = cx.args_from(6);
    while !args.is_empty() {
        if let Some(value) = args.option("COUNT") {
            let count = integer(value).ok().filter(|n| (1..=COUNT_MAX).contains(n));
            claim.count = count.ok_or(failure("ERR COUNT must be > 0"))? as u64;
        } else if args.keyword("JUSTID") {
            claim.just_id = true;
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(claim)
}

pub(super) fn xautoclaim(cx: &mut Cx<'_>) -> Outcome {
    let (key, group, consumer) = (cx.key(1), cx.args.arg(2), cx.args.arg(3));
    // Unlike XCLAIM, it checks its arguments before anything else.
    let claim = parse_auto(cx)?;
    let known = match cx.tx.stream(&key, Open::Existing)? {
        Some(mut stream) => stream.group(group)?.is_some(),
        None => false,
    };
    let now_ms = cx.now.wall_ms;
    let reply = &mut cx.reply;
    if !known {
        return Err(no_group(key.bytes, group, ""));
    }
    let Some(mut stream) = cx.tx.stream(&key, Open::Existing)? else { return Ok(()) };
    let (_, new) = see_consumer(&mut *stream, group, consumer, now_ms)?;
    let (claimed, next) = claim.take(&mut *stream, (group, consumer), now_ms)?;
    if !claimed.taken.is_empty() {
        stream.set_consumer(group, consumer, now_ms, Some(now_ms))?;
    }
    reply.array(3);
    write_id(reply, next);
    write_claimed(reply, &mut *stream, &claimed, claim.just_id)?;
    drop(stream);
    reply.array(claimed.gone.len());
    claimed.gone.iter().for_each(|id| write_id(reply, *id));
    if new {
        consumer_made(cx, &key, group, consumer);
    }
    claimed.log(cx, &key, (group, consumer), now_ms);
    Ok(())
}
