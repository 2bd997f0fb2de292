//! Replies: one method for each kind, which writes directly into an [`Output`], in the protocol
//! version that the client chose.

use crate::number::format_double;
use crate::output::{Output, SHARE_MIN};
use crate::parser::ProtocolError;
use bytes::Bytes;

/// The protocol version of a client. It begins with [`Proto::Resp2`] and changes with `HELLO`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Proto {
    /// Redis 1.2 and later.
    #[default]
    Resp2,
    /// Redis 6 and later: maps, sets, doubles, booleans, pushes.
    Resp3,
}

/// The longest header: a type byte, twenty digits, and a line end.
const HEADER_LEN_MAX: usize = 23;

/// Writes replies. It does not check that aggregates are complete: the header of an array of three
/// must be followed by three replies.
#[derive(Debug)]
pub struct Reply<'a> {
    out: &'a mut Output,
    proto: Proto,
}

/// The place of an aggregate whose length is not known yet; see [`Reply::deferred`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "an aggregate needs its header"]
pub struct Deferred(usize);

impl<'a> Reply<'a> {
    /// Writes replies in `proto` at the end of `out`.
    #[inline]
    pub fn new(out: &'a mut Output, proto: Proto) -> Self {
        Reply { out, proto }
    }

    /// The protocol version in use.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Whether the client uses RESP3.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.proto == Proto::Resp3
    }

    /// Changes the protocol version of what follows.
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// The output that replies are written to.
    #[inline]
    pub fn output(&mut self) -> &mut Output {
        self.out
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend(b"+OK\r\n");
    }

    /// A short status text; line ends in it become spaces.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error. `text` is the whole error without the `-`, so it starts with a code (`ERR …`). As
    /// in Redis, line ends inside it become spaces, and those around it are removed.
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// Like [`Reply::error`], for texts that contain a peer's bytes.
    pub fn error_bytes(&mut self, text: &[u8]) {
        let is_end = |b: &u8| matches!(b, b'\r' | b'\n');
        let start = text.iter().position(|b| !is_end(b)).unwrap_or(text.len());
        let end = text.iter().rposition(|b| !is_end(b)).map_or(start, |i| i + 1);
        self.line(b'-', &text[start..end]);
    }

    /// The error that is sent before a connection is closed because its bytes are not a request.
    pub fn protocol_error(&mut self, error: ProtocolError) {
        match error {
            // The raw byte; `Display` can only show it as a character.
            ProtocolError::ExpectedBulk(got) => {
                let mut text = b"ERR Protocol error: expected '$', got '".to_vec();
                text.extend_from_slice(&[got, b'\'']);
                self.error_bytes(&text);
            }
            _ => self.error(&format!("ERR {error}")),
        }
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        match u64::try_from(value) {
            Ok(value) => header(self.out.tail(), b':', value),
            Err(_) => self.ascii_line(b':', itoa::Buffer::new().format(value)),
        }
    }

    /// A string of any bytes, copied.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let tail = self.out.room(HEADER_LEN_MAX + bytes.len() + 2);
        header(tail, b'$', bytes.len() as u64);
        tail.extend_from_slice(bytes);
        tail.extend_from_slice(b"\r\n");
    }

    /// A string of `len` bytes, which `write` appends. What it appends is cut or padded with zeros
    /// to that length, so that the client stays in step.
    ///
    /// # Errors
    /// Fails with the error of `write`. What was written until then must be taken back.
    pub fn bulk_with<E>(
        &mut self,
        len: usize,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let tail = self.out.room(HEADER_LEN_MAX + len + 2);
        header(tail, b'$', len as u64);
        let start = tail.len();
        write(tail)?;
        debug_assert_eq!(tail.len() - start, len);
        tail.resize(start + len, 0);
        tail.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// A string of any bytes, shared instead of copied when it is large.
    pub fn bulk_shared(&mut self, bytes: Bytes) {
        if bytes.len() < SHARE_MIN {
            return self.bulk(&bytes);
        }
        header(self.out.tail(), b'$', bytes.len() as u64);
        self.out.share(bytes);
        self.out.extend(b"\r\n");
    }

    /// An integer as a string.
    #[inline]
    pub fn bulk_i64(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// A formatted string: `reply.bulk_fmt(format_args!("{a}-{b}"))`.
    pub fn bulk_fmt(&mut self, text: std::fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.bulk(text.as_bytes()),
            None => self.bulk(text.to_string().as_bytes()),
        }
    }

    /// A null value: `$-1`, or `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        self.by_proto(b"$-1\r\n", b"_\r\n");
    }

    /// A null array: `*-1`, or `_` in RESP3.
    pub fn null_array(&mut self) {
        self.by_proto(b"*-1\r\n", b"_\r\n");
    }

    /// The header of an array; `len` replies follow.
    #[inline]
    pub fn array(&mut self, len: usize) {
        header(self.out.tail(), b'*', len as u64);
    }

    /// The header of a map; `pairs` keys, each with its value, follow. An array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.array(pairs * 2),
            Proto::Resp3 => header(self.out.tail(), b'%', pairs as u64),
        }
    }

    /// The header of a set; `len` replies follow. An array in RESP2.
    pub fn set(&mut self, len: usize) {
        self.aggregate(b'~', len);
    }

    /// The header of data that the client did not ask for (messages, invalidations); `len` replies
    /// follow. An array in RESP2.
    pub fn push(&mut self, len: usize) {
        self.aggregate(b'>', len);
    }

    /// The header of `pairs` attributes of the reply that follows them. RESP2 has no attributes:
    /// then nothing is written, `false` is returned, and the pairs must be left out.
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.is_resp3() {
            header(self.out.tail(), b'|', pairs as u64);
        }
        self.is_resp3()
    }

    /// A double, as a string in RESP2.
    pub fn double(&mut self, value: f64) {
        let tail = self.out.tail();
        match self.proto {
            Proto::Resp3 => {
                tail.push(b',');
                format_double(value, tail);
                tail.extend_from_slice(b"\r\n");
            }
            Proto::Resp2 => {
                // The text of a double is shorter than a hundred bytes: write `$00\r
                // `, and shorten it to `$0\r
                // ` if possible.
                let start = tail.len();
                tail.extend_from_slice(b"$00\r\n");
                format_double(value, tail);
                let len = tail.len() - start - 5;
                tail.extend_from_slice(b"\r\n");
                tail[start + 1] = b'0' + (len / 10) as u8;
                tail[start + 2] = b'0' + (len % 10) as u8;
                if len < 10 {
                    tail.remove(start + 1);
                }
            }
        }
    }

    /// A double with the text that the caller gives, as a string in RESP2.
    pub fn double_text(&mut self, text: &str) {
        match self.proto {
            Proto::Resp3 => self.ascii_line(b',', text),
            Proto::Resp2 => self.bulk(text.as_bytes()),
        }
    }

    /// A boolean, 1 or 0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match value {
            true => self.by_proto(b":1\r\n", b"#t\r\n"),
            false => self.by_proto(b":0\r\n", b"#f\r\n"),
        }
    }

    /// An integer of any size, given as its digits; a string in RESP2.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Text for people in the format `ext` (three letters: `txt`, `mkd`); a string in RESP2.
    pub fn verbatim(&mut self, ext: &str, text: &[u8]) {
        debug_assert_eq!(ext.len(), 3);
        if self.proto == Proto::Resp2 {
            return self.bulk(text);
        }
        let tail = self.out.room(HEADER_LEN_MAX + 4 + text.len() + 2);
        header(tail, b'=', ext.len() as u64 + 1 + text.len() as u64);
        tail.extend_from_slice(ext.as_bytes());
        tail.push(b':');
        tail.extend_from_slice(text);
        tail.extend_from_slice(b"\r\n");
    }

    /// Marks the place of an aggregate whose length is known only when its elements are written.
    /// Finish it with one of the `finish_…` methods, inner ones first, before any of this output is
    /// sent. Finishing moves everything written since, so use it only for such replies.
    pub fn deferred(&self) -> Deferred {
        Deferred(self.out.len())
    }

    /// Inserts an array header of `len` at `mark`.
    pub fn finish_array(&mut self, mark: Deferred, len: usize) {
        self.finish(mark, |reply| reply.array(len));
    }

    /// Inserts a map header of `pairs` at `mark`.
    pub fn finish_map(&mut self, mark: Deferred, pairs: usize) {
        self.finish(mark, |reply| reply.map(pairs));
    }

    /// Inserts a set header of `len` at `mark`.
    pub fn finish_set(&mut self, mark: Deferred, len: usize) {
        self.finish(mark, |reply| reply.set(len));
    }

    /// Removes everything written since `mark`, to write something else (an error) instead.
    pub fn rewind(&mut self, mark: Deferred) {
        self.out.truncate(mark.0);
    }

    fn finish(&mut self, mark: Deferred, header: impl FnOnce(&mut Reply<'_>)) {
        let mut text = Output::new();
        header(&mut Reply::new(&mut text, self.proto));
        self.out.insert(mark.0, text.front());
    }

    #[inline]
    fn by_proto(&mut self, resp2: &[u8], resp3: &[u8]) {
        self.out.extend(if self.is_resp3() { resp3 } else { resp2 });
    }

    fn aggregate(&mut self, resp3: u8, len: usize) {
        let sigil = if self.is_resp3() { resp3 } else { b'*' };
        header(self.out.tail(), sigil, len as u64);
    }

    fn ascii_line(&mut self, sigil: u8, text: &str) {
        let tail = self.out.tail();
        tail.push(sigil);
        tail.extend_from_slice(text.as_bytes());
        tail.extend_from_slice(b"\r\n");
    }

    /// A line with any text. A line end inside it would end the reply, so it becomes a space.
    fn line(&mut self, sigil: u8, text: &[u8]) {
        let tail = self.out.room(text.len() + 3);
        tail.push(sigil);
        let start = tail.len();
        tail.extend_from_slice(text);
        for byte in &mut tail[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        tail.extend_from_slice(b"\r\n");
    }
}

/// `<sigil><value>\r\n`. One append for the short ones, which nearly all are.
#[inline]
pub(crate) fn header(tail: &mut Vec<u8>, sigil: u8, value: u64) {
    if value < 10 {
        tail.extend_from_slice(&[sigil, b'0' + value as u8, b'\r', b'\n']);
    } else if value < 100 {
        let (tens, ones) = (value as u8 / 10, value as u8 % 10);
        tail.extend_from_slice(&[sigil, b'0' + tens, b'0' + ones, b'\r', b'\n']);
    } else {
        long_header(tail, sigil, value);
    }
}

#[inline(never)]
fn long_header(tail: &mut Vec<u8>, sigil: u8, value: u64) {
    tail.reserve(HEADER_LEN_MAX);
    tail.push(sigil);
    tail.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    tail.extend_from_slice(b"\r\n");
}
