//! [`Catalog`]: the commands programs are made of, with their arguments.

use super::family::Family;
use engine::command::{Argument, CommandEntry, CommandTable, Flag, Group, arguments};

/// Commands that are left out of programs: their replies are about the server, or they wait for
/// others.
const LEFT_OUT: &[&str] = &[
    "migrate",
    "wait",
    "waitaof",
    "object|freq",
    "object|refcount",
    "pfdebug",
    "pfselftest",
    "sort",
    "sort_ro",
    "scan",
    "sscan",
    "hscan",
    "zscan",
    "xgroup",
    "xinfo",
    "object",
];

/// Options that came with versions after the oracle's.
const NEWER: &[(&str, &str)] =
    &[("zrank", "WITHSCORE"), ("zrevrank", "WITHSCORE"), ("hscan", "NOVALUES")];

/// The version an older oracle has.
const ORACLE: (u32, u32) = (7, 0);

/// Commands that fill keys come this many times as often as others.
const FILLING: usize = 5;

/// A command with its arguments.
pub struct Form {
    /// The words of its name.
    pub name: Vec<&'static str>,
    /// `lpush`, `xgroup|create`.
    pub full_name: String,
    /// The family it is documented in.
    pub group: Group,
    /// Whether it may wait.
    pub blocking: bool,
    /// Its arguments.
    pub arguments: Vec<Argument>,
    /// The relative frequency with which it is picked.
    pub weight: usize,
}

/// All commands that programs are made of.
pub struct Catalog {
    forms: Vec<Form>,
    /// Whether the other side is as new as we are.
    pub newer: bool,
}

impl Catalog {
    /// Commands of `table`; those that an oracle of version 7.0 does not have only with `newer`.
    pub fn new(table: &CommandTable, newer: bool) -> Self {
        let entries = table.entries().iter().filter(|entry| {
            let known = newer || version(entry.spec.since) <= ORACLE;
            known && Family::ALL.iter().any(|family| family.group() == Some(entry.spec.group))
        });
        let wanted = entries.filter(|entry| !LEFT_OUT.contains(&entry.full_name.as_str()));
        Catalog { forms: wanted.map(|entry| form(entry, newer)).collect(), newer }
    }

    /// Commands of a family's group.
    pub fn of(&self, group: Group) -> impl Iterator<Item = &Form> {
        self.forms.iter().filter(move |form| form.group == group)
    }

    /// Every command.
    #[cfg(test)]
    pub fn forms(&self) -> &[Form] {
        &self.forms
    }
}

fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// A command with its arguments; those that are new only with `newer`.
pub(super) fn form(entry: &CommandEntry, newer: bool) -> Form {
    let mut arguments = arguments(entry.spec).unwrap_or_default();
    let name = entry.full_name.as_str();
    for (_, token) in NEWER.iter().filter(|(command, _)| *command == name && !newer) {
        arguments.retain(|argument| argument.token.as_deref() != Some(*token));
    }
    // The table owns its names; the words of a full one are the rows' own.
    let mut words: Vec<&'static str> = vec![entry.spec.name];
    if let Some((container, _)) = name.split_once('|') {
        words.insert(0, container_name(container));
    }
    Form {
        name: words,
        full_name: entry.full_name.clone(),
        group: entry.spec.group,
        blocking: entry.has(Flag::Blocking),
        weight: if fills(name) { FILLING } else { 1 + usize::from(entry.has(Flag::Write)) },
        arguments,
    }
}

/// The containers among the families.
fn container_name(name: &str) -> &'static str {
    ["object", "xgroup", "xinfo"].into_iter().find(|known| *known == name).unwrap_or("object")
}

fn fills(name: &str) -> bool {
    const FILL: &[&str] = &[
        "set",
        "mset",
        "append",
        "rpush",
        "lpush",
        "sadd",
        "hset",
        "zadd",
        "xadd",
        "geoadd",
        "pfadd",
        "setbit",
        "bitfield",
        "xgroup|create",
        "expire",
        "xreadgroup",
    ];
    FILL.contains(&name)
}
