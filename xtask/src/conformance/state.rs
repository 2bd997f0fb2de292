//! The state that a program left behind: the type, content, time to live and encoding of every key,
//! read with ordinary commands.

use super::generate::Command;
use super::side::Side;
use anyhow::Result;
use resp::Value;
use std::time::{SystemTime, UNIX_EPOCH};

/// The databases that programs use.
const DATABASES: [&str; 2] = ["0", "1"];

/// The current time in Unix milliseconds.
pub fn wall_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Commands that ask for the keys of every database. They follow a program, and first discard a
/// transaction that is still open.
pub fn keys_commands() -> Vec<Command> {
    let in_database = |db| [Command::new(&["SELECT", db]), Command::new(&["KEYS", "*"])];
    DATABASES.into_iter().flat_map(in_database).collect()
}

/// Commands that ask for everything about the keys of `side`, which the replies to
/// [`keys_commands`] name.
///
/// # Errors
/// Fails if the side does not answer.
pub fn content_commands(side: &mut dyn Side, keys: &[Value]) -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    for (db, names) in DATABASES.into_iter().zip(keys.chunks(2)) {
        let names = names.get(1).and_then(Value::as_slice).unwrap_or_default();
        commands.push(Command::new(&["SELECT", db]));
        let mut asked = vec![Command::new(&["SELECT", db])];
        let names: Vec<&[u8]> = names.iter().filter_map(Value::as_bytes).collect();
        asked.extend(names.iter().map(|name| Command::of("TYPE", &[name])));
        let kinds = side.answers(&asked)?;
        for (name, kind) in names.iter().zip(&kinds[1..]) {
            commands.extend(about(name, kind.as_bytes().unwrap_or_default()));
        }
    }
    Ok(commands)
}

fn about(name: &[u8], kind: &[u8]) -> Vec<Command> {
    let mut commands = vec![Command::of("TYPE", &[name]), Command::of("PTTL", &[name])];
    commands.push(Command::of("OBJECT", &[b"ENCODING", name]));
    let content: &[&[&[u8]]] = match kind {
        b"string" => &[&[b"GET"]],
        b"list" => &[&[b"LRANGE", b"0", b"-1"]],
        b"hash" => &[&[b"HGETALL"]],
        b"set" => &[&[b"SMEMBERS"]],
        b"zset" => &[&[b"ZRANGE", b"0", b"-1", b"WITHSCORES"]],
        b"stream" => &[&[b"XRANGE", b"-", b"+"]],
        _ => &[],
    };
    for words in content {
        let mut args: Vec<Vec<u8>> = words.iter().map(|word| word.to_vec()).collect();
        args.insert(1, name.to_vec());
        commands.push(Command { client: 0, args });
    }
    if kind == b"stream" {
        commands.push(Command::of("XINFO", &[b"STREAM", name, b"FULL", b"COUNT", b"0"]));
    }
    commands
}
