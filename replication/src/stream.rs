//! [`Stream`]: commands out of the bytes of a master, each with its database, transactions whole.

use resp::{Batch, Limits, Parser, ProtocolError, Request, encode_command, parse_i64};
use smallvec::SmallVec;
use std::fmt;

/// Requests parsed at once.
const GROUP: usize = 64;
/// Bytes of one transaction.
const TRANSACTION_BYTES_MAX: usize = 1 << 30;

/// The reason why a stream cannot be followed any further.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// It is no RESP.
    Protocol(ProtocolError),
    /// `SELECT` of something that is no database.
    Database(String),
    /// A transaction without an end.
    TooLarge,
}

impl fmt::Display for StreamError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StreamError::Protocol(error) => write!(f, "{error}"),
            StreamError::Database(word) => write!(f, "the stream selects database '{word}'"),
            StreamError::TooLarge => f.write_str("a transaction of the stream is too large"),
        }
    }
}

impl std::error::Error for StreamError {}

/// A part of the replication stream that is applied as one unit.
#[derive(Debug)]
pub struct Unit<'a> {
    /// Its bytes, as the master wrote them.
    pub bytes: &'a [u8],
    /// The requests that change data, or may, each with its database number; empty for `PING`,
    /// `SELECT` and the like.
    pub effects: SmallVec<[(u32, Request<'a>); 1]>,
    /// The database of the next command.
    pub db: u32,
    /// Whether the master asks for our position.
    pub wants_ack: bool,
}

/// The bytes of a master, and where in them we are.
#[derive(Debug)]
pub struct Stream {
    parser: Parser,
    limits: Limits,
    batch: Batch,
    buffer: Vec<u8>,
    db: u32,
    /// A transaction whose `EXEC` has not come yet.
    open: Option<Vec<u8>>,
}

impl Stream {
    /// A stream that begins in a database.
    pub fn new(db: u32) -> Self {
        // A master may write what no client could.
        let limits = Limits { bulk_len_max: u32::MAX as usize, ..Limits::default() };
        let (batch, buffer) = (Batch::new(), Vec::new());
        Stream { parser: Parser::new(), limits, batch, buffer, db, open: None }
    }

    /// The database selected.
    pub fn db(&self) -> u32 {
        self.db
    }

    /// Bytes taken that belong to no complete unit yet.
    pub fn pending(&self) -> usize {
        self.buffer.len() + self.open.as_ref().map_or(0, Vec::len)
    }

    /// Takes what arrived, and hands every complete unit to `apply`, in order.
    ///
    /// # Errors
    /// See [`StreamError`]; the stream must not be used any more.
    pub fn take(
        &mut self,
        bytes: &[u8],
        mut apply: impl FnMut(Unit<'_>),
    ) -> Result<(), StreamError> {
        self.buffer.extend_from_slice(bytes);
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut batch = std::mem::take(&mut self.batch);
        let mut done = 0;
        let outcome = loop {
            batch.clear();
            let rest = &buffer[done..];
            let progress = self.parser.parse(rest, GROUP, &self.limits, &mut batch);
            if let Err(error) = self.group(&batch, rest, &mut apply) {
                break Err(error);
            }
            done += progress.consumed;
            match progress.error {
                Some(error) => break Err(StreamError::Protocol(error)),
                None if progress.more => {}
                None => break Ok(()),
            }
        };
        buffer.drain(..done);
        (self.buffer, self.batch) = (buffer, batch);
        outcome
    }

    fn group(
        &mut self,
        batch: &Batch,
        buffer: &[u8],
        apply: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), StreamError> {
        let mut start = 0;
        for span in batch.spans() {
            let bytes = &buffer[start..span.end()];
            start = span.end();
            self.one(batch.view(span, buffer), bytes, apply)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        request: Request<'_>,
        bytes: &[u8],
        apply: &mut impl FnMut(Unit<'_>),
    ) -> Result<(), StreamError> {
        if let Some(open) = &mut self.open {
            open.extend_from_slice(bytes);
            if open.len() > TRANSACTION_BYTES_MAX {
                return Err(StreamError::TooLarge);
            }
            return if is(request, 0, "EXEC") { self.exec(apply) } else { Ok(()) };
        }
        let mut unit = Unit { bytes, effects: SmallVec::new(), db: self.db, wants_ack: false };
        match kind(request) {
            Kind::Multi => {
                self.open = Some(bytes.to_vec());
                return Ok(());
            }
            Kind::Select => {
                self.db = database(request)?;
                unit.db = self.db;
            }
            Kind::GetAck => unit.wants_ack = true,
            Kind::Nothing => {}
            Kind::Effect => unit.effects.push((self.db, request)),
        }
        apply(unit);
        Ok(())
    }

    fn exec(&mut self, apply: &mut impl FnMut(Unit<'_>)) -> Result<(), StreamError> {
        let bytes = self.open.take().unwrap_or_default();
        let (mut batch, mut effects) = (Batch::new(), SmallVec::new());
        // It was parsed before, request by request.
        let _ = Parser::new().parse(&bytes, usize::MAX, &self.limits, &mut batch);
        for request in batch.iter(&bytes) {
            match kind(request) {
                Kind::Select => self.db = database(request)?,
                Kind::Effect => effects.push((self.db, request)),
                Kind::Multi | Kind::Nothing | Kind::GetAck => {}
            }
        }
        apply(Unit { bytes: &bytes, effects, db: self.db, wants_ack: false });
        Ok(())
    }
}

enum Kind {
    Effect,
    Select,
    Multi,
    GetAck,
    Nothing,
}

fn is(request: Request<'_>, at: usize, word: &str) -> bool {
    request.get(at).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
}

fn kind(request: Request<'_>) -> Kind {
    match request.get(0).map_or(0, <[u8]>::len) {
        4 if is(request, 0, "PING") || is(request, 0, "EXEC") => Kind::Nothing,
        5 if is(request, 0, "MULTI") => Kind::Multi,
        6 if is(request, 0, "SELECT") => Kind::Select,
        8 if is(request, 0, "REPLCONF") && is(request, 1, "GETACK") => Kind::GetAck,
        8 if is(request, 0, "REPLCONF") => Kind::Nothing,
        _ => Kind::Effect,
    }
}

fn database(request: Request<'_>) -> Result<u32, StreamError> {
    let word = request.get(1).unwrap_or_default();
    let db = parse_i64(word).and_then(|db| u32::try_from(db).ok());
    db.ok_or_else(|| StreamError::Database(String::from_utf8_lossy(word).into_owned()))
}

/// Appends a command as a stream has it.
pub fn command(words: &[&[u8]], out: &mut Vec<u8>) {
    encode_command(words.iter().copied(), out);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(words: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        encode_command(words.iter().map(|word| word.as_bytes()), &mut out);
        out
    }

    /// A unit's effects by database, its length, and whether it asks.
    type Seen = (Vec<(u32, String)>, usize, bool);

    /// The units of a stream that comes in pieces.
    fn units(bytes: &[u8], piece: usize) -> Vec<Seen> {
        let (mut stream, mut all) = (Stream::new(0), Vec::new());
        for piece in bytes.chunks(piece) {
            let taken = stream.take(piece, |unit| {
                let show = |request: &Request<'_>| {
                    request.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(" ")
                };
                let effects = unit.effects.iter().map(|(db, request)| (*db, show(request)));
                all.push((effects.collect(), unit.bytes.len(), unit.wants_ack));
            });
            taken.unwrap();
        }
        assert_eq!(stream.pending(), 0);
        all
    }

    #[test]
    fn databases_and_transactions_are_followed() {
        let requests: [&[&str]; 9] = [
            &["SELECT", "3"],
            &["SET", "a", "1"],
            &["PING"],
            &["MULTI"],
            &["INCR", "a"],
            &["SELECT", "4"],
            &["set", "b", "2"],
            &["EXEC"],
            &["REPLCONF", "GETACK", "*"],
        ];
        let encoded: Vec<Vec<u8>> = requests.iter().map(|words| text(words)).collect();
        let bytes = encoded.concat();
        let effect = |db, text: &str| (db, text.to_owned());
        let len = |range: std::ops::Range<usize>| encoded[range].concat().len();
        let expected = vec![
            (vec![], len(0..1), false),
            (vec![effect(3, "SET a 1")], len(1..2), false),
            (vec![], len(2..3), false),
            (vec![effect(3, "INCR a"), effect(4, "set b 2")], len(3..8), false),
            (vec![], len(8..9), true),
        ];
        for piece in 1..=bytes.len() {
            assert_eq!(units(&bytes, piece), expected, "in pieces of {piece}");
        }
    }

    #[test]
    fn garbage_ends_a_stream() {
        let mut stream = Stream::new(0);
        assert!(matches!(stream.take(b"*x\r\n", |_| {}), Err(StreamError::Protocol(_))));
        let mut stream = Stream::new(0);
        let error = stream.take(&text(&["SELECT", "-1"]), |_| {}).unwrap_err();
        assert_eq!(error, StreamError::Database("-1".into()));
    }
}
