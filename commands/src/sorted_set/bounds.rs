//! Scores and ranges as arguments spell them: `(1.5`, `-inf`, `[a`, `-`, `+`, `0 -1`.

use engine::failure::{Failure, failure};
use engine::text::args::{integer, parse_f64, parse_f64_lenient};
use storage::types::{LexBound, ScoreBound, ZRange};

const NOT_SCORE_RANGE: Failure = failure("ERR min or max is not a float");
const NOT_LEX_RANGE: Failure = failure("ERR min or max not valid string range item");

/// A score, with Redis's error.
pub(super) fn score(arg: &[u8]) -> Result<f64, Failure> {
    parse_f64(arg).ok_or(engine::failure::NOT_FLOAT)
}

fn score_bound(arg: &[u8]) -> Result<ScoreBound, Failure> {
    let (exclusive, number) = match arg {
        [b'(', rest @ ..] => (true, rest),
        _ => (false, arg),
    };
    let score = parse_f64_lenient(number).ok_or(NOT_SCORE_RANGE)?;
    Ok(ScoreBound { score, exclusive })
}

/// The members with scores from `min` to `max`.
pub fn score_range(min: &[u8], max: &[u8]) -> Result<ZRange<'static>, Failure> {
    Ok(ZRange::Score { min: score_bound(min)?, max: score_bound(max)? })
}

fn lex_bound(arg: &[u8]) -> Result<LexBound<'_>, Failure> {
    match arg {
        b"-" => Ok(LexBound::Min),
        b"+" => Ok(LexBound::Max),
        [b'[', member @ ..] => Ok(LexBound::Inclusive(member)),
        [b'(', member @ ..] => Ok(LexBound::Exclusive(member)),
        _ => Err(NOT_LEX_RANGE),
    }
}

/// The members from `min` to `max` by their bytes.
pub fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<ZRange<'a>, Failure> {
    Ok(ZRange::Lex { min: lex_bound(min)?, max: lex_bound(max)? })
}

/// Ranks as arguments give them: negative ones count from the end, the last is inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices {
    start: i64,
    stop: i64,
}

impl Indices {
    /// The two arguments.
    pub fn parse(start: &[u8], stop: &[u8]) -> Result<Self, Failure> {
        Ok(Indices { start: integer(start)?, stop: integer(stop)? })
    }

    /// First and one past the last, both at most `len`; equal when nothing is inside.
    pub fn within(self, len: u64) -> (u64, u64) {
        let from_end = |index: i64| match index {
            0.. => index as u64,
            _ => len.saturating_sub(index.unsigned_abs()),
        };
        // Before the beginning, the start is clamped but the stop leaves nothing.
        if self.stop < 0 && self.stop.unsigned_abs() > len {
            return (0, 0);
        }
        let (start, end) = (from_end(self.start), from_end(self.stop).saturating_add(1).min(len));
        (start.min(end), end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_within_three() {
        let within = |start, stop| Indices { start, stop }.within(3);
        assert_eq!(within(0, -1), (0, 3));
        assert_eq!(within(-2, 1), (1, 2));
        assert_eq!(within(-100, 0), (0, 1));
        assert_eq!(within(1, 100), (1, 3));
        assert_eq!(within(3, 5), (3, 3));
        assert_eq!(within(0, -4), (0, 0));
        assert_eq!(within(0, i64::MIN), (0, 0));
        let (start, end) = within(2, 1);
        assert!(start >= end);
        let (start, end) = within(i64::MAX, i64::MAX);
        assert!(start >= end);
    }

    #[test]
    fn score_bounds() {
        let bound = |text: &str| score_bound(text.as_bytes()).map(|b| (b.score, b.exclusive));
        assert_eq!(bound("1.5"), Ok((1.5, false)));
        assert_eq!(bound("(1.5"), Ok((1.5, true)));
        assert_eq!(bound("-inf"), Ok((f64::NEG_INFINITY, false)));
        assert_eq!(bound("(+inf"), Ok((f64::INFINITY, true)));
        assert_eq!(bound("("), Ok((0.0, true)));
        assert_eq!(bound("1e999"), Ok((f64::INFINITY, false)));
        for wrong in ["nan", "x", "((1", "1 ", "1x"] {
            assert_eq!(bound(wrong), Err(NOT_SCORE_RANGE), "{wrong}");
        }
    }
}
