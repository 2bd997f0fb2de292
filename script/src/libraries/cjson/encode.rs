//! `cjson.encode`.

use super::settings::{Invalid, Settings};
use crate::number::push_general;
use crate::raw::{Lua, NO_MEMORY, Raise, Returns, Type};

/// Stack slots that one level of a value needs.
const ROOM: i32 = 4;

pub(super) fn encode(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".into()));
    }
    let mut encoder = Encoder { lua, settings: lua.shared().json, out: Vec::with_capacity(128) };
    encoder.value(0)?;
    lua.push_bytes(&encoder.out);
    Ok(1)
}

struct Encoder {
    lua: Lua,
    settings: Settings,
    out: Vec<u8>,
}

impl Encoder {
    /// The value on top of the stack, which stays there.
    fn value(&mut self, depth: i64) -> Result<(), Raise> {
        let lua = self.lua;
        match lua.kind(-1) {
            Type::String => self.string(lua.bytes(-1).unwrap_or_default()),
            Type::Number => self.number()?,
            Type::Boolean => {
                let text: &[u8] = if lua.boolean(-1) { b"true" } else { b"false" };
                self.out.extend_from_slice(text);
            }
            Type::Nil => self.out.extend_from_slice(b"null"),
            Type::LightUserdata if lua.is_null_pointer(-1) => self.out.extend_from_slice(b"null"),
            Type::Table => self.table(depth + 1)?,
            _ => return Err(self.refuse(-1, "type not supported")),
        }
        Ok(())
    }

    fn refuse(&self, index: i32, reason: &str) -> Raise {
        Raise::At(format!("Cannot serialise {}: {reason}", self.lua.kind(index).name()))
    }

    fn number(&mut self) -> Result<(), Raise> {
        let value = self.lua.number(-1);
        if !value.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refuse => return Err(self.refuse(-1, "must not be NaN or Inf")),
                Invalid::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::Allow => {}
            }
        }
        push_general(&mut self.out, value, self.settings.precision as usize);
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.lua.charge(bytes.len() / 16);
        self.out.reserve(bytes.len() + 2);
        self.out.push(b'"');
        for &byte in bytes {
            match byte {
                b'"' | b'\\' | b'/' => self.out.extend_from_slice(&[b'\\', byte]),
                0x08 => self.out.extend_from_slice(b"\\b"),
                b'\t' => self.out.extend_from_slice(b"\\t"),
                b'\n' => self.out.extend_from_slice(b"\\n"),
                0x0C => self.out.extend_from_slice(b"\\f"),
                b'\r' => self.out.extend_from_slice(b"\\r"),
                0..0x20 | 0x7F => {
                    self.out.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                }
                _ => self.out.push(byte),
            }
        }
        self.out.push(b'"');
    }

    fn table(&mut self, depth: i64) -> Result<(), Raise> {
        if depth > self.settings.encode_depth || !self.lua.has_room(ROOM) {
            return Err(Raise::At(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        match self.array_len()? {
            Some(len) => self.array(len, depth),
            None => self.object(depth),
        }
    }

    /// The length of the table on top as an array; `None` when it is an object.
    fn array_len(&mut self) -> Result<Option<i32>, Raise> {
        let lua = self.lua;
        let (mut max, mut items) = (0.0_f64, 0_i64);
        lua.push_nil();
        while lua.next(-2) {
            lua.pop(1);
            lua.charge(1);
            let key = if lua.kind(-1) == Type::Number { lua.number(-1) } else { 0.0 };
            if key < 1.0 || key.floor() != key {
                lua.pop(1);
                return Ok(None);
            }
            max = max.max(key);
            items += 1;
        }
        if items == 0 {
            return Ok(None);
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = self.settings;
        let sparse = sparse_ratio > 0
            && max > (items.saturating_mul(sparse_ratio)) as f64
            && max > sparse_safe as f64;
        match (sparse, sparse_convert) {
            (true, false) => Err(self.refuse(-1, "excessively sparse array")),
            (true, true) => Ok(None),
            // Without a ratio, a single far index must not become gigabytes of nulls.
            (false, _) if max > f64::from(i32::MAX) => Err(self.refuse(-1, "array too long")),
            (false, _) => Ok(Some(max as i32)),
        }
    }

    fn array(&mut self, len: i32, depth: i64) -> Result<(), Raise> {
        self.out.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.out.push(b',');
            }
            self.within_limit()?;
            self.lua.raw_get_index(-1, index);
            self.value(depth)?;
            self.lua.pop(1);
        }
        self.out.push(b']');
        Ok(())
    }

    fn object(&mut self, depth: i64) -> Result<(), Raise> {
        let lua = self.lua;
        self.out.push(b'{');
        let mut first = true;
        lua.push_nil();
        while lua.next(-2) {
            if !std::mem::replace(&mut first, false) {
                self.out.push(b',');
            }
            self.within_limit()?;
            match lua.kind(-2) {
                Type::Number => {
                    self.out.push(b'"');
                    push_general(&mut self.out, lua.number(-2), self.settings.precision as usize);
                    self.out.push(b'"');
                }
                Type::String => self.string(lua.bytes(-2).unwrap_or_default()),
                _ => return Err(self.refuse(-2, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(depth)?;
            lua.pop(1);
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Fails when the text outgrows the script's memory, or takes for ever.
    fn within_limit(&self) -> Result<(), Raise> {
        if self.out.len() > self.lua.shared().budget.limit {
            return Err(Raise::Bare(NO_MEMORY.into()));
        }
        self.lua.pass(1)
    }
}
