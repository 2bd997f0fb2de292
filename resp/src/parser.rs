//! Parses requests: finds every complete request of a pipeline in one pass, without copying.
//!
//! The rules, including the error texts, are those of `processInputBuffer` and its two helpers in
//! Redis 7.2's `networking.c`. Two of its leniencies are kept on purpose: the byte behind the `\r`
//! of a header, and the two bytes behind a bulk string, are skipped without a check.

use crate::batch::{Batch, Range, Span};
use crate::inline::next_word;
use crate::number::{length, parse_i64};
use memchr::memchr;
use std::fmt;

/// Offsets have 32 bits. Bytes beyond the window are parsed once the front has been consumed.
const WINDOW_MAX: usize = u32::MAX as usize;

/// The limits for an unauthenticated client (`processMultibulkBuffer`).
const UNAUTHENTICATED_ARGS_MAX: u32 = 10;
/// Longest bulk of an unauthenticated client, in bytes.
const UNAUTHENTICATED_BULK_LEN_MAX: u32 = 16 * 1024;

/// An incomplete request with fewer arguments than this is parsed again from its start when more
/// bytes arrive. That costs less than an allocation to remember its arguments, and is still linear
/// in the number of bytes.
const RESUME_ARGS_MIN: usize = 16;

/// The limits for a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest bulk string in bytes: `proto-max-bulk-len`. More than 4 GiB is always refused.
    pub bulk_len_max: usize,
    /// The highest number of arguments of one request; at most a C `int`. A claimed number
    /// allocates no memory; only arguments that have arrived do.
    pub args_max: usize,
    /// The longest inline request, and the longest header line, in bytes.
    pub inline_len_max: usize,
    /// Whether the peer has yet to authenticate: then ten arguments of 16 KiB are allowed, and
    /// error texts say so.
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
    /// The length up to which a bulk string is valid without further checks.
    fn plain_bulk_len_max(&self) -> u32 {
        let max = u32::try_from(self.bulk_len_max).unwrap_or(u32::MAX);
        if self.unauthenticated { max.min(UNAUTHENTICATED_BULK_LEN_MAX) } else { max }
    }

    /// The highest number of arguments; at most a C `int`, as in Redis.
    fn plain_args_max(&self) -> u32 {
        let max = self.args_max.min(i32::MAX as usize) as u32;
        if self.unauthenticated { max.min(UNAUTHENTICATED_ARGS_MAX) } else { max }
    }

    /// The error of a request with `count` arguments, which are known to be too many.
    fn args_error(&self, count: u32) -> ProtocolError {
        if self.unauthenticated && count as usize <= self.args_max.min(i32::MAX as usize) {
            ProtocolError::UnauthenticatedMultibulkLength
        } else {
            ProtocolError::InvalidMultibulkLength
        }
    }

    /// The error of a bulk string of `len` bytes, which is known to be invalid.
    fn bulk_error(&self, len: i64) -> ProtocolError {
        let valid = usize::try_from(len).is_ok_and(|n| n <= self.bulk_len_max);
        if valid && self.unauthenticated {
            ProtocolError::UnauthenticatedBulkLength
        } else {
            ProtocolError::InvalidBulkLength
        }
    }
}

/// The reason why a peer's bytes are not a request. The connection must be closed after the error
/// was sent, because what follows cannot be parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProtocolError {
    /// An inline line is too long.
    InlineTooBig,
    /// The quotes of an inline line do not match.
    UnbalancedQuotes,
    /// A `*` line is too long.
    MultibulkCountTooBig,
    /// The count of a `*` line is not a number, or too large.
    InvalidMultibulkLength,
    /// The count of a `*` line is allowed only after authentication.
    UnauthenticatedMultibulkLength,
    /// A `$` line is too long.
    BulkCountTooBig,
    /// A byte other than `$` where a bulk string should begin.
    ExpectedBulk(u8),
    /// The length in a `$` line is not a number, negative, or too large.
    InvalidBulkLength,
    /// The length in a `$` line is allowed only after authentication.
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
    /// The number of bytes in complete requests. They must be removed before the next call, once
    /// the batch is executed.
    pub consumed: usize,
    /// An error behind the complete requests, which are still valid.
    pub error: Option<ProtocolError>,
    /// Whether `max_requests` requests were found, and the remaining bytes may contain more.
    pub more: bool,
    /// The least number of bytes that are missing to complete the request at the end, as far as
    /// known. A peer can claim any number within its limits, so cap it before allocating memory.
    pub hint: usize,
}

/// The state of one connection's incomplete request. Owns no memory if there is none.
#[derive(Debug, Default)]
pub struct Parser {
    /// An incomplete request with many arguments, at which parsing will continue.
    many: Option<Box<Many>>,
    /// The offset of the next argument, relative to the request.
    next: u32,
    /// The number of bytes of the incomplete request before the argument or header that is to be
    /// read next, and the number of bytes in the arguments before it.
    taken: u32,
    arg_bytes: u32,
    /// Between the incomplete request's current line and this offset, relative to the request,
    /// there is no line end. So a line that arrives byte by byte is searched only once.
    searched: u32,
}

/// The arguments of an incomplete request with many arguments.
#[derive(Debug, Default)]
struct Many {
    args: Vec<Range>,
    /// The number of arguments that are still missing behind them.
    left: u32,
}

/// Limits within which no further checks are necessary.
#[derive(Clone, Copy)]
struct Plain {
    args_max: u32,
    len_max: u32,
}

/// The result of trying to parse one request.
enum Step {
    /// A request was added to the batch. It ends at this offset.
    Request(usize),
    /// An empty request, which gets no reply, ends at this offset.
    Nothing(usize),
    /// The request is incomplete; at least this many bytes are missing.
    Half(usize),
}

/// The reason why [`arguments`] stopped.
enum Stop {
    /// All arguments were found, up to this offset.
    Done(usize),
    /// The header at this offset is incomplete, invalid, or over the limit.
    Header(usize),
    /// The bulk string whose header is at this offset lacks this many bytes.
    Body(usize, usize),
}

/// Reads up to `left` bulk strings from `pos` on, and decrements `left` for each. This is the hot
/// loop of the server.
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
    /// A parser at the start of a request.
    pub const fn new() -> Self {
        Parser { many: None, next: 0, taken: 0, arg_bytes: 0, searched: 0 }
    }

    /// For the incomplete request that the last call of [`Parser::parse`] left: the number of bytes
    /// at its start that are parsed, and the number of bytes in its complete arguments. Meaningless
    /// if there is none.
    pub fn half_read(&self) -> (usize, usize) {
        (self.taken as usize, self.arg_bytes as usize)
    }

    /// Adds the requests at the front of `buffer` to `batch`, at most `max_requests` of them.
    ///
    /// `buffer` must start with the bytes that the previous call did not consume; more may follow
    /// them. The offsets in the batch refer to this very `buffer`: execute (or copy) the requests
    /// and clear the batch before passing another one.
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
            stop => {
                self.keep_arguments(start, left, &mut batch.ranges, first);
                self.stopped(view, start, stop, limits)
            }
        }
    }

    /// Takes the arguments from `first` on, which belong to a request that is not complete yet, out of
    /// `ranges`. Many of them are kept, so that they need not be looked for again.
    #[cold]
    fn keep_arguments(&mut self, start: usize, left: u32, ranges: &mut Vec<Range>, first: usize) {
        let found = &ranges[first..];
        self.arg_bytes = bytes_of(found);
        if found.len() >= RESUME_ARGS_MIN {
            let base = start as u32;
            let args = found.iter().map(|r| Range { start: r.start - base, ..*r }).collect();
            self.many = Some(Box::new(Many { args, left }));
        }
        ranges.truncate(first);
    }

    /// Continues the incomplete request at the start of `view`.
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

    /// Distinguishes an incomplete request from an invalid one.
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
            // It would end beyond the range of offsets.
            Stop::Body(..) => return Err(ProtocolError::InvalidBulkLength),
            Stop::Header(pos) => (pos, self.bulk_header(view, start, pos, limits)?),
        };
        self.next = (pos - start) as u32;
        self.taken = (taken.unwrap_or(pos) - start) as u32;
        Ok(Step::Half(missing))
    }

    /// Checks a `$` line that was not plainly valid. Returns the missing number of bytes if it is
    /// merely incomplete.
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

    /// Checks a `*` line that holds no plain number. Requests with a negative count are skipped.
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

    /// Finds the `\r` of the header line at `pos`, if it and one more byte are present.
    ///
    /// Only for a line that [`length`] did not accept. A request has at most one such line, its
    /// last, so `searched` may lie behind lines that were accepted.
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
            // Redis notices this only while the line's end has not arrived. Here it does not depend
            // on how the bytes were split.
            Some(cr) if cr - pos > limits.inline_len_max => Err(too_big),
            Some(cr) => Ok((cr + 1 < view.len()).then_some(cr)),
            None if view.len().saturating_sub(pos) > limits.inline_len_max => Err(too_big),
            None => Ok(None),
        }
    }

    /// Ends an empty request, without a reply.
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

/// Adds the words of an inline `line` to the batch. Returns whether there were any, or `None` if
/// the quoting is wrong.
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
