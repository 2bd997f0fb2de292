//! XADD.

use super::ids::{NewId, id_text};
use super::trimming::{self, exactly};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::notify::keyspace::Class;
use resp::Request;
use smallvec::SmallVec;
use storage::stream::{StreamId, StreamInfo, Trim};
use storage::{Key, Open};

/// Bytes of names and values an entry may have: Redis's limit of a listpack.
const ENTRY_BYTES_MAX: usize = 1 << 30;

/// The ID a new entry gets, behind the highest there was.
fn choose_id(asked: NewId, last: StreamId, now_ms: u64) -> Result<StreamId, Failure> {
    let too_small =
        failure("ERR The ID specified in XADD is equal or smaller than the target stream top item");
    let exhausted =
        failure("ERR The stream has exhausted the last possible ID, unable to add more items");
    let next = last.next().ok_or(exhausted)?;
    let id = match asked {
        NewId::Auto if now_ms > last.ms => StreamId { ms: now_ms, seq: 0 },
        NewId::Auto => next,
        NewId::Sequence(ms) if ms == last.ms && next.ms == ms => next,
        NewId::Sequence(ms) => StreamId { ms, seq: 0 },
        NewId::Exact(id) => id,
    };
    if id > last { Ok(id) } else { Err(too_small) }
}

/// Names and values of an entry.
type Fields<'r> = SmallVec<[(&'r [u8], &'r [u8]); 8]>;

/// The fields that a request gives from an argument on.
fn fields(args: Request<'_>, from: usize) -> Result<Fields<'_>, Failure> {
    let pair = |i| (args.arg(i), args.arg(i + 1));
    let fields: Fields<'_> = (from..args.len()).step_by(2).map(pair).collect();
    let bytes: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > ENTRY_BYTES_MAX {
        return Err(failure("ERR Elements are too large to be stored"));
    }
    Ok(fields)
}

pub(super) fn xadd(cx: &mut Cx<'_>) -> Outcome {
    let options = trimming::parse(cx, true)?;
    let fields_at = options.end + 1;
    let count = cx.argc().saturating_sub(fields_at);
    if count < 2 || count % 2 == 1 {
        return Err(cx.wrong_arity());
    }
    if options.id == NewId::Exact(StreamId::MIN) {
        return Err(failure("ERR The ID specified in XADD must be greater than 0-0"));
    }
    let fields = fields(cx.args, fields_at)?;
    let key = cx.key(1);
    // On a new stream nothing can fail any more, so none is left behind empty.
    let open = if options.make { Open::Create } else { Open::Existing };
    let Some(mut stream) = cx.tx.stream(&key, open)? else {
        cx.reply.null();
        return Ok(());
    };
    let id = choose_id(options.id, stream.info()?.last_id, cx.now.wall_ms)?;
    stream.append(id, &fields)?;
    let mut trimmed = 0;
    let mut after = StreamInfo::default();
    if let Some(trim) = &options.trim {
        trimmed = stream.trim(trim)?;
        after = stream.info()?;
    }
    drop(stream);
    super::write_id(&mut cx.reply, id);
    cx.modified(&key, Class::Stream, "xadd");
    if trimmed > 0 {
        cx.notify(&key, Class::Stream, "xtrim");
    }
    let rough = options.trim.filter(|trim| trim.approximate);
    if rough.is_some() || !matches!(options.id, NewId::Exact(_)) {
        log_exactly(cx, &key, id, &options, rough.map(|trim| (trim, after)), fields_at);
    }
    Ok(())
}

/// Logs an addition with its actual ID, and an approximate trimming with its exact result.
fn log_exactly(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    id: StreamId,
    options: &trimming::Options,
    rough: Option<(Trim, StreamInfo)>,
    fields_at: usize,
) {
    if cx.engine.journal().is_none() {
        return;
    }
    let text = id_text(id);
    let exact = rough.map(|(trim, after)| exactly(&trim, &after));
    let mut effect: SmallVec<[&[u8]; 16]> = SmallVec::from_slice(&[b"XADD", key.bytes]);
    match &exact {
        Some((word, threshold)) => effect.extend([*word, b"=", threshold]),
        None => effect.extend((2..options.end).map(|i| cx.args.arg(i))),
    }
    effect.push(&text);
    effect.extend((fields_at..cx.argc()).map(|i| cx.args.arg(i)));
    cx.log(&effect);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_always_grow() {
        let id = |ms, seq| StreamId { ms, seq };
        let chosen = |asked, last| choose_id(asked, last, 100).ok();
        assert_eq!(chosen(NewId::Auto, id(99, 5)), Some(id(100, 0)));
        assert_eq!(chosen(NewId::Auto, id(100, 5)), Some(id(100, 6)));
        assert_eq!(chosen(NewId::Auto, id(200, u64::MAX)), Some(id(201, 0)));
        assert_eq!(chosen(NewId::Auto, StreamId::MAX), None);
        assert_eq!(chosen(NewId::Sequence(0), id(0, 0)), Some(id(0, 1)));
        assert_eq!(chosen(NewId::Sequence(7), id(7, u64::MAX)), None);
        assert_eq!(chosen(NewId::Sequence(8), id(7, 3)), Some(id(8, 0)));
        assert_eq!(chosen(NewId::Sequence(6), id(7, 3)), None);
        assert_eq!(chosen(NewId::Exact(id(7, 3)), id(7, 3)), None);
        assert_eq!(chosen(NewId::Exact(id(7, 4)), id(7, 3)), Some(id(7, 4)));
    }
}
