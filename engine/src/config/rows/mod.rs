//! The rows of the registry, by topic. A directive's place in these files is its place in `--help`.

use super::{Directive, Id};
use std::collections::BTreeMap;
use std::sync::OnceLock;

mod bounds;
mod clients;
mod cluster;
mod general;
mod memory;
mod network;
mod observability;
mod persistence;
mod replication;
mod scripting;
mod security;
mod tls;
mod types;
mod varve;

/// The directives of one topic.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// Heading in `--help` and the docs.
    pub title: &'static str,
    /// Its rows.
    pub directives: &'static [Directive],
}

/// All directives, by topic.
pub static SECTIONS: &[Section] = &[
    Section { title: "Varve", directives: varve::ROWS },
    Section { title: "Network", directives: network::ROWS },
    Section { title: "Clients and limits", directives: clients::ROWS },
    Section { title: "Security", directives: security::ROWS },
    Section { title: "General", directives: general::ROWS },
    Section { title: "Memory", directives: memory::ROWS },
    Section { title: "Data types", directives: types::ROWS },
    Section { title: "Scripting and events", directives: scripting::ROWS },
    Section { title: "Slow log and latency", directives: observability::ROWS },
    Section { title: "Persistence", directives: persistence::ROWS },
    Section { title: "Replication", directives: replication::ROWS },
    Section { title: "Cluster", directives: cluster::ROWS },
    Section { title: "TLS", directives: tls::ROWS },
];

/// All directives, in the order of the sections.
pub fn all() -> impl Iterator<Item = &'static Directive> {
    SECTIONS.iter().flat_map(|section| section.directives)
}

/// The row of an [`Id`].
pub fn by_id(id: Id) -> &'static Directive {
    static TABLE: OnceLock<Vec<&'static Directive>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut rows: Vec<_> = all().collect();
        // A test proves that every id has exactly one row, so position and id agree.
        rows.sort_by_key(|directive| directive.id as usize);
        rows
    })[id as usize]
}

/// All names, aliases too, in alphabetical order, each with its directive.
pub fn names() -> impl Iterator<Item = (&'static str, &'static Directive)> {
    index().iter().map(|(name, directive)| (*name, *directive))
}

/// Finds a directive by name or alias, whatever the case: the name as written in the registry, and
/// its row.
pub fn lookup(name: &str) -> Option<(&'static str, &'static Directive)> {
    let found = index().get_key_value(name.to_ascii_lowercase().as_str());
    found.map(|(name, directive)| (*name, *directive))
}

fn index() -> &'static BTreeMap<&'static str, &'static Directive> {
    static INDEX: OnceLock<BTreeMap<&'static str, &'static Directive>> = OnceLock::new();
    INDEX.get_or_init(|| {
        let named = |row: &'static Directive| {
            std::iter::once(&row.name).chain(row.aliases).map(move |name| (*name, row))
        };
        all().flat_map(named).collect()
    })
}
