//! `os`: only the clock that measures how long something took.

use crate::raw::{Lua, Returns};

/// Pushes the library.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 1);
    lua.set_functions(&[("clock", clock)]);
}

/// Seconds since any fixed moment.
fn clock(lua: Lua) -> Returns {
    let nanos = lua.shared().host().map_or(0, |host| host.stopwatch_ns());
    lua.push_number(nanos as f64 / 1e9);
    Ok(1)
}
