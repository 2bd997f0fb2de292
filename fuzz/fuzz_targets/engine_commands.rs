//! Commands in sequence: no panic, replies that can be read, one for each request, and a log that makes
//! the same data again.
//!
//! Input: one byte for the kind of run, then requests. A request is a command of the engine's own table
//! (so a new row is fuzzed at once) and arguments, most of them from a small pool, so that keys meet
//! again with other types and options are spelled right, some of them any bytes.
#![no_main]

use engine::command::{CommandTable, CommandEntry, Flag};
use engine::testing::{Harness, MAIN};
use libfuzzer_sys::fuzz_target;
use resp::encode_command;
use runtime::Flow;
use std::sync::{Arc, LazyLock};
use storage::backend::EncodingLimits;
use storage_memory::{Config, MemoryBackend};

/// Few keys, so that commands meet each other's.
const KEYS: [&str; 6] = ["k", "l", "m", "{t}a", "{t}b", ""];

/// Values, numbers at the edges, times around the harness's own, and what means something somewhere.
const VALUES: [&str; 48] = [
    "a",
    "b",
    "c",
    "hello",
    "0",
    "1",
    "2",
    "3",
    "-1",
    "-2",
    "-3",
    "5",
    "10",
    "100",
    "4096",
    "65536",
    "-4096",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "4294967296",
    "1.5",
    "-0",
    "3e2",
    "1e308",
    "inf",
    "-inf",
    "nan",
    "(1",
    "(a",
    "[a",
    "[c",
    "-",
    "+",
    "*",
    "$",
    ">",
    "=",
    "~",
    "0-0",
    "1-1",
    "5-*",
    "*b*",
    "?",
    "1700000001",
    "1700000001000",
    "noscript",
    "\r\n",
];

/// Requests of one run: what is kept grows with them.
const REQUESTS_MAX: usize = 64;

/// Not in runs that count replies or replay the log: they silence, delay or close, or change what a
/// replay with the default configuration must refuse.
const UNRULY: [&str; 14] = [
    "client|reply",
    "client|pause",
    "client|tracking",
    "client|kill",
    "config|set",
    "monitor",
    "sync",
    "psync",
    "replconf",
    "replicaof",
    "slaveof",
    "failover",
    "quit",
    "shutdown",
];

/// A row that can be asked for, and the words its syntax knows.
struct Command {
    entry: &'static CommandEntry,
    words: Vec<&'static str>,
    unruly: bool,
}

static TABLE: LazyLock<CommandTable> =
    LazyLock::new(|| CommandTable::new(commands::all()).expect("no name twice"));

static COMMANDS: LazyLock<Vec<Command>> = LazyLock::new(|| {
    let runs = TABLE.entries().iter().filter(|entry| entry.subcommands.is_empty());
    runs.map(command).collect()
});

fn command(entry: &'static CommandEntry) -> Command {
    let is_word = |word: &&str| word.starts_with(|c: char| c.is_ascii_uppercase());
    let words = entry.spec.syntax.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    Command {
        entry,
        words: words.filter(is_word).collect(),
        unruly: UNRULY.contains(&entry.full_name.as_str())
            || entry.has(Flag::Blocking)
            || entry.has(Flag::PubSub),
    }
}

/// The input, read as decisions.
struct Dice<'a>(&'a [u8]);

impl<'a> Dice<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn below(&mut self, limit: usize) -> Option<usize> {
        let high = if limit > 256 { usize::from(self.byte()?) << 8 } else { 0 };
        Some((high | usize::from(self.byte()?)) % limit)
    }

    fn raw(&mut self) -> Option<&'a [u8]> {
        let len = self.below(32)?.min(self.0.len());
        let (raw, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(raw)
    }

    /// An argument; the first is mostly a key, the others mostly values or the command's own words.
    fn argument(&mut self, command: &Command, first: bool) -> Option<&'a [u8]> {
        Some(match self.byte()? {
            0..=15 => self.raw()?,
            16..=63 => KEYS[self.below(KEYS.len())?].as_bytes(),
            64..=127 if first => KEYS[self.below(2)?].as_bytes(),
            64..=159 if !command.words.is_empty() => {
                command.words[self.below(command.words.len())?].as_bytes()
            }
            _ => VALUES[self.below(VALUES.len())?].as_bytes(),
        })
    }

    /// Mostly as many arguments as the row wants.
    fn request(&mut self, strict: bool) -> Option<Vec<&'a [u8]>> {
        let command = &COMMANDS[self.below(COMMANDS.len())?];
        if strict && command.unruly {
            return Some(vec![b"PING"]);
        }
        let mut request: Vec<&[u8]> =
            command.entry.full_name.split('|').map(str::as_bytes).collect();
        let arity = command.entry.spec.arity;
        let more = match self.byte()? {
            0..=7 => return Some(request),
            8..=199 if arity > 0 => 0,
            wild => usize::from(wild % 8),
        };
        let wanted = (arity.unsigned_abs() as usize + more).saturating_sub(request.len());
        for index in 0..wanted {
            request.push(self.argument(command, index == 0)?);
        }
        Some(request)
    }
}

fn server() -> Harness {
    let limits = EncodingLimits::default();
    let config = Config { shards: 4, databases: 16, hash_seed: 7, limits };
    let mut server = Harness::recording(commands::all(), Arc::new(MemoryBackend::new(config)));
    // The longest string, and so the most one request may make grow.
    assert_eq!(server.text("CONFIG SET proto-max-bulk-len 1mb"), "OK");
    server
}

/// One request; false when the client was closed.
fn step(server: &mut Harness, client: &str, request: &[&[u8]], strict: bool) -> bool {
    let mut bytes = Vec::new();
    encode_command(request, &mut bytes);
    server.send_bytes(client, &bytes);
    // Panics on what is no reply.
    let replies = server.replies(client);
    if server.status(client).flow != Flow::Open {
        server.close(client);
        return false;
    }
    if strict {
        let shown: Vec<_> = request.iter().map(|arg| arg.escape_ascii().to_string()).collect();
        assert_eq!(replies.len(), 1, "{shown:?}: {replies:?}");
    }
    true
}

fuzz_target!(|data: &[u8]| {
    let mut dice = Dice(data);
    let Some(kind) = dice.byte() else { return };
    let strict = kind & 1 == 0;
    let mut server = server();
    for _ in 0..REQUESTS_MAX {
        let client = match dice.byte() {
            None => break,
            Some(0..=199) => MAIN,
            Some(200..=239) => "other",
            Some(240..=251) => {
                server.advance(1 << dice.below(16).unwrap_or(0));
                continue;
            }
            Some(252..) => {
                server.keep_house();
                continue;
            }
        };
        let Some(request) = dice.request(strict) else { break };
        step(&mut server, client, &request, strict);
    }
    if strict {
        let config =
            Config { shards: 2, databases: 16, hash_seed: 8, limits: EncodingLimits::default() };
        let again = server.replay(Arc::new(MemoryBackend::new(config)));
        assert_eq!(server.contents(), again.contents());
    }
});
