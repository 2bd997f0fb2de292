//! MIGRATE: sends keys to another server as DUMP payloads, which that server restores.
//!
//! The keys are held ([`engine::peers::holds`]) until the other server has replied, and nothing
//! else is held: another thread communicates with it ([`engine::Host::run_aside`]). When the reply
//! has come, the keys that the other server has restored are deleted here. If no valid reply comes,
//! nothing is deleted.

use engine::command::Takes::{Exactly, Rest};
use engine::command::{Found, Given, KeyPosition, KeySpec, NoOption, Options};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::notify::keyspace::Class;
use engine::peers::{Errand, Requests, Target};
use engine::text::args::integer;
use resp::{Request, encode_command};
use std::ops::Range;
use std::time::Duration;
use storage::{Key, rdb};

/// Milliseconds, where none or nonsense is given.
const DEFAULT_TIMEOUT: i64 = 1000;

/// The longest timeout where nothing can wait, and how long all of it may take there.
const TIMEOUT_AT_ONCE_MAX: Duration = Duration::from_secs(1);
const LIMIT_AT_ONCE: Duration = Duration::from_secs(5);

/// The arguments.
struct Arguments {
    db: i64,
    timeout: Duration,
    copy: bool,
    replace: bool,
    /// The positions of the user (if any) and the password.
    auth: Range<usize>,
    keys: Range<usize>,
}

pub(super) const OPTIONS: Options = Options(&[
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

fn parse(cx: &Cx<'_>) -> Result<Arguments, Failure> {
    let mut arguments = Arguments {
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
            "COPY" => arguments.copy = true,
            "REPLACE" => arguments.replace = true,
            "AUTH" => arguments.auth = at..at + 1,
            "AUTH2" => arguments.auth = at..at + 2,
            _ if !cx.args.arg(3).is_empty() => {
                return Err(failure(
                    "ERR When using MIGRATE KEYS option, the key argument must be set to the empty string",
                ));
            }
            _ => arguments.keys = at..cx.argc(),
        }
    }
    let timeout = integer(cx.args.arg(5))?;
    arguments.db = integer(cx.args.arg(4))?;
    let timeout = if timeout > 0 { timeout } else { DEFAULT_TIMEOUT };
    arguments.timeout = Duration::from_millis(timeout as u64);
    Ok(arguments)
}

/// Appends a RESTORE of `key`; false when there is no such key.
fn restore(
    cx: &mut Cx<'_>,
    arguments: &Arguments,
    key: &Key<'_>,
    out: &mut Vec<u8>,
) -> Result<bool, Failure> {
    let Some(expiry) = cx.tx.expiry(key)? else { return Ok(false) };
    let mut payload = Vec::new();
    cx.tx.dump(key, &mut payload)?;
    rdb::seal_payload(&mut payload);
    // The remaining time to live. It is at least one millisecond, because 0 would mean for ever.
    let left = expiry.map_or(0, |at| at.saturating_sub(cx.now.wall_ms).max(1));
    let mut digits = itoa::Buffer::new();
    let left = digits.format(left).as_bytes();
    let request: [&[u8]; 5] = [b"RESTORE", key.bytes, left, &payload, b"REPLACE"];
    let words = if arguments.replace { 5 } else { 4 };
    encode_command(&request[..words], out);
    Ok(true)
}

/// Writes the requests that go before the keys: `AUTH` and `SELECT`.
fn greet(cx: &Cx<'_>, arguments: &Arguments, requests: &mut Requests) {
    let auth = arguments.auth.clone().map(|i| cx.args.arg(i));
    let auth: Vec<_> = [b"AUTH".as_slice()].into_iter().chain(auth).collect();
    if auth.len() > 1 {
        encode_command(&auth, &mut requests.greeting);
        requests.greetings += 1;
    }
    let mut digits = itoa::Buffer::new();
    let select = [b"SELECT".as_slice(), digits.format(arguments.db).as_bytes()];
    encode_command(select, &mut requests.greeting);
    requests.greetings += 1;
}

/// Names of keys.
type Names = Vec<Box<[u8]>>;

/// Requests that restore the keys that are there; which these are.
fn pack(cx: &mut Cx<'_>, arguments: &Arguments) -> Result<(Requests, Names), Failure> {
    let (mut requests, mut keys) = (Requests::default(), Vec::new());
    greet(cx, arguments, &mut requests);
    for i in arguments.keys.clone() {
        let key = cx.key(i);
        if restore(cx, arguments, &key, &mut requests.work)? {
            requests.works += 1;
            keys.push(key.bytes.into());
        }
    }
    Ok((requests, keys))
}

/// The nodes of a cluster have each key once, together: the key that is deleted here, after the other node
/// has taken it, may be what that one has written.
fn refuse_own_cluster(cx: &Cx<'_>, host: &str, port: u16) -> Outcome {
    let nodes = cx.engine.cluster().map(|cluster| cluster.topology().nodes).unwrap_or_default();
    match nodes.iter().any(|node| (&*node.host, node.port) == (host, port)) {
        true => Err(failure(
            "ERR The target is a node of this cluster: CLUSTER SETSLOT has it take slots, with their keys",
        )),
        false => Ok(()),
    }
}

pub(super) fn migrate(cx: &mut Cx<'_>) -> Outcome {
    let arguments = parse(cx)?;
    let (requests, keys) = pack(cx, &arguments)?;
    if keys.is_empty() {
        cx.reply.simple("NOKEY");
        return Ok(());
    }
    let host = String::from_utf8_lossy(cx.args.arg(1)).into_owned();
    // As in Redis, anything that is not a number becomes port 0, on which no server can listen.
    let port = integer(cx.args.arg(2)).ok().and_then(|port| u16::try_from(port).ok());
    let (port, timeout, copies) = (port.unwrap_or(0), arguments.timeout, arguments.copy);
    refuse_own_cluster(cx, &host, port)?;
    let errand = Errand { host, port, timeout, requests, keys, copies, waiter: None };
    if cx.session.may_not_block() {
        return at_once(cx, &errand);
    }
    cx.run_errand(errand);
    Ok(())
}

/// Inside `MULTI` and scripts nothing can wait: the shards stay locked until the other side has
/// answered, and it has less time for that. Others of this thread are served by another.
fn at_once(cx: &mut Cx<'_>, errand: &Errand) -> Outcome {
    let target = errand.target();
    let timeout = target.timeout.min(TIMEOUT_AT_ONCE_MAX);
    let target = Target { timeout, limit: LIMIT_AT_ONCE, ..target };
    runtime::stand_in::send_for();
    let answers = cx.engine.environment.host.exchange(&target, errand.requests());
    let taken = errand.keys.iter().zip(&answers.done).filter(|(_, done)| **done);
    for (name, _) in taken.filter(|_| !errand.copies) {
        let key = cx.key_of(name);
        if cx.tx.remove(&key)? {
            cx.log(&[b"DEL", key.bytes]);
            cx.modified(&key, Class::Generic, "del");
        }
    }
    answers.failure().map_or(Ok(()), Err)?;
    cx.reply.ok();
    Ok(())
}
