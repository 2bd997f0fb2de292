//! `bit`: operations on 32-bit integers, with the interface of LuaJIT's BitOp.

use crate::raw::{Lua, Returns};
use std::ffi::c_int;

/// Pushes the library.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 16);
    lua.set_functions(&[
        ("tobit", |lua| unary(lua, |value| value)),
        ("bnot", |lua| unary(lua, |value| !value)),
        ("bswap", |lua| unary(lua, u32::swap_bytes)),
        ("band", |lua| fold(lua, |a, b| a & b)),
        ("bor", |lua| fold(lua, |a, b| a | b)),
        ("bxor", |lua| fold(lua, |a, b| a ^ b)),
        ("lshift", |lua| shift(lua, |value, by| value << by)),
        ("rshift", |lua| shift(lua, |value, by| value >> by)),
        ("arshift", |lua| shift(lua, |value, by| (value as i32 >> by) as u32)),
        ("rol", |lua| shift(lua, u32::rotate_left)),
        ("ror", |lua| shift(lua, u32::rotate_right)),
        ("tohex", to_hex),
    ]);
}

/// The number added to a double so that its low bits are those of the integer, rounded.
const TO_INTEGER: f64 = 6_755_399_441_055_744.0;

/// An argument modulo 2³².
fn operand(lua: Lua, index: c_int) -> Result<u32, crate::raw::Raise> {
    let number = lua.check_number(index)?;
    Ok((number + TO_INTEGER).to_bits() as u32)
}

fn answer(lua: Lua, value: u32) -> Returns {
    lua.push_number(f64::from(value as i32));
    Ok(1)
}

fn unary(lua: Lua, operation: fn(u32) -> u32) -> Returns {
    let value = operand(lua, 1)?;
    answer(lua, operation(value))
}

fn fold(lua: Lua, operation: fn(u32, u32) -> u32) -> Returns {
    let mut value = operand(lua, 1)?;
    for index in 2..=lua.top() {
        value = operation(value, operand(lua, index)?);
    }
    answer(lua, value)
}

fn shift(lua: Lua, operation: fn(u32, u32) -> u32) -> Returns {
    let value = operand(lua, 1)?;
    let by = operand(lua, 2)? & 31;
    answer(lua, operation(value, by))
}

/// Hexadecimal digits: as many as the second argument says, upper case when it is negative.
fn to_hex(lua: Lua) -> Returns {
    let value = operand(lua, 1)?;
    let digits = if lua.top() < 2 { 8 } else { operand(lua, 2)? as i32 };
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let shown = digits.unsigned_abs().min(8) as usize;
    lua.push_bytes(&text.as_bytes()[8 - shown..]);
    Ok(1)
}
