//! The sandbox of scripts: globals it can only read, and Lua's own functions where Redis has others.
//!
//! Tables are made read-only as in Redis, by a patch of Lua: they can be walked through, and whatever
//! would change one is an error.

use crate::raw::{Lua, NO_MEMORY, Raise, Returns, Type};
use std::ffi::{CString, c_int};

/// Valkey's name for the table `redis`.
pub(crate) const ALIAS: &str = "server";

/// Globals of Lua that scripts do not get.
const REMOVED: [&str; 6] = ["dofile", "loadfile", "print", "newproxy", "getfenv", "setfenv"];

/// Makes the globals of a state: called with Lua's libraries open and the host's in place.
/// `libraries` are globals that become read-only.
pub(crate) fn close(lua: Lua, libraries: &[&str]) {
    lua.push_globals();
    let globals = lua.top();
    REMOVED.iter().for_each(|name| {
        lua.push_nil();
        lua.set_field(globals, name);
    });
    replace_functions(lua, globals);
    for name in libraries {
        lua.push_field(globals, name);
        protect(lua);
        lua.pop(1);
    }
    lua.push_field(globals, "redis");
    lua.set_field(globals, ALIAS);
    protect_strings(lua);
    refuse_unknown(lua, globals);
    protect(lua);
    lua.shared().globals = lua.keep();
}

fn replace_functions(lua: Lua, globals: c_int) {
    lua.copy(globals);
    lua.set_functions(&[("pcall", pcall), ("load", load), ("loadstring", load_string)]);
    lua.push_field(-1, "math");
    lua.set_functions(&[("random", random), ("randomseed", random_seed)]);
    lua.pop(2);
}

/// Makes the table on top, and its metatable if it has one, read-only.
pub(crate) fn protect(lua: Lua) {
    lua.set_read_only(-1, true);
    if lua.push_metatable(-1) {
        lua.set_read_only(-1, true);
        lua.pop(1);
    }
}

/// Protects the metatable that all strings share.
fn protect_strings(lua: Lua) {
    lua.push_bytes(b"");
    if lua.push_metatable(-1) {
        protect(lua);
        lua.pop(1);
    }
    lua.pop(1);
}

/// Makes reading a missing entry of the table at `globals` an error.
pub(crate) fn refuse_unknown(lua: Lua, globals: c_int) {
    lua.push_table(0, 1);
    lua.push_function(unknown_global);
    lua.set_field(-2, "__index");
    lua.set_metatable(globals);
}

/// Whether the value can be a key: not nil, and a number if it is one.
pub(crate) fn is_key(lua: Lua, index: c_int) -> bool {
    match lua.kind(index) {
        Type::Nil | Type::None => false,
        Type::Number => !lua.number(index).is_nan(),
        _ => true,
    }
}

fn unknown_global(lua: Lua) -> Returns {
    let name = lua.text(2).unwrap_or_default();
    let name = String::from_utf8_lossy(name);
    Err(Raise::At(format!("Script attempted to access nonexistent global variable '{name}'")))
}

/// `pcall` that gives errors of commands as their text, as scripts written before Redis 7 expect.
fn pcall(lua: Lua) -> Returns {
    if lua.top() == 0 {
        return Err(Raise::Argument(1, "value expected".into()));
    }
    let called = lua.call_script(lua.top() - 1, -1);
    if called.is_err() && lua.kind(-1) == Type::Table {
        match lua.push_field(-1, "err") {
            Type::String | Type::Number => lua.replace(-2),
            _ => lua.pop(1),
        }
    }
    if !lua.has_room(1) {
        return Err(Raise::at("stack overflow (too many results)"));
    }
    lua.push_boolean(called.is_ok());
    lua.insert(1);
    Ok(lua.top())
}

/// The error of Lua for a value that cannot be a key.
pub(crate) fn check_key(lua: Lua, index: c_int) -> Result<(), Raise> {
    if is_key(lua, index) {
        return Ok(());
    }
    let what = if lua.kind(index) == Type::Number { "NaN" } else { "nil" };
    Err(Raise::Bare(format!("table index is {what}")))
}

/// Compiles source text; nil and the message when it is none.
fn compile(lua: Lua, source: &[u8], name: &[u8]) -> Returns {
    let name: Vec<u8> = name.iter().copied().take_while(|&b| b != 0).collect();
    let name = CString::new(name).unwrap_or_default();
    if lua.load(source, &name).is_ok() {
        return Ok(1);
    }
    lua.push_nil();
    lua.insert(-2);
    Ok(2)
}

fn load_string(lua: Lua) -> Returns {
    let source = lua.check_text(1)?;
    let name = match lua.kind(2) {
        Type::None | Type::Nil => source,
        _ => lua.check_text(2)?,
    };
    compile(lua, source, name)
}

/// The first byte of compiled code.
const BYTECODE: u8 = 0x1B;

fn load(lua: Lua) -> Returns {
    if lua.kind(1) != Type::Function {
        return Err(lua.type_error(1, "function"));
    }
    let name = match lua.kind(2) {
        Type::None | Type::Nil => b"=(load)",
        _ => lua.check_text(2)?,
    };
    let limit = lua.shared().budget.limit;
    let mut source = Vec::new();
    loop {
        lua.pass(1)?;
        lua.copy(1);
        if lua.call_script(0, 1).is_err() {
            lua.push_nil();
            lua.insert(-2);
            return Ok(2);
        }
        match (lua.kind(-1), lua.text(-1)) {
            (Type::Nil, _) | (_, Some(b"")) => break,
            // Anything that is not source text is refused at once, however long it is.
            (_, Some(piece @ [BYTECODE, ..])) if source.is_empty() => {
                source.extend_from_slice(piece);
                break;
            }
            (_, Some(piece)) if source.len() + piece.len() <= limit => {
                source.extend_from_slice(piece);
            }
            (_, Some(_)) => return Err(Raise::Bare(NO_MEMORY.into())),
            _ => {
                // An error that is caught has been through the handler of errors: it is a table.
                lua.push_nil();
                lua.push_table(0, 1);
                lua.push_bytes(b"ERR ");
                lua.push_where(1);
                lua.push_bytes(b"reader function must return a string");
                lua.concat(3);
                lua.set_field(-2, "err");
                return Ok(2);
            }
        }
        lua.pop(1);
    }
    compile(lua, &source, name)
}

fn random(lua: Lua) -> Returns {
    let unit = lua.shared().random.unit();
    let (low, high) = match lua.top() {
        0 => {
            lua.push_number(unit);
            return Ok(1);
        }
        1 => (1.0, lua.check_number(1)? as i32 as f64),
        2 => (lua.check_number(1)? as i32 as f64, lua.check_number(2)? as i32 as f64),
        _ => return Err(Raise::at("wrong number of arguments")),
    };
    if low > high {
        return Err(Raise::Argument(lua.top(), "interval is empty".into()));
    }
    lua.push_number((unit * (high - low + 1.0)).floor() + low);
    Ok(1)
}

fn random_seed(lua: Lua) -> Returns {
    let seed = lua.check_integer(1)? as u32;
    lua.shared().random = crate::random::Random::new(seed);
    Ok(0)
}
