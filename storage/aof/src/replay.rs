//! One RESP file of the log, read and handed on.
//!
//! Read in large chunks and parsed a pipeline at a time. The parser is lenient where a connection
//! may be; here every line end and every count is checked, so that a flipped bit in the framing is
//! found where it is, not some bytes later or never.

use super::encode;
use super::error::LoadError;
use super::log::position;
use super::seal::{self, Seal};
use super::{Command, Refused, Replay};
use memchr::memchr;
use resp::{Batch, Limits, Parser, Range, Request, Span};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use storage::tx::Db;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// Requests parsed at a time, at least and at most.
const BATCH_MIN: usize = 16;
const BATCH_MAX: usize = 4096;
/// Longest comment line, bytes; Redis reads annotations into a buffer of this size.
const COMMENT_LEN_MAX: usize = 64 << 10;
/// Bytes looked at a time for zeros at the end.
const ZEROS_CHUNK: usize = 64 << 10;

/// Counts of the contents of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Commands applied.
    pub commands: u64,
    /// Offset behind the last whole record.
    pub valid_len: u64,
    /// Bytes behind it: half a command, a transaction without its end, or zeros.
    pub torn_len: u64,
    /// The marks it has, as of the last.
    pub seal: Option<Seal>,
}

/// A file being replayed.
pub(super) struct FileReplay<'r> {
    path: &'r Path,
    /// The increment's number, 0 for a base.
    seq: u64,
    replay: &'r mut dyn Replay,
    db: Db,
    transaction: Option<Transaction>,
    commands: u64,
    /// Offset in the file of the buffer's first byte.
    base: u64,
    seal: Option<Seal>,
    /// Requests to parse at a time. Those behind the next annotation are parsed once more, so it is about as
    /// many as there were before the last one.
    ahead: usize,
}

/// Commands between `MULTI` and `EXEC`, copied: they may be chunks apart.
struct Transaction {
    /// The offset of its `MULTI`.
    start: u64,
    bytes: Vec<u8>,
    ranges: Vec<Range>,
    /// Database, first range and number of ranges of each command.
    commands: Vec<(Db, usize, usize)>,
}

/// The limits for records. They were accepted when the log was written, whatever the limits are now.
const LIMITS: Limits = Limits {
    bulk_len_max: u32::MAX as usize,
    args_max: i32::MAX as usize,
    inline_len_max: COMMENT_LEN_MAX,
    unauthenticated: false,
};

impl<'r> FileReplay<'r> {
    /// A replay of `path`, increment `seq`, that starts at `offset`.
    pub fn new(path: &'r Path, seq: u64, offset: u64, replay: &'r mut dyn Replay) -> Self {
        let (transaction, seal, ahead) = (None, None, BATCH_MIN);
        FileReplay { path, seq, replay, db: 0, transaction, commands: 0, base: offset, seal, ahead }
    }

    /// Replays everything that `file` holds from where it stands.
    ///
    /// # Errors
    /// Damage, or a command that cannot be applied. A torn tail is none: see [`Outcome`].
    pub fn run(mut self, mut file: impl Read) -> Result<Outcome, LoadError> {
        let (mut parser, mut batch) = (Parser::new(), Batch::new());
        let mut buffer = Vec::new();
        loop {
            let missing = self.fill(&mut file, &mut buffer, CHUNK)?;
            let consumed = match self.drain(&mut parser, &mut batch, &buffer) {
                Ok(consumed) => consumed,
                // A command before the damage that cannot be applied is the first thing wrong.
                Err(error) => return self.settle().and(Err(error)),
            };
            self.base += consumed as u64;
            if missing {
                let tail = &buffer[consumed..];
                self.settle()?;
                self.check_tail(tail)?;
                return Ok(self.outcome(tail.len() as u64));
            }
            buffer.drain(..consumed);
        }
    }

    /// Reads a chunk; at least as much as is there already, so that a huge record is not parsed
    /// over and over. True at the end of the file.
    fn fill(
        &self,
        file: &mut impl Read,
        buffer: &mut Vec<u8>,
        chunk: usize,
    ) -> Result<bool, LoadError> {
        let want = chunk.max(buffer.len()) as u64;
        let got = file.take(want).read_to_end(buffer);
        let got = got.map_err(|error| self.error(buffer.len(), error))?;
        Ok((got as u64) < want)
    }

    fn outcome(&self, tail_len: u64) -> Outcome {
        let valid_len = self.transaction.as_ref().map_or(self.base, |open| open.start);
        let torn_len = self.base + tail_len - valid_len;
        Outcome { commands: self.commands, valid_len, torn_len, seal: self.seal }
    }

    fn error(&self, at: usize, cause: impl std::fmt::Display) -> LoadError {
        LoadError::at(self.path, self.base + at as u64, cause)
    }

    /// Applies the whole records at the front of `buffer`; how many bytes they are.
    fn drain(
        &mut self,
        parser: &mut Parser,
        batch: &mut Batch,
        buffer: &[u8],
    ) -> Result<usize, LoadError> {
        let (mut consumed, mut summed) = (0, 0);
        loop {
            let rest = &buffer[consumed..];
            if rest.first() == Some(&b'#') {
                let Some(len) = self.comment(consumed, rest)? else { break };
                self.sum(summed, &buffer[summed..consumed])?;
                let is_mark = self.mark(consumed, &rest[..len])?;
                self.note(&rest[..len]);
                summed = if is_mark { consumed + len } else { consumed };
                consumed += len;
                continue;
            }
            batch.clear();
            let progress = parser.parse(rest, self.ahead, &LIMITS, batch);
            let (count, done) = self.apply_batch(batch, rest, consumed)?;
            // A comment ends the batch early.
            let comment = rest.get(done) == Some(&b'#');
            let ahead = if comment { count + count / 4 } else { self.ahead * 2 };
            self.ahead = ahead.clamp(BATCH_MIN, BATCH_MAX);
            if !comment && (done < progress.consumed || progress.error.is_some()) {
                return Err(self.error(consumed + done, "Bad file format"));
            }
            consumed += done;
            match comment {
                true => *parser = Parser::new(),
                false if progress.more => {}
                false => break,
            }
        }
        self.sum(summed, &buffer[summed..consumed])?;
        Ok(consumed)
    }

    /// Adds bytes to the sum that the next mark has to have. A mark among them became part of a record
    /// that ends elsewhere than it did.
    fn sum(&mut self, at: usize, bytes: &[u8]) -> Result<(), LoadError> {
        let Some(seal) = &mut self.seal else { return Ok(()) };
        seal.update(bytes);
        match seal.find(self.base + at as u64, bytes) {
            None => Ok(()),
            Some(found) => {
                Err(self.error(at + found, "Bad file format: this mark is within a record"))
            }
        }
    }

    /// Looks whether an annotation is a mark, and as it should be.
    fn mark(&mut self, at: usize, line: &[u8]) -> Result<bool, LoadError> {
        let since = self.seal.map_or(self.base + at as u64, |seal| seal.since());
        let is_mark = seal::read(&mut self.seal, self.base + at as u64, line).map_err(|_| {
            LoadError::at(
                self.path,
                since,
                format_args!(
                    "Bad file format: the {} bytes from here on are not what was written. If the \
                     file was edited on purpose, remove its line that starts with #varve-log",
                    self.base + at as u64 - since
                ),
            )
        })?;
        match &self.transaction {
            Some(open) if is_mark => Err(LoadError::at(
                self.path,
                open.start,
                "Bad file format: a transaction without its end",
            )),
            _ => Ok(is_mark),
        }
    }

    /// Hands on a remark, in a file that only this server can have written.
    fn note(&mut self, line: &[u8]) {
        let text = line.trim_ascii_end().strip_prefix(encode::NOTE);
        let text = text.filter(|_| self.seal.is_some() && self.transaction.is_none());
        if let Some(text) = text.and_then(|text| std::str::from_utf8(text).ok()) {
            self.replay.note(text);
        }
    }

    /// The length of an annotation (`#TS:…`), line end included, if it is all there.
    fn comment(&self, at: usize, rest: &[u8]) -> Result<Option<usize>, LoadError> {
        match memchr(b'\n', rest) {
            Some(end) => Ok(Some(end + 1)),
            None if rest.len() > COMMENT_LEN_MAX => Err(self.error(at, "Bad file format")),
            None => Ok(None),
        }
    }

    /// Applies requests up to the first that is not framed as it should be. Returns how many they are, and
    /// their bytes.
    fn apply_batch(
        &mut self,
        batch: &Batch,
        bytes: &[u8],
        offset: usize,
    ) -> Result<(usize, usize), LoadError> {
        let mut start = 0;
        for i in 0..batch.len() {
            let span = batch.request(i);
            let request = batch.view(span, bytes);
            if !is_framed(bytes, start, span, request) {
                return Ok((i, start));
            }
            self.request(offset + start, offset + span.end(), request)?;
            start = span.end();
        }
        Ok((batch.len(), start))
    }

    fn request(&mut self, start: usize, end: usize, request: Request<'_>) -> Result<(), LoadError> {
        let name = request.arg(0);
        match name.len() {
            6 if name.eq_ignore_ascii_case(b"SELECT") => self.select(start, request),
            5 if name.eq_ignore_ascii_case(b"MULTI") => self.multi(start),
            4 if name.eq_ignore_ascii_case(b"EXEC") => self.exec(start, end),
            _ => self.command(start, end, request),
        }
    }

    fn command(&mut self, start: usize, end: usize, request: Request<'_>) -> Result<(), LoadError> {
        let Some(open) = &mut self.transaction else {
            return self.apply(start, end, &[Command { db: self.db, request }]);
        };
        match open.push(self.db, request) {
            true => Ok(()),
            false => Err(self.error(start, "a transaction of more than 4 GiB")),
        }
    }

    fn apply(
        &mut self,
        start: usize,
        end: usize,
        commands: &[Command<'_>],
    ) -> Result<(), LoadError> {
        self.commands += commands.len() as u64;
        let at = position(self.seq, self.base + end as u64);
        let first = self.base + start as u64;
        self.replay.commands(at, first, commands).map_err(|refused| self.refused(refused))?;
        self.replay.record((end - start) as u64, self.db);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), LoadError> {
        self.replay.settle().map_err(|refused| self.refused(refused))
    }

    fn refused(&self, refused: Refused) -> LoadError {
        LoadError::at(self.path, refused.start, refused.cause)
    }

    fn select(&mut self, start: usize, request: Request<'_>) -> Result<(), LoadError> {
        let number = request.get(1).filter(|_| request.len() == 2).and_then(resp::parse_i64);
        let db = number.and_then(|number| Db::try_from(number).ok());
        self.db = db.ok_or_else(|| self.error(start, "SELECT of no database"))?;
        Ok(())
    }

    fn multi(&mut self, start: usize) -> Result<(), LoadError> {
        if self.transaction.is_some() {
            return Err(self.error(start, "MULTI inside of a transaction"));
        }
        self.transaction = Some(Transaction {
            start: self.base + start as u64,
            bytes: Vec::new(),
            ranges: Vec::new(),
            commands: Vec::new(),
        });
        Ok(())
    }

    fn exec(&mut self, start: usize, end: usize) -> Result<(), LoadError> {
        let open = self.transaction.take();
        let open = open.ok_or_else(|| self.error(start, "EXEC without MULTI"))?;
        let commands: Vec<_> = open.view().collect();
        if commands.is_empty() { Ok(()) } else { self.apply(start, end, &commands) }
    }

    /// Checks that the rest at the end is an incomplete record. Anything else is damage: bytes with
    /// which no record begins, or a damaged length that includes everything behind it. Behind a
    /// torn tail there is nothing, so if the rest contains a mark, it is not a torn tail. Bytes in
    /// it that look like records prove nothing, because they may be part of a value.
    fn check_tail(&self, tail: &[u8]) -> Result<(), LoadError> {
        if let Some(at) = framing_error(tail) {
            return Err(self.error(0, format_args!("Bad file format, {at} bytes into the record")));
        }
        match self.seal.and_then(|seal| seal.find(self.base, tail)) {
            None => Ok(()),
            Some(at) => {
                let cause = "Bad file format: a length is wrong, for the log goes on";
                Err(self.error(0, format_args!("{cause} {at} bytes behind this")))
            }
        }
    }
}

impl Transaction {
    /// Adds a command; false when offsets of 32 bits no longer reach.
    fn push(&mut self, db: Db, request: Request<'_>) -> bool {
        self.commands.push((db, self.ranges.len(), request.len()));
        for arg in request.iter() {
            let Ok(start) = u32::try_from(self.bytes.len()) else { return false };
            self.ranges.push(Range { start, len: arg.len() as u32 });
            self.bytes.extend_from_slice(arg);
        }
        true
    }

    fn view(&self) -> impl Iterator<Item = Command<'_>> {
        self.commands.iter().map(|&(db, first, count)| {
            let ranges = &self.ranges[first..first + count];
            Command { db, request: Request::new(ranges, &self.bytes) }
        })
    }
}

/// Whether the request that starts at `start` is framed to the letter.
#[inline]
fn is_framed(bytes: &[u8], start: usize, span: Span, request: Request<'_>) -> bool {
    if span.is_inline() || bytes.get(start) != Some(&b'*') {
        return false;
    }
    let Some(mut pos) = header_end(bytes, start + 1, request.len()) else { return false };
    for arg in request.iter() {
        if bytes.get(pos) != Some(&b'$') {
            return false;
        }
        let Some(body) = header_end(bytes, pos + 1, arg.len()) else { return false };
        pos = body + arg.len() + 2;
        if bytes.get(pos - 2..pos) != Some(b"\r\n") {
            return false;
        }
    }
    pos == span.end()
}

/// The position after the line `number \r\n`, if that line is at `pos`.
#[inline]
fn header_end(bytes: &[u8], mut pos: usize, number: usize) -> Option<usize> {
    let mut read = 0usize;
    while let Some(digit @ b'0'..=b'9') = bytes.get(pos) {
        read = read.checked_mul(10)?.checked_add(usize::from(digit - b'0'))?;
        pos += 1;
    }
    (read == number && bytes.get(pos..pos + 2) == Some(b"\r\n")).then_some(pos + 2)
}

/// The offset at which `bytes` cannot be the beginning of a record (or annotation), if there is
/// one.
fn framing_error(bytes: &[u8]) -> Option<usize> {
    if matches!(bytes.first(), None | Some(b'#')) {
        return None;
    }
    let (count, mut pos) = match header_prefix(bytes, 0, b'*') {
        Prefix::Whole(count, end) => (count, end),
        Prefix::Cut => return None,
        Prefix::Wrong(at) => return Some(at),
    };
    for _ in 0..count {
        let (len, body) = match header_prefix(bytes, pos, b'$') {
            Prefix::Whole(len, end) => (len, end),
            Prefix::Cut => return None,
            Prefix::Wrong(at) => return Some(at),
        };
        let rest = bytes.get(body.saturating_add(len)..)?;
        let line_end = &rest[..rest.len().min(2)];
        if !b"\r\n".starts_with(line_end) {
            return Some(body + len);
        }
        pos = body + len + 2;
    }
    None
}

/// The result of parsing a header that may be cut short.
enum Prefix {
    /// Its number, and the position where it ends.
    Whole(usize, usize),
    Cut,
    /// The offset of the error.
    Wrong(usize),
}

fn header_prefix(bytes: &[u8], pos: usize, sigil: u8) -> Prefix {
    let mut rest = bytes.get(pos..).unwrap_or_default();
    match rest.split_first() {
        Some((first, behind)) if *first == sigil => rest = behind,
        Some(_) => return Prefix::Wrong(pos),
        None => return Prefix::Cut,
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let behind = &rest[digits..rest.len().min(digits + 2)];
    let number = std::str::from_utf8(&rest[..digits]).ok().and_then(|text| text.parse().ok());
    match (behind, number) {
        (b"", _) => Prefix::Cut,
        (_, None) => Prefix::Wrong(pos + 1),
        (b"\r", _) => Prefix::Cut,
        (b"\r\n", Some(number)) => Prefix::Whole(number, pos + 1 + digits + 2),
        _ => Prefix::Wrong(pos + 1 + digits),
    }
}

/// Returns the length of a file without the zeros at its end, and the number of these zeros. Some
/// file systems leave them when they allocated space for data that were never written. No record
/// ends in a zero.
fn without_zeros(file: &mut File) -> io::Result<(u64, u64)> {
    let len = file.metadata()?.len();
    let (mut end, mut chunk) = (len, vec![0; ZEROS_CHUNK]);
    while end > 0 {
        let start = end.saturating_sub(ZEROS_CHUNK as u64);
        let chunk = &mut chunk[..(end - start) as usize];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(chunk)?;
        if let Some(last) = chunk.iter().rposition(|byte| *byte != 0) {
            end = start + last as u64 + 1;
            break;
        }
        end = start;
    }
    file.seek(SeekFrom::Start(0))?;
    Ok((end, len - end))
}

/// Opens and replays a RESP file; `seq` is 0 for a base.
pub(super) fn replay_file(
    path: &Path,
    seq: u64,
    replay: &mut dyn Replay,
) -> Result<Outcome, LoadError> {
    let io = |error| LoadError::of(path, error);
    let mut file = File::open(path).map_err(io)?;
    let (len, zeros) = without_zeros(&mut file).map_err(io)?;
    let outcome = FileReplay::new(path, seq, 0, replay).run(file.take(len))?;
    Ok(Outcome { torn_len: outcome.torn_len + zeros, ..outcome })
}
