//! Every row of the command table has a golden script that is about it.

use engine::command::{CommandEntry, CommandTable};
use golden::{Script, scripts_under};
use std::collections::BTreeSet;
use std::path::Path;

/// The commands that no script can run, each with the reason.
const WITHOUT: &[(&str, &str)] = &[
    ("save", "writes files, and an engine in a script has none"),
    ("bgrewriteaof", "writes files, and an engine in a script has none"),
    ("sync", "a real Redis takes the client for a replica and sends no reply"),
    ("psync", "a real Redis takes the client for a replica and sends no reply"),
];

fn scripts() -> Vec<Script> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let names = scripts_under(&root).expect("the scripts are readable");
    names.iter().map(|name| Script::read(&root, name).expect("a script")).collect()
}

/// A command that a script merely uses, to have something there, say, is not shown by it.
#[test]
fn every_command_is_the_subject_of_a_golden_script() {
    let table = CommandTable::new(commands::all()).expect("no name twice");
    let subjects: BTreeSet<String> = scripts().iter().flat_map(Script::subjects).collect();
    let excused = |entry: &CommandEntry| WITHOUT.iter().any(|(name, _)| *name == entry.full_name);
    let missing: Vec<&str> = table
        .entries()
        .iter()
        .filter(|entry| !subjects.contains(&entry.full_name) && !excused(entry))
        .map(|entry| entry.full_name.as_str())
        .collect();
    assert!(missing.is_empty(), "the subject of no golden script: {}", missing.join(", "));
}

#[test]
fn a_script_asks_for_what_it_is_about() {
    let table = CommandTable::new(commands::all()).expect("no name twice");
    let names: BTreeSet<&str> = table.entries().iter().map(|e| e.full_name.as_str()).collect();
    for script in scripts() {
        let sent: BTreeSet<String> = script.sent().collect();
        for subject in script.subjects() {
            assert!(names.contains(&*subject), "{}: there is no command {subject}", script.name);
            assert!(sent.contains(&subject), "{}: {subject} is never sent", script.name);
        }
    }
}
