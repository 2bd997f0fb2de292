//! XTRIM, and the grammar it shares with XADD: `MAXLEN|MINID [=|~] threshold [LIMIT count]`.

use super::ids::{self, IdText, NewId, id_text};
use engine::config::Id;
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::text::args::{Args, integer, is_word, non_negative};
use storage::Open;
use storage::stream::{StreamId, StreamInfo, Trim, TrimTo};

/// Entries that `~` may remove at once when the nodes do not say.
const LIMIT_DEFAULT: u64 = 10_000;
/// Most that `~` removes at once unless told otherwise.
const LIMIT_MAX: u64 = 1_000_000;
/// The most nodes that a trim with `~` removes at once.
const LIMIT_NODES: u64 = 100;

const TWO_STRATEGIES: Failure =
    failure("ERR syntax error, MAXLEN and MINID options at the same time are not compatible");

/// The options of `XADD` and `XTRIM`.
pub(super) struct Options {
    /// The trimming, if there is one.
    pub trim: Option<Trim>,
    /// Whether a stream is made when there is none.
    pub make: bool,
    /// The ID of a new entry.
    pub id: NewId,
    /// The end of the options: the position of `XADD`'s ID argument.
    pub end: usize,
}

/// The options from argument 2 on; `adding` for `XADD`, where an ID ends them.
pub(super) fn parse(cx: &Cx<'_>, adding: bool) -> Result<Options, Failure> {
    let mut options = Options { trim: None, make: true, id: NewId::Auto, end: cx.argc() };
    let (mut limit, mut args) = (None, cx.args_from(2));
    while let Some(word) = args.peek() {
        if adding && word == b"*" {
            break;
        } else if args.keyword_before("MAXLEN", 1) || args.keyword_before("MINID", 1) {
            if options.trim.is_some() {
                return Err(TWO_STRATEGIES);
            }
            options.trim = Some(strategy(&mut args, is_word(word, "MAXLEN"))?);
        } else if let Some(value) = args.option("LIMIT") {
            limit = Some(non_negative(value, "ERR The LIMIT argument must be >= 0.")?);
        } else if adding && args.keyword("NOMKSTREAM") {
            options.make = false;
        } else if adding {
            options.id = ids::new_id(word)?;
            break;
        } else {
            return Err(SYNTAX);
        }
    }
    options.end = args.at();
    let approximate = options.trim.is_some_and(|trim| trim.approximate);
    match (&mut options.trim, limit) {
        (None, Some(1..)) => Err(failure(
            "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
        )),
        (None, _) if !adding => {
            Err(failure("ERR syntax error, XTRIM must be called with a trimming strategy"))
        }
        (_, Some(_)) if !approximate => {
            Err(failure("ERR syntax error, LIMIT cannot be used without the special ~ option"))
        }
        (Some(trim), limit) if approximate => {
            trim.limit = limit.unwrap_or_else(|| default_limit(cx));
            Ok(options)
        }
        _ => Ok(options),
    }
}

/// Parses the words behind `MAXLEN` or `MINID`.
fn strategy(args: &mut Args<'_>, by_len: bool) -> Result<Trim, Failure> {
    let approximate = args.keyword_before("~", 1);
    if !approximate {
        args.keyword_before("=", 1);
    }
    Ok(Trim { to: threshold(args.expect()?, by_len)?, approximate, limit: 0 })
}

fn threshold(argument: &[u8], by_len: bool) -> Result<TrimTo, Failure> {
    if !by_len {
        return ids::strict_id(argument, 0).map(TrimTo::MinId);
    }
    let len = u64::try_from(integer(argument)?);
    let len = len.map_err(|_| failure("ERR The MAXLEN argument must be >= 0."))?;
    Ok(TrimTo::MaxLen(len))
}

/// The default of the number of entries that `~` may remove at once.
fn default_limit(cx: &Cx<'_>) -> u64 {
    let nodes = cx.engine.config.integer(Id::StreamNodeMaxEntries).max(0) as u64;
    match nodes.saturating_mul(LIMIT_NODES) {
        0 => LIMIT_DEFAULT,
        limit => limit.min(LIMIT_MAX),
    }
}

/// An approximate trimming as the exact one it came to: word and threshold.
pub(super) fn exactly(trim: &Trim, after: &StreamInfo) -> (&'static [u8], IdText) {
    match trim.to {
        TrimTo::MaxLen(_) => (b"MAXLEN", itoa::Buffer::new().format(after.len).as_bytes().into()),
        TrimTo::MinId(_) => {
            (b"MINID", id_text(if after.len == 0 { StreamId::MAX } else { after.first_id }))
        }
    }
}

pub(super) fn xtrim(cx: &mut Cx<'_>) -> Outcome {
    let Some(trim) = parse(cx, false)?.trim else { return Err(SYNTAX) };
    let key = cx.key(1);
    let (mut gone, mut after) = (0, StreamInfo::default());
    if let Some(mut stream) = cx.tx.stream(&key, Open::Existing)? {
        gone = stream.trim(&trim)?;
        after = stream.info()?;
    }
    if gone > 0 {
        cx.modified_by(gone, &key, Class::Stream, "xtrim");
        if trim.approximate {
            let (word, threshold) = exactly(&trim, &after);
            cx.log(&[b"XTRIM", key.bytes, word, b"=", &threshold]);
        }
    }
    cx.reply.integer(gone as i64);
    Ok(())
}
