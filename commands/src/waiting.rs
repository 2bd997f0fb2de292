//! The shared parts of commands that can block until a key has data (`BLPOP`, `BZPOPMIN` …): the
//! timeout, the number of keys, and the treatment of a key of another type.

use engine::cx::Cx;
use engine::failure::{Failure, Outcome, WRONG_TYPE, failure};
use engine::notify::blocking::Block;
use engine::text::args::{integer, parse_f64};
use resp::{Reply, Request};
use std::ops::Range;
use storage::{Key, Kind};

/// Parses a timeout in seconds. Returns microseconds from now, rounded up to whole milliseconds as
/// in Redis; `None` for ever.
///
/// # Errors
/// Fails, with Redis 7.2's error, if the argument is not a number, is negative, or exceeds Redis's
/// clock.
pub fn timeout_us(argument: &[u8], now_ms: u64) -> Result<Option<u64>, Failure> {
    let seconds =
        parse_f64(argument).ok_or(failure("ERR timeout is not a float or out of range"))?;
    let ms = (seconds * 1000.0).ceil();
    if ms < 0.0 {
        return Err(failure("ERR timeout is negative"));
    }
    if ms >= (i64::MAX as u64 - now_ms.min(i64::MAX as u64)) as f64 {
        return Err(failure("ERR timeout is out of range"));
    }
    // Beyond half a million years no further precision is needed.
    Ok((ms > 0.0).then(|| (ms as u64).saturating_mul(1000)))
}

/// Parses a timeout in milliseconds. Returns microseconds from now; `None` for ever.
///
/// # Errors
/// Fails, with Redis's error, if the argument is not an integer, is negative, or exceeds Redis's
/// clock.
pub fn timeout_ms_us(argument: &[u8], now_ms: u64) -> Result<Option<u64>, Failure> {
    let ms =
        integer(argument).map_err(|_| failure("ERR timeout is not an integer or out of range"))?;
    let ms = u64::try_from(ms).map_err(|_| failure("ERR timeout is negative"))?;
    if ms > (i64::MAX as u64).saturating_sub(now_ms) {
        return Err(failure("ERR timeout is out of range"));
    }
    Ok((ms > 0).then(|| ms.saturating_mul(1000)))
}

/// The keys that follow a number of keys at argument `at`. The range may exceed the request.
///
/// # Errors
/// Fails, with Redis's error, if that argument is not a positive number.
pub fn counted_keys(args: Request<'_>, at: usize) -> Result<Range<usize>, Failure> {
    let count = args.get(at).and_then(|count| integer(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(failure("ERR numkeys should be greater than 0"))?;
    Ok(at + 1..(at + 1).saturating_add(count as usize))
}

/// Whether `key` holds a value of the type that is waited for. Another type is an error for a
/// client that just came, and nothing to wake up for to one that is waiting already.
///
/// # Errors
/// Fails with `WRONGTYPE`, and if the storage does.
pub fn is_ready(cx: &mut Cx<'_>, key: &Key<'_>, kind: Kind) -> Result<bool, Failure> {
    match cx.tx.kind(key)? {
        Some(found) if found == kind => Ok(true),
        Some(_) if !cx.session.is_served() => Err(WRONG_TYPE),
        _ => Ok(false),
    }
}

/// Waits for any of the keys among the arguments; where nothing may block, replies with `at_once`.
/// When the time is over, Redis answers every command with a null array.
///
/// # Errors
/// Never fails. It returns an `Outcome` so that a handler can end with it.
pub fn wait(
    cx: &mut Cx<'_>,
    keys: Range<usize>,
    timeout_us: Option<u64>,
    at_once: fn(&mut Reply<'_>),
) -> Outcome {
    let keys = keys.map(|i| cx.args.arg(i).into()).collect();
    let on_timeout = |reply: &mut Reply<'_>| reply.null_array();
    if !cx.block(Block { keys, timeout_us, on_timeout, request: None, needs_keys: false }) {
        at_once(&mut cx.reply);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::timeout_us;

    #[test]
    fn timeouts_round_up_to_milliseconds() {
        assert_eq!(timeout_us(b"0", 5), Ok(None));
        assert_eq!(timeout_us(b"-0.0001", 5), Ok(None), "rounds to zero, as in Redis");
        assert_eq!(timeout_us(b"0.0001", 5), Ok(Some(1000)));
        assert_eq!(timeout_us(b"1.5", 5), Ok(Some(1_500_000)));
    }

    #[test]
    fn errors_are_told_apart() {
        let text = |argument: &[u8]| match timeout_us(argument, 1_700_000_000_000) {
            Ok(value) => format!("{value:?}"),
            Err(error) => error.as_str().to_owned(),
        };
        assert_eq!(text(b"x"), "ERR timeout is not a float or out of range");
        assert_eq!(text(b"nan"), "ERR timeout is not a float or out of range");
        assert_eq!(text(b"-0.01"), "ERR timeout is negative");
        assert_eq!(text(b"-inf"), "ERR timeout is negative");
        assert_eq!(text(b"inf"), "ERR timeout is out of range");
        assert_eq!(text(b"9223372036854775"), "ERR timeout is out of range");
    }
}
