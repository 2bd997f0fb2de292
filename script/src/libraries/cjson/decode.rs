//! `cjson.decode`.

use crate::raw::{Lua, Raise, Returns};

/// Stack slots that one level of a value needs.
const ROOM: i32 = 4;

pub(super) fn decode(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".into()));
    }
    let text = lua.check_text(1)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raise::at("JSON parser does not support UTF-16 or UTF-32"));
    }
    let settings = lua.shared().json;
    let mut decoder = Decoder {
        lua,
        text,
        at: 0,
        depth: 0,
        depth_max: settings.decode_depth,
        invalid_numbers: settings.decode_invalid,
        string: Vec::new(),
    };
    let token = decoder.token();
    decoder.value(token)?;
    let token = decoder.token();
    match token.kind {
        Kind::End => Ok(1),
        _ => Err(token.unexpected("the end")),
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

#[derive(Clone, Copy, Debug)]
struct Token {
    kind: Kind,
    at: usize,
}

impl Token {
    fn unexpected(self, expected: &str) -> Raise {
        let found = match self.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(text) => text,
        };
        let at = self.at + 1;
        Raise::At(format!("Expected {expected} but found {found} at character {at}"))
    }
}

struct Decoder<'a> {
    lua: Lua,
    text: &'a [u8],
    at: usize,
    depth: i64,
    depth_max: i64,
    invalid_numbers: bool,
    /// The string that was read last.
    string: Vec<u8>,
}

impl Decoder<'_> {
    /// The byte at a position; zero at the end, which ends the text.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    fn rest(&self) -> &[u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        let at = self.at;
        let simple = match self.byte(at) {
            b'{' => Kind::ObjectBegin,
            b'}' => Kind::ObjectEnd,
            b'[' => Kind::ArrayBegin,
            b']' => Kind::ArrayEnd,
            b':' => Kind::Colon,
            b',' => Kind::Comma,
            0 => Kind::End,
            first => return self.long_token(first, at),
        };
        self.at += 1;
        Token { kind: simple, at }
    }

    fn long_token(&mut self, first: u8, at: usize) -> Token {
        let words: [(&[u8], Kind); 3] = [
            (b"true", Kind::Boolean(true)),
            (b"false", Kind::Boolean(false)),
            (b"null", Kind::Null),
        ];
        if let Some((word, kind)) = words.iter().find(|(word, _)| self.rest().starts_with(word)) {
            self.at += word.len();
            return Token { kind: *kind, at };
        }
        let kind = match first {
            b'"' => self.read_string(),
            b'-' | b'0'..=b'9' if !self.invalid_numbers && self.is_invalid_number() => {
                Kind::Error("invalid number")
            }
            b'-' | b'0'..=b'9' => self.read_number(),
            b'+' | b'i' | b'I' | b'n' | b'N'
                if self.invalid_numbers && self.is_invalid_number() =>
            {
                self.read_number()
            }
            _ => Kind::Error("invalid token"),
        };
        // An error is where it was met, which in a string is not its beginning.
        let at = if matches!(kind, Kind::Error(_)) { self.at } else { at };
        Token { kind, at }
    }

    /// A number that C reads and JSON does not have: signs, hexadecimal, leading zeros, words.
    fn is_invalid_number(&self) -> bool {
        let rest = self.rest();
        if rest.first() == Some(&b'+') {
            return true;
        }
        let rest = rest.strip_prefix(b"-").unwrap_or(rest);
        let word = |word: &[u8]| rest.get(..3).is_some_and(|w| w.eq_ignore_ascii_case(word));
        match rest {
            [b'0', second, ..] => second.eq_ignore_ascii_case(&b'x') || second.is_ascii_digit(),
            _ => word(b"inf") || word(b"nan"),
        }
    }

    fn read_number(&mut self) -> Kind {
        let (value, len) = crate::number::read_prefix(self.rest());
        if len == 0 {
            return Kind::Error("invalid number");
        }
        self.at += len;
        Kind::Number(value)
    }

    fn read_string(&mut self) -> Kind {
        self.string.clear();
        self.at += 1;
        loop {
            let mut byte = self.byte(self.at);
            match byte {
                b'"' => break,
                0 => return Kind::Error("unexpected end of string"),
                b'\\' => {
                    byte = match self.byte(self.at + 1) {
                        b'u' => match self.read_unicode() {
                            true => continue,
                            false => return Kind::Error("invalid unicode escape code"),
                        },
                        same @ (b'"' | b'\\' | b'/') => same,
                        b'b' => 0x08,
                        b't' => b'\t',
                        b'n' => b'\n',
                        b'f' => 0x0C,
                        b'r' => b'\r',
                        _ => return Kind::Error("invalid escape code"),
                    };
                    self.at += 1;
                }
                _ => {}
            }
            self.string.push(byte);
            self.at += 1;
        }
        self.at += 1;
        Kind::String
    }

    /// `\uXXXX`, or two of them that make one character; false when it is neither.
    fn read_unicode(&mut self) -> bool {
        let Some(mut code) = self.hex(self.at + 2) else { return false };
        let mut len = 6;
        if code & 0xF800 == 0xD800 {
            let paired = self.byte(self.at + 6) == b'\\' && self.byte(self.at + 7) == b'u';
            let low = self.hex(self.at + 8).filter(|low| low & 0xFC00 == 0xDC00);
            let (0, true, Some(low)) = (code & 0x400, paired, low) else { return false };
            code = ((code & 0x3FF) << 10 | (low & 0x3FF)) + 0x1_0000;
            len = 12;
        }
        let Some(character) = char::from_u32(code) else { return false };
        self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += len;
        true
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |code, &b| Some(code << 4 | (b as char).to_digit(16)?))
    }

    /// Pushes the value that begins with `token`.
    fn value(&mut self, token: Token) -> Result<(), Raise> {
        match token.kind {
            Kind::String => self.lua.push_bytes(&self.string),
            Kind::Number(value) => self.lua.push_number(value),
            Kind::Boolean(value) => self.lua.push_boolean(value),
            Kind::Null => self.lua.push_null_pointer(),
            Kind::ObjectBegin => self.object()?,
            Kind::ArrayBegin => self.array()?,
            _ => return Err(token.unexpected("value")),
        }
        Ok(())
    }

    fn descend(&mut self) -> Result<(), Raise> {
        self.lua.pass(1)?;
        self.depth += 1;
        if self.depth <= self.depth_max && self.lua.has_room(ROOM) {
            return Ok(());
        }
        let (depth, at) = (self.depth, self.at);
        let text = format!("Found too many nested data structures ({depth}) at character {at}");
        Err(Raise::At(text))
    }

    fn object(&mut self) -> Result<(), Raise> {
        self.descend()?;
        self.lua.push_table(0, 0);
        let mut token = self.token();
        if token.kind != Kind::ObjectEnd {
            loop {
                if token.kind != Kind::String {
                    return Err(token.unexpected("object key string"));
                }
                self.lua.push_bytes(&self.string);
                let colon = self.token();
                if colon.kind != Kind::Colon {
                    return Err(colon.unexpected("colon"));
                }
                let value = self.token();
                self.value(value)?;
                self.lua.pass(1)?;
                self.lua.raw_set(-3);
                match self.token() {
                    Token { kind: Kind::ObjectEnd, .. } => break,
                    Token { kind: Kind::Comma, .. } => token = self.token(),
                    other => return Err(other.unexpected("comma or object end")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self) -> Result<(), Raise> {
        self.descend()?;
        self.lua.push_table(0, 0);
        let mut token = self.token();
        if token.kind != Kind::ArrayEnd {
            for index in 1.. {
                self.value(token)?;
                self.lua.raw_set_index(-2, index);
                self.lua.pass(1)?;
                match self.token() {
                    Token { kind: Kind::ArrayEnd, .. } => break,
                    Token { kind: Kind::Comma, .. } => token = self.token(),
                    other => return Err(other.unexpected("comma or array end")),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }
}
