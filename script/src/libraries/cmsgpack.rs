//! `cmsgpack`: MessagePack with the interface of lua-cmsgpack 0.4.
//! Source of the format: <https://github.com/msgpack/msgpack/blob/master/spec.md>.

use crate::raw::{Lua, NO_MEMORY, Raise, Returns, Type};
use crate::sandbox::check_key;

/// Tables nested deeper are packed as nil, as the original does.
const PACK_DEPTH_MAX: usize = 16;
/// And unpacking deeper is an error: the nesting is the peer's, the stack is ours.
const UNPACK_DEPTH_MAX: usize = 1000;
/// Stack slots that one level needs.
const ROOM: i32 = 5;

/// Pushes the library.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 8);
    lua.set_functions(&[
        ("pack", pack),
        ("unpack", unpack),
        ("unpack_one", unpack_one),
        ("unpack_limit", unpack_limit),
    ]);
    lua.set_texts(&[
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ]);
}

fn pack(lua: Lua) -> Returns {
    let count = lua.top();
    if count == 0 {
        return Err(Raise::Argument(0, "MessagePack pack needs input.".into()));
    }
    let mut out = Vec::new();
    for index in 1..=count {
        lua.copy(index);
        pack_value(lua, &mut out, 0)?;
        lua.pop(1);
    }
    lua.push_bytes(&out);
    Ok(1)
}

/// Nothing, or why packing ends.
type Packed = Result<(), Raise>;

/// Appends the value on top of the stack, which stays there.
fn pack_value(lua: Lua, out: &mut Vec<u8>, depth: usize) -> Packed {
    // A table that is in many others is written as often.
    if out.len() > lua.shared().budget.limit {
        return Err(Raise::Bare(NO_MEMORY.into()));
    }
    lua.pass(1)?;
    match lua.kind(-1) {
        Type::String => {
            let bytes = lua.bytes(-1).unwrap_or_default();
            pack_len(out, bytes.len(), (0xA0, 31), Some(0xD9), 0xDA);
            out.extend_from_slice(bytes);
        }
        Type::Boolean => out.push(if lua.boolean(-1) { 0xC3 } else { 0xC2 }),
        Type::Number => pack_number(out, lua.number(-1)),
        Type::Table if depth < PACK_DEPTH_MAX && lua.has_room(ROOM) => match array_len(lua) {
            Ok(len) => pack_array(lua, out, len, depth)?,
            Err(pairs) => pack_map(lua, out, pairs, depth)?,
        },
        _ => out.push(0xC0),
    }
    Ok(())
}

/// A length: in the low bits of `fix.0` up to `fix.1`, else behind a byte for one, two, four bytes.
fn pack_len(out: &mut Vec<u8>, len: usize, fix: (u8, usize), one: Option<u8>, two: u8) {
    match (len, one) {
        (len, _) if len <= fix.1 => out.push(fix.0 | len as u8),
        (0..=0xFF, Some(one)) => out.extend_from_slice(&[one, len as u8]),
        (0..=0xFFFF, _) => {
            out.push(two);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            out.push(two + 1);
            out.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn pack_number(out: &mut Vec<u8>, value: f64) {
    let is_integer = value.fract() == 0.0 && value >= i64::MIN as f64 && value < i64::MAX as f64;
    if is_integer {
        return pack_integer(out, value as i64);
    }
    if f64::from(value as f32) == value {
        out.push(0xCA);
        out.extend_from_slice(&(value as f32).to_be_bytes());
    } else {
        out.push(0xCB);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn pack_integer(out: &mut Vec<u8>, value: i64) {
    let (sigil, width) = match value {
        -0x20..=0x7F => return out.push(value as u8),
        0x80..=0xFF => (0xCC, 1),
        0x100..=0xFFFF => (0xCD, 2),
        0x1_0000..=0xFFFF_FFFF => (0xCE, 4),
        0x1_0000_0000.. => (0xCF, 8),
        -0x80..-0x20 => (0xD0, 1),
        -0x8000..-0x80 => (0xD1, 2),
        -0x8000_0000..-0x8000 => (0xD2, 4),
        ..-0x8000_0000 => (0xD3, 8),
    };
    out.push(sigil);
    out.extend_from_slice(&value.to_be_bytes()[8 - width..]);
}

/// The length of the table on top as an array, or the number of its pairs.
fn array_len(lua: Lua) -> Result<usize, usize> {
    let (mut is_array, mut max, mut count) = (true, 0.0_f64, 0);
    lua.push_nil();
    while lua.next(-2) {
        lua.pop(1);
        lua.charge(1);
        let key = if lua.kind(-1) == Type::Number { lua.number(-1) } else { 0.0 };
        is_array &= key >= 1.0 && key.fract() == 0.0;
        max = max.max(key);
        count += 1;
    }
    if is_array && max == count as f64 { Ok(count) } else { Err(count) }
}

fn pack_array(lua: Lua, out: &mut Vec<u8>, len: usize, depth: usize) -> Packed {
    pack_len(out, len, (0x90, 15), None, 0xDC);
    for index in 1..=len {
        lua.raw_get_index(-1, index as i32);
        pack_value(lua, out, depth + 1)?;
        lua.pop(1);
    }
    Ok(())
}

fn pack_map(lua: Lua, out: &mut Vec<u8>, pairs: usize, depth: usize) -> Packed {
    pack_len(out, pairs, (0x80, 15), None, 0xDE);
    lua.push_nil();
    while lua.next(-2) {
        lua.copy(-2);
        pack_value(lua, out, depth + 1)?;
        lua.pop(1);
        pack_value(lua, out, depth + 1)?;
        lua.pop(1);
    }
    Ok(())
}

fn unpack(lua: Lua) -> Returns {
    unpack_some(lua, 0, 0)
}

fn optional_integer(lua: Lua, index: i32) -> Result<i64, Raise> {
    match lua.kind(index) {
        Type::None | Type::Nil => Ok(0),
        _ => lua.check_integer(index),
    }
}

fn unpack_one(lua: Lua) -> Returns {
    let offset = optional_integer(lua, 2)?;
    lua.set_top(1);
    unpack_some(lua, 1, offset)
}

fn unpack_limit(lua: Lua) -> Returns {
    let limit = lua.check_integer(2)?;
    let offset = optional_integer(lua, 3)?;
    lua.set_top(1);
    unpack_some(lua, limit, offset)
}

/// Pushes up to `limit` values from `offset` on; with neither, all. With one of them the offset to
/// go on from comes first, -1 at the end.
fn unpack_some(lua: Lua, limit: i64, offset: i64) -> Returns {
    let all = limit == 0 && offset == 0;
    let text = lua.check_text(1)?;
    let len = text.len();
    let Ok(start) = usize::try_from(offset).map_err(|_| ()).and_then(|start| match limit {
        0.. => Ok(start),
        _ => Err(()),
    }) else {
        let text = format!("Invalid request to unpack with offset of {offset} and limit of {len}.");
        return Err(Raise::At(text));
    };
    let Some(mut rest) = text.get(start..) else {
        let text = format!("Start offset {offset} greater than input length {len}.");
        return Err(Raise::At(text));
    };
    let mut count = 0;
    while !rest.is_empty() && (all || i64::from(count) < limit) {
        rest = unpack_value(lua, rest, 0)?;
        count += 1;
    }
    if !all {
        let next = if rest.is_empty() { -1.0 } else { (len - rest.len()) as f64 };
        lua.push_number(next);
        lua.insert(2);
        count += 1;
    }
    Ok(count)
}

fn missing() -> Raise {
    Raise::at("Missing bytes in input.")
}

fn take(bytes: &[u8], len: usize) -> Result<(&[u8], &[u8]), Raise> {
    bytes.split_at_checked(len).ok_or_else(missing)
}

/// A number of `width` bytes, most significant first.
fn take_number(bytes: &[u8], width: usize) -> Result<(u64, &[u8]), Raise> {
    let (number, rest) = take(bytes, width)?;
    Ok((number.iter().fold(0, |value, &b| value << 8 | u64::from(b)), rest))
}

/// Pushes the value at the beginning of `bytes`, and returns the rest.
fn unpack_value(lua: Lua, bytes: &[u8], depth: usize) -> Result<&[u8], Raise> {
    lua.pass(1)?;
    if depth > UNPACK_DEPTH_MAX || !lua.has_room(ROOM) {
        return Err(Raise::at("too many nested data structures"));
    }
    let (&[sigil], rest) = bytes.split_first_chunk::<1>().ok_or_else(missing)?;
    let width = |low: u8| 1_usize << (sigil - low);
    match sigil {
        0..=0x7F | 0xE0.. => lua.push_number(f64::from(sigil as i8)),
        0x80..=0x8F => return unpack_map(lua, rest, usize::from(sigil & 15), depth),
        0x90..=0x9F => return unpack_array(lua, rest, usize::from(sigil & 15), depth),
        0xA0..=0xBF => return unpack_text(lua, rest, usize::from(sigil & 31)),
        0xC0 => lua.push_nil(),
        0xC2 | 0xC3 => lua.push_boolean(sigil == 0xC3),
        0xCA => {
            let (bits, rest) = take_number(rest, 4)?;
            lua.push_number(f64::from(f32::from_bits(bits as u32)));
            return Ok(rest);
        }
        0xCB => {
            let (bits, rest) = take_number(rest, 8)?;
            lua.push_number(f64::from_bits(bits));
            return Ok(rest);
        }
        0xCC..=0xCF => {
            let (number, rest) = take_number(rest, width(0xCC))?;
            // The library pushes a signed integer, whatever was packed.
            lua.push_number(number as i64 as f64);
            return Ok(rest);
        }
        0xD0..=0xD3 => {
            let width = width(0xD0);
            let (number, rest) = take_number(rest, width)?;
            let unused = 64 - 8 * width;
            lua.push_number(((number << unused) as i64 >> unused) as f64);
            return Ok(rest);
        }
        0xD9..=0xDB => {
            let (len, rest) = take_number(rest, width(0xD9))?;
            return unpack_text(lua, rest, len as usize);
        }
        0xDC | 0xDD => {
            let (len, rest) = take_number(rest, 2 * width(0xDC))?;
            return unpack_array(lua, rest, len as usize, depth);
        }
        0xDE | 0xDF => {
            let (len, rest) = take_number(rest, 2 * width(0xDE))?;
            return unpack_map(lua, rest, len as usize, depth);
        }
        _ => return Err(Raise::at("Bad data format in input.")),
    }
    Ok(rest)
}

fn unpack_text(lua: Lua, bytes: &[u8], len: usize) -> Result<&[u8], Raise> {
    let (text, rest) = take(bytes, len)?;
    lua.push_bytes(text);
    Ok(rest)
}

fn unpack_array(lua: Lua, mut rest: &[u8], len: usize, depth: usize) -> Result<&[u8], Raise> {
    lua.push_table(0, 0);
    for index in 1..=len {
        rest = unpack_value(lua, rest, depth + 1)?;
        lua.raw_set_index(-2, index as i32);
    }
    Ok(rest)
}

fn unpack_map(lua: Lua, mut rest: &[u8], len: usize, depth: usize) -> Result<&[u8], Raise> {
    lua.push_table(0, 0);
    for _ in 0..len {
        rest = unpack_value(lua, rest, depth + 1)?;
        rest = unpack_value(lua, rest, depth + 1)?;
        check_key(lua, -2)?;
        lua.raw_set(-3);
    }
    Ok(rest)
}
