//! `COMMAND`: describes the commands of the table to clients and tools.

use super::base::{CONTAINER, HELP, SERVER};
use super::command_docs;
use super::command_list::{count, getkeys, getkeys_and_flags, list};
use engine::command::{
    Begin, Category, CommandEntry, Find, Flag, Flag::*, Group, KeySpec, LockRule, Secret, Spec,
};
use engine::cx::Cx;
use engine::engine::Engine;
use engine::failure::Outcome;
use resp::Reply;

/// First key, last key and step as `COMMAND INFO` has given them since before there were key
/// specs: the specs that are plain positions, put together as far as they adjoin.
pub(super) fn legacy_range(keys: &[KeySpec]) -> (i32, i32, i32) {
    let positions: Vec<(i32, i32, i32)> = keys.iter().filter_map(position).collect();
    match positions.as_slice() {
        [] => (0, 0, 0),
        [one] if keys.len() == 1 => *one,
        many => joined(many),
    }
}

/// First, last (absolute) and step of a spec that is a plain position.
fn position(key: &KeySpec) -> Option<(i32, i32, i32)> {
    match (key.begin, key.find) {
        (Begin::Index(first), Find::Range { last, step, .. }) => {
            Some((first, if last >= 0 { first + last } else { last }, step))
        }
        _ => None,
    }
}

fn joined(positions: &[(i32, i32, i32)]) -> (i32, i32, i32) {
    let mut range: Option<(i32, i32)> = None;
    for &(first, last, step) in positions {
        let adjoins = range.is_none_or(|(_, end)| end == first - 1);
        if step != 1 || !adjoins {
            break;
        }
        range = Some((range.map_or(first, |(start, _)| start), last));
    }
    range.map_or((0, 0, 0), |(first, last)| (first, last, 1))
}

/// Every flag, in the order in which Redis lists them.
const FLAG_ORDER: [Flag; 20] = [
    Write,
    Readonly,
    DenyOom,
    Flag::Admin,
    PubSub,
    NoScript,
    Blocking,
    Loading,
    Stale,
    SkipMonitor,
    SkipSlowlog,
    Asking,
    Fast,
    NoAuth,
    MayReplicate,
    NoAsyncLoading,
    NoMulti,
    MovableKeys,
    AllowBusy,
    NoMandatoryKeys,
];

pub(super) fn flag_names(entry: &CommandEntry) -> Vec<&'static str> {
    FLAG_ORDER.iter().filter(|flag| entry.has(**flag)).filter_map(|flag| flag.name()).collect()
}

pub(super) fn category_names(entry: &CommandEntry) -> Vec<&'static str> {
    let has = |category: &&Category| entry.categories.contains(category.set());
    Category::ALL.iter().filter(has).map(|category| category.name()).collect()
}

/// One command as `COMMAND INFO` shows it.
fn describe(engine: &Engine, entry: &CommandEntry, reply: &mut Reply<'_>) {
    let spec = entry.spec;
    reply.array(10);
    reply.bulk(entry.full_name.as_bytes());
    reply.integer(spec.arity.into());
    words(reply, &flag_names(entry), "");
    let (first, last, step) = legacy_range(spec.keys);
    [first, last, step].into_iter().for_each(|number| reply.integer(number.into()));
    words(reply, &category_names(entry), "@");
    reply.set(spec.tips.len());
    spec.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(spec.keys.len());
    spec.keys.iter().for_each(|key| key_spec(reply, key));
    reply.set(entry.subcommands.len());
    for &id in &entry.subcommands {
        describe(engine, engine.commands.entry(id), reply);
    }
}

/// A set of status texts.
fn words(reply: &mut Reply<'_>, words: &[&str], prefix: &str) {
    reply.set(words.len());
    words.iter().for_each(|word| reply.simple(&format!("{prefix}{word}")));
}

fn key_spec(reply: &mut Reply<'_>, key: &KeySpec) {
    reply.map(3 + usize::from(!key.notes.is_empty()));
    if !key.notes.is_empty() {
        reply.bulk(b"notes");
        reply.bulk(key.notes.as_bytes());
    }
    reply.bulk(b"flags");
    let flags = key_flags(key.flags);
    reply.set(flags.len());
    flags.iter().for_each(|flag| reply.simple(&super::command_list::shown_flag(flag)));
    reply.bulk(b"begin_search");
    match key.begin {
        Begin::Index(index) => search(reply, "index", &[("index", index)]),
        Begin::Keyword(word, from) => {
            search_head(reply, "keyword", 2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(from.into());
        }
        Begin::Unknown => search(reply, "unknown", &[]),
    }
    reply.bulk(b"find_keys");
    match key.find {
        Find::Range { last, step, limit } => {
            search(reply, "range", &[("lastkey", last), ("keystep", step), ("limit", limit)]);
        }
        Find::KeyNum { index, first, step } => {
            search(reply, "keynum", &[("keynumidx", index), ("firstkey", first), ("keystep", step)])
        }
        Find::Unknown => search(reply, "unknown", &[]),
    }
}

fn search_head(reply: &mut Reply<'_>, kind: &str, fields: usize) {
    reply.map(2);
    reply.bulk(b"type");
    reply.bulk(kind.as_bytes());
    reply.bulk(b"spec");
    reply.map(fields);
}

fn search(reply: &mut Reply<'_>, kind: &str, fields: &[(&str, i32)]) {
    search_head(reply, kind, fields.len());
    for (name, value) in fields {
        reply.bulk(name.as_bytes());
        reply.integer((*value).into());
    }
}

/// The flags of a key spec: the kinds of access in capitals, what happens in small letters.
pub(super) fn key_flags(flags: &str) -> Vec<&str> {
    flags.split([' ', '|', ',', '+']).filter(|word| !word.is_empty()).collect()
}

/// `COMMAND` itself: every top-level command.
fn describe_all(cx: &mut Cx<'_>) -> Outcome {
    let top: Vec<&CommandEntry> =
        cx.engine.commands.entries().iter().filter(|e| e.parent.is_none()).collect();
    cx.reply.array(top.len());
    top.into_iter().for_each(|entry| describe(cx.engine, entry, &mut cx.reply));
    Ok(())
}

fn info(cx: &mut Cx<'_>) -> Outcome {
    if cx.argc() == 2 {
        return describe_all(cx);
    }
    cx.reply.array(cx.argc() - 2);
    for name in cx.args.tail(2).iter() {
        match cx.engine.commands.find_full(name) {
            Some(entry) => describe(cx.engine, entry, &mut cx.reply),
            None => cx.reply.null(),
        }
    }
    Ok(())
}

fn help(cx: &mut Cx<'_>) -> Outcome {
    cx.help("COMMAND", super::help::COMMAND);
    Ok(())
}

/// The fields that the subcommands share.
const COMMAND: Spec = Spec {
    group: Group::Server,
    since: "2.8.13",
    flags: &[Loading, Stale],
    categories: &[Category::Connection],
    locks: LockRule::None,
    ..SERVER
};

/// The rows of this file.
pub const COMMANDS: &[Spec] = &[Spec {
    name: "command",
    summary: "Returns detailed information about all commands.",
    since: "2.8.13",
    complexity: "O(N) where N is the total number of Redis commands",
    arity: -1,
    tips: &["nondeterministic_output_order"],
    handler: describe_all,
    flags: &[Loading, Stale],
    categories: &[Category::Connection],
    subcommands: &[
        Spec {
            name: "count",
            summary: "Returns a count of commands.",
            arity: 2,
            handler: count,
            ..COMMAND
        },
        Spec {
            name: "docs",
            summary: "Returns documentary information about one, multiple or all commands.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of commands to look up",
            arity: -2,
            syntax: "[command-name [command-name ...]]",
            tips: &["nondeterministic_output_order"],
            handler: command_docs::docs,
            ..COMMAND
        },
        Spec {
            name: "getkeys",
            summary: "Extracts the key names from an arbitrary command.",
            complexity: "O(N) where N is the number of arguments to the command",
            arity: -3,
            secrets: &[Secret::Command(2)],
            syntax: "command [arg [arg ...]]",
            handler: getkeys,
            ..COMMAND
        },
        Spec {
            name: "getkeysandflags",
            summary: "Extracts the key names and access flags for an arbitrary command.",
            since: "7.0.0",
            complexity: "O(N) where N is the number of arguments to the command",
            arity: -3,
            secrets: &[Secret::Command(2)],
            syntax: "command [arg [arg ...]]",
            handler: getkeys_and_flags,
            ..COMMAND
        },
        Spec { handler: help, categories: &[Category::Connection], ..HELP },
        Spec {
            name: "info",
            summary: "Returns information about one, multiple or all commands.",
            complexity: "O(N) where N is the number of commands to look up",
            arity: -2,
            syntax: "[command-name [command-name ...]]",
            tips: &["nondeterministic_output_order"],
            history: &[(
                "7.0.0",
                "Allowed to be called with no argument to get info on all commands.",
            )],
            handler: info,
            ..COMMAND
        },
        Spec {
            name: "list",
            summary: "Returns a list of command names.",
            since: "7.0.0",
            complexity: "O(N) where N is the total number of Redis commands",
            arity: -2,
            syntax: "filterby: [FILTERBY <MODULE module-name|ACLCAT category|PATTERN pattern>]",
            tips: &["nondeterministic_output_order"],
            handler: list,
            ..COMMAND
        },
    ],
    ..CONTAINER
}];
