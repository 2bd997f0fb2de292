//! Every row of the command table is asked for by some golden script.

use engine::command::{CommandTable, Entry};
use golden::{Action, Script, scripts_under};
use std::collections::BTreeSet;
use std::path::Path;

/// What no script can ask for, with reasons.
const WITHOUT: &[(&str, &str)] = &[
    ("save", "writes files, and an engine in a script has none"),
    ("bgrewriteaof", "writes files, and an engine in a script has none"),
    ("sync", "a real Redis takes the client for a replica and sends no reply"),
    ("psync", "a real Redis takes the client for a replica and sends no reply"),
];

/// The words every script sends, as far as they may name a command: `get`, `client|id`.
fn asked_for() -> BTreeSet<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let names = scripts_under(&root).expect("the scripts are readable");
    let scripts = names.iter().map(|name| Script::read(&root, name).expect("a script"));
    let mut asked = BTreeSet::new();
    for action in scripts.flat_map(|script| script.steps).filter_map(|step| step.action) {
        let Action::Send { args, .. } = action else { continue };
        let word = |index: usize| args.get(index).map(|arg| arg.to_ascii_lowercase());
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let Some(name) = word(0).map(text) else { continue };
        asked.extend(word(1).map(text).map(|sub| format!("{name}|{sub}")));
        asked.insert(name);
    }
    asked
}

#[test]
fn every_command_has_a_golden_script() {
    let table = CommandTable::new(commands::all()).expect("no name twice");
    let asked = asked_for();
    let excused = |entry: &Entry| WITHOUT.iter().any(|(name, _)| *name == entry.full_name);
    let missing: Vec<&str> = table
        .entries()
        .iter()
        .filter(|entry| !asked.contains(&entry.full_name) && !excused(entry))
        .map(|entry| entry.full_name.as_str())
        .collect();
    assert!(missing.is_empty(), "no golden script asks for: {}", missing.join(", "));
}
