//! The part of `DEBUG` that is about data: keys made up for tests, and how values are kept.

use engine::cx::Cx;
use engine::failure::{Failure, NO_SUCH_KEY, Outcome, failure, subcommand_syntax};
use engine::notify::keyspace::Class;
use engine::text::args::integer;
use storage::{KeyInfo, Kind, NewExpiry, Open};

/// Bytes of a made-up key, as in Redis.
const NAME_MAX: usize = 127;

/// Bytes of a made-up value.
const VALUE_MAX: usize = 512 << 20;

/// `POPULATE count [prefix] [size]`: makes keys `prefix:0` and so on, of those that are not there.
pub(super) fn populate(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() > 5 {
        return Err(subcommand_syntax(cx.args));
    }
    let count = positive(cx, 2, usize::MAX)?;
    let size = if cx.argc() == 5 { positive(cx, 4, VALUE_MAX)? } else { 0 };
    let prefix = cx.args.get(3).unwrap_or(b"key");
    for number in 0..count {
        let mut name = [prefix, format!(":{number}").as_bytes()].concat();
        name.truncate(NAME_MAX);
        let key = cx.key_of(&name);
        if cx.tx.kind(&key)?.is_some() {
            continue;
        }
        let mut value = format!("value:{number}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        cx.tx.set_string(&key, &value, NewExpiry::Clear)?;
        cx.modified(&key, Class::String, "set");
        cx.log(&[b"SET", &name, &value]);
    }
    cx.reply.ok();
    Ok(())
}

/// An argument as a number from 0 to `max`.
fn positive(cx: &Cx<'_>, at: usize, max: usize) -> Result<usize, Failure> {
    let number = integer(cx.args.arg(at)).ok().and_then(|number| usize::try_from(number).ok());
    number
        .filter(|number| *number <= max)
        .ok_or(failure("ERR value is out of range, must be positive"))
}

/// The storage's facts about the key that a subcommand names.
pub(super) fn info_of(cx: &mut Cx<'_>) -> Result<KeyInfo, Failure> {
    let key = cx.key(2);
    cx.tx.info(&key, 0)?.ok_or(NO_SUCH_KEY)
}

pub(super) fn listpack(cx: &mut Cx<'_>) -> Outcome {
    let refusal = failure("ERR Not a listpack encoded object.");
    show_structure(cx, "listpack", refusal, "Listpack structure printed on stdout")
}

pub(super) fn quicklist(cx: &mut Cx<'_>) -> Outcome {
    let refusal = failure("ERR Not a quicklist encoded object.");
    show_structure(cx, "quicklist", refusal, "Quicklist structure printed on stdout")
}

/// Writes the known structure of a value with this encoding to the log.
fn show_structure(cx: &mut Cx<'_>, encoding: &str, refusal: Failure, done: &str) -> Outcome {
    let info = info_of(cx)?;
    if info.encoding != encoding {
        return Err(refusal);
    }
    let elements = elements(cx, info.kind)?;
    tracing::info!(encoding, elements, bytes = info.bytes, "DEBUG: a value's structure");
    cx.reply.simple(done);
    Ok(())
}

/// The number of elements of the value that a subcommand names.
fn elements(cx: &mut Cx<'_>, kind: Kind) -> Result<u64, Failure> {
    let key = cx.key(2);
    let open = Open::Existing;
    Ok(match kind {
        Kind::List => cx.tx.list(&key, open)?.map_or(Ok(0), |mut list| list.len())?,
        Kind::Set => cx.tx.set(&key, open)?.map_or(Ok(0), |mut set| set.len())?,
        Kind::Hash => cx.tx.hash(&key, open)?.map_or(Ok(0), |mut hash| hash.len())?,
        Kind::SortedSet => cx.tx.sorted_set(&key, open)?.map_or(Ok(0), |mut set| set.len())?,
        _ => 1,
    })
}

pub(super) fn htstats(cx: &mut Cx<'_>) -> Outcome {
    let db = integer(cx.args.arg(2))?;
    let db = u32::try_from(db).ok().filter(|db| *db < cx.engine.databases());
    let db = db.ok_or(failure("ERR Out of range database"))?;
    let backend = &cx.engine.backend;
    let (keys, expires) = (backend.len(db), backend.expires_len(db));
    let text = format!("[Dictionary HT]\n{}[Expires HT]\n{}", table(keys), table(expires));
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub(super) fn htstats_key(cx: &mut Cx<'_>) -> Outcome {
    let info = info_of(cx)?;
    if !["hashtable", "skiplist"].contains(&info.encoding) {
        return Err(failure(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    }
    let text = table(elements(cx, info.kind)?);
    cx.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A table in Redis's words, as far as ours, which have no chains, are like its own.
fn table(elements: u64) -> String {
    let stats = match elements {
        0 => "No stats available for empty dictionaries\n".to_owned(),
        elements => format!(" number of elements: {elements}\n"),
    };
    format!("Hash table 0 stats (main hash table):\n{stats}")
}

pub(super) fn sdslen(cx: &mut Cx<'_>) -> Outcome {
    let info = info_of(cx)?;
    if !["raw", "embstr"].contains(&info.encoding) {
        return Err(failure("ERR Not an sds encoded string."));
    }
    let key = cx.key(2);
    let (key_len, value_len) = (key.bytes.len(), cx.tx.string_len(&key)?);
    // Key and value share their memory.
    cx.reply.simple(&format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {key_len}, \
         val_sds_len:{value_len}, val_sds_avail:0, val_zmalloc: {}",
        info.bytes
    ));
    Ok(())
}

/// The type of a list of packed nodes in a dump.
const QUICKLIST: u8 = 18;

/// The fields that `DEBUG OBJECT` adds for a list of several nodes, whose dump `value` is.
pub(super) fn quicklist_fields(cx: &mut Cx<'_>, value: &[u8]) -> Result<String, Failure> {
    let nodes = match value {
        [QUICKLIST, rest @ ..] => dumped_length(rest).unwrap_or(1).max(1),
        _ => 1,
    };
    let mean = elements(cx, Kind::List)? as f64 / nodes as f64;
    let max = cx.engine.config.integer(engine::config::Id::ListMaxListpackSize);
    Ok(format!(
        " ql_nodes:{nodes} ql_avg_node:{mean:.2} ql_listpack_max:{max} ql_compressed:0 \
         ql_uncompressed_size:{}",
        value.len()
    ))
}

/// The number that a dump begins with.
fn dumped_length(bytes: &[u8]) -> Option<u64> {
    Some(match *bytes {
        [first @ 0..0x40, ..] => first.into(),
        [first @ 0x40..0x80, second, ..] => u64::from(first & 0x3F) << 8 | u64::from(second),
        [0x80, a, b, c, d, ..] => u32::from_be_bytes([a, b, c, d]).into(),
        _ => return None,
    })
}
