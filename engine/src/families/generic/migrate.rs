//! MIGRATE: keys handed to another server, as DUMP payloads that it restores.
//!
//! The shards of the keys stay locked until the other side has answered, so that each key is
//! always on one server at least, and nobody sees it on both changed.

use crate::args::integer;
use crate::command::Takes::{Exactly, Rest};
use crate::command::{Found, Given, KeyPosition, KeySpec, NoOption, Options};
use crate::cx::Cx;
use crate::failure::{Failure, Outcome, SYNTAX, failure};
use crate::keyspace::Class;
use crate::peers::Target;
use resp::{Request, encode_command};
use std::ops::Range;
use std::time::Duration;
use storage::{Key, rdb};

/// Milliseconds, where none or nonsense is given.
const DEFAULT_TIMEOUT: i64 = 1000;

/// The arguments.
struct Plan {
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// Where the user (if any) and the password stand.
    auth: Range<usize>,
    keys: Range<usize>,
}

const OPTIONS: Options = Options(&[
    ("COPY", Exactly(0)),
    ("REPLACE", Exactly(0)),
    ("AUTH", Exactly(1)),
    ("AUTH2", Exactly(2)),
    ("KEYS", Rest(0)),
]);

/// The keys: those behind `KEYS`, where the one before the options must be empty, or that one.
pub(super) fn keys(specs: &'static [KeySpec], request: Request<'_>) -> Option<Found> {
    let many = OPTIONS.walk(request, 6).flatten().find(|given| given.word == "KEYS");
    let keys = match many {
        Some(_) if !request.arg(3).is_empty() => return None,
        Some(given) => given.at..request.len(),
        None => 3..4,
    };
    Some(keys.map(|index| KeyPosition { index, flags: specs[0].flags }).collect())
}

fn parse(cx: &Cx<'_>) -> Result<Plan, Failure> {
    let mut plan = Plan {
        db: 0,
        timeout: Duration::ZERO,
        copy: false,
        replace: false,
        auth: 0..0,
        keys: 3..4,
    };
    for given in OPTIONS.walk(cx.args, 6) {
        let Given { word, at } = given.map_err(|NoOption| SYNTAX)?;
        match word {
            "COPY" => plan.copy = true,
            "REPLACE" => plan.replace = true,
            "AUTH" => plan.auth = at..at + 1,
            "AUTH2" => plan.auth = at..at + 2,
            _ if !cx.args.arg(3).is_empty() => {
                return Err(failure(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            _ => plan.keys = at..cx.argc(),
        }
    }
    let timeout = integer(cx.args.arg(5))?;
    plan.db = integer(cx.args.arg(4))?;
    let timeout = if timeout > 0 { timeout } else { DEFAULT_TIMEOUT };
    plan.timeout = Duration::from_millis(timeout as u64);
    Ok(plan)
}

/// Appends a RESTORE of `key`; false when there is no such key.
fn restore(
    cx: &mut Cx<'_>,
    plan: &Plan,
    key: &Key<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Failure> {
    let Some(expiry) = cx.tx.expiry(key)? else { return Ok(false) };
    let mut payload = Vec::new();
    cx.tx.dump(key, &mut payload)?;
    rdb::seal_payload(&mut payload);
    // What is left of its time, one millisecond at least: 0 would mean for ever.
    let left = expiry.map_or(0, |at| at.saturating_sub(cx.now.wall_ms).max(1));
    let mut digits = itoa::Buffer::new();
    let left = digits.format(left).as_bytes();
    let request: [&[u8]; 5] = [b"RESTORE", key.bytes, left, &payload, b"REPLACE"];
    let words = if plan.replace { 5 } else { 4 };
    encode_command(&request[..words], out);
    Ok(true)
}

/// What goes before the keys: who we are, and the database; how many requests that is.
fn greet(cx: &Cx<'_>, plan: &Plan, out: &mut Vec<u8>) -> usize {
    let auth = plan.auth.clone().map(|i| cx.args.arg(i));
    let auth: Vec<_> = [b"AUTH".as_slice()].into_iter().chain(auth).collect();
    if auth.len() > 1 {
        encode_command(&auth, out);
    }
    let mut digits = itoa::Buffer::new();
    encode_command([b"SELECT".as_slice(), digits.format(plan.db).as_bytes()], out);
    usize::from(auth.len() > 1) + 1
}

/// Forgets a key that the other side has.
fn hand_over(cx: &mut Cx<'_>, key: &Key<'_>) -> Result<(), Failure> {
    if cx.tx.remove(key)? {
        cx.log(&[b"DEL", key.bytes]);
        cx.modified(key, Class::Generic, "del");
    }
    Ok(())
}

pub(super) fn migrate(cx: &mut Cx<'_>) -> Outcome {
    let plan = parse(cx)?;
    let mut requests = Vec::new();
    let greetings = greet(cx, &plan, &mut requests);
    let mut keys = Vec::new();
    for i in plan.keys.clone() {
        let key = cx.key(i);
        if restore(cx, &plan, &key, &mut requests)? {
            keys.push(key);
        }
    }
    if keys.is_empty() {
        cx.reply.simple("NOKEY");
        return Ok(());
    }
    let host = String::from_utf8_lossy(cx.args.arg(1));
    // Redis takes what is no number for port 0, where nobody listens.
    let port = integer(cx.args.arg(2)).ok().and_then(|port| u16::try_from(port).ok());
    let target = Target { host: &host, port: port.unwrap_or(0), timeout: plan.timeout };
    let expected = greetings + keys.len();
    let (replies, broken) = cx.engine.environment.host.exchange(&target, &requests, expected);
    let refused = replies.iter().find(|line| line.starts_with(b"-"));
    if !plan.copy && !replies.iter().take(greetings).any(|line| line.starts_with(b"-")) {
        let restored = replies.iter().skip(greetings).zip(&keys);
        for (_, key) in restored.filter(|(line, _)| !line.starts_with(b"-")) {
            hand_over(cx, key)?;
        }
    }
    match (refused, broken) {
        (Some(line), _) => Err(Failure::text(format!(
            "ERR Target instance replied with error: {}",
            String::from_utf8_lossy(&line[1..])
        ))),
        (None, Some(error)) => Err(failure(error.reply())),
        (None, None) => {
            cx.reply.ok();
            Ok(())
        }
    }
}
