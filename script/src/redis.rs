//! The table `redis`, which is also called `server`, as in Valkey.

use crate::number::push_argument;
use crate::raw::{Function, Lua, NO_MEMORY, Raise, Returns, Type};
use crate::to_lua::{push_error, push_reply};
use crate::vm::digest;
use resp::{Proto, Range, Request};

/// The version of Redis whose interface this is.
pub const REDIS_VERSION: &str = "7.4.0";
/// The same as a number: a byte each for major, minor and patch.
pub const REDIS_VERSION_NUMBER: u32 = 0x0007_0400;

/// The server's own version, in the same form.
const SERVER_VERSION_NUMBER: u32 = version_number(env!("CARGO_PKG_VERSION"));

/// A byte each for major, minor and patch.
const fn version_number(text: &str) -> u32 {
    let (mut number, mut part, mut at) = (0, 0, 0);
    while at < text.len() && (text.as_bytes()[at] == b'.' || text.as_bytes()[at].is_ascii_digit()) {
        match text.as_bytes()[at] {
            b'.' => (number, part) = ((number | part) << 8, 0),
            digit => part = part * 10 + (digit - b'0') as u32,
        }
        at += 1;
    }
    number | part
}

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

/// Gives the table below the one on top that table by its names, and takes it.
pub(crate) fn set_names(lua: Lua) {
    lua.copy(-1);
    lua.set_field(-3, crate::sandbox::ALIAS);
    lua.set_field(-2, "redis");
}

fn push_constants(lua: Lua, numbers: &[(&str, f64)]) {
    for (name, number) in numbers {
        lua.push_number(*number);
        lua.set_field(-2, name);
    }
    lua.set_texts(&[
        ("REDIS_VERSION", REDIS_VERSION),
        ("SERVER_NAME", "varve"),
        ("SERVER_VERSION", env!("CARGO_PKG_VERSION")),
    ]);
    lua.push_number(f64::from(REDIS_VERSION_NUMBER));
    lua.set_field(-2, "REDIS_VERSION_NUM");
    lua.push_number(f64::from(SERVER_VERSION_NUMBER));
    lua.set_field(-2, "SERVER_VERSION_NUM");
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
    if !gather(lua)? {
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
        // If the script was interrupted, this call reports it again.
        lua.pass(1)?;
        if lua.is_interrupted() {
            return Err(Raise::Top);
        }
        return fail(lua, raise, "ERR the reply is nested too deeply");
    }
    if is_error && raise { Err(Raise::Top) } else { Ok(1) }
}

/// The buffer of arguments that is kept for the next call.
const ARGUMENTS_KEPT_MAX: usize = 1 << 20;

/// Copies the arguments into the shared buffers; false when one is no argument.
fn gather(lua: Lua) -> Result<bool, Raise> {
    let shared = lua.shared();
    shared.ranges.clear();
    shared.arguments.clear();
    if shared.arguments.capacity() > ARGUMENTS_KEPT_MAX {
        shared.arguments.shrink_to(ARGUMENTS_KEPT_MAX);
    }
    for index in 1..=lua.top() {
        let start = shared.arguments.len();
        match lua.kind(index) {
            Type::String => {
                shared.arguments.extend_from_slice(lua.bytes(index).unwrap_or_default());
            }
            Type::Number => push_argument(&mut shared.arguments, lua.number(index)),
            _ => return Ok(false),
        }
        // The same string many times is many times its bytes.
        let end = shared.arguments.len();
        if end > shared.budget.limit || u32::try_from(end).is_err() {
            return Err(Raise::Bare(NO_MEMORY.into()));
        }
        shared.ranges.push(Range { start: start as u32, len: (end - start) as u32 });
    }
    lua.charge(shared.arguments.len() / 64);
    Ok(true)
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

/// The longest line of the log. Redis's number.
const LOG_MAX: usize = 1024;

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
    let mut text = Vec::new();
    for word in (2..=argc).filter_map(|index| lua.text(index)) {
        if text.len() >= LOG_MAX {
            break;
        }
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(&word[..word.len().min(LOG_MAX)]);
    }
    text.truncate(LOG_MAX);
    if let Some(host) = lua.shared().host() {
        host.log(level, &text);
    }
    Ok(0)
}

fn sha1hex(lua: Lua) -> Returns {
    if lua.top() != 1 {
        return refuse(lua, "wrong number of arguments");
    }
    let text = lua.text(1).unwrap_or_default();
    lua.charge(text.len() / 16);
    let digest = digest(text);
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
    if !gather(lua)? {
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
