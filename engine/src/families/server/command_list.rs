//! `COMMAND COUNT|LIST|GETKEYS|GETKEYSANDFLAGS`.

use super::command::{category_names, key_flags};
use crate::args::is_word;
use crate::command::{Entry, Flag};
use crate::cx::Cx;
use crate::failure::{Failure, Outcome, SYNTAX, failure};
use crate::glob;
use resp::Request;

pub(super) fn count(cx: &mut Cx<'_>) -> Outcome {
    let count = cx.engine.commands.entries().iter().filter(|e| e.parent.is_none()).count();
    cx.reply.integer(count as i64);
    Ok(())
}

pub(super) fn list(cx: &mut Cx<'_>) -> Outcome {
    let keep: Keep<'_> = match cx.argc() {
        2 => Box::new(|_| true),
        5 if cx.is(2, "FILTERBY") => filter(cx.args.arg(3), cx.args.arg(4))?,
        _ => return Err(SYNTAX),
    };
    let found: Vec<&Entry> = cx.engine.commands.entries().iter().filter(|e| keep(e)).collect();
    cx.reply.array(found.len());
    found.iter().for_each(|entry| cx.reply.bulk(entry.full_name.as_bytes()));
    Ok(())
}

/// Which commands to list.
type Keep<'a> = Box<dyn Fn(&Entry) -> bool + 'a>;

fn filter<'a>(by: &[u8], what: &'a [u8]) -> Result<Keep<'a>, Failure> {
    if is_word(by, "MODULE") {
        // No command here comes from a module.
        Ok(Box::new(|_| false))
    } else if is_word(by, "ACLCAT") {
        Ok(Box::new(move |entry| category_names(entry).iter().any(|name| is_word(what, name))))
    } else if is_word(by, "PATTERN") {
        Ok(Box::new(move |entry| glob::matches(what, entry.full_name.as_bytes(), true)))
    } else {
        Err(SYNTAX)
    }
}

/// A key of a request: its argument, and what happens to it in Redis's words.
pub(crate) struct FoundKey {
    pub index: usize,
    pub flags: &'static str,
}

/// The keys of the request that stands behind `COMMAND GETKEYS`.
fn keys_of(cx: &Cx<'_>) -> Result<Vec<FoundKey>, Failure> {
    let request = cx.args.tail(2);
    let entry = cx.engine.commands.resolve(request);
    let entry = entry.ok_or(failure("ERR Invalid command specified"))?;
    if entry.spec.keys.is_empty() {
        return Err(failure("ERR The command has no key arguments"));
    }
    if !entry.accepts(request.len()) {
        return Err(failure("ERR Invalid number of arguments specified for command"));
    }
    match found_keys(entry, request) {
        Some(keys) => Ok(keys),
        None if entry.has(Flag::NoMandatoryKeys) => Ok(Vec::new()),
        None => Err(failure("ERR Invalid arguments specified for command")),
    }
}

/// The keys of a request, with what happens to each; `None` when they cannot be made out.
pub(crate) fn found_keys(entry: &Entry, request: Request<'_>) -> Option<Vec<FoundKey>> {
    let keys = entry.keys(request)?;
    let flags = |spec: usize| entry.spec.keys[spec].flags;
    let mut found: Vec<FoundKey> =
        keys.iter().map(|key| FoundKey { index: key.index, flags: flags(key.spec) }).collect();
    found.extend(sort_store(entry, request));
    if let Some(flags) = variable_flags(entry, request) {
        found.iter_mut().for_each(|key| key.flags = flags);
    }
    Some(found)
}

/// `SORT … STORE destination`: its place follows from the options before it.
fn sort_store(entry: &Entry, request: Request<'_>) -> Option<FoundKey> {
    if entry.spec.name != "sort" {
        return None;
    }
    let (mut at, mut found) = (2, None);
    while let Some(word) = request.get(at) {
        if is_word(word, "STORE") && at + 1 < request.len() {
            found = Some(FoundKey { index: at + 1, flags: "OW UPDATE" });
        }
        at += match word {
            word if is_word(word, "LIMIT") => 3,
            word if ["BY", "GET", "STORE"].iter().any(|w| is_word(word, w)) => 2,
            _ => 1,
        };
    }
    found
}

/// What `SET` and `BITFIELD` do to their key depends on their options.
fn variable_flags(entry: &Entry, request: Request<'_>) -> Option<&'static str> {
    let has = |word: &str| request.tail(3).iter().any(|arg| is_word(arg, word));
    match entry.spec.name {
        "set" if has("GET") => Some("RW ACCESS UPDATE"),
        "set" => Some("OW UPDATE"),
        "bitfield" => {
            let writes =
                request.tail(2).iter().any(|arg| is_word(arg, "SET") || is_word(arg, "INCRBY"));
            Some(if writes { "RW ACCESS UPDATE" } else { "RO ACCESS" })
        }
        _ => None,
    }
}

pub(super) fn getkeys(cx: &mut Cx<'_>) -> Outcome {
    let keys = keys_of(cx)?;
    cx.reply.array(keys.len());
    keys.iter().for_each(|key| cx.reply.bulk(cx.args.arg(2 + key.index)));
    Ok(())
}

pub(super) fn getkeys_and_flags(cx: &mut Cx<'_>) -> Outcome {
    let keys = keys_of(cx)?;
    cx.reply.array(keys.len());
    for key in keys {
        cx.reply.array(2);
        cx.reply.bulk(cx.args.arg(2 + key.index));
        let flags = key_flags(key.flags);
        cx.reply.set(flags.len());
        flags.iter().for_each(|flag| cx.reply.simple(&shown_flag(flag)));
    }
    Ok(())
}

/// `RO`, `RW`, `OW`, `RM` stay; the rest is in small letters.
pub(super) fn shown_flag(flag: &str) -> String {
    match flag {
        "RO" | "RW" | "OW" | "RM" => flag.to_owned(),
        other => other.to_ascii_lowercase(),
    }
}
