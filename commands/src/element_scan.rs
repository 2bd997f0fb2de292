//! The shared part of `SSCAN`, `HSCAN` and `ZSCAN`: the cursor, the options, the reply's shape.

use crate::generic::iterate::parse_cursor;
use engine::failure::{Failure, SYNTAX, failure};
use engine::text::args::{Args, integer};
use engine::text::glob;
use resp::{Output, Reply, Request};

const INVALID_CURSOR: Failure = failure("ERR invalid cursor");

/// About how many elements a call visits unless told.
const COUNT_DEFAULT: usize = 10;

/// Parses the cursor of a request.
///
/// # Errors
/// Fails if it is not a number.
pub fn cursor(arg: &[u8]) -> Result<u64, Failure> {
    parse_cursor(arg).ok_or(INVALID_CURSOR)
}

/// `[MATCH pattern] [COUNT count] [NOVALUES]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanOptions<'a> {
    /// Only elements that match this pattern.
    pub pattern: Option<&'a [u8]>,
    /// About how many elements to visit.
    pub count: usize,
    /// Fields without their values.
    pub no_values: bool,
}

impl<'a> ScanOptions<'a> {
    /// The options from argument `from` on; `NOVALUES` is one only if `may_omit_values`.
    ///
    /// # Errors
    /// As Redis: a count below one is a syntax error.
    pub fn parse(args: Request<'a>, from: usize, may_omit_values: bool) -> Result<Self, Failure> {
        let mut options = ScanOptions { pattern: None, count: COUNT_DEFAULT, no_values: false };
        let mut args = Args::new(args, from);
        while !args.is_empty() {
            if let Some(value) = args.option("COUNT") {
                options.count = match integer(value)? {
                    ..1 => return Err(SYNTAX),
                    count => count as usize,
                };
            } else if let Some(value) = args.option("MATCH") {
                options.pattern = Some(value).filter(|pattern| *pattern != b"*");
            } else if may_omit_values && args.keyword("NOVALUES") {
                options.no_values = true;
            } else {
                return Err(SYNTAX);
            }
        }
        Ok(options)
    }

    /// Whether an element is asked for.
    pub fn admits(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element, false))
    }
}

/// Replies with a cursor and elements; `visit` writes the elements, counts them, and returns the
/// next cursor and that count.
///
/// # Errors
/// Fails with the error of `visit`.
pub fn reply_page(
    reply: &mut Reply<'_>,
    visit: impl FnOnce(&mut Reply<'_>) -> Result<(u64, usize), Failure>,
) -> Result<(), Failure> {
    // The cursor comes first, and is known last.
    let mut page = Output::new();
    let (next, count) = visit(&mut Reply::new(&mut page, reply.proto()))?;
    reply.array(2);
    reply.bulk(itoa::Buffer::new().format(next).as_bytes());
    reply.array(count);
    reply.output().append(page);
    Ok(())
}

/// [`reply_page`] for a key that does not exist.
pub fn reply_nothing(reply: &mut Reply<'_>) {
    reply.array(2);
    reply.bulk(b"0");
    reply.array(0);
}
