//! Tests over the whole table of commands, and against what redis-server 7.0.15 says of its own.

use super::command::{category_names, flag_names, key_flags, legacy_range};
use super::command_list::shown_flag;
use engine::command::{
    Argument, ArgumentKind, Begin, CommandEntry, CommandTable, Find, KeySpec, arguments,
};
use std::collections::{BTreeMap, BTreeSet, HashSet};

/// `COMMAND INFO` of every command of redis-server 7.0.15, one per line, tab-separated; flags and
/// categories sorted, key specs written as [`key_text`] does.
const INFO: &str = include_str!("testdata/command-info-7.0.15.tsv");

/// Differences on purpose: command (`*` any), column (`*` any), reason.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("acl|deluser", "tips", "7.2 adds request and response policies"),
    ("acl|save", "tips", "7.2 adds request and response policies"),
    ("acl|setuser", "tips", "7.2 adds request and response policies"),
    ("blmove", "flags", "allowed in scripts since 7.2"),
    ("blpop", "flags", "allowed in scripts since 7.2"),
    ("brpop", "flags", "allowed in scripts since 7.2"),
    ("brpoplpush", "flags", "allowed in scripts since 7.2"),
    ("bzpopmax", "flags", "allowed in scripts since 7.2"),
    ("bzpopmin", "flags", "allowed in scripts since 7.2"),
    ("client|setname", "tips", "7.2 adds request and response policies"),
    ("command|getkeys", "arity", "7.2 takes a command without arguments"),
    ("command|getkeysandflags", "arity", "7.2 takes a command without arguments"),
    ("config|resetstat", "tips", "7.2 adds request and response policies"),
    ("config|rewrite", "tips", "7.2 adds request and response policies"),
    ("msetnx", "tips", "7.2 takes its policies back"),
    ("randomkey", "tips", "7.2 adds a response policy"),
    ("scan", "tips", "7.2 adds a response policy"),
    ("wait", "flags", "blocking, and allowed in scripts, since 7.2"),
    ("wait", "categories", "blocking since 7.2"),
    ("zrank", "arity", "7.2 adds WITHSCORE"),
    ("zrevrank", "arity", "7.2 adds WITHSCORE"),
    ("pubsub|help", "categories", "Redis gives this one HELP no @pubsub, an oversight"),
];

fn table() -> CommandTable {
    CommandTable::new(crate::all()).expect("no name twice")
}

#[test]
fn every_row_is_documented() {
    let table = table();
    let mut names = HashSet::new();
    for entry in table.entries() {
        let (name, spec) = (&entry.full_name, entry.spec);
        assert!(names.insert(name.clone()), "{name} occurs twice");
        assert!(!spec.summary.is_empty(), "{name} has no summary");
        assert!(!spec.complexity.is_empty(), "{name} has no complexity");
        assert_eq!(spec.since.split('.').count(), 3, "{name} has no version");
        assert!(spec.arity != 0, "{name} has no arity");
        assert_eq!(spec.name.to_ascii_lowercase(), spec.name, "{name} is not in lower case");
        arguments(spec).unwrap_or_else(|error| panic!("syntax of {name}: {error}"));
    }
}

/// One column of the fixture or of a row.
type Row = BTreeMap<&'static str, String>;

fn ours(entry: &CommandEntry) -> Row {
    let (first, last, step) = legacy_range(entry.spec.keys);
    let mut flags = flag_names(entry);
    flags.sort_unstable();
    let mut categories: Vec<_> =
        category_names(entry).iter().map(|name| format!("@{name}")).collect();
    categories.sort_unstable();
    let keys: Vec<_> = entry.spec.keys.iter().map(key_text).collect();
    BTreeMap::from([
        ("arity", entry.spec.arity.to_string()),
        ("flags", flags.join(",")),
        ("first", first.to_string()),
        ("last", last.to_string()),
        ("step", step.to_string()),
        ("categories", categories.join(",")),
        ("tips", entry.spec.tips.join(",")),
        ("keys", keys.join("; ")),
    ])
}

fn key_text(key: &KeySpec) -> String {
    let flags: Vec<_> = key_flags(key.flags).into_iter().map(shown_flag).collect();
    let begin = match key.begin {
        Begin::Index(index) => format!("@{index}"),
        Begin::Keyword(word, from) => format!("{word}~{from}"),
        Begin::Unknown => "?".to_owned(),
    };
    let find = match key.find {
        Find::Range { last, step, limit } => format!("range({last} {step} {limit})"),
        Find::KeyNum { index, first, step } => format!("keynum({index} {first} {step})"),
        Find::Unknown => "?".to_owned(),
    };
    format!("{} {begin} {find}", flags.join("+"))
}

fn excused(name: &str, column: &str) -> bool {
    EXCEPTIONS.iter().any(|(command, what, _)| {
        (*command == "*" || *command == name) && (*what == "*" || *what == column)
    })
}

#[test]
fn command_info_is_that_of_redis() {
    let table = table();
    let mut lines = INFO.lines();
    let columns: Vec<&str> = lines.next().expect("a headline").split('\t').collect();
    let mut differing = Vec::new();
    let mut known = BTreeSet::new();
    for line in lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let name = fields[0];
        known.insert(name);
        let Some(entry) = table.find_full(name.as_bytes()) else { continue };
        let ours = ours(entry);
        for (column, theirs) in columns.iter().zip(&fields).skip(1) {
            if ours[column] != *theirs && !excused(name, column) {
                differing
                    .push(format!("{name} {column}: Redis {theirs:?}, ours {:?}", ours[column]));
            }
        }
    }
    assert!(known.len() > 350, "the fixture is not whole");
    assert!(differing.is_empty(), "{} differences:\n{}", differing.len(), differing.join("\n"));
}

/// The arguments in `COMMAND DOCS` of every command of redis-server 7.0.15: a value as its type
/// behind its token, `oneof(…)` and `block(…)` for groups; `#n` the key spec, `?` optional, `*`
/// multiple, `+` multiple with its token. Names are left out, as many changed in 7.2; a block's
/// token is shown in front of its first member, where it stands on the command line.
const DOCS: &str = include_str!("testdata/command-docs-7.0.15.tsv");

/// Arguments that differ on purpose, with reasons.
const OTHER_ARGUMENTS: &[(&str, &str)] = &[
    ("bitop", "7.2 spells the operations out"),
    ("client|kill", "the filters of 7.2 may be combined, SKIPME is YES or NO, MAXAGE is of 7.4"),
    ("client|list", "a token with a repeated value is one argument, as everywhere else"),
    ("command|getkeys", "7.2 documents the command to look at"),
    ("command|getkeysandflags", "7.2 documents the command to look at"),
    ("config|get", "a block of one argument is that argument"),
    ("geohash", "7.2 documents the members as optional"),
    ("geopos", "7.2 documents the members as optional"),
    ("georadius", "7.2 documents STORE and STOREDIST as alternatives"),
    ("georadiusbymember", "7.2 documents STORE and STOREDIST as alternatives"),
    ("hscan", "NOVALUES is of 7.4"),
    ("migrate", "7.2 documents how to sign in as one choice; the token of no key is empty"),
    ("pfmerge", "7.2 documents the sources as optional"),
    ("module|loadex", "a token with a repeated value is one argument, as everywhere else"),
    ("psubscribe", "a block of one argument is that argument"),
    ("xinfo|stream", "a block's token does not stand for that of its member"),
    ("zrank", "WITHSCORE is of 7.2"),
    ("zrevrank", "WITHSCORE is of 7.2"),
];

fn tree(arguments: &[Argument]) -> String {
    arguments.iter().map(node).collect::<Vec<_>>().join(" ")
}

fn node(argument: &Argument) -> String {
    let mut argument = argument.clone();
    if argument.kind == ArgumentKind::Block
        && let Some(first) = argument.arguments.first_mut()
        && first.token.is_none()
    {
        first.token = argument.token.take();
    }
    let token = argument.token.clone().unwrap_or_default();
    let mut text = match argument.kind {
        ArgumentKind::PureToken => token,
        kind if token.is_empty() => kind.name().to_owned(),
        kind => format!("{token} {}", kind.name()),
    };
    if argument.kind.is_group() {
        text.push_str(&format!("({})", tree(&argument.arguments)));
    }
    text.extend(argument.key_spec.map(|index| format!("#{index}")));
    let flags =
        [(argument.optional, '?'), (argument.multiple, '*'), (argument.multiple_token, '+')];
    text.extend(flags.iter().filter(|(set, _)| *set).map(|(_, sign)| sign));
    text
}

#[test]
fn arguments_are_those_of_redis() {
    let table = table();
    let mut differing = Vec::new();
    let mut compared = 0;
    for line in DOCS.lines() {
        let (name, theirs) = line.split_once('\t').expect("two columns");
        let Some(entry) = table.find_full(name.as_bytes()) else { continue };
        compared += 1;
        let ours = tree(&arguments(entry.spec).expect("tested above"));
        let excused = OTHER_ARGUMENTS.iter().any(|(other, _)| *other == name);
        if ours != theirs && !excused {
            differing.push(format!("{name}\n  Redis {theirs}\n  ours  {ours}"));
        }
    }
    assert!(compared > 100, "the fixture or the table is not whole");
    assert!(differing.is_empty(), "{} differences:\n{}", differing.len(), differing.join("\n"));
}
