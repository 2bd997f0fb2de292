//! The directives' part of `--help`, made from the registry.

use engine::config::rows::SECTIONS;
use engine::config::{ConfigStore, Directive, Effect, Id, Kind};
use std::fmt::Write;

/// The directives that most servers set.
const FIRST: &[Id] = &[
    Id::Port,
    Id::Bind,
    Id::Unixsocket,
    Id::Maxclients,
    Id::Requirepass,
    Id::Maxmemory,
    Id::MaxmemoryPolicy,
    Id::Dir,
    Id::Appendonly,
    Id::Appendfsync,
    Id::Save,
    Id::Replicaof,
    Id::TlsPort,
    Id::Loglevel,
    Id::Logfile,
    Id::Runtime,
    Id::Threads,
    Id::Storage,
    Id::AdminPort,
    Id::WebsocketPort,
];

/// The directives that most servers set, by topic, with values, meaning and default.
pub(super) fn first_directives() -> String {
    let head = "The directives that most servers set, as options or in a file (all: --help-all):\n";
    head.to_owned() + &sections(|row| FIRST.contains(&row.id))
}

fn sections(is_shown: impl Fn(&Directive) -> bool) -> String {
    let store = ConfigStore::new();
    let mut help = String::new();
    for section in SECTIONS {
        let shown = section.directives.iter().filter(|row| is_shown(row));
        let lines: Vec<String> = shown.map(|row| line(row, &store)).collect();
        if !lines.is_empty() {
            // Writing to a String cannot fail.
            let _ = write!(help, "\n{}:\n{}", section.title, lines.concat());
        }
    }
    help
}

/// All directives; those without effect only by name.
pub(super) fn directives() -> String {
    let mut help = String::from("Directives, as options or in a file:\n");
    help.push_str(&sections(|row| row.effect == Effect::Applied));
    help.push_str("\nKept without effect, so that files made for Redis work: ");
    let kept = |row: &&Directive| row.effect == Effect::Kept && !row.hidden;
    let names: Vec<_> = engine::config::all().filter(kept).map(|row| row.name).collect();
    help + &names.join(", ")
}

fn line(row: &Directive, store: &ConfigStore) -> String {
    let option = format!("--{} <{}>", row.name, values(row.kind));
    let default = match store.text(row.id) {
        text if text.is_empty() => String::new(),
        text => format!(" [{text}]"),
    };
    format!("  {option}\n      {}{default}\n", row.summary)
}

/// The values that a kind accepts, in few letters.
pub(super) fn values(kind: Kind) -> String {
    let names = |names: &[(&str, i64)], separator| {
        names.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(separator)
    };
    match kind {
        Kind::YesNo => "yes|no".into(),
        Kind::Integer { .. } | Kind::ZeroOr { .. } => "number".into(),
        Kind::Memory { .. } => "bytes".into(),
        Kind::MemoryOrPercent => "bytes or percent%".into(),
        Kind::Octal { .. } => "octal".into(),
        Kind::Choice(choices) => names(choices, "|"),
        Kind::Flags(bits) => names(bits, " "),
        Kind::Text(_) => "text".into(),
        Kind::Grammar(_) => "words".into(),
    }
}
