//! `cjson`: JSON with the interface, limits and texts of lua-cjson 2.1, as Redis has it.

mod decode;
mod encode;
pub(crate) mod settings;

use crate::raw::{Lua, Raise, Returns, Type};
pub use settings::Settings;
use settings::{DEPTH_MAX, Invalid};
use std::ffi::c_int;

/// Pushes the library.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 16);
    lua.set_functions(&[
        ("encode", encode::encode),
        ("decode", decode::decode),
        ("encode_sparse_array", encode_sparse_array),
        ("encode_max_depth", |lua| depth(lua, |all| &mut all.encode_depth)),
        ("decode_max_depth", |lua| depth(lua, |all| &mut all.decode_depth)),
        ("encode_number_precision", |lua| {
            options(lua, 1)?;
            integer(lua, 1, 1, 14, |all| &mut all.precision)
        }),
        ("encode_keep_buffer", |lua| {
            options(lua, 1)?;
            switch(lua, 1, |all| &mut all.keep_buffer)
        }),
        ("encode_invalid_numbers", encode_invalid_numbers),
        ("decode_invalid_numbers", |lua| {
            options(lua, 1)?;
            switch(lua, 1, |all| &mut all.decode_invalid)
        }),
        ("new", |lua| {
            push(lua);
            Ok(1)
        }),
    ]);
    lua.push_null_pointer();
    lua.set_field(-2, "null");
    lua.set_texts(&[("_NAME", "cjson"), ("_VERSION", "2.1.0")]);
}

/// Checks that there are at most `max` arguments, and fills up with nil.
fn options(lua: Lua, max: c_int) -> Result<(), Raise> {
    if lua.top() > max {
        return Err(Raise::Argument(max + 1, "found too many arguments".into()));
    }
    lua.set_top(max);
    Ok(())
}

/// Sets a number if one is given, and pushes the one in force.
fn integer(
    lua: Lua,
    index: c_int,
    min: i64,
    max: i64,
    setting: fn(&mut Settings) -> &mut i64,
) -> Returns {
    if lua.kind(index) != Type::Nil {
        let value = lua.check_integer(index)?;
        if !(min..=max).contains(&value) {
            let text = format!("expected integer between {min} and {max}");
            return Err(Raise::Argument(index, text));
        }
        *setting(&mut lua.shared().json) = value;
    }
    lua.push_number(*setting(&mut lua.shared().json) as f64);
    Ok(1)
}

fn depth(lua: Lua, setting: fn(&mut Settings) -> &mut i64) -> Returns {
    options(lua, 1)?;
    integer(lua, 1, 1, i64::from(i32::MAX), setting)?;
    let depth = setting(&mut lua.shared().json);
    *depth = (*depth).min(DEPTH_MAX);
    Ok(1)
}

/// Sets a switch if one is given (a boolean, `on`, `off`), and pushes the one in force.
fn switch(lua: Lua, index: c_int, setting: fn(&mut Settings) -> &mut bool) -> Returns {
    if lua.kind(index) != Type::Nil {
        let value = match (lua.kind(index), lua.bytes(index)) {
            (Type::Boolean, _) => lua.boolean(index),
            (_, Some(b"on")) => true,
            (_, Some(b"off")) => false,
            _ => return Err(invalid_option(lua, index)),
        };
        *setting(&mut lua.shared().json) = value;
    }
    lua.push_boolean(*setting(&mut lua.shared().json));
    Ok(1)
}

fn invalid_option(lua: Lua, index: c_int) -> Raise {
    match lua.bytes(index) {
        Some(word) => {
            let word = String::from_utf8_lossy(word);
            Raise::Argument(index, format!("invalid option '{word}'"))
        }
        None => lua.type_error(index, "string"),
    }
}

fn encode_sparse_array(lua: Lua) -> Returns {
    options(lua, 3)?;
    switch(lua, 1, |all| &mut all.sparse_convert)?;
    integer(lua, 2, 0, i64::from(i32::MAX), |all| &mut all.sparse_ratio)?;
    integer(lua, 3, 0, i64::from(i32::MAX), |all| &mut all.sparse_safe)?;
    Ok(3)
}

fn encode_invalid_numbers(lua: Lua) -> Returns {
    options(lua, 1)?;
    if lua.kind(1) != Type::Nil {
        let value = match (lua.kind(1), lua.bytes(1)) {
            (Type::Boolean, _) if lua.boolean(1) => Invalid::Allow,
            (Type::Boolean, _) | (_, Some(b"off")) => Invalid::Refuse,
            (_, Some(b"on")) => Invalid::Allow,
            (_, Some(b"null")) => Invalid::Null,
            _ => return Err(invalid_option(lua, 1)),
        };
        lua.shared().json.encode_invalid = value;
    }
    match lua.shared().json.encode_invalid {
        Invalid::Refuse => lua.push_boolean(false),
        Invalid::Allow => lua.push_boolean(true),
        Invalid::Null => lua.push_bytes(b"null"),
    }
    Ok(1)
}
