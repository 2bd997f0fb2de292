//! Rules about manifests: which crate may depend on which, and that each dependency has a reason.

use super::lexer;
use super::tree::{File, Tree, Violation};
use toml::{Table, Value};

/// The workspace crates that each crate may depend on; a crate that is not listed may depend on
/// any. Only crates that choose a backend may depend on one.
const DIRECTIONS: &[(&str, &[&str])] = &[
    ("resp", &[]),
    ("runtime", &["resp"]),
    ("storage-rdb", &["resp"]),
    ("storage", &["resp", "storage-rdb"]),
    ("storage-memory", &["storage"]),
    ("storage-ordered", &["storage"]),
    ("storage-aof", &["resp", "storage"]),
    ("tls", &["resp", "runtime"]),
    ("lua", &[]),
    ("script", &["lua", "resp"]),
    ("replication", &["resp"]),
    ("consensus", &[]),
    ("member", &["consensus", "engine", "resp", "runtime", "storage"]),
    (
        "sim",
        &[
            "commands",
            "consensus",
            "engine",
            "member",
            "resp",
            "runtime",
            "storage",
            "storage-memory",
        ],
    ),
    ("engine", &["replication", "resp", "runtime", "script", "storage"]),
    ("commands", &["engine", "resp", "runtime", "script", "storage"]),
    ("cluster", &["consensus", "engine", "member", "runtime"]),
    ("admin", &["engine", "resp", "runtime"]),
    ("otel", &["runtime"]),
    ("websocket", &["resp", "runtime"]),
    ("capture", &["commands", "engine", "resp"]),
    ("golden", &["commands", "engine", "resp", "runtime", "storage", "storage-memory"]),
];

/// Adapters, by the beginning of their name.
const RUNTIMES: (&str, &[&str]) = ("runtime-", &["resp", "runtime"]);

/// Crates that do no input, output or scheduling of their own.
const SANS_IO: &[&str] = &["engine", "commands", "replication", "consensus", "member", "sim"];

/// Crates that would let the engine do its own input, output or scheduling.
const BANNED_IN_ENGINE: &[&str] = &["tokio", "mio", "crossbeam", "rayon", "socket2", "rand"];

/// Dependencies point the way ARCHITECTURE.md draws them.
pub fn directions(tree: &Tree) -> Vec<Violation> {
    let members = members(tree);
    let packages: Vec<String> = members.iter().map(|member| package(member)).collect();
    let mut found = Vec::new();
    for member in &members {
        let Some(file) = tree.file(&format!("{member}/Cargo.toml")) else { continue };
        for dependency in dependencies(file) {
            if let Some(what) = objection(&package(member), &dependency, &packages) {
                let line = line_of(&file.text, &dependency);
                found.push(Violation::new(&file.path, line, "directions", what));
            }
        }
    }
    found
}

/// The name of the crate in a folder: `storage/memory` is `storage-memory`.
pub fn package(member: &str) -> String {
    member.replace('/', "-")
}

/// The objection to the crate `member` depending on `dependency`, if there is one.
fn objection(member: &str, dependency: &str, members: &[String]) -> Option<String> {
    let banned = |name: &&&str| dependency == **name || dependency.starts_with(&format!("{name}-"));
    if SANS_IO.contains(&member) && BANNED_IN_ENGINE.iter().any(|name| banned(&name)) {
        return Some(format!("{member} is sans-IO: it must not depend on {dependency}"));
    }
    if dependency == "async-trait" && !["admin", "cluster", "server"].contains(&member) {
        return Some(
            "async-trait is for cold seams only: those of the server, the admin port, and between nodes"
                .to_string(),
        );
    }
    if dependency == "raft" && member != "consensus" {
        return Some("only consensus knows the crate raft".to_string());
    }
    if dependency == "sim" && member != "xtask" {
        return Some("sim is for xtask and tests only".to_string());
    }
    let allowed = match DIRECTIONS.iter().find(|(name, _)| *name == member) {
        Some((_, allowed)) => allowed,
        None if member.starts_with(RUNTIMES.0) => &RUNTIMES.1,
        None => return None,
    };
    let inside = members.iter().any(|name| name == dependency);
    (inside && !allowed.contains(&dependency))
        .then(|| format!("{member} must not depend on {dependency}, only on {allowed:?}"))
}

/// Every third-party dependency says in a comment what it is needed for.
pub fn reasons(tree: &Tree) -> Vec<Violation> {
    let Some(root) = tree.file("Cargo.toml") else { return Vec::new() };
    let mut found = Vec::new();
    let mut inside = false;
    for (index, line) in root.text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line.trim() == "[workspace.dependencies]";
        } else if inside && !line.starts_with('#') && line.contains('=') && !line.contains("path =")
        {
            let reason = line.rsplit_once('#').map_or("", |(_, reason)| reason.trim());
            if reason.is_empty() {
                let what = "a dependency without a comment saying why";
                found.push(Violation::new(&root.path, index + 1, "reasons", what));
            }
        }
    }
    found
}

/// A dependency is used by the crate that names it: in the sources it is built from, or, where only
/// tests have it, anywhere in the crate.
pub fn unused(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for member in members(tree) {
        let Some(file) = tree.file(&format!("{member}/Cargo.toml")) else { continue };
        let code = |folders: &[&str]| -> Vec<String> {
            let inside = |path: &str| folders.iter().any(|folder| path.starts_with(folder));
            let files = tree.ending(".rs").filter_map(|file| {
                let path = file.path.strip_prefix(&format!("{member}/"))?;
                inside(path).then(|| lexer::split(&file.text).code)
            });
            files.collect()
        };
        let kinds: [(&str, &[&str]); 3] = [
            ("dependencies", &["src/"]),
            ("build-dependencies", &["build.rs"]),
            ("dev-dependencies", &["src/", "tests/", "benches/", "examples/"]),
        ];
        for (kind, folders) in kinds {
            let code = code(folders);
            for name in of_kind(file, kind) {
                let word = name.replace('-', "_");
                if !code.iter().any(|code| names(code, &word)) {
                    let what = format!("{name} is in {kind}, and nothing there uses it");
                    found.push(Violation::new(
                        &file.path,
                        line_of(&file.text, &name),
                        "unused",
                        what,
                    ));
                }
            }
        }
    }
    found
}

/// Whether `code` contains `word` as a whole word.
fn names(code: &str, word: &str) -> bool {
    let letter = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        !code[..at].ends_with(letter) && !code[at + word.len()..].starts_with(letter)
    })
}

/// The members of the workspace, in the order of the root manifest.
pub fn members(tree: &Tree) -> Vec<String> {
    let manifest = tree.file("Cargo.toml").and_then(|file| file.text.parse::<Table>().ok());
    let list = manifest.as_ref().and_then(|m| m.get("workspace")?.get("members")?.as_array());
    let names = list.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_string).collect()
}

/// The dependencies with which a crate is built. Those of its tests are not restricted.
fn dependencies(file: &File) -> Vec<String> {
    ["dependencies", "build-dependencies"].iter().flat_map(|kind| of_kind(file, kind)).collect()
}

/// The names in a manifest's tables of one kind, including those for particular targets.
fn of_kind(file: &File, kind: &str) -> Vec<String> {
    let Ok(manifest) = file.text.parse::<Table>() else { return Vec::new() };
    let targets = manifest.get("target").and_then(Value::as_table);
    let targets = targets.into_iter().flat_map(|table| table.values()).filter_map(Value::as_table);
    let tables = std::iter::once(&manifest).chain(targets);
    tables
        .filter_map(|table| table.get(kind)?.as_table())
        .flat_map(|table| table.keys().cloned())
        .collect()
}

fn line_of(text: &str, dependency: &str) -> usize {
    let starts = |line: &str| {
        let rest = line.trim_start().strip_prefix(dependency);
        rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
    };
    text.lines().position(starts).map_or(1, |index| index + 1)
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::tree;
    use super::*;

    const ROOT: &str = "[workspace]\nmembers = [\"resp\", \"engine\", \"runtime-x\", \"server\", \"consensus\", \"member\", \"cluster\", \"storage\", \"storage/memory\"]\n";

    fn objections(path: &str, manifest: &str) -> Vec<usize> {
        let tree = tree(&[("Cargo.toml", ROOT), (path, manifest)]);
        directions(&tree).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn dependencies_against_the_grain_are_found() {
        let on = |name: &str| format!("[dependencies]\nbytes = \"1\"\n{name}.workspace = true\n");
        assert_eq!(objections("resp/Cargo.toml", &on("engine")), [3]);
        assert_eq!(objections("runtime-x/Cargo.toml", &on("engine")), [3]);
        assert_eq!(objections("engine/Cargo.toml", &on("server")), [3]);
        assert!(objections("engine/Cargo.toml", &on("resp")).is_empty());
        assert!(objections("server/Cargo.toml", &on("engine")).is_empty());
        assert_eq!(objections("storage/Cargo.toml", &on("storage-memory")), [3]);
        assert_eq!(objections("engine/Cargo.toml", &on("storage-memory")), [3]);
        assert_eq!(objections("storage/memory/Cargo.toml", &on("engine")), [3]);
        assert!(objections("storage/memory/Cargo.toml", &on("storage")).is_empty());
        let test = "[dev-dependencies]\nengine.workspace = true\n";
        assert!(objections("resp/Cargo.toml", test).is_empty());
    }

    #[test]
    fn the_engine_stays_sans_io_and_async_trait_at_cold_seams() {
        let on = |name: &str| format!("[dependencies]\n{name} = \"1\"\n");
        assert_eq!(objections("engine/Cargo.toml", &on("tokio")), [2]);
        assert_eq!(objections("engine/Cargo.toml", &on("crossbeam-channel")), [2]);
        assert!(objections("engine/Cargo.toml", &on("miow")).is_empty());
        assert_eq!(objections("resp/Cargo.toml", &on("async-trait")), [2]);
        assert!(objections("server/Cargo.toml", &on("async-trait")).is_empty());
        assert!(objections("cluster/Cargo.toml", &on("async-trait")).is_empty());
        assert_eq!(objections("member/Cargo.toml", &on("async-trait")), [2]);
        assert_eq!(objections("server/Cargo.toml", &on("raft")), [2]);
        assert!(objections("consensus/Cargo.toml", &on("raft")).is_empty());
        assert_eq!(objections("consensus/Cargo.toml", &on("rand")), [2]);
        assert_eq!(objections("server/Cargo.toml", &on("sim")), [2]);
        let target = "[target.'cfg(unix)'.dependencies]\nmio = \"1\"\n";
        assert_eq!(objections("engine/Cargo.toml", target), [2]);
    }

    #[test]
    fn a_dependency_that_nothing_uses_is_found() {
        let manifest = "[dependencies]\na-b.workspace = true\nc = \"1\"\n[dev-dependencies]\nd = \"1\"\n\
                        [build-dependencies]\ncc = \"1\"\n";
        let lines = |source: &str, test: &str| -> Vec<usize> {
            let files = [
                ("Cargo.toml", ROOT),
                ("resp/Cargo.toml", manifest),
                ("resp/src/lib.rs", source),
                ("resp/tests/t.rs", test),
                ("resp/build.rs", "cc::Build::new()"),
                ("engine/src/lib.rs", "use c::x;"),
            ];
            unused(&tree(&files)).into_iter().map(|violation| violation.line).collect()
        };
        assert_eq!(lines("use a_b::X; c::f()", "use d::x;"), [0; 0]);
        assert_eq!(lines("use a_b::X; // c::f()", "use d::x; c::f()"), [3]);
        assert_eq!(lines("use a_bc::X; ac::f(); c!()", ""), [2, 5]);
    }

    #[test]
    fn a_dependency_without_reason_is_found() {
        let lines = |text: &str| -> Vec<usize> {
            let text = format!("[workspace.dependencies]\n{text}\n[profile.dev]\ndebug = 1\n");
            reasons(&tree(&[("Cargo.toml", &text)])).into_iter().map(|v| v.line).collect()
        };
        assert_eq!(lines("a = \"1\" # because\nb = \"1\"\nc = \"1\" #"), [3, 4]);
        assert!(
            lines("# above\na = { version = \"1\" } # because\nb = { path = \"b\" }").is_empty()
        );
    }
}
