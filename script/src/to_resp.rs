//! Lua values as replies. Source: Redis's "Lua API", "Data type conversion".

use crate::raw::{Lua, Type};
use resp::{Proto, Reply};

/// Stack slots that one level of a value needs.
const ROOM: i32 = 6;

/// Tables nested deeper than this are an error: the answer must end, and so must this thread's
/// stack.
const DEPTH_MAX: usize = 1000;

/// Writes the value on top of the stack, and takes it. `proto` is the one the script chose with
/// `redis.setresp`.
pub(crate) fn write(lua: Lua, reply: &mut Reply<'_>, proto: Proto) {
    write_at(lua, reply, proto, 0);
    lua.pop(1);
}

fn write_at(lua: Lua, reply: &mut Reply<'_>, proto: Proto, depth: usize) {
    if depth > DEPTH_MAX || !lua.has_room(ROOM) {
        return reply.error("ERR reached lua stack limit");
    }
    match lua.kind(-1) {
        Type::String => reply.bulk(lua.bytes(-1).unwrap_or_default()),
        Type::Number => reply.integer(truncated(lua.number(-1))),
        Type::Boolean => match (lua.boolean(-1), proto) {
            (value, Proto::Resp3) => reply.boolean(value),
            (true, Proto::Resp2) => reply.integer(1),
            (false, Proto::Resp2) => reply.null(),
        },
        Type::Table => write_table(lua, reply, proto, depth),
        _ => reply.null(),
    }
}

/// As a C cast truncates on x86-64: what does not fit becomes the smallest integer.
fn truncated(value: f64) -> i64 {
    let fits = value >= i64::MIN as f64 && value < i64::MAX as f64;
    if fits { value as i64 } else { i64::MIN }
}

fn write_table(lua: Lua, reply: &mut Reply<'_>, proto: Proto, depth: usize) {
    let field = |name: &str, expected: Type| {
        let found = lua.push_field(-1, name) == expected;
        if !found {
            lua.pop(1);
        }
        found
    };
    if field("err", Type::String) {
        reply.error_bytes(lua.bytes(-1).unwrap_or_default());
    } else if field("ok", Type::String) {
        reply.simple(&String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default()));
    } else if field("double", Type::Number) {
        reply.double(lua.number(-1));
    } else if field("map", Type::Table) {
        write_pairs(lua, reply, proto, depth, true);
    } else if field("set", Type::Table) {
        write_pairs(lua, reply, proto, depth, false);
    } else if field("big_number", Type::String) {
        let digits = String::from_utf8_lossy(lua.bytes(-1).unwrap_or_default());
        reply.big_number(&digits.replace(['\r', '\n'], " "));
    } else if field("verbatim_string", Type::Table) {
        write_verbatim(lua, reply, proto, depth);
    } else {
        return write_array(lua, reply, proto, depth);
    }
    lua.pop(1);
}

/// The table on top as a map, or its keys as a set.
fn write_pairs(lua: Lua, reply: &mut Reply<'_>, proto: Proto, depth: usize, map: bool) {
    let mark = reply.deferred();
    let mut len = 0;
    lua.push_nil();
    while lua.next(-2) {
        lua.copy(-2);
        write_at(lua, reply, proto, depth + 1);
        lua.pop(1);
        if map {
            write_at(lua, reply, proto, depth + 1);
        }
        lua.pop(1);
        len += 1;
    }
    match map {
        true => reply.finish_map(mark, len),
        false => reply.finish_set(mark, len),
    }
}

/// `{verbatim_string={format=…, string=…}}`; with other fields it is a table like any other.
fn write_verbatim(lua: Lua, reply: &mut Reply<'_>, proto: Proto, depth: usize) {
    let format = lua.push_field(-1, "format");
    let text = lua.push_field(-2, "string");
    match (format, text) {
        (Type::String, Type::String) => {
            let format = lua.bytes(-2).unwrap_or_default();
            let mut three = [b' '; 3];
            format.iter().zip(&mut three).for_each(|(from, to)| *to = *from);
            let format = String::from_utf8_lossy(&three);
            let format = if format.len() == 3 { &*format } else { "txt" };
            reply.verbatim(format, lua.bytes(-1).unwrap_or_default());
            lua.pop(2);
        }
        _ => {
            lua.pop(2);
            lua.copy(-2);
            write_array(lua, reply, proto, depth);
            lua.pop(1);
        }
    }
}

/// The elements from 1 on, up to the first that is missing.
fn write_array(lua: Lua, reply: &mut Reply<'_>, proto: Proto, depth: usize) {
    let mut len = 0;
    while has_element(lua, len + 1) {
        len += 1;
    }
    reply.array(len as usize);
    for index in 1..=len {
        lua.raw_get_index(-1, index);
        write_at(lua, reply, proto, depth + 1);
        lua.pop(1);
    }
}

fn has_element(lua: Lua, index: i32) -> bool {
    lua.raw_get_index(-1, index);
    let there = lua.kind(-1) != Type::Nil;
    lua.pop(1);
    there
}
