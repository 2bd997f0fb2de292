//! The table `redis`.

use crate::number::push_general;
use crate::raw::{Function, Lua, Raise, Returns, Type};
use crate::to_lua::{push_error, push_reply};
use crate::vm::digest;
use resp::{Proto, Range, Request};

/// The version of Redis whose interface this is.
pub const REDIS_VERSION: &str = "7.4.0";
/// The same as a number: a byte each for major, minor and patch.
pub const REDIS_VERSION_NUMBER: u32 = 0x0007_0400;

const FUNCTIONS: [(&str, Function); 12] = [
    ("call", call),
    ("pcall", pcall),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("log", log),
    ("sha1hex", sha1hex),
    ("setresp", set_resp),
    ("set_repl", set_repl),
    ("replicate_commands", replicate_commands),
    ("acl_check_cmd", acl_check_cmd),
    ("breakpoint", breakpoint),
    ("debug", nothing),
];

const NUMBERS: [(&str, f64); 9] = [
    ("LOG_DEBUG", 0.0),
    ("LOG_VERBOSE", 1.0),
    ("LOG_NOTICE", 2.0),
    ("LOG_WARNING", 3.0),
    ("REPL_NONE", 0.0),
    ("REPL_AOF", 1.0),
    ("REPL_SLAVE", 2.0),
    ("REPL_REPLICA", 2.0),
    ("REPL_ALL", 3.0),
];

/// Pushes the table, with what scripts get.
pub(crate) fn push(lua: Lua) {
    lua.push_table(0, 32);
    lua.set_functions(&FUNCTIONS);
    push_constants(lua, &NUMBERS);
}

/// Pushes the table that a library sees while it is loaded.
pub(crate) fn push_for_loading(lua: Lua) {
    lua.push_table(0, 8);
    lua.set_functions(&[
        ("log", log),
        ("register_function", crate::libraries::functions::register),
    ]);
    push_constants(lua, &NUMBERS[..4]);
}

fn push_constants(lua: Lua, numbers: &[(&str, f64)]) {
    for (name, number) in numbers {
        lua.push_number(*number);
        lua.set_field(-2, name);
    }
    lua.set_texts(&[("REDIS_VERSION", REDIS_VERSION)]);
    lua.push_number(f64::from(REDIS_VERSION_NUMBER));
    lua.set_field(-2, "REDIS_VERSION_NUM");
}

/// Raises, or returns, an error with the given text (with its code).
fn fail(lua: Lua, raise: bool, text: &str) -> Returns {
    push_error(lua, text.as_bytes());
    if raise { Err(Raise::Top) } else { Ok(1) }
}

fn call(lua: Lua) -> Returns {
    command(lua, true)
}

fn pcall(lua: Lua) -> Returns {
    command(lua, false)
}

const NO_ARGUMENTS: &str = "ERR Please specify at least one argument for this redis lib call";
const WRONG_ARGUMENTS: &str = "ERR Lua redis lib command arguments must be strings or integers";

fn command(lua: Lua, raise: bool) -> Returns {
    if lua.top() == 0 {
        return fail(lua, raise, NO_ARGUMENTS);
    }
    if !gather(lua) {
        return fail(lua, raise, WRONG_ARGUMENTS);
    }
    let shared = lua.shared();
    let Some(host) = shared.host() else {
        return fail(lua, raise, "ERR redis.call can only be called inside a script invocation");
    };
    let request = Request::new(&shared.ranges, &shared.arguments);
    let goes_on = host.command(request, shared.proto, &mut shared.reply);
    if !goes_on {
        shared.killed = Some("ERR the script is over".into());
        lua.interrupt_every_line();
    }
    lua.set_top(0);
    let reply = &mut lua.shared().reply;
    let is_error = reply.front().first() == Some(&b'-');
    let pushed = if reply.front().len() == reply.len() {
        push_reply(lua, reply.front()).is_some()
    } else {
        push_reply(lua, &reply.to_vec()).is_some()
    };
    reply.release();
    if !pushed {
        lua.set_top(0);
        return fail(lua, raise, "ERR the reply is nested too deeply");
    }
    if is_error && raise { Err(Raise::Top) } else { Ok(1) }
}

/// Copies the arguments into the shared buffers; false when one is no argument.
fn gather(lua: Lua) -> bool {
    let shared = lua.shared();
    shared.ranges.clear();
    shared.arguments.clear();
    for index in 1..=lua.top() {
        let start = shared.arguments.len();
        match lua.kind(index) {
            Type::String => {
                shared.arguments.extend_from_slice(lua.bytes(index).unwrap_or_default());
            }
            Type::Number => push_general(&mut shared.arguments, lua.number(index), 17),
            _ => return false,
        }
        let Ok(end) = u32::try_from(shared.arguments.len()) else { return false };
        shared.ranges.push(Range { start: start as u32, len: end - start as u32 });
    }
    true
}

fn error_reply(lua: Lua) -> Returns {
    let Some(text) = single_text(lua) else { return wrong_arguments(lua) };
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let mut error = match text.contains(&b' ') {
        true => Vec::new(),
        false => b"ERR ".to_vec(),
    };
    error.extend_from_slice(text);
    lua.push_table(0, 1);
    lua.push_bytes(&error);
    lua.set_field(-2, "err");
    Ok(1)
}

fn status_reply(lua: Lua) -> Returns {
    if single_text(lua).is_none() {
        return wrong_arguments(lua);
    }
    lua.push_table(0, 1);
    lua.copy(1);
    lua.set_field(-2, "ok");
    Ok(1)
}

fn single_text<'a>(lua: Lua) -> Option<&'a [u8]> {
    if lua.top() == 1 { lua.bytes(1) } else { None }
}

fn wrong_arguments(lua: Lua) -> Returns {
    lua.push_table(0, 1);
    lua.push_bytes(b"ERR wrong number or type of arguments");
    lua.set_field(-2, "err");
    Ok(1)
}

/// Raises an error whose text stands alone, without the position before it.
fn refuse(lua: Lua, text: &str) -> Returns {
    lua.push_table(0, 1);
    lua.push_bytes(format!("ERR {text}").as_bytes());
    lua.set_field(-2, "err");
    Err(Raise::Top)
}

fn log(lua: Lua) -> Returns {
    let argc = lua.top();
    if argc < 2 {
        return refuse(lua, "redis.log() requires two arguments or more.");
    }
    if !lua.is_number(1) {
        return refuse(lua, "First argument must be a number (log level).");
    }
    let level = lua.number(1) as i64;
    let Ok(level @ 0..=3) = u8::try_from(level) else {
        return refuse(lua, "Invalid debug level.");
    };
    let words: Vec<&[u8]> = (2..=argc).filter_map(|index| lua.text(index)).collect();
    if let Some(host) = lua.shared().host() {
        host.log(level, &words.join(&b' '));
    }
    Ok(0)
}

fn sha1hex(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return refuse(lua, "wrong number of arguments");
    }
    let digest = digest(lua.text(1).unwrap_or_default());
    lua.push_bytes(&digest.hex());
    Ok(1)
}

fn set_resp(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return refuse(lua, "redis.setresp() requires one argument.");
    }
    lua.shared().proto = match lua.number(1) as i64 {
        2 => Proto::Resp2,
        3 => Proto::Resp3,
        _ => return refuse(lua, "RESP version must be 2 or 3."),
    };
    Ok(0)
}

fn set_repl(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return refuse(lua, "redis.set_repl() requires two arguments.");
    }
    let flags = lua.number(1) as i64;
    let Ok(flags @ 0..=3) = u8::try_from(flags) else {
        let text = "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
        return refuse(lua, text);
    };
    if let Some(host) = lua.shared().host() {
        host.set_replication(flags);
    }
    Ok(0)
}

fn replicate_commands(lua: Lua) -> Returns {
    lua.push_boolean(true);
    Ok(1)
}

fn acl_check_cmd(lua: Lua) -> Returns {
    if lua.top() == 0 {
        return fail(lua, true, NO_ARGUMENTS);
    }
    if !gather(lua) {
        return fail(lua, true, WRONG_ARGUMENTS);
    }
    let shared = lua.shared();
    let request = Request::new(&shared.ranges, &shared.arguments);
    let allowed = shared.host().and_then(|host| host.may_run(request));
    let Some(allowed) = allowed else {
        return refuse(lua, "Invalid command passed to redis.acl_check_cmd()");
    };
    lua.push_boolean(allowed);
    Ok(1)
}

fn breakpoint(lua: Lua) -> Returns {
    lua.push_boolean(false);
    Ok(1)
}

fn nothing(_: Lua) -> Returns {
    Ok(0)
}
