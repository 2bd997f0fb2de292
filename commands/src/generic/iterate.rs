//! KEYS, SCAN, RANDOMKEY: commands that find keys by themselves.

use engine::commit::slot;
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{Args, integer};
use engine::text::glob;
use resp::Request;
use std::ops::Range;
use storage::{Db, Kind, ShardSet};

/// Keys visited per storage call while all shards are locked anyway.
const KEYS_STEP: usize = 1024;

/// The number of random keys that are tried, where not all are shown.
const TRIES: usize = 100;

/// Redis's default for `SCAN … COUNT`.
const COUNT_DEFAULT: u64 = 10;

/// Whether a name matches; `*` matches every name, the empty one included.
fn matches(pattern: Option<&[u8]>, name: &[u8]) -> bool {
    pattern.is_none_or(|pattern| glob::matches(pattern, name, false))
}

fn pattern_of(argument: &[u8]) -> Option<&[u8]> {
    (argument != b"*").then_some(argument)
}

/// The slots whose keys are shown, if not all are: see [`Engine::shown_slots`].
type Shown = Option<Vec<Range<u16>>>;

fn shows(shown: &Shown, name: &[u8]) -> bool {
    let is_in = |slots: &Vec<Range<u16>>| {
        let slot = slot(name);
        slots.iter().any(|slots| slots.contains(&slot))
    };
    shown.as_ref().is_none_or(is_in)
}

pub(super) fn keys(cx: &mut Cx<'_>) -> Outcome {
    let pattern = pattern_of(cx.args.arg(1));
    let shown = cx.engine.shown_slots();
    let db = cx.session.db;
    let mark = cx.reply.deferred();
    let mut count = 0;
    let mut cursor = 0;
    loop {
        let reply = &mut cx.reply;
        cursor = cx.tx.scan(db, cursor, KEYS_STEP, &mut |name, kind| {
            if kind.is_some() && matches(pattern, name) && shows(&shown, name) {
                reply.bulk(name);
                count += 1;
            }
        })?;
        if cursor == 0 {
            break;
        }
    }
    cx.reply.finish_array(mark, count);
    Ok(())
}

pub(super) fn randomkey(cx: &mut Cx<'_>) -> Outcome {
    let shown = cx.engine.shown_slots();
    let tries = if shown.is_some() { TRIES } else { 1 };
    let mut found = None;
    for _ in 0..tries {
        let seed = cx.random();
        found = cx.tx.random_key(cx.session.db, seed)?;
        let fits = found.as_ref().is_none_or(|name| shows(&shown, name));
        if fits {
            break;
        }
        found = None;
    }
    if found.is_none() && shown.is_some() {
        found = first_shown(cx, &shown)?;
    }
    match found {
        Some(name) => cx.reply.bulk(&name),
        None => cx.reply.null(),
    }
    Ok(())
}

/// Some key that is shown, for `RANDOMKEY` where hardly any is.
fn first_shown(cx: &mut Cx<'_>, shown: &Shown) -> Result<Option<Vec<u8>>, Failure> {
    let (db, mut cursor, mut found) = (cx.session.db, 0, None);
    loop {
        cursor = cx.tx.scan(db, cursor, KEYS_STEP, &mut |name, kind| {
            if found.is_none() && kind.is_some() && shows(shown, name) {
                found = Some(name.to_vec());
            }
        })?;
        if cursor == 0 || found.is_some() {
            return Ok(found);
        }
    }
}

/// A cursor as C's `strtoul` reads it: an empty one is 0, a negative one wraps around.
pub(crate) fn parse_cursor(argument: &[u8]) -> Option<u64> {
    if argument.is_empty() {
        return Some(0);
    }
    let text = std::str::from_utf8(argument).ok()?;
    match text.strip_prefix('-') {
        Some(digits) if !digits.starts_with('+') => {
            digits.parse::<u64>().ok().map(u64::wrapping_neg)
        }
        _ => text.parse().ok(),
    }
}

#[derive(Debug, PartialEq)]
struct Options<'a> {
    cursor: u64,
    pattern: Option<&'a [u8]>,
    count: u64,
    /// The name of a type. An unknown one matches no key.
    kind: Option<&'a [u8]>,
}

fn parse<'a>(request: Request<'a>) -> Result<Options<'a>, Failure> {
    let cursor = parse_cursor(request.arg(1)).ok_or(failure("ERR invalid cursor"))?;
    let mut options = Options { cursor, pattern: None, count: COUNT_DEFAULT, kind: None };
    let mut args = Args::new(request, 2);
    while !args.is_empty() {
        if let Some(value) = args.option("COUNT") {
            options.count = u64::try_from(integer(value)?).map_err(|_| SYNTAX)?;
            if options.count == 0 {
                return Err(SYNTAX);
            }
        } else if let Some(value) = args.option("MATCH") {
            options.pattern = pattern_of(value);
        } else if let Some(value) = args.option("TYPE") {
            options.kind = Some(value);
        } else {
            return Err(SYNTAX);
        }
    }
    Ok(options)
}

/// The shards one `SCAN` visits: that of its cursor, and as many after it as `COUNT` keys are
/// likely to be spread over. A large database needs one; a small one, spread thinly, is not worth
/// a call per shard.
pub(super) fn scan_shards(engine: &Engine, db: Db, request: Request<'_>) -> ShardSet {
    let mut shards = ShardSet::new();
    let Ok(options) = parse(request) else { return shards };
    let count = u64::from(engine.backend.shard_count());
    let first = engine.backend.shard_of_cursor(options.cursor);
    let keys = engine.backend.len(db).max(1);
    let wanted = (options.count.saturating_mul(count) / keys).clamp(1, count) as u32;
    let end = first.saturating_add(wanted).min(engine.backend.shard_count());
    (first..end).for_each(|shard| shards.add(shard));
    shards
}

pub(super) fn scan(cx: &mut Cx<'_>) -> Outcome {
    let options = parse(cx.args)?;
    let db = cx.session.db;
    let kind_fits = |kind: Kind| match options.kind {
        Some(name) => name.eq_ignore_ascii_case(kind.name().as_bytes()),
        None => true,
    };
    let shown = cx.engine.shown_slots();
    let (mut names, mut stale) = (Vec::new(), Vec::new());
    let mut visited = 0;
    let mut cursor = options.cursor;
    loop {
        let step = usize::try_from(options.count - visited).unwrap_or(usize::MAX);
        cursor = cx.tx.scan(db, cursor, step, &mut |name, kind| {
            visited += 1;
            match kind {
                None if matches(options.pattern, name) => stale.push(name.to_vec()),
                Some(kind)
                    if kind_fits(kind) && matches(options.pattern, name) && shows(&shown, name) =>
                {
                    names.push(name.to_vec());
                }
                _ => {}
            }
        })?;
        let done = cursor == 0 || visited >= options.count;
        if done || !cx.is_locked(cx.engine.backend.shard_of_cursor(cursor)) {
            break;
        }
    }
    for name in &stale {
        // An expired key that it would have returned is deleted; `KEYS` does not delete it.
        let key = cx.key_of(name);
        cx.tx.kind(&key)?;
    }
    cx.reply.array(2);
    cx.reply.bulk(itoa::Buffer::new().format(cursor).as_bytes());
    cx.reply.array(names.len());
    names.iter().for_each(|name| cx.reply.bulk(name));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parse_cursor;

    #[test]
    fn cursors_as_strtoul_reads_them() {
        assert_eq!(parse_cursor(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_cursor(b"18446744073709551616"), None);
        assert_eq!(parse_cursor(b""), Some(0));
        assert_eq!(parse_cursor(b"+7"), Some(7));
        assert_eq!(parse_cursor(b"-1"), Some(u64::MAX));
        for wrong in ["x", "1x", " 1", "-+1", "-"] {
            assert_eq!(parse_cursor(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
