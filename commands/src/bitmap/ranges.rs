//! BITCOUNT and BITPOS: bits in a range of bytes or bits.

use super::bits;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::{integer, is_word};
use std::ops::Range;

/// Whether the indices of a range count bytes or bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Byte,
    Bit,
}

impl Unit {
    fn parse(word: &[u8]) -> Result<Self, Failure> {
        match word {
            _ if is_word(word, "BIT") => Ok(Unit::Bit),
            _ if is_word(word, "BYTE") => Ok(Unit::Byte),
            _ => Err(SYNTAX),
        }
    }

    fn bits(self) -> u64 {
        if self == Unit::Byte { 8 } else { 1 }
    }
}

/// A range as given: inclusive, counted from the end where negative.
#[derive(Clone, Copy, Debug)]
struct Given {
    start: i64,
    end: i64,
    unit: Unit,
}

const WHOLE: Given = Given { start: 0, end: -1, unit: Unit::Byte };

impl Given {
    /// The bits this means in a string of `len` bytes; empty when nothing is left.
    fn resolve(self, len: u64) -> Range<u64> {
        let total = len * 8 / self.unit.bits();
        let from_end = |index: i64| match u64::try_from(index) {
            Ok(index) => index,
            Err(_) => total.saturating_sub(index.unsigned_abs()),
        };
        let (start, end) = (from_end(self.start), from_end(self.end));
        if total == 0 || start > end.min(total - 1) {
            return 0..0;
        }
        start * self.unit.bits()..(end.min(total - 1) + 1) * self.unit.bits()
    }
}

pub(super) fn bitcount(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(1);
    let Some(value) = cx.tx.string(&key)? else {
        cx.looked_up(&key, false);
        cx.reply.integer(0);
        return Ok(());
    };
    let bytes = value.as_bytes();
    let ones = match given_to_count(cx.args)? {
        Some(given) => bits::count(bytes, given.resolve(bytes.len() as u64)),
        None => 0,
    };
    cx.looked_up(&key, true);
    cx.reply.integer(ones as i64);
    Ok(())
}

/// The range of BITCOUNT; `None` when it is empty whatever the string.
fn given_to_count(args: resp::Request<'_>) -> Result<Option<Given>, Failure> {
    if args.len() == 2 {
        return Ok(Some(WHOLE));
    }
    if !(4..=5).contains(&args.len()) {
        return Err(SYNTAX);
    }
    let (start, end) = (integer(args.arg(2))?, integer(args.arg(3))?);
    if start < 0 && end < 0 && start > end {
        return Ok(None);
    }
    let unit = args.get(4).map_or(Ok(Unit::Byte), Unit::parse)?;
    Ok(Some(Given { start, end, unit }))
}

pub(super) fn bitpos(cx: &mut Cx<'_>) -> Outcome {
    let set = match integer(cx.args.arg(2))? {
        0 => false,
        1 => true,
        _ => return Err(failure("ERR The bit argument must be 1 or 0.")),
    };
    let key = cx.key(1);
    let Some(value) = cx.tx.string(&key)? else {
        cx.looked_up(&key, false);
        cx.reply.integer(if set { -1 } else { 0 });
        return Ok(());
    };
    let bytes = value.as_bytes();
    let given = given_to_search(cx.args)?;
    let range = given.resolve(bytes.len() as u64);
    let position = match bits::find(bytes, set, range.clone()) {
        Some(position) => position as i64,
        // A string is followed by zeros, unless the end was the client's own.
        None if !set && !range.is_empty() && cx.args.len() < 5 => range.end as i64,
        None => -1,
    };
    cx.looked_up(&key, true);
    cx.reply.integer(position);
    Ok(())
}

fn given_to_search(args: resp::Request<'_>) -> Result<Given, Failure> {
    if args.len() == 3 {
        return Ok(WHOLE);
    }
    if args.len() > 6 {
        return Err(SYNTAX);
    }
    let start = integer(args.arg(3))?;
    let unit = args.get(5).map_or(Ok(Unit::Byte), Unit::parse)?;
    let end = args.get(4).map_or(Ok(-1), integer)?;
    Ok(Given { start, end, unit })
}

#[cfg(test)]
mod tests {
    use super::{Given, Unit};

    #[test]
    fn ranges_are_clamped_to_the_string() {
        let resolve = |start, end, unit, len| Given { start, end, unit }.resolve(len);
        assert_eq!(resolve(0, -1, Unit::Byte, 3), 0..24);
        assert_eq!(resolve(-2, -2, Unit::Byte, 3), 8..16);
        assert_eq!(resolve(5, 30, Unit::Bit, 2), 5..16);
        assert_eq!(resolve(-3, i64::MAX, Unit::Bit, 1), 5..8);
        assert_eq!(resolve(i64::MIN, i64::MIN, Unit::Byte, 2), 0..8);
        assert!(resolve(2, 5, Unit::Byte, 2).is_empty());
        assert!(resolve(0, -1, Unit::Byte, 0).is_empty());
        assert!(resolve(2, 1, Unit::Bit, 2).is_empty());
    }
}
