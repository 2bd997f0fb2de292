//! What a script sees: globals it can only read, and Lua's own functions where Redis has others.
//!
//! Redis patches Lua so that tables can be made read-only. Here such a table is an empty one in
//! front of the real one: reading finds the real table through the metatable, writing meets a
//! function that refuses, and functions that pass metatables by (`rawset`, `table.insert` …) are
//! replaced by ones that know.

use crate::raw::{Lua, NO_MEMORY, Raise, Returns, Type};
use std::ffi::{CString, c_int};

const READ_ONLY: &str = "Attempt to modify a readonly table";

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
        lua.set_field(globals, name);
    }
    lua.push_field(globals, "redis");
    lua.set_field(globals, crate::redis::ALIAS);
    protect_strings(lua, globals);
    refuse_unknown(lua, globals);
    lua.copy(globals);
    lua.shared().globals = lua.keep();
    lua.copy(globals);
    protect(lua);
    lua.copy(-1);
    lua.set_field(globals, "_G");
    lua.set_globals();
    lua.pop(1);
}

fn replace_functions(lua: Lua, globals: c_int) {
    lua.push_field(globals, "next");
    lua.shared().next = lua.keep();
    lua.copy(globals);
    lua.set_functions(&[
        ("pcall", pcall),
        ("pairs", pairs),
        ("rawset", raw_set),
        ("rawget", raw_get),
        ("setmetatable", set_metatable),
        ("load", load),
        ("loadstring", load_string),
    ]);
    lua.push_field(-1, "table");
    lua.set_functions(&[("insert", insert)]);
    lua.pop(1);
    lua.push_field(-1, "math");
    lua.set_functions(&[("random", random), ("randomseed", random_seed)]);
    lua.pop(2);
}

/// Replaces the table on top by an empty one that stands in front of it.
pub(crate) fn protect(lua: Lua) {
    let real = lua.top();
    lua.push_table(0, 0);
    lua.push_table(0, 4);
    lua.copy(real);
    lua.set_field(-2, "__index");
    lua.push_function(refuse_write);
    lua.set_field(-2, "__newindex");
    mark(lua);
    // Who asks for the metatable must not find the real table there.
    lua.push_table(0, 1);
    lua.copy(real + 1);
    lua.set_field(-2, "__index");
    push_view(lua);
    lua.remove(-2);
    lua.set_field(-2, "__metatable");
    lua.set_metatable(-2);
    lua.replace(real);
}

/// Pushes a table that reads as the one on top, and cannot be changed.
fn push_view(lua: Lua) {
    lua.push_table(0, 0);
    lua.push_table(0, 4);
    lua.copy(-3);
    lua.set_field(-2, "__index");
    lua.push_function(refuse_write);
    lua.set_field(-2, "__newindex");
    lua.push_boolean(false);
    lua.set_field(-2, "__metatable");
    mark(lua);
    lua.set_metatable(-2);
}

/// What metatables of protected tables have at this index.
const MARK: c_int = -7201;

/// Marks the metatable on top.
fn mark(lua: Lua) {
    lua.push_boolean(true);
    lua.raw_set_index(-2, MARK);
}

/// Methods of strings come from the protected table, too.
fn protect_strings(lua: Lua, globals: c_int) {
    lua.push_bytes(b"");
    if lua.push_metatable(-1) {
        lua.push_field(globals, "string");
        lua.set_field(-2, "__index");
        push_view(lua);
        lua.set_field(-2, "__metatable");
        lua.pop(1);
    }
    lua.pop(1);
}

/// Makes reading what is not in the table at `globals` an error.
pub(crate) fn refuse_unknown(lua: Lua, globals: c_int) {
    lua.push_table(0, 1);
    lua.push_function(unknown_global);
    lua.set_field(-2, "__index");
    lua.set_metatable(globals);
}

/// Whether the table at `index` is one that scripts may only read.
fn is_protected(lua: Lua, index: c_int) -> bool {
    if !lua.push_metatable(index) {
        return false;
    }
    lua.raw_get_index(-1, MARK);
    let marked = lua.kind(-1) == Type::Boolean;
    lua.pop(2);
    marked
}

/// Whether the value can be a key: not nil, and a number if it is one.
pub(crate) fn is_key(lua: Lua, index: c_int) -> bool {
    match lua.kind(index) {
        Type::Nil | Type::None => false,
        Type::Number => !lua.number(index).is_nan(),
        _ => true,
    }
}

fn refuse_write(_: Lua) -> Returns {
    Err(Raise::at(READ_ONLY))
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

fn pairs(lua: Lua) -> Returns {
    if lua.kind(1) != Type::Table {
        return Err(lua.type_error(1, "table"));
    }
    if is_protected(lua, 1) {
        lua.push_function(next_protected);
    } else {
        lua.push_kept(lua.shared().next);
    }
    lua.copy(1);
    lua.push_nil();
    Ok(3)
}

/// `next` over the table behind a protected one.
fn next_protected(lua: Lua) -> Returns {
    lua.set_top(2);
    push_real(lua, 1);
    lua.replace(1);
    if !lua.has_key(1) {
        return Err(Raise::Bare("invalid key to 'next'".into()));
    }
    if lua.next(1) {
        return Ok(2);
    }
    lua.push_nil();
    Ok(1)
}

/// Pushes the table behind a protected one.
fn push_real(lua: Lua, index: c_int) {
    if lua.push_metatable(index) {
        lua.push_field(-1, "__index");
        lua.remove(-2);
    } else {
        lua.push_nil();
    }
}

fn check_table(lua: Lua, index: c_int) -> Result<(), Raise> {
    match lua.kind(index) {
        Type::Table => Ok(()),
        _ => Err(lua.type_error(index, "table")),
    }
}

fn raw_set(lua: Lua) -> Returns {
    check_table(lua, 1)?;
    for index in [2, 3] {
        if lua.kind(index) == Type::None {
            return Err(Raise::Argument(index, "value expected".into()));
        }
    }
    lua.set_top(3);
    if is_protected(lua, 1) {
        return Err(Raise::Bare(READ_ONLY.into()));
    }
    check_key(lua, 2)?;
    lua.raw_set(1);
    Ok(1)
}

/// The error Lua raises for what cannot be a key.
pub(crate) fn check_key(lua: Lua, index: c_int) -> Result<(), Raise> {
    if is_key(lua, index) {
        return Ok(());
    }
    let what = if lua.kind(index) == Type::Number { "NaN" } else { "nil" };
    Err(Raise::Bare(format!("table index is {what}")))
}

fn raw_get(lua: Lua) -> Returns {
    check_table(lua, 1)?;
    if lua.kind(2) == Type::None {
        return Err(Raise::Argument(2, "value expected".into()));
    }
    lua.set_top(2);
    if is_protected(lua, 1) {
        push_real(lua, 1);
        lua.replace(1);
    }
    lua.raw_get(1);
    Ok(1)
}

fn set_metatable(lua: Lua) -> Returns {
    check_table(lua, 1)?;
    if !matches!(lua.kind(2), Type::Nil | Type::Table) {
        return Err(Raise::Argument(2, "nil or table expected".into()));
    }
    if is_protected(lua, 1) {
        return Err(Raise::Bare(READ_ONLY.into()));
    }
    if lua.push_metatable(1) {
        if lua.push_field(-1, "__metatable") != Type::Nil {
            return Err(Raise::at("cannot change a protected metatable"));
        }
        lua.pop(2);
    }
    lua.set_top(2);
    lua.set_metatable(1);
    Ok(1)
}

fn insert(lua: Lua) -> Returns {
    check_table(lua, 1)?;
    if is_protected(lua, 1) {
        return Err(Raise::Bare(READ_ONLY.into()));
    }
    let end = (lua.raw_len(1) as c_int).saturating_add(1);
    match lua.top() {
        2 => lua.raw_set_index(1, end),
        3 => {
            let position = lua.check_integer(2)? as c_int;
            for index in (position.saturating_add(1)..=end.max(position)).rev() {
                lua.pass(1)?;
                lua.raw_get_index(1, index - 1);
                lua.raw_set_index(1, index);
            }
            lua.raw_set_index(1, position);
        }
        _ => return Err(Raise::at("wrong number of arguments to 'insert'")),
    }
    Ok(0)
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

/// What compiled code begins with.
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
            // What is no source text is refused at once, however much of it would follow.
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
