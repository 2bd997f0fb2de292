//! Requests out of bytes: every complete request of a pipeline, found in one pass, nothing copied.
//!
//! The rules, down to the error texts, are those of `processInputBuffer` and its two helpers in
//! Redis 7.2's `networking.c`. Two of its leniencies are kept on purpose: the byte behind a
//! header's `\r`, and the two bytes behind a bulk, are skipped unseen.

use crate::batch::{Batch, Range, Span};
use crate::inline::next_word;
use crate::number::{length, parse_i64};
use memchr::memchr;
use std::fmt;

/// Offsets are 32 bits wide; what lies behind is looked at when the front has been consumed.
const WINDOW_MAX: usize = u32::MAX as usize;

/// The limits for an unauthenticated client (`processMultibulkBuffer`).
const UNAUTHENTICATED_ARGS_MAX: u32 = 10;
/// Longest bulk of an unauthenticated client, in bytes.
const UNAUTHENTICATED_BULK_LEN_MAX: u32 = 16 * 1024;

/// A half request with fewer arguments than this is read again from its start when more bytes
/// come: that costs less than an allocation to remember them, and is still linear in the bytes.
const RESUME_ARGS_MIN: usize = 16;

/// The limits for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest bulk in bytes: `proto-max-bulk-len`. More than 4 GiB is refused in any case.
    pub bulk_len_max: usize,
    /// Most arguments of one request; a C `int` at most. A claimed count takes no memory: arguments
    /// do, as they come.
    pub args_max: usize,
    /// Longest inline request, and longest header line, in bytes.
    pub inline_len_max: usize,
    /// Whether the peer has yet to authenticate: ten arguments of 16 KiB, and errors that say so.
    ///
    /// A request may change that, so parse one at a time (`max_requests` 1) while this is set.
    pub unauthenticated: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            bulk_len_max: 512 * 1024 * 1024,
            args_max: i32::MAX as usize,
            inline_len_max: 64 * 1024,
            unauthenticated: false,
        }
    }
}

impl Limits {
    /// The longest bulk that needs no closer look.
    fn plain_bulk_len_max(&self) -> u32 {
        let max = u32::try_from(self.bulk_len_max).unwrap_or(u32::MAX);
        if self.unauthenticated { max.min(UNAUTHENTICATED_BULK_LEN_MAX) } else { max }
    }

    /// The most arguments that are allowed; a C `int` in Redis.
    fn plain_args_max(&self) -> u32 {
        let max = self.args_max.min(i32::MAX as usize) as u32;
        if self.unauthenticated { max.min(UNAUTHENTICATED_ARGS_MAX) } else { max }
    }

    /// Why a request of `count` arguments is refused, given that it is.
    fn args_error(&self, count: u32) -> ProtocolError {
        if self.unauthenticated && count as usize <= self.args_max.min(i32::MAX as usize) {
            ProtocolError::UnauthenticatedMultibulkLength
        } else {
            ProtocolError::InvalidMultibulkLength
        }
    }

    /// Why a bulk of `len` bytes is refused, given that it is.
    fn bulk_error(&self, len: i64) -> ProtocolError {
        let valid = usize::try_from(len).is_ok_and(|n| n <= self.bulk_len_max);
        if valid && self.unauthenticated {
            ProtocolError::UnauthenticatedBulkLength
        } else {
            ProtocolError::InvalidBulkLength
        }
    }
}

/// Why a peer's bytes are no request. The connection is to be closed after saying so: what
/// follows cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline line that is too long.
    InlineTooBig,
    /// An inline line whose quotes do not match.
    UnbalancedQuotes,
    /// A `*` line that does not end.
    MultibulkCountTooBig,
    /// A `*` count that is no number, or too large.
    InvalidMultibulkLength,
    /// A `*` count that needs authentication.
    UnauthenticatedMultibulkLength,
    /// A `$` line that does not end.
    BulkCountTooBig,
    /// Something else where a bulk should start.
    ExpectedBulk(u8),
    /// A `$` length that is no number, negative, or too large.
    InvalidBulkLength,
    /// A `$` length that needs authentication.
    UnauthenticatedBulkLength,
}

impl fmt::Display for ProtocolError {
    /// Redis's text, without `-ERR ` in front.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            ProtocolError::InlineTooBig => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::MultibulkCountTooBig => "too big mbulk count string",
            ProtocolError::InvalidMultibulkLength => "invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => "unauthenticated multibulk length",
            ProtocolError::BulkCountTooBig => "too big bulk count string",
            ProtocolError::ExpectedBulk(got) => {
                return write!(f, "expected '$', got '{}'", char::from(*got));
            }
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "unauthenticated bulk length",
        })
    }
}

impl std::error::Error for ProtocolError {}

/// The result of one call of [`Parser::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Progress {
    /// Bytes of complete requests: drop them before the next call, once the batch is executed.
    pub consumed: usize,
    /// Found behind the complete requests, which are still valid.
    pub error: Option<ProtocolError>,
    /// `max_requests` were found, and bytes are left that may hold more.
    pub more: bool,
    /// At least this many bytes are missing for the half request at the end, as far as known.
    /// A peer can claim any number within its limits: cap it before reserving memory.
    pub hint: usize,
}

/// The state of one connection's half-arrived request; owns no memory when there is none.
#[derive(Debug, Default)]
pub struct Parser {
    /// A half request that is to be resumed: one of which many arguments were found.
    many: Option<Box<Many>>,
    /// Where the next argument starts, relative to the request.
    next: u32,
    /// Bytes of the half request before those that are still to be read as an argument, or as its
    /// header; and what the arguments before them hold.
    taken: u32,
    arg_bytes: u32,
    /// No line end lies between the half request's current line and this offset, relative to the
    /// request: a line that arrives byte by byte is searched once.
    searched: u32,
}

/// Many arguments of a half request.
#[derive(Debug, Default)]
struct Many {
    args: Vec<Range>,
    /// How many are still missing behind them.
    left: u32,
}

/// Limits below which a request needs no closer look.
#[derive(Clone, Copy)]
struct Plain {
    args_max: u32,
    len_max: u32,
}

/// How the attempt to read one request ended.
enum Step {
    /// A request was added to the batch; it ends here.
    Request(usize),
    /// Something empty that asks for no reply ends here.
    Nothing(usize),
    /// The request is not complete; at least so many bytes are missing.
    Half(usize),
}

/// Why the argument loop stopped; see [`arguments`].
enum Stop {
    /// All arguments are there, up to this offset.
    Done(usize),
    /// The header here is incomplete, wrong, or over the limit.
    Header(usize),
    /// The bulk whose header is here misses so many bytes.
    Body(usize, usize),
}

/// Reads up to `left` bulks from `pos` on, and counts `left` down. The hot loop of the server.
#[inline(always)]
fn arguments(view: &[u8], mut pos: usize, left: &mut u32, max: u32, out: &mut Vec<Range>) -> Stop {
    while *left > 0 {
        if view.get(pos) != Some(&b'$') {
            return Stop::Header(pos);
        }
        let Some((len, body)) = length(view, pos) else { return Stop::Header(pos) };
        if len > max {
            return Stop::Header(pos);
        }
        let end = body + len as usize + 2;
        if end > view.len() {
            return Stop::Body(pos, end - view.len());
        }
        out.push(Range { start: body as u32, len });
        *left -= 1;
        pos = end;
    }
    Stop::Done(pos)
}

impl Parser {
    /// A parser expecting the start of a request.
    pub const fn new() -> Self {
        Parser { many: None, next: 0, taken: 0, arg_bytes: 0, searched: 0 }
    }

    /// Of the half request that the last call of [`Parser::parse`] left: how many bytes at its start
    /// are done with, and how many are in its whole arguments. Of no meaning without one.
    pub fn half_read(&self) -> (usize, usize) {
        (self.taken as usize, self.arg_bytes as usize)
    }

    /// Adds the requests at the front of `buffer` to `batch`, at most `max_requests` of them.
    ///
    /// `buffer` must start with the bytes the previous call did not consume, and may have grown
    /// since. The batch's offsets refer to this very `buffer`: execute (or copy) and clear it
    /// before handing over another.
    pub fn parse(
        &mut self,
        buffer: &[u8],
        max_requests: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Progress {
        let view = &buffer[..buffer.len().min(WINDOW_MAX)];
        let enough = batch.len().saturating_add(max_requests);
        let plain =
            Plain { args_max: limits.plain_args_max(), len_max: limits.plain_bulk_len_max() };
        let mut progress = Progress { consumed: 0, error: None, more: false, hint: 0 };
        while let Some(&sigil) = view.get(progress.consumed) {
            if batch.len() >= enough {
                progress.more = true;
                return progress;
            }
            let step = match sigil {
                b'*' => self.multibulk(view, progress.consumed, limits, plain, batch),
                _ => self.inline(view, progress.consumed, limits, batch),
            };
            match step {
                Ok(Step::Request(end) | Step::Nothing(end)) => progress.consumed = end,
                Ok(Step::Half(missing)) => {
                    progress.hint = missing;
                    break;
                }
                Err(error) => {
                    *self = Parser::new();
                    progress.error = Some(error);
                    return progress;
                }
            }
        }
        // Beyond the window there may be whole requests, visible once the front is dropped.
        progress.more = progress.consumed > 0 && buffer.len() > view.len();
        progress
    }

    #[inline]
    fn multibulk(
        &mut self,
        view: &[u8],
        start: usize,
        limits: &Limits,
        plain: Plain,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        if self.many.is_some() {
            return self.resume(view, limits, batch);
        }
        let Some((argc, pos)) = length(view, start) else {
            return self.count_header(view, start, limits);
        };
        if argc > plain.args_max {
            return Err(limits.args_error(argc));
        }
        if argc == 0 {
            return Ok(self.nothing(pos));
        }
        let first = batch.ranges.len();
        let mut left = argc;
        match arguments(view, pos, &mut left, plain.len_max, &mut batch.ranges) {
            Stop::Done(end) => {
                self.searched = 0;
                let (first, end_offset) = (first as u32, end as u32);
                batch.requests.push(Span { first, argc, end: end_offset, inline: false });
                Ok(Step::Request(end))
            }
            stop => self.half(view, start, left, stop, limits, batch, first),
        }
    }

    /// Keeps what is needed of a request that is not complete yet.
    #[cold]
    #[allow(clippy::too_many_arguments)]
    fn half(
        &mut self,
        view: &[u8],
        start: usize,
        left: u32,
        stop: Stop,
        limits: &Limits,
        batch: &mut Batch,
        first: usize,
    ) -> Result<Step, ProtocolError> {
        let found = &batch.ranges[first..];
        self.arg_bytes = bytes_of(found);
        if found.len() >= RESUME_ARGS_MIN {
            let base = start as u32;
            let args = found.iter().map(|r| Range { start: r.start - base, ..*r }).collect();
            self.many = Some(Box::new(Many { args, left }));
        }
        batch.ranges.truncate(first);
        self.stopped(view, start, stop, limits)
    }

    /// Continues the half request at the start of `view`.
    #[cold]
    fn resume(
        &mut self,
        view: &[u8],
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let mut many = self.many.take().unwrap_or_default();
        let Many { args, left } = &mut *many;
        let known = args.len();
        let max = limits.plain_bulk_len_max();
        match arguments(view, self.next as usize, left, max, args) {
            Stop::Done(end) => {
                let first = batch.ranges.len() as u32;
                batch.ranges.extend_from_slice(args);
                let (argc, end_offset) = (args.len() as u32, end as u32);
                batch.requests.push(Span { first, argc, end: end_offset, inline: false });
                *self = Parser::new();
                Ok(Step::Request(end))
            }
            stop => {
                self.arg_bytes = self.arg_bytes.saturating_add(bytes_of(&args[known..]));
                self.many = Some(many);
                self.stopped(view, 0, stop, limits)
            }
        }
    }

    /// Tells a request that has yet to arrive from one that is wrong.
    fn stopped(
        &mut self,
        view: &[u8],
        start: usize,
        stop: Stop,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let mut taken = None;
        let (pos, missing) = match stop {
            Stop::Done(pos) => (pos, 0),
            Stop::Body(pos, missing) if view.len() + missing - start <= WINDOW_MAX => {
                taken = length(view, pos).map(|(_, body)| body);
                (pos, missing)
            }
            // It would end beyond what offsets can say.
            Stop::Body(..) => return Err(ProtocolError::InvalidBulkLength),
            Stop::Header(pos) => (pos, self.bulk_header(view, start, pos, limits)?),
        };
        self.next = (pos - start) as u32;
        self.taken = (taken.unwrap_or(pos) - start) as u32;
        Ok(Step::Half(missing))
    }

    /// A closer look at a `$` line that was not plainly good; returns the hint if it is merely
    /// incomplete.
    fn bulk_header(
        &mut self,
        view: &[u8],
        start: usize,
        pos: usize,
        limits: &Limits,
    ) -> Result<usize, ProtocolError> {
        let Some(cr) = self.line_end(view, start, pos, limits, ProtocolError::BulkCountTooBig)?
        else {
            return Ok(0);
        };
        match view.get(pos..cr) {
            Some([b'$', digits @ ..]) => match parse_i64(digits) {
                Some(len) => Err(limits.bulk_error(len)),
                None => Err(ProtocolError::InvalidBulkLength),
            },
            _ => Err(ProtocolError::ExpectedBulk(view.get(pos).copied().unwrap_or(b'\r'))),
        }
    }

    /// A closer look at a `*` line that holds no plain number: negative counts are skipped.
    #[cold]
    fn count_header(
        &mut self,
        view: &[u8],
        start: usize,
        limits: &Limits,
    ) -> Result<Step, ProtocolError> {
        let too_big = ProtocolError::MultibulkCountTooBig;
        let Some(cr) = self.line_end(view, start, start, limits, too_big)? else {
            (self.taken, self.arg_bytes) = (0, 0);
            return Ok(Step::Half(0));
        };
        match parse_i64(view.get(start + 1..cr).unwrap_or_default()) {
            Some(..0) => Ok(self.nothing(cr + 2)),
            _ => Err(ProtocolError::InvalidMultibulkLength),
        }
    }

    /// Finds the `\r` of the header line at `pos`, if it and one more byte are there.
    ///
    /// Only for a line that [`length`] did not accept, of which a request has at most one, its
    /// last: `searched` may lie behind lines that were accepted.
    fn line_end(
        &mut self,
        view: &[u8],
        start: usize,
        pos: usize,
        limits: &Limits,
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let from = pos.max(start + self.searched as usize).min(view.len());
        let found = memchr(b'\r', &view[from..]).map(|i| from + i);
        self.searched = (found.unwrap_or(view.len()) - start) as u32;
        match found {
            // Redis notices this only while the line's end has not arrived. Here it does not
            // depend on how the bytes were cut.
            Some(cr) if cr - pos > limits.inline_len_max => Err(too_big),
            Some(cr) => Ok((cr + 1 < view.len()).then_some(cr)),
            None if view.len().saturating_sub(pos) > limits.inline_len_max => Err(too_big),
            None => Ok(None),
        }
    }

    /// Silently ends something empty.
    fn nothing(&mut self, end: usize) -> Step {
        self.searched = 0;
        Step::Nothing(end)
    }

    #[cold]
    fn inline(
        &mut self,
        view: &[u8],
        start: usize,
        limits: &Limits,
        batch: &mut Batch,
    ) -> Result<Step, ProtocolError> {
        let from = (start + self.searched as usize).min(view.len());
        let longest = start.saturating_add(limits.inline_len_max).saturating_add(1);
        let window = &view[from..view.len().min(longest).max(from)];
        let Some(newline) = memchr(b'\n', window).map(|i| from + i) else {
            if view.len() - start > limits.inline_len_max {
                return Err(ProtocolError::InlineTooBig);
            }
            self.searched = (view.len() - start) as u32;
            (self.taken, self.arg_bytes) = (0, 0);
            return Ok(Step::Half(0));
        };
        let line = &view[start..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let first = batch.ranges.len();
        let words = words(line, batch);
        if words != Some(true) {
            batch.ranges.truncate(first);
        }
        let end = newline + 1;
        if words.ok_or(ProtocolError::UnbalancedQuotes)? {
            self.searched = 0;
            let argc = (batch.ranges.len() - first) as u32;
            let (first, end_offset) = (first as u32, end as u32);
            batch.requests.push(Span { first, argc, end: end_offset, inline: true });
            Ok(Step::Request(end))
        } else {
            Ok(self.nothing(end))
        }
    }
}

/// Returns the total length of some arguments, in bytes.
fn bytes_of(args: &[Range]) -> u32 {
    args.iter().fold(0, |sum: u32, arg| sum.saturating_add(arg.len))
}

/// Adds the words of an inline `line` to the batch; whether there were any, or `None` if the
/// quoting is wrong.
fn words(line: &[u8], batch: &mut Batch) -> Option<bool> {
    let before = batch.ranges.len();
    let mut rest = line;
    loop {
        let start = batch.arena.len();
        match next_word(rest, &mut batch.arena)? {
            None => return Some(batch.ranges.len() > before),
            Some(after) => rest = after,
        }
        let len = batch.arena.len() - start;
        batch.ranges.push(Range { start: start as u32, len: len as u32 });
    }
}
