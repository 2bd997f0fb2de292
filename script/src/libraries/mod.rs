//! Libraries that scripts have besides Lua's own.

pub(crate) mod bit;
pub(crate) mod cjson;
pub(crate) mod cmsgpack;
pub(crate) mod functions;
pub(crate) mod os;
pub(crate) mod structs;

use crate::raw::Lua;

/// Globals that scripts can only read.
pub(crate) const PROTECTED: [&str; 10] =
    ["bit", "cjson", "cmsgpack", "coroutine", "math", "os", "redis", "string", "struct", "table"];

/// Pushes a library's table.
type Push = fn(Lua);

/// Adds the libraries to the table on top.
pub(crate) fn add(lua: Lua) {
    let libraries: [(&str, Push); 5] = [
        ("bit", bit::push),
        ("cjson", cjson::push),
        ("cmsgpack", cmsgpack::push),
        ("os", os::push),
        ("struct", structs::push),
    ];
    for (name, push) in libraries {
        push(lua);
        lua.set_field(-2, name);
    }
}
