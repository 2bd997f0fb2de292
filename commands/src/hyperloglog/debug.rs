//! PFDEBUG and PFSELFTEST.

use super::value::{self, HyperLogLog, REGISTERS};
use super::{load, save, sparse};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, failure};
use engine::text::args::is_word;
use storage::Key;

pub(super) fn pfdebug(cx: &mut Cx<'_>) -> Outcome {
    let key = cx.key(2);
    let Some(value) = load(cx, &key)? else {
        return Err(failure("ERR The specified key does not exist"));
    };
    match cx.args.arg(1) {
        word if is_word(word, "GETREG") => getreg(cx, &key, value),
        word if is_word(word, "DECODE") => decode(cx, &value),
        word if is_word(word, "ENCODING") => {
            cx.reply.simple(if value.is_dense() { "dense" } else { "sparse" });
            Ok(())
        }
        word if is_word(word, "TODENSE") => {
            let converted = make_dense(cx, &key, value)?.1;
            cx.reply.integer(i64::from(converted));
            Ok(())
        }
        word => {
            let word = String::from_utf8_lossy(word);
            Err(Failure::text(format!("ERR Unknown PFDEBUG subcommand '{word}'")))
        }
    }
}

/// The value as dense, stored as such, and whether it was not.
fn make_dense(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    mut value: HyperLogLog<Vec<u8>>,
) -> Result<(HyperLogLog<Vec<u8>>, bool), Failure> {
    let converts = !value.is_dense();
    if converts {
        value.make_dense()?;
        save(cx, key, &value)?;
        cx.changed_silently(1);
    }
    Ok((value, converts))
}

fn getreg(cx: &mut Cx<'_>, key: &Key<'_>, value: HyperLogLog<Vec<u8>>) -> Outcome {
    let (value, _) = make_dense(cx, key, value)?;
    cx.reply.array(REGISTERS);
    for index in 0..REGISTERS {
        cx.reply.integer(i64::from(value::get(value.body(), index)));
    }
    Ok(())
}

/// The opcodes of the sparse encoding in words.
fn decode(cx: &mut Cx<'_>, value: &HyperLogLog<Vec<u8>>) -> Outcome {
    if value.is_dense() {
        return Err(failure("ERR HLL encoding is not sparse"));
    }
    let words: Vec<String> = sparse::runs(value.body())
        .map(|run| match (run.value, run.size) {
            (0, 1) => format!("z:{}", run.len),
            (0, _) => format!("Z:{}", run.len),
            (value, _) => format!("v:{value},{}", run.len),
        })
        .collect();
    cx.reply.bulk(words.join(" ").as_bytes());
    Ok(())
}

/// Elements counted by the self-test; at each power of ten the estimate is looked at.
const TESTED: u64 = 100_000;
/// Standard error of the estimate.
const ERROR: f64 = 1.04 / 128.0;

/// Counts random elements in both encodings: they must agree, and the estimate be near.
pub(super) fn pfselftest(cx: &mut Cx<'_>) -> Outcome {
    let seed = cx.random();
    let mut dense = HyperLogLog::empty();
    dense.make_dense()?;
    let mut other = HyperLogLog::empty();
    let mut checkpoint = 1;
    for counted in 1..=TESTED {
        let element = (seed ^ counted).to_ne_bytes();
        dense.add(&element, 0)?;
        other.add(&element, super::sparse_max(cx))?;
        if counted == checkpoint {
            check(&dense, &other, counted)?;
            checkpoint *= 10;
        }
    }
    cx.reply.ok();
    Ok(())
}

fn check(dense: &HyperLogLog<Vec<u8>>, other: &HyperLogLog<Vec<u8>>, counted: u64) -> Outcome {
    let (estimate, same) = (dense.estimate()?, other.estimate()?);
    if estimate != same {
        return Err(failure("TESTFAILED dense/sparse disagree"));
    }
    let allowed = (ERROR * 6.0 * counted as f64).ceil() as u64;
    // Among ten elements two may well fall on one register.
    let allowed = if counted == 10 { allowed.max(1) } else { allowed };
    if estimate.abs_diff(counted) > allowed {
        return Err(Failure::text(format!(
            "TESTFAILED Too big error. card:{counted} abserr:{}",
            estimate.abs_diff(counted)
        )));
    }
    Ok(())
}
