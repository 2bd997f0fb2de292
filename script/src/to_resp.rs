//! Lua values as replies. Source: Redis's "Lua API", "Data type conversion".

use crate::raw::{Lua, Type};
use crate::vm::Failed;
use resp::{Proto, Reply};

/// Stack slots that one level of a value needs.
const ROOM: i32 = 6;

/// Tables nested deeper than this are an error: the answer must end, and so must this thread's
/// stack.
const DEPTH_MAX: usize = 1000;

/// Writes the value on top of the stack. `proto` is the one the script chose with `redis.setresp`.
/// The stack is left as it happens to be.
///
/// # Errors
/// The host says that it is not to go on, or there is more of it than a script may hold. Nothing is
/// written then.
pub(crate) fn write(lua: Lua, reply: &mut Reply<'_>, proto: Proto) -> Result<(), Failed> {
    let begin = reply.deferred();
    let end = reply.output().len().saturating_add(lua.shared().budget.limit);
    let mut writer = Writer { lua, reply, proto, end, stopped: false };
    writer.value(0);
    if !writer.stopped {
        return Ok(());
    }
    reply.rewind(begin);
    let killed = lua.shared().killed.as_deref();
    Err(Failed::new(killed.unwrap_or("ERR the reply is larger than a script may hold")))
}

/// Writes values as they are on top of the stack, and leaves them there.
struct Writer<'w, 'r> {
    lua: Lua,
    reply: &'w mut Reply<'r>,
    proto: Proto,
    /// How long the output may get: a table that is in many others is written as often.
    end: usize,
    /// Whether the reply became too long, or must not go on. What was written is then not a valid
    /// reply.
    stopped: bool,
}

impl Writer<'_, '_> {
    fn value(&mut self, depth: usize) {
        let (lua, proto) = (self.lua, self.proto);
        self.stopped |= self.reply.output().len() > self.end;
        if self.stopped {
            return;
        }
        if depth > DEPTH_MAX || !lua.has_room(ROOM) {
            return self.reply.error("ERR reached lua stack limit");
        }
        match lua.kind(-1) {
            Type::String => self.reply.bulk(lua.bytes(-1).unwrap_or_default()),
            Type::Number => self.reply.integer(truncated(lua.number(-1))),
            Type::Boolean => match (lua.boolean(-1), proto) {
                (value, Proto::Resp3) => self.reply.boolean(value),
                (true, Proto::Resp2) => self.reply.integer(1),
                (false, Proto::Resp2) => self.reply.null(),
            },
            Type::Table => self.table(depth),
            _ => self.reply.null(),
        }
    }

    fn table(&mut self, depth: usize) {
        let lua = self.lua;
        let field = |name: &str, expected: Type| {
            let found = lua.push_field(-1, name) == expected;
            if !found {
                lua.pop(1);
            }
            found
        };
        if field("err", Type::String) {
            self.reply.error_bytes(lua.bytes(-1).unwrap_or_default());
        } else if field("ok", Type::String) {
            self.reply.simple(&String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default()));
        } else if field("double", Type::Number) {
            self.reply.double(lua.number(-1));
        } else if field("map", Type::Table) {
            self.pairs(depth, true);
        } else if field("set", Type::Table) {
            self.pairs(depth, false);
        } else if field("big_number", Type::String) {
            let digits = String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default());
            self.reply.big_number(&digits.replace(['\r', '\n'], " "));
        } else if field("verbatim_string", Type::Table) {
            self.verbatim(depth);
        } else {
            return self.array(depth);
        }
        lua.pop(1);
    }

    /// The table on top as a map, or its keys as a set.
    fn pairs(&mut self, depth: usize, map: bool) {
        let lua = self.lua;
        let mark = self.reply.deferred();
        let mut len = 0;
        lua.push_nil();
        while lua.next(-2) {
            lua.copy(-2);
            self.value(depth + 1);
            lua.pop(1);
            if map {
                self.value(depth + 1);
            }
            lua.pop(1);
            len += 1;
            self.pass(1);
            if self.stopped {
                return lua.pop(1);
            }
        }
        match map {
            true => self.reply.finish_map(mark, len),
            false => self.reply.finish_set(mark, len),
        }
    }

    /// `{verbatim_string={format=…, string=…}}`; with other fields it is a table like any other.
    fn verbatim(&mut self, depth: usize) {
        let lua = self.lua;
        let format = lua.push_field(-1, "format");
        let text = lua.push_field(-2, "string");
        match (format, text) {
            (Type::String, Type::String) => {
                let format = lua.bytes(-2).unwrap_or_default();
                let mut three = [b' '; 3];
                format.iter().zip(&mut three).for_each(|(from, to)| *to = *from);
                let format = String::from_utf8_lossy(&three);
                let format = if format.len() == 3 { &*format } else { "txt" };
                self.reply.verbatim(format, lua.bytes(-1).unwrap_or_default());
                lua.pop(2);
            }
            _ => {
                lua.pop(2);
                lua.copy(-2);
                self.array(depth);
                lua.pop(1);
            }
        }
    }

    /// The elements from 1 on, up to the first that is missing.
    fn array(&mut self, depth: usize) {
        let lua = self.lua;
        let mut len = 0;
        while self.has_element(len + 1) {
            len += 1;
        }
        self.pass(len as usize + 1);
        self.reply.array(len as usize);
        for index in 1..=len {
            lua.raw_get_index(-1, index);
            self.value(depth + 1);
            lua.pop(1);
            if self.stopped {
                return;
            }
        }
    }

    /// Counts `cost` elements as the script's instructions are counted: a table that is in many others
    /// takes as long as any script may.
    fn pass(&mut self, cost: usize) {
        self.stopped |= self.lua.pass(cost).is_err();
    }

    fn has_element(&self, index: i32) -> bool {
        self.lua.raw_get_index(-1, index);
        let there = self.lua.kind(-1) != Type::Nil;
        self.lua.pop(1);
        there
    }
}

/// As a C cast truncates on x86-64: what does not fit becomes the smallest integer.
fn truncated(value: f64) -> i64 {
    let fits = value >= i64::MIN as f64 && value < i64::MAX as f64;
    if fits { value as i64 } else { i64::MIN }
}
