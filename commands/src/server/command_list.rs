//! `COMMAND COUNT|LIST|GETKEYS|GETKEYSANDFLAGS`.

use super::command::{category_names, key_flags};
use engine::command::{CommandEntry, Flag, Found};
use engine::cx::Cx;
use engine::failure::{Failure, Outcome, SYNTAX, failure};
use engine::text::args::is_word;
use engine::text::glob;

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
    let found: Vec<&CommandEntry> =
        cx.engine.commands.entries().iter().filter(|e| keep(e)).collect();
    cx.reply.array(found.len());
    found.iter().for_each(|entry| cx.reply.bulk(entry.full_name.as_bytes()));
    Ok(())
}

/// Which commands to list.
type Keep<'a> = Box<dyn Fn(&CommandEntry) -> bool + 'a>;

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

/// The keys of the request that follows `COMMAND GETKEYS`.
fn keys_of(cx: &Cx<'_>) -> Result<Found, Failure> {
    let request = cx.args.tail(2);
    let entry = cx.engine.commands.resolve(request);
    // A container is found for a request only where the second word is none of its own.
    let entry = entry.filter(|entry| entry.subcommands.is_empty() || request.len() == 1);
    let entry = entry.ok_or(failure("ERR Invalid command specified"))?;
    // Channels are told apart from keys by their specs.
    if entry.spec.keys.iter().all(|spec| spec.flags.contains("not_key")) {
        return Err(failure("ERR The command has no key arguments"));
    }
    if !entry.accepts(request.len()) {
        return Err(failure("ERR Invalid number of arguments specified for command"));
    }
    match entry.keys(request) {
        Some(keys) => Ok(keys),
        None if entry.has(Flag::NoMandatoryKeys) => Ok(Found::new()),
        None => Err(failure("ERR Invalid arguments specified for command")),
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
