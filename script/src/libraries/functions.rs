//! Functions of libraries: `redis.register_function`, and the globals of a library before and after
//! it is loaded.

use crate::raw::{Lua, Raise, Returns, Type};
use crate::redis;
use crate::sandbox::{protect, refuse_unknown};
use crate::shared::Registered;
use crate::shebang::ScriptFlags;
use std::ffi::c_int;

/// The fields of the table `redis` that functions do not have.
const FOR_SCRIPTS_ONLY: [&str; 3] = ["breakpoint", "debug", "replicate_commands"];

/// Pushes the globals of functions: those of scripts, with their own `redis`.
pub(crate) fn push_globals(lua: Lua) {
    lua.push_kept(lua.shared().globals);
    let scripts = lua.top();
    lua.push_table(0, 48);
    lua.push_nil();
    while lua.next(scripts) {
        lua.copy(-2);
        lua.insert(-2);
        lua.raw_set(scripts + 1);
    }
    lua.remove(scripts);
    lua.push_nil();
    lua.set_field(-2, "__redis__err__handler");
    redis::push(lua);
    for name in FOR_SCRIPTS_ONLY {
        lua.push_nil();
        lua.set_field(-2, name);
    }
    protect(lua);
    redis::set_names(lua);
    lua.copy(-1);
    lua.set_field(-2, "_G");
    refuse_unknown(lua, lua.top());
    protect(lua);
}

/// Pushes a new environment for a library that is about to be loaded: an empty table, as in Redis, whose
/// metatable says where to look.
pub(crate) fn push_environment(lua: Lua) {
    lua.push_table(0, 0);
    lua.push_table(0, 1);
    lua.push_table(0, 2);
    redis::push_for_loading(lua);
    refuse_unknown(lua, lua.top());
    protect(lua);
    redis::set_names(lua);
    refuse_unknown(lua, lua.top());
    protect(lua);
    lua.set_field(-2, "__index");
    lua.set_metatable(-2);
    protect(lua);
}

/// Lets the environment on top see the globals of functions from now on.
pub(crate) fn open_environment(lua: Lua, globals: c_int) {
    if lua.push_metatable(-1) {
        lua.set_read_only(-1, false);
        lua.push_kept(globals);
        lua.set_field(-2, "__index");
        lua.set_read_only(-1, true);
        lua.pop(1);
    }
}

const SINGLE: &str = "calling redis.register_function with a single argument is only applicable \
    to Lua table (representing named arguments).";
const NAME: &str = "Library names can only contain letters, numbers, or underscores(_) and must be \
    at least one character long";

/// Raises an error whose text stands alone.
fn refuse<T>(lua: Lua, text: &str) -> Result<T, Raise> {
    lua.push_table(0, 1);
    lua.push_bytes(format!("ERR {text}").as_bytes());
    lua.set_field(-2, "err");
    Err(Raise::Top)
}

/// `redis.register_function(name, callback)`, or with a table of named arguments.
pub(crate) fn register(lua: Lua) -> Returns {
    if !lua.shared().loading {
        // A library may have kept the function.
        return refuse(lua, "redis.register_function can only be called on FUNCTION LOAD command");
    }
    let function = match lua.top() {
        1 => named(lua)?,
        2 => positional(lua)?,
        _ => return refuse(lua, "wrong number of arguments to redis.register_function"),
    };
    let known = &mut lua.shared().registered;
    if known.iter().any(|other| other.name == function.name) {
        lua.release(function.callback);
        return refuse(lua, "Function already exists in the library");
    }
    known.push(function);
    Ok(0)
}

fn positional(lua: Lua) -> Result<Registered, Raise> {
    let Some(name) = lua.text(1) else {
        return refuse(lua, "first argument to redis.register_function must be a string");
    };
    if lua.kind(2) != Type::Function {
        return refuse(lua, "second argument to redis.register_function must be a function");
    }
    let name = check_name(lua, name)?;
    lua.copy(2);
    Ok(Registered { name, description: None, flags: ScriptFlags::empty(), callback: lua.keep() })
}

fn check_name(lua: Lua, name: &[u8]) -> Result<Vec<u8>, Raise> {
    if is_name(name) { Ok(name.to_vec()) } else { refuse(lua, NAME) }
}

/// Whether it is a name for a library or a function.
pub fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
}

/// The named arguments of `redis.register_function`; the callback stays in their table.
#[derive(Default)]
struct Named {
    name: Option<Vec<u8>>,
    description: Option<Vec<u8>>,
    flags: ScriptFlags,
    callback: bool,
}

impl Named {
    /// Takes the argument whose value is on top of the stack.
    fn take(&mut self, lua: Lua, key: &[u8]) -> Result<(), Raise> {
        let given = lua.text(-1).map(<[u8]>::to_vec);
        match key.to_ascii_lowercase().as_slice() {
            b"function_name" if given.is_some() => self.name = given,
            b"function_name" => {
                let text =
                    "function_name argument given to redis.register_function must be a string";
                return refuse(lua, text);
            }
            b"description" if given.is_some() => self.description = given,
            b"description" => {
                let text = "description argument given to redis.register_function must be a string";
                return refuse(lua, text);
            }
            b"callback" if lua.kind(-1) == Type::Function => self.callback = true,
            b"callback" => {
                let text = "callback argument given to redis.register_function must be a function";
                return refuse(lua, text);
            }
            b"flags" => self.flags = flags_of(lua)?,
            _ => return refuse(lua, "unknown argument given to redis.register_function"),
        }
        Ok(())
    }
}

fn named(lua: Lua) -> Result<Registered, Raise> {
    if lua.kind(1) != Type::Table {
        return refuse(lua, SINGLE);
    }
    let mut named = Named::default();
    lua.push_nil();
    while lua.next(1) {
        let key = match lua.kind(-2) {
            Type::String => lua.bytes(-2).unwrap_or_default(),
            Type::Number => b"a number",
            _ => {
                let text = "named argument key given to redis.register_function is not a string";
                return refuse(lua, text);
            }
        };
        named.take(lua, key)?;
        lua.pop(1);
    }
    let Some(name) = named.name else {
        return refuse(lua, "redis.register_function must get a function name argument");
    };
    if !named.callback {
        return refuse(lua, "redis.register_function must get a callback argument");
    }
    let name = check_name(lua, &name)?;
    push_callback(lua);
    let (description, flags) = (named.description, named.flags);
    Ok(Registered { name, description, flags, callback: lua.keep() })
}

/// Pushes the callback, whatever the case of its key.
fn push_callback(lua: Lua) {
    lua.push_nil();
    while lua.next(1) {
        if lua.bytes(-2).is_some_and(|key| key.eq_ignore_ascii_case(b"callback")) {
            return;
        }
        lua.pop(1);
    }
    lua.push_nil();
}

/// The flags of the list of flags on top.
fn flags_of(lua: Lua) -> Result<ScriptFlags, Raise> {
    if lua.kind(-1) != Type::Table {
        let text =
            "flags argument to redis.register_function must be a table representing function flags";
        return refuse(lua, text);
    }
    let mut flags = ScriptFlags::empty();
    for index in 1.. {
        lua.raw_get_index(-1, index);
        let bit = match lua.kind(-1) {
            Type::Nil => break,
            _ => lua.text(-1).and_then(ScriptFlags::named),
        };
        let Some(bit) = bit else { return refuse(lua, "unknown flag given") };
        flags |= bit;
        lua.pop(1);
    }
    lua.pop(1);
    Ok(flags)
}
