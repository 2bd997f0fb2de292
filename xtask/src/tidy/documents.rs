//! Rules about documents: that they exist, that they mention all crates, and that their links are
//! valid.

use super::dependencies::{members, package};
use super::tree::{File, Tree, Violation};

/// ARCHITECTURE.md names every crate of the workspace.
pub fn architecture(tree: &Tree) -> Vec<Violation> {
    let name = "ARCHITECTURE.md";
    let Some(file) = tree.file(name) else { return vec![missing(name)] };
    let words: Vec<&str> =
        file.text.split(|c: char| !c.is_alphanumeric() && c != '-' && c != '_').collect();
    let packages = members(tree).into_iter().map(|member| package(&member));
    let unnamed = packages.filter(|package| !words.contains(&package.as_str()));
    unnamed
        .map(|member| {
            Violation::new(name, 1, "architecture", format!("does not mention the crate {member}"))
        })
        .collect()
}

/// There is a CHANGELOG.md.
pub fn changelog(tree: &Tree) -> Vec<Violation> {
    let name = "CHANGELOG.md";
    if tree.exists(name) { Vec::new() } else { vec![missing(name)] }
}

fn missing(name: &str) -> Violation {
    Violation::new(name, 1, "documents", "there is no such file")
}

/// A golden script says in its first line what it shows, and its answers stand beside it.
pub fn scripts(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".txt").filter(|file| file.path.starts_with("golden/scripts/")) {
        let first = file.text.lines().next().unwrap_or_default();
        if !first.strip_prefix("# ").is_some_and(|text| text.trim().contains(' ')) {
            let what = "the first line does not say what the script shows";
            found.push(Violation::new(&file.path, 1, "scripts", what));
        }
        let answers = file.path.replace(".txt", ".snap");
        if !tree.exists(&answers) {
            found.push(Violation::new(&file.path, 1, "scripts", format!("there is no {answers}")));
        }
    }
    found
}

/// Documents whose commands CI runs (`ci/docs.sh`).
const RUN: &[&str] = &["README.md", "CONTRIBUTING.md", "docs/cluster.md", "golden/README.md"];

/// Every fenced block names its language, so that CI can run the commands, and no command is in a
/// block that is merely indented.
pub fn commands(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in RUN.iter().filter_map(|path| tree.file(path)) {
        let mut inside = false;
        for (index, line) in file.text.lines().enumerate() {
            let text = line.trim_start();
            let what = match text.strip_prefix("```") {
                Some("") if !inside => Some("a block that does not say what it holds"),
                Some(_) => None,
                None if inside || line.len() < text.len() + 4 => None,
                None => ["cargo ", "redis-cli "]
                    .iter()
                    .any(|program| text.starts_with(program))
                    .then_some("a command outside of a block for `sh`"),
            };
            inside ^= text.starts_with("```");
            found.extend(what.map(|what| Violation::new(&file.path, index + 1, "commands", what)));
        }
    }
    found
}

/// Code in a document that says where it is from (`rust from PATH`) stands there word for word.
pub fn code(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".md") {
        let mut lines = file.text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            let Some((indent, path)) = line.split_once("```rust from ") else { continue };
            let block = lines.by_ref().map(|(_, line)| line.strip_prefix(indent).unwrap_or(line));
            let block: Vec<&str> = block.take_while(|line| !line.starts_with("```")).collect();
            let block = block.join("\n") + "\n";
            if !tree.file(path).is_some_and(|source| source.text.contains(&block)) {
                let what = format!("this code is not in {path}");
                found.push(Violation::new(&file.path, index + 1, "code", what));
            }
        }
    }
    found
}

/// A crate's documentation names each of its modules, so that a reader finds the way from there.
pub fn modules(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let programs = tree.ending("src/main.rs");
    for file in tree.ending("src/lib.rs").chain(programs) {
        let lines = || file.text.lines();
        let told: String = lines().filter(|line| line.starts_with("//!")).collect();
        for (index, line) in lines().enumerate() {
            let name = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ");
            let name = name.strip_prefix("mod ").and_then(|name| name.strip_suffix(';'));
            let Some(name) = name.filter(|name| !name.ends_with("tests")) else { continue };
            if !told.contains(&format!("`{name}`")) {
                let what = format!("the crate's documentation does not mention the module {name}");
                found.push(Violation::new(&file.path, index + 1, "modules", what));
            }
        }
    }
    found
}

/// Links between files lead to files.
pub fn links(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".md") {
        for (line, target) in targets(file) {
            if !tree.exists(&resolve(&file.path, &target)) {
                let what = format!("no file {target}");
                found.push(Violation::new(&file.path, line, "links", what));
            }
        }
    }
    found
}

/// Line and target of every link to a file, outside of code blocks.
fn targets(file: &File) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut in_code = false;
    for (index, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        }
        if in_code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            let Some((target, _)) = rest.split_once(')') else { continue };
            let path = target.split_whitespace().next().unwrap_or("");
            let path = path.split('#').next().unwrap_or("");
            let elsewhere = path.contains("://") || path.starts_with("mailto:");
            if !path.is_empty() && !elsewhere {
                found.push((index + 1, path.to_string()));
            }
        }
    }
    found
}

/// `target` as seen from the file at `from`, from the project's root.
fn resolve(from: &str, target: &str) -> String {
    let folder = from.rsplit_once('/').map_or("", |(folder, _)| folder);
    let start = if target.starts_with('/') { "" } else { folder };
    let mut parts: Vec<&str> = Vec::new();
    for part in start.split('/').chain(target.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::{lines, tree};
    use super::*;

    #[test]
    fn a_crate_the_architecture_does_not_know_is_found() {
        let root = ("Cargo.toml", "[workspace]\nmembers = [\"resp\", \"runtime\"]\n");
        let with = |text| architecture(&tree(&[root, ("ARCHITECTURE.md", text)])).len();
        assert_eq!(with("`resp/` and `runtime`"), 0);
        assert_eq!(with("`resp/` and `runtime-epoll`"), 1);
        assert_eq!(architecture(&tree(&[root])).len(), 1);
    }

    #[test]
    fn modules_that_a_crate_does_not_mention_are_found() {
        let found = |text| modules(&tree(&[("resp/src/lib.rs", text)])).len();
        assert_eq!(found("//! | `reply` | replies |\n\nmod reply;\nmod tests;\n"), 0);
        assert_eq!(found("//! Replies.\n\nmod reply;\npub mod parser;\n"), 2);
        let program = tree(&[("xtask/src/main.rs", "//! A program.\n\nmod reply;\n")]);
        assert_eq!(modules(&program).len(), 1);
    }

    #[test]
    fn a_missing_changelog_is_found() {
        assert_eq!(changelog(&tree(&[])).len(), 1);
        assert!(changelog(&tree(&[("CHANGELOG.md", "")])).is_empty());
    }

    #[test]
    fn golden_scripts_say_what_they_show_and_have_answers() {
        let found = |text: &str, answers: &str| {
            let files = [("golden/scripts/list/a.txt", text), (answers, "")];
            scripts(&tree(&files)).len()
        };
        assert_eq!(found("# What it shows.\nPING\n", "golden/scripts/list/a.snap"), 0);
        assert_eq!(found("PING\n", "golden/scripts/list/a.snap"), 1);
        assert_eq!(found("#\nPING\n", "golden/scripts/list/b.snap"), 2);
        assert!(scripts(&tree(&[("ci/requirements.txt", "x")])).is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let text = "[a](b.md#x) [up](../README.md)\n[no](gone.md)\n```\n[c](gone.md)\n```\n\
                    [web](https://x.y/z) [here](#part) [folder](../docs/)\n[out](../../x)\n";
        let files = [("docs/a.md", text), ("docs/b.md", ""), ("README.md", "")];
        let lines: Vec<usize> = links(&tree(&files)).iter().map(|v| v.line).collect();
        assert_eq!(lines, [2, 7]);
    }

    #[test]
    fn code_that_has_changed_is_found() {
        let found = |document: &str, source: &str| {
            code(&tree(&[("A.md", document), ("a/src/lib.rs", source)])).len()
        };
        let document =
            "1. So:\n\n   ```rust from a/src/lib.rs\n   fn f() {\n       g();\n   }\n   ```\n";
        assert_eq!(found(document, "//! F.\n\nfn f() {\n    g();\n}\n"), 0);
        assert_eq!(found(document, "//! F.\n\nfn f() {\n    h();\n}\n"), 1);
        assert_eq!(found("```rust from a/b.rs\nx\n```\n", "x\n"), 1);
        assert_eq!(found("```rust\nx\n```\n", "y\n"), 0);
    }

    #[test]
    fn commands_are_in_blocks_that_are_run() {
        let found = |text: &str| lines(commands, "README.md", text);
        assert_eq!(found("```sh\ncargo test\n```\n```text\nx\n```\n"), [0; 0]);
        assert_eq!(found("```\ncargo test\n```\n"), [1]);
        assert_eq!(found("1. So:\n\n       cargo test\n"), [3]);
        assert_eq!(found("   ```sh no-run: because\n   cargo test\n   ```\n"), [0; 0]);
        assert_eq!(lines(commands, "docs/a.md", "```\n```\n"), [0; 0]);
    }
}
