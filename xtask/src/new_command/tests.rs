//! Insertions into the real families' files, in memory.

use super::*;
use std::io::Write;
use std::process::Stdio;

fn tree() -> Tree {
    Tree::new(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"))
}

/// Formats a text with rustfmt; returns the text itself if rustfmt is not installed.
fn formatted(text: &str) -> String {
    let mut rustfmt = Command::new("rustfmt");
    rustfmt.args(["--edition", "2024", "--config", "max_width=100,use_small_heuristics=Max"]);
    let Ok(mut child) = rustfmt.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
        return text.to_string();
    };
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("rustfmt reads");
    let output = child.wait_with_output().expect("rustfmt ends");
    assert!(output.status.success(), "no Rust:\n{text}");
    String::from_utf8(output.stdout).expect("text")
}

/// Every line of the file on disk is still there, in order, imports, indentation and the ends of the
/// list of rows aside.
fn keeps_what_was_there(tree: &Tree, path: &str) {
    let Ok(before) = std::fs::read_to_string(tree.root.join(path)) else { return };
    let after = &tree.changed[path];
    let changes = |line: &str| {
        line.is_empty() || line == "}];" || ["use ", edit::ROWS].iter().any(|s| line.starts_with(s))
    };
    let code = before.lines().filter(|line| !changes(line));
    let mut rest = after.lines();
    for line in code {
        let kept = rest.any(|other| other.trim_start() == line.trim_start());
        assert!(kept, "{path} lost {line:?}:\n{after}");
    }
}

fn check(tree: &Tree) {
    for (path, text) in tree.changed.iter().filter(|(path, _)| path.ends_with(".rs")) {
        assert_eq!(*text, formatted(text), "{path} is not as rustfmt has it");
        keeps_what_was_there(tree, path);
    }
}

#[test]
fn every_family_takes_a_command() {
    let folder = tree().root.join(FAMILIES);
    let mut taken = 0;
    for entry in std::fs::read_dir(folder).expect("the families") {
        let path = entry.expect("an entry").path();
        let family = path.file_stem().and_then(|stem| stem.to_str()).expect("a name");
        let mut tree = tree();
        if family == "mod" || layout(&tree, family).is_err() {
            continue;
        }
        for name in ["aardvark", "mongoose", "zebra", "loop"] {
            scaffold(&mut tree, family, name).unwrap_or_else(|e| panic!("{family}: {e:#}"));
        }
        check(&tree);
        let rows: String = tree.changed.values().cloned().collect();
        for name in ["aardvark", "mongoose", "zebra", "loop"] {
            assert_eq!(rows.matches(&format!("name: \"{name}\"")).count(), 1, "{family}");
        }
        taken += 1;
    }
    assert!(taken > 5, "only {taken} families take commands");
}

#[test]
fn a_family_that_is_new_takes_one_and_then_another() {
    let mut tree = tree();
    scaffold(&mut tree, "nosuchfamily", "mongoose").expect("a new family");
    check(&tree);
    let file = &tree.changed["commands/src/nosuchfamily.rs"];
    assert!(file.contains("COMMANDS: &[Spec] = &[Spec {\n    name: \"mongoose\","), "{file}");
    let all = &tree.changed["commands/src/lib.rs"];
    assert!(all.contains("pub mod nosuchfamily;\n"), "{all}");
    assert!(all.contains("    nosuchfamily::COMMANDS,\n"), "{all}");
    scaffold(&mut tree, "nosuchfamily", "aardvark").expect("another command");
    check(&tree);
    let file = &tree.changed["commands/src/nosuchfamily.rs"];
    let at = |name: &str| file.find(&format!("        name: \"{name}\",\n")).expect("a row");
    assert!(at("aardvark") < at("mongoose"), "{file}");
}

#[test]
fn a_folder_gets_a_file_a_module_and_a_row() {
    let mut tree = tree();
    scaffold(&mut tree, "hash", "json.len").expect("a command");
    let changed: Vec<&str> = tree.changed.keys().map(String::as_str).collect();
    let expected = [
        "commands/src/hash/json_len.rs",
        "commands/src/hash/mod.rs",
        "commands/src/hash/rows.rs",
        "golden/scripts/hash/json_len.txt",
    ];
    assert_eq!(changed, expected);
    let rows = &tree.changed[expected[2]];
    assert!(rows.contains("        name: \"json.len\",\n"), "{rows}");
    assert!(rows.contains("        handler: json_len::json_len,\n"), "{rows}");
    assert!(tree.changed[expected[1]].contains("\nmod json_len;\n"));
    assert!(tree.changed[expected[3]].contains("\n# Commands: JSON.LEN\n@ours JSON.LEN k\n"));
}

#[test]
fn what_is_there_already_is_refused() {
    let mut twice = tree();
    scaffold(&mut twice, "string", "mongoose").expect("a command");
    assert!(scaffold(&mut twice, "string", "mongoose").is_err(), "the script is there");
    let root = tree().root;
    let existing = NewCommandArgs { family: "string".into(), name: "GET".into() };
    let error = run(&existing, &root).expect_err("GET exists");
    assert_eq!(error.to_string(), "there is a command named get already");
    for (family, name) in
        [("String", "x"), ("string", "a b"), ("loop", "x"), ("waiting", "x"), ("client_rows", "x")]
    {
        assert!(scaffold(&mut tree(), family, name).is_err(), "{family} {name}");
    }
}

#[test]
fn long_imports_are_broken_as_rustfmt_does() {
    let items: Vec<String> = (10..40).map(|n| format!("Imported{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let text = edit::import("engine::command", &items);
    assert_eq!(formatted(&text), text);
    let one = "//! File.\n\nuse super::b;\nuse std::fmt;\n";
    let added = edit::add_imports(one, "super", &["a"]);
    assert_eq!(added, "//! File.\n\nuse super::{a, b};\nuse std::fmt;\n");
    let none = edit::add_imports(one, "engine::cx", &["Cx"]);
    assert_eq!(none, "//! File.\n\nuse super::b;\nuse engine::cx::Cx;\nuse std::fmt;\n");
}
