//! A capture prepared for replaying: which connection sends what, and when.
//!
//! Requests that are not sent, or not as they were captured:
//!
//! - Administrative commands, commands that are unknown here, `AUTH` (servers under test have no
//!   password), `QUIT` (the connection closes by itself), and `CLIENT REPLY` (every request must be
//!   answered, or its latency could not be measured).
//! - `HELLO` keeps its protocol and loses its credentials.
//! - If a connection's database or protocol was chosen before the capture began, it is set by
//!   additional requests, which are not measured.
//! - `EXEC` and `DISCARD` of a transaction that began before the capture.
//! - Filler is filled with letters.
//!
//! Reads of keys that existed before the capture would find nothing on an empty server, which costs
//! less than what was captured. So keys that are read before they are written are created
//! beforehand ([`preload`]).

pub mod preload;
#[cfg(test)]
mod tests;

use crate::format::{Arg, FormatError, Header, Reader, Record, Tail};
use crate::privacy::{Role, Roles};
use anyhow::{Context, Result, bail};
use engine::command::{CommandEntry, Flag};
use engine::text::args::OwnedRequest;
use preload::Preload;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

/// The most bytes for all requests of a plan: they are kept in memory.
const WIRE_MAX: usize = 2 << 30;

/// Letters for filler: no two stretches alike soon, or storages that compress would look too good.
const LETTERS: usize = 64 << 10;

/// The action of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Connects.
    Open,
    /// Closes, once everything is answered.
    Close,
    /// Sends a request and measures how long the answer takes.
    Measured,
    /// Sends a request of our own, to bring the connection where it was.
    Unmeasured,
    /// Sends a request that may wait for other clients. Later requests wait for its reply.
    Blocking,
    /// Sends a (P|S)SUBSCRIBE. From now on the server sends messages.
    Listen,
}

/// One thing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Microseconds since the capture began.
    pub at_us: u64,
    /// Which connection, from 0.
    pub connection: u32,
    /// The kind of event.
    pub kind: Kind,
    /// The connection's protocol and database then, for reconnecting.
    pub resp: u8,
    /// See `resp`.
    pub db: u32,
    /// The range of its request in the bytes to send.
    start: u64,
    length: u32,
}

/// Counts of requests that were not sent as they were captured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notes {
    /// Requests left out, by command.
    pub skipped: BTreeMap<String, u64>,
    /// Records the recorder lost.
    pub lost: u64,
    /// Bytes cut off the end of the file.
    pub torn: Option<u64>,
    /// The capture did not fit in memory: it is replayed up to this time, µs.
    pub cut_us: Option<u64>,
}

/// A capture prepared for replaying.
pub struct Plan {
    /// The file's facts about itself.
    pub header: Header,
    /// In the order of time.
    pub steps: Vec<Step>,
    /// The number of connections.
    pub connections: u32,
    /// The largest number of connections that are open at the same time.
    pub concurrency: u32,
    /// The last step's time, µs.
    pub length_us: u64,
    /// Requests that are measured or block.
    pub requests: u64,
    /// Keys the capture touches.
    pub keys: u64,
    /// The data that exist before.
    pub preload: Preload,
    /// Counts of the differences.
    pub notes: Notes,
    wire: Vec<u8>,
}

impl Plan {
    /// Reads a file; of it only the first `seconds`, if they are given.
    ///
    /// # Errors
    /// Fails if it cannot be read, is damaged, or holds nothing to replay.
    pub fn load(path: &Path, seconds: Option<f64>) -> Result<Plan> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        let plan = Self::read(BufReader::new(file), seconds);
        let plan = plan.with_context(|| path.display().to_string())?;
        if plan.requests == 0 {
            bail!("{} holds no requests", path.display());
        }
        Ok(plan)
    }

    /// [`Plan::load`] from anything.
    ///
    /// # Errors
    /// Fails if the capture is damaged.
    pub fn read(input: impl Read, seconds: Option<f64>) -> Result<Plan, FormatError> {
        let mut reader = Reader::new(input)?;
        let mut builder = Builder::new(reader.header());
        let end = seconds.map_or(u64::MAX, |seconds| (seconds * 1e6) as u64);
        while let Some((at_us, record)) = reader.next()? {
            if at_us <= end && !builder.add(at_us, &record) {
                builder.plan.notes.cut_us = Some(at_us);
                break;
            }
        }
        if let Some(Tail::Torn { bytes }) = reader.tail() {
            builder.plan.notes.torn = Some(bytes);
        }
        Ok(builder.finish())
    }

    /// The bytes that a step sends.
    pub fn bytes(&self, step: &Step) -> &[u8] {
        let start = step.start as usize;
        &self.wire[start..start + step.length as usize]
    }

    /// Requests per second, on average.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / (self.length_us.max(1) as f64 / 1e6)
    }

    /// Returns remarks for a reader of the plan, one line each.
    pub fn remarks(&self) -> Vec<String> {
        let notes = &self.notes;
        let mut lines = Vec::new();
        if let Some(bytes) = notes.torn {
            lines.push(format!("the file was cut off: its last {bytes} bytes are left out"));
        }
        if notes.lost > 0 {
            lines.push(format!("{} records were lost while recording", notes.lost));
        }
        if let Some(cut) = notes.cut_us {
            let seconds = cut as f64 / 1e6;
            lines.push(format!("only the first {seconds:.1} s are replayed: more does not fit"));
        }
        if !notes.skipped.is_empty() {
            let list = notes.skipped.iter().map(|(name, count)| format!("{count} {name}"));
            let list: Vec<String> = list.collect();
            lines.push(format!("not replayed: {}", list.join(", ")));
        }
        if self.preload.keys > 0 {
            lines.push(format!(
                "{} keys that were read before they were written are created beforehand, with \
                 values of {} bytes",
                self.preload.keys, self.preload.value_size
            ));
        }
        lines
    }
}

/// A connection while the plan is made.
#[derive(Debug, Clone, Default)]
struct Connection {
    number: u32,
    /// Where our requests have brought it.
    db: u32,
    resp: u8,
    in_multi: bool,
    listens: bool,
}

struct Builder {
    plan: Plan,
    roles: Roles,
    connections: HashMap<u64, Connection>,
    letters: Vec<u8>,
    /// Whether all connections are open from the start, because `MONITOR` does not report when they
    /// open.
    all_at_start: bool,
    preload: preload::Observer,
}

impl Builder {
    fn new(header: &Header) -> Builder {
        let plan = Plan {
            header: header.clone(),
            steps: Vec::new(),
            connections: 0,
            concurrency: 0,
            length_us: 0,
            requests: 0,
            keys: 0,
            preload: Preload::default(),
            notes: Notes::default(),
            wire: Vec::new(),
        };
        let all_at_start = header.method == "MONITOR";
        let mut state = 1u32;
        let letters = (0..LETTERS).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            b'a' + (state >> 24) as u8 % 26
        });
        Builder {
            plan,
            roles: Roles::default(),
            connections: HashMap::new(),
            letters: letters.collect(),
            all_at_start,
            preload: preload::Observer::default(),
        }
    }

    /// Takes a record; false when no more fits.
    fn add(&mut self, at_us: u64, record: &Record<'_>) -> bool {
        match record {
            Record::Open { connection, db, resp } => self.open(at_us, *connection, *db, *resp),
            Record::Close { connection } => {
                if let Some(connection) = self.connections.remove(connection) {
                    self.push(at_us, &connection, Kind::Close, self.plan.wire.len());
                }
            }
            Record::Lost { count } => self.plan.notes.lost += count,
            Record::Request { connection, db, args } => {
                if !self.connections.contains_key(connection) {
                    self.open(at_us, *connection, *db, 2);
                }
                if let Some(mut state) = self.connections.remove(connection) {
                    self.request(at_us, &mut state, *db, args);
                    self.connections.insert(*connection, state);
                }
            }
        }
        self.plan.wire.len() < WIRE_MAX
    }

    fn open(&mut self, at_us: u64, id: u64, db: u32, resp: u8) {
        let number = self.plan.connections;
        self.plan.connections += 1;
        let mut connection = Connection { number, resp: 2, ..Connection::default() };
        let at_us = if self.all_at_start { 0 } else { at_us };
        self.push(at_us, &connection, Kind::Open, self.plan.wire.len());
        if resp == 3 {
            connection.resp = 3;
            self.send(at_us, &connection, Kind::Unmeasured, &[b"HELLO", b"3"]);
        }
        self.select(at_us, &mut connection, db);
        self.connections.insert(id, connection);
    }

    fn select(&mut self, at_us: u64, connection: &mut Connection, db: u32) {
        if connection.db != db {
            connection.db = db;
            let number = db.to_string();
            self.send(at_us, connection, Kind::Unmeasured, &[b"SELECT", number.as_bytes()]);
        }
    }

    fn request(&mut self, at_us: u64, connection: &mut Connection, db: u32, args: &[Arg<'_>]) {
        let words: Vec<&[u8]> = args.iter().map(Arg::bytes).collect();
        let request = OwnedRequest::new(words.iter().copied());
        let Some(entry) = self.roles.table().resolve(request.view()) else {
            let name = words.first().copied().unwrap_or_default();
            return self.skip(&String::from_utf8_lossy(name).to_lowercase());
        };
        let (name, flags) = (entry.full_name.clone(), entry.flags);
        let kind = kind(entry, connection, &words);
        let has = |flag: Flag| flags.contains(flag.set());
        if is_left_out(&name, has(Flag::Admin), connection) {
            return self.skip(&name);
        }
        match name.as_str() {
            "multi" => connection.in_multi = true,
            "exec" | "discard" => connection.in_multi = false,
            "reset" => {
                *connection =
                    Connection { number: connection.number, resp: 2, ..Connection::default() }
            }
            "select" => {
                // Both recorders report the database: before (CAPTURE) or after the command ran
                // (MONITOR).
                connection.db = words.get(1).and_then(|w| text(w).parse().ok()).unwrap_or(db);
            }
            "hello" => return self.hello(at_us, connection, &words),
            _ if !connection.in_multi => self.select(at_us, connection, db),
            _ => {}
        }
        connection.listens |= kind == Kind::Listen;
        if self.preload.observe(connection.db, args, &mut self.roles) {
            self.plan.keys += 1;
        }
        let start = self.plan.wire.len();
        self.encode(args);
        self.push(at_us, connection, kind, start);
        self.plan.requests += u64::from(matches!(kind, Kind::Measured | Kind::Blocking));
    }

    /// `HELLO`, without its credentials.
    fn hello(&mut self, at_us: u64, connection: &mut Connection, words: &[&[u8]]) {
        let Some(version) = words.get(1) else { return self.skip("hello") };
        connection.resp = if *version == b"3" { 3 } else { 2 };
        self.send(at_us, connection, Kind::Measured, &[b"HELLO", version]);
        self.plan.requests += 1;
    }

    fn skip(&mut self, name: &str) {
        *self.plan.notes.skipped.entry(name.to_string()).or_default() += 1;
    }

    fn encode(&mut self, args: &[Arg<'_>]) {
        let wire = &mut self.plan.wire;
        wire.extend_from_slice(format!("*{}\r\n", args.len()).as_bytes());
        for arg in args {
            match arg {
                Arg::Bytes(bytes) => {
                    wire.extend_from_slice(format!("${}\r\n", bytes.len()).as_bytes());
                    wire.extend_from_slice(bytes);
                }
                Arg::Filler(length) => {
                    // No server takes longer ones; a plan that is full ends here.
                    let room = WIRE_MAX.saturating_sub(wire.len()).min(512 << 20);
                    let length = usize::try_from(*length).unwrap_or(usize::MAX).min(room);
                    wire.extend_from_slice(format!("${length}\r\n").as_bytes());
                    fill(wire, &self.letters, length);
                }
            }
            wire.extend_from_slice(b"\r\n");
        }
    }

    fn send(&mut self, at_us: u64, connection: &Connection, kind: Kind, words: &[&[u8]]) {
        let start = self.plan.wire.len();
        resp::encode_command(words, &mut self.plan.wire);
        self.push(at_us, connection, kind, start);
    }

    fn push(&mut self, at_us: u64, connection: &Connection, kind: Kind, start: usize) {
        self.plan.length_us = self.plan.length_us.max(at_us);
        self.plan.steps.push(Step {
            at_us,
            connection: connection.number,
            kind,
            resp: connection.resp,
            db: connection.db,
            start: start as u64,
            length: (self.plan.wire.len() - start) as u32,
        });
    }

    fn finish(mut self) -> Plan {
        // Stable: what one connection does stays in its order, as its times never go back.
        self.plan.steps.sort_by_key(|step| step.at_us);
        self.plan.concurrency = concurrency(&self.plan.steps);
        self.plan.preload = self.preload.finish(&self.letters);
        self.plan
    }
}

fn concurrency(steps: &[Step]) -> u32 {
    let (mut open, mut most) = (0u32, 0);
    for step in steps {
        match step.kind {
            Kind::Open => open += 1,
            Kind::Close => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

fn fill(wire: &mut Vec<u8>, letters: &[u8], length: usize) {
    let mut left = length;
    let mut from = wire.len() % letters.len();
    while left > 0 {
        let piece = &letters[from..letters.len().min(from + left)];
        wire.extend_from_slice(piece);
        left -= piece.len();
        from = 0;
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

fn kind(entry: &CommandEntry, connection: &Connection, words: &[&[u8]]) -> Kind {
    let subscribes = ["subscribe", "psubscribe", "ssubscribe"];
    if subscribes.contains(&entry.spec.name) || connection.listens {
        return Kind::Listen;
    }
    // XREAD and XREADGROUP wait only when they say so.
    let waits = !entry.spec.name.starts_with("xread")
        || words.iter().any(|word| word.eq_ignore_ascii_case(b"BLOCK"));
    if entry.has(Flag::Blocking) && waits && !connection.in_multi {
        return Kind::Blocking;
    }
    Kind::Measured
}

/// Whether a command is not replayed; see the module.
fn is_left_out(name: &str, is_admin: bool, connection: &Connection) -> bool {
    const NEVER: [&str; 11] = [
        "auth",
        "quit",
        "client|reply",
        "client|pause",
        "client|unpause",
        "client|kill",
        "client|tracking",
        "script|kill",
        "function|kill",
        "failover",
        "asking",
    ];
    let ends_nothing = matches!(name, "exec" | "discard") && !connection.in_multi;
    is_admin || NEVER.contains(&name) || ends_nothing
}

/// Whether anything among these roles is a value, for [`preload`].
fn is_value(role: &Role) -> bool {
    *role == Role::Value
}
