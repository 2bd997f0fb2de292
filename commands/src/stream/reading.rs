//! XREAD and XREADGROUP, which wait for entries.

use super::counters::count_read;
use super::ids::{id_text, strict_id};
use super::{consumer_made, no_group, see_consumer, write_entry, write_id, write_one};
use crate::waiting::timeout_ms_us;
use engine::command::Takes::{Exactly, Rest};
use engine::command::{Found, Given, KeyPosition, KeySpec, NoOption, Options};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, WRONG_TYPE, failure, shown};
use engine::notify::blocking::Block;
use engine::text::args::{OwnedRequest, integer};
use resp::Reply;
use smallvec::SmallVec;
use storage::stream::{Pending, Stream, StreamId};
use storage::{Error, Key, Open};

/// The parsed arguments of `XREAD` or `XREADGROUP`.
struct Request<'a> {
    /// Group and consumer, for `XREADGROUP`.
    group: Option<(&'a [u8], &'a [u8])>,
    /// Entries per stream, 0 for all.
    count: u64,
    /// The time to wait in microseconds (`None` for ever), if it may wait.
    block: Option<Option<u64>>,
    no_ack: bool,
    /// The first key's argument.
    keys_at: usize,
    /// The number of streams.
    streams: usize,
}

/// The ID behind which a stream is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    /// Behind this ID.
    After(StreamId),
    /// `>`: the entries that were not delivered to the group yet.
    New,
}

const OPTIONS: Options = Options(&[
    ("BLOCK", Exactly(1)),
    ("COUNT", Exactly(1)),
    ("GROUP", Exactly(2)),
    ("NOACK", Exactly(0)),
    ("STREAMS", Rest(1)),
]);

/// The keys of XREAD and XREADGROUP: the first half of the arguments behind `STREAMS`.
pub(super) fn keys(specs: &'static [KeySpec], request: resp::Request<'_>) -> Option<Found> {
    let streams = OPTIONS.walk(request, 1).flatten().find(|given| given.word == "STREAMS")?;
    let count = (request.len() - streams.at) / 2;
    let keys = streams.at..streams.at + count;
    Some(keys.map(|index| KeyPosition { index, flags: specs[0].flags }).collect())
}

fn parse<'a>(cx: &Cx<'a>) -> Result<Request<'a>, Failure> {
    let grouped = cx.args.arg(0).len() == "XREADGROUP".len();
    let mut request =
        Request { group: None, count: 0, block: None, no_ack: false, keys_at: 0, streams: 0 };
    for given in OPTIONS.walk(cx.args, 1) {
        let Given { word, at } = given.map_err(|NoOption| SYNTAX)?;
        match word {
            "BLOCK" if cx.session.in_script() => {
                let name = shown(cx.args.arg(0));
                return Err(Failure::text(format!(
                    "ERR {name} command is not allowed with BLOCK option from scripts"
                )));
            }
            "BLOCK" => request.block = Some(timeout_ms_us(cx.args.arg(at), cx.now.wall_ms)?),
            "COUNT" => request.count = integer(cx.args.arg(at))?.max(0) as u64,
            "STREAMS" => {
                let rest = cx.argc() - at;
                if !rest.is_multiple_of(2) {
                    return Err(unbalanced(grouped));
                }
                (request.keys_at, request.streams) = (at, rest / 2);
            }
            _ if !grouped => {
                return Err(Failure::text(format!(
                    "ERR The {word} option is only supported by XREADGROUP. You called XREAD instead."
                )));
            }
            "GROUP" => request.group = Some((cx.args.arg(at), cx.args.arg(at + 1))),
            _ => request.no_ack = true,
        }
    }
    if request.keys_at == 0 {
        return Err(SYNTAX);
    }
    if grouped && request.group.is_none() {
        return Err(failure("ERR Missing GROUP option for XREADGROUP"));
    }
    Ok(request)
}

fn unbalanced(grouped: bool) -> Failure {
    let (name, symbol) = if grouped { ("xreadgroup", '>') } else { ("xread", '$') };
    Failure::text(format!(
        "ERR Unbalanced '{name}' list of streams: for each stream key an ID or '{symbol}' must be specified."
    ))
}

impl Request<'_> {
    /// The ID argument of a stream.
    fn id_at(&self, stream: usize) -> usize {
        self.keys_at + self.streams + stream
    }

    /// Whether `written` entries are enough.
    fn is_done(&self, written: usize) -> bool {
        self.count > 0 && written as u64 >= self.count
    }
}

/// The ID behind which to read, given the stream's last IDs.
fn from(argument: &[u8], grouped: bool, last: Last) -> Result<From, Failure> {
    match argument {
        b"$" if grouped => Err(failure(
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
        )),
        b"$" => Ok(From::After(last.last_id)),
        b"+" if grouped => Err(failure(
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
        )),
        b"+" => Ok(From::After(last.top_id.previous().unwrap_or(StreamId::MIN))),
        b">" if !grouped => Err(failure(
            "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
        )),
        b">" => Ok(From::New),
        text => match strict_id(text, 0)? {
            // Redis has the largest ID for `>`.
            StreamId::MAX if grouped => Ok(From::New),
            id => Ok(From::After(id)),
        },
    }
}

/// The IDs that `$` and `+` stand for: the last ID that the stream gave, and that of the last entry it still has.
#[derive(Clone, Copy)]
struct Last {
    last_id: StreamId,
    top_id: StreamId,
}

/// The ID behind which each stream is read.
type Froms = SmallVec<[From; 4]>;

/// Looks at every stream once: types, groups, IDs. Whether one has another type, which only
/// concerns a client that is waiting already if there is something for it elsewhere.
fn resolve(cx: &mut Cx<'_>, request: &Request<'_>) -> Result<(Froms, bool), Failure> {
    let (mut froms, mut wrong) = (Froms::new(), false);
    for n in 0..request.streams {
        let key = cx.key(request.keys_at + n);
        let mut stream = match cx.tx.stream(&key, Open::Existing) {
            Err(Error::WrongType) if request.group.is_none() && cx.session.is_served() => {
                wrong = true;
                None
            }
            opened => opened?,
        };
        if let Some((group, _)) = request.group {
            let known = match &mut stream {
                Some(stream) => stream.group(group)?.is_some(),
                None => false,
            };
            if !known {
                let context = " in XREADGROUP with GROUP option";
                return Err(no_group(key.bytes, group, context));
            }
        }
        let found = stream.is_some();
        let last = match &mut stream {
            Some(stream) => {
                let info = stream.info()?;
                Last { last_id: info.last_id, top_id: info.top_id }
            }
            None => Last { last_id: StreamId::MIN, top_id: StreamId::MIN },
        };
        drop(stream);
        cx.looked_up(&key, found);
        let argument = cx.args.arg(request.id_at(n));
        froms.push(from(argument, request.group.is_some(), last)?);
    }
    Ok((froms, wrong))
}

/// Begins the reply of one stream.
fn write_name(reply: &mut Reply<'_>, key: &Key<'_>) {
    if !reply.is_resp3() {
        reply.array(2);
    }
    reply.bulk(key.bytes);
}

/// Reads one stream behind an ID; false, and no reply, when there is nothing.
fn read(cx: &mut Cx<'_>, key: &Key<'_>, after: StreamId, count: u64) -> Result<bool, Failure> {
    let reply = &mut cx.reply;
    let stream = match cx.tx.stream(key, Open::Existing) {
        Err(Error::WrongType) => return Ok(false),
        opened => opened?,
    };
    let (Some(mut stream), Some(first)) = (stream, after.next()) else { return Ok(false) };
    let info = stream.info()?;
    if info.len == 0 || info.top_id < first {
        return Ok(false);
    }
    write_name(reply, key);
    super::write_range(reply, &mut *stream, (first, StreamId::MAX), false, count)?;
    Ok(true)
}

/// Reads one stream for a group; false, and no reply, when there is nothing.
fn read_group(
    cx: &mut Cx<'_>,
    key: &Key<'_>,
    from: From,
    request: &Request<'_>,
    (group, consumer): (&[u8], &[u8]),
) -> Result<bool, Failure> {
    let now_ms = cx.now.wall_ms;
    let reply = &mut cx.reply;
    let Some(mut stream) = cx.tx.stream(key, Open::Existing)? else { return Ok(false) };
    let Some(known) = stream.group(group)? else { return Ok(false) };
    let info = stream.info()?;
    let (active_ms, new) = see_consumer(&mut *stream, group, consumer, now_ms)?;
    let mut told = Delivery::default();
    let served = match from {
        From::After(id) => {
            write_name(reply, key);
            told.again = again(reply, &mut *stream, id, request, (group, consumer), now_ms)?;
            true
        }
        From::New if info.len > 0 && info.top_id > known.last_id => {
            write_name(reply, key);
            told.new = deliver(reply, &mut *stream, known.last_id, request)?;
            let (mut read, mut last) = (known.entries_read, known.last_id);
            for &id in &told.new {
                read = count_read(&info, read, last, id);
                last = id;
            }
            told.entries_read = read;
            stream.set_group(group, last, told.entries_read)?;
            if !request.no_ack {
                stream.set_consumer(group, consumer, now_ms, Some(now_ms).or(active_ms))?;
                for &id in &told.new {
                    let pending = Pending { id, consumer, delivered_ms: now_ms, deliveries: 1 };
                    stream.set_pending(group, &pending)?;
                }
            }
            true
        }
        From::New => false,
    };
    drop(stream);
    if new {
        consumer_made(cx, key, group, consumer);
    }
    told.log(cx, key, request.no_ack, (group, consumer));
    Ok(served)
}

/// The entries that a consumer was given.
#[derive(Default)]
struct Delivery {
    /// The entries that were delivered for the first time.
    new: Vec<StreamId>,
    /// The number of entries that the group has read by then.
    entries_read: Option<u64>,
    /// Once more, and how often by now.
    again: Vec<(StreamId, u64)>,
}

/// Replies with new entries behind `after`; which.
fn deliver(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    after: StreamId,
    request: &Request<'_>,
) -> Result<Vec<StreamId>, Failure> {
    let mark = reply.deferred();
    let mut ids = Vec::new();
    stream.range(after.next().unwrap_or(after), StreamId::MAX, false, &mut |id, fields| {
        write_entry(reply, id, &fields);
        ids.push(id);
        !request.is_done(ids.len())
    })?;
    reply.finish_array(mark, ids.len());
    Ok(ids)
}

/// Replies with the pending entries of a consumer behind `after`. Returns those that were delivered
/// again.
fn again(
    reply: &mut Reply<'_>,
    stream: &mut dyn Stream,
    after: StreamId,
    request: &Request<'_>,
    (group, consumer): (&[u8], &[u8]),
    now_ms: u64,
) -> Result<Vec<(StreamId, u64)>, Failure> {
    let mut history = Vec::new();
    if let Some(first) = after.next() {
        stream.pending(group, Some(consumer), first, StreamId::MAX, &mut |entry| {
            history.push((entry.id, entry.deliveries));
            !request.is_done(history.len())
        })?;
    }
    reply.array(history.len());
    let mut delivered = Vec::with_capacity(history.len());
    for (id, deliveries) in history {
        if write_one(reply, stream, id)? {
            let deliveries = deliveries.saturating_add(1);
            let pending = Pending { id, consumer, delivered_ms: now_ms, deliveries };
            stream.set_pending(group, &pending)?;
            delivered.push((id, deliveries));
        } else {
            // Deleted meanwhile.
            reply.array(2);
            write_id(reply, id);
            reply.null_array();
        }
    }
    Ok(delivered)
}

impl Delivery {
    /// Logs as Redis does: claims, and how far the group has read.
    fn log(&self, cx: &mut Cx<'_>, key: &Key<'_>, no_ack: bool, whose: (&[u8], &[u8])) {
        let now_ms = cx.now.wall_ms;
        if !self.new.is_empty() {
            cx.changed_silently(1);
            if !no_ack {
                super::claiming::log_claim(cx, key, whose, &self.new, now_ms, 1);
            }
            let last = self.new.last().copied().unwrap_or_default();
            super::groups::log_read(cx, key, whose.0, last, self.entries_read);
        }
        for (id, deliveries) in &self.again {
            cx.changed_silently(1);
            super::claiming::log_claim(cx, key, whose, &[*id], now_ms, *deliveries);
        }
    }
}

/// Waits for any of the streams. `$` and `+` become the ID they stand for: when the command runs again,
/// it would be another.
fn wait(cx: &mut Cx<'_>, request: &Request<'_>, froms: &[From], timeout_us: Option<u64>) {
    let mut again = OwnedRequest::default();
    for i in 0..cx.argc() {
        let from = i.checked_sub(request.id_at(0)).and_then(|n| froms.get(n));
        match (cx.args.arg(i), from) {
            (b"$" | b"+", Some(From::After(id))) => again.push(&id_text(*id)),
            (argument, _) => again.push(argument),
        }
    }
    let keys = (0..request.streams).map(|n| cx.args.arg(request.keys_at + n).into()).collect();
    let on_timeout = |reply: &mut Reply<'_>| reply.null_array();
    let (again, needs_keys) = (Some(again), request.group.is_some());
    if !cx.block(Block { keys, timeout_us, on_timeout, request: again, needs_keys }) {
        cx.reply.null_array();
    }
}

/// `XREAD` and `XREADGROUP`.
pub(super) fn xread(cx: &mut Cx<'_>) -> Outcome {
    let request = parse(cx)?;
    let (froms, wrong) = resolve(cx, &request)?;
    let mark = cx.reply.deferred();
    let mut served = 0;
    for (n, from) in froms.iter().enumerate() {
        let key = cx.key(request.keys_at + n);
        let found = match (request.group, from) {
            (Some(whose), from) => read_group(cx, &key, *from, &request, whose)?,
            (None, From::After(id)) => read(cx, &key, *id, request.count)?,
            (None, From::New) => false,
        };
        served += usize::from(found);
    }
    match (served, request.block) {
        (1.., _) if wrong => return Err(WRONG_TYPE),
        (1.., _) if cx.reply.is_resp3() => cx.reply.finish_map(mark, served),
        (1.., _) => cx.reply.finish_array(mark, served),
        (0, Some(timeout_us)) => wait(cx, &request, &froms, timeout_us),
        (0, None) => cx.reply.null_array(),
    }
    Ok(())
}
