//! Replies of commands as Lua values. Source: Redis's "Lua API", "Data type conversion".

use crate::raw::Lua;
use resp::parse_i64;

/// Stack slots that one level of a reply needs.
const ROOM: i32 = 6;

/// Pushes the reply at the beginning of `bytes`, and returns the rest. `None` if the bytes are not
/// a reply, are nested too deeply for the stack, or if the script must end or exceeds its memory
/// limit. Something may then have been pushed.
pub(crate) fn push_reply(lua: Lua, bytes: &[u8]) -> Option<&[u8]> {
    if !lua.has_room(ROOM) {
        return None;
    }
    let (&sigil, rest) = bytes.split_first()?;
    let (line, rest) = split_line(rest)?;
    match sigil {
        b'+' => {
            lua.push_table(0, 1);
            lua.push_bytes(line);
            lua.set_field(-2, "ok");
        }
        b'-' => push_error(lua, line),
        b':' => lua.push_number(parse_i64(line)? as f64),
        b'$' => return push_bulk(lua, line, rest),
        b'*' | b'>' => return push_array(lua, line, rest),
        b'_' => lua.push_nil(),
        b'#' => lua.push_boolean(line == b"t"),
        b',' => {
            lua.push_table(0, 1);
            lua.push_number(std::str::from_utf8(line).ok()?.parse().ok()?);
            lua.set_field(-2, "double");
        }
        b'(' => {
            lua.push_table(0, 1);
            lua.push_bytes(line);
            lua.set_field(-2, "big_number");
        }
        b'%' => return push_pairs(lua, line, rest, "map"),
        b'~' => return push_pairs(lua, line, rest, "set"),
        b'=' => return push_verbatim(lua, line, rest),
        b'|' => {
            // Attributes are not part of the reply.
            let rest = push_pairs(lua, line, rest, "map")?;
            lua.pop(1);
            return push_reply(lua, rest);
        }
        _ => return None,
    }
    Some(rest)
}

/// Pushes the table that represents an error with this text (with its code, without `-`). The error
/// was counted already.
pub(crate) fn push_error(lua: Lua, text: &[u8]) {
    lua.push_table(0, 2);
    lua.push_bytes(text);
    lua.set_field(-2, "err");
    lua.push_boolean(true);
    lua.set_field(-2, "ignore_error_stats_update");
}

fn split_line(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|&b| b == b'\r')?;
    Some((&bytes[..end], bytes.get(end + 2..)?))
}

fn push_bulk<'a>(lua: Lua, len: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let Ok(len) = usize::try_from(parse_i64(len)?) else {
        lua.push_boolean(false);
        return Some(rest);
    };
    lua.push_bytes(rest.get(..len)?);
    rest.get(len + 2..)
}

fn push_verbatim<'a>(lua: Lua, len: &[u8], rest: &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(parse_i64(len)?).ok()?;
    let text = rest.get(..len)?;
    lua.push_table(0, 1);
    lua.push_table(0, 2);
    lua.push_bytes(text.get(4..)?);
    lua.set_field(-2, "string");
    lua.push_bytes(&text[..3]);
    lua.set_field(-2, "format");
    lua.set_field(-2, "verbatim_string");
    rest.get(len + 2..)
}

fn push_array<'a>(lua: Lua, len: &[u8], mut rest: &'a [u8]) -> Option<&'a [u8]> {
    let Ok(len) = usize::try_from(parse_i64(len)?) else {
        lua.push_boolean(false);
        return Some(rest);
    };
    lua.push_table(len, 0);
    for index in 1..=len {
        rest = push_reply(lua, rest)?;
        lua.raw_set_index(-2, index as i32);
        pass(lua, index)?;
    }
    Some(rest)
}

/// Now and then asks whether the script may go on; `None` when not.
#[inline]
fn pass(lua: Lua, index: usize) -> Option<()> {
    const EVERY: usize = 64;
    if index.is_multiple_of(EVERY) { lua.pass(EVERY).ok() } else { Some(()) }
}

/// A map or a set: `{map={k=v}}`, `{set={k=true}}`.
fn push_pairs<'a>(lua: Lua, len: &[u8], mut rest: &'a [u8], kind: &str) -> Option<&'a [u8]> {
    let len = usize::try_from(parse_i64(len)?).ok()?;
    lua.push_table(0, 1);
    lua.push_table(0, len);
    for index in 0..len {
        pass(lua, index)?;
        rest = push_reply(lua, rest)?;
        match kind {
            "map" => rest = push_reply(lua, rest)?,
            _ => lua.push_boolean(true),
        }
        if crate::sandbox::is_key(lua, -2) {
            lua.raw_set(-3);
        } else {
            lua.pop(2);
        }
    }
    lua.set_field(-2, kind);
    Some(rest)
}
