//! Rules about the modules of a crate: which may import which, and how large their circles may be.

use super::allowed::{Measured, judge};
use super::dependencies::members;
use super::lexer;
use super::source::without_tests;
use super::tree::{File, Tree, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// Files of one circle: so many can still be read together.
const CIRCLE_MAX: usize = 8;

/// The folders of a crate's sources, each with the folders beside it that it may import. A folder
/// that is not listed may import any.
const DIRECTIONS: &[(&str, &str, &[&str])] = &[
    ("server", "system", &[]),
    ("server", "listening", &["system"]),
    ("server", "choices", &["system"]),
    ("server", "config", &["error"]),
    ("server", "persistence", &["config", "error", "system"]),
    ("server", "replication", &["config", "listening", "persistence", "system"]),
    (
        "server",
        "process",
        &["choices", "config", "error", "listening", "persistence", "replication", "system"],
    ),
    ("server", "lifecycle", &["choices", "config", "listening", "process"]),
];

/// A module's names from the crate's root; the root itself is empty.
type Module = Vec<String>;

/// Modules and the modules each of them uses.
type Graph = BTreeMap<Module, BTreeSet<Module>>;

/// No circle of modules that use each other is larger than a reader can hold in mind.
pub fn circles(tree: &Tree) -> Vec<Violation> {
    let found: Vec<Measured> =
        members(tree).iter().flat_map(|member| circles_of(tree, member)).collect();
    judge(tree, "circles", CIRCLE_MAX, &found)
}

/// Folders of a crate import each other only in the directions that are meant.
pub fn directions(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for member in members(tree) {
        let root = format!("{member}/src");
        let listed = DIRECTIONS.iter().filter(|(krate, _, _)| *krate == member);
        let listed: Vec<_> = listed.map(|(_, folder, allowed)| (*folder, *allowed)).collect();
        let graph = if listed.is_empty() { Graph::new() } else { graph(tree, &root) };
        for (module, used) in &graph {
            let folder = module.first().map_or("", String::as_str);
            let Some((_, allowed)) = listed.iter().find(|(name, _)| *name == folder) else {
                continue;
            };
            let others = used.iter().filter_map(|used| used.first());
            for other in others.filter(|other| *other != folder && !allowed.contains(&&***other)) {
                let what = format!("{folder} must not import {other}, only {allowed:?}");
                found.push(Violation::new(&path_of(tree, &root, module), 1, "directions", what));
            }
        }
    }
    found
}

/// A crate's circles; each is named by the folder that has all of it.
fn circles_of(tree: &Tree, member: &str) -> Vec<Measured> {
    let root = format!("{member}/src");
    let graph = graph(tree, &root);
    let circle = |circle: &BTreeSet<Module>| {
        let common = circle.iter().cloned().reduce(|a, b| common(&a, &b)).unwrap_or_default();
        let name = [std::slice::from_ref(&root), &common[..]].concat().join("/");
        let first = circle.first().expect("a circle has members");
        let names: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
        let what = format!("{} modules import each other: {}", names.len(), names.join(", "));
        let path = path_of(tree, &root, first);
        Measured { path, line: 1, name, size: circle.len(), what }
    };
    components(&graph).iter().map(circle).collect()
}

fn common(a: &[String], b: &[String]) -> Module {
    a.iter().zip(b).take_while(|(a, b)| a == b).map(|(a, _)| a.clone()).collect()
}

fn path_of(tree: &Tree, root: &str, module: &[String]) -> String {
    let mut files = sources(tree, root);
    let found = files.find(|file| module_of(root, &file.path) == module);
    found.map_or_else(|| root.to_string(), |file| file.path.clone())
}

/// A crate's files, without those that only tests are made of.
fn sources<'t>(tree: &'t Tree, root: &str) -> impl Iterator<Item = &'t File> {
    let folder = format!("{root}/");
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    tree.ending(".rs").filter(move |file| file.path.starts_with(&folder) && !is_test(&file.path))
}

fn module_of(root: &str, path: &str) -> Module {
    let inside = path[root.len() + 1..].trim_end_matches(".rs");
    let mut module: Module = inside.split('/').map(str::to_string).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    module
}

fn graph(tree: &Tree, root: &str) -> Graph {
    let modules: BTreeSet<Module> =
        sources(tree, root).map(|file| module_of(root, &file.path)).collect();
    let mut graph = Graph::new();
    for file in sources(tree, root) {
        let module = module_of(root, &file.path);
        let code = lexer::split(&file.text).code;
        let used = paths(without_tests(&code)).into_iter().filter_map(|path| {
            let used = resolve(&modules, &module, &path)?;
            (!used.is_empty() && used != module).then_some(used)
        });
        let used: BTreeSet<Module> = used.collect();
        graph.entry(module).or_default().extend(used);
    }
    graph
}

/// The module that a path of `module` leads to; `None` if it leads out of the crate.
fn resolve(modules: &BTreeSet<Module>, module: &[String], path: &[&str]) -> Option<Module> {
    let supers = path.iter().take_while(|word| **word == "super").count();
    let (mut at, rest) = match path[0] {
        "crate" => (Module::new(), &path[1..]),
        "self" => (module.to_vec(), &path[1..]),
        "super" => (module[..module.len().checked_sub(supers)?].to_vec(), &path[supers..]),
        _ => (module.to_vec(), path),
    };
    let inside = rest.first().is_some_and(|word| {
        let child = [&at[..], &[word.to_string()]].concat();
        modules.contains(&child)
    });
    if !inside && !matches!(path[0], "crate" | "self" | "super") {
        return None;
    }
    for word in rest {
        at.push(word.to_string());
        if !modules.contains(&at) {
            at.pop();
            break;
        }
    }
    Some(at)
}

/// Words, `::`, and single characters of what is neither.
fn tokens(code: &str) -> Vec<&str> {
    let mut tokens = Vec::new();
    let mut rest = code.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        let length = match word {
            0 if rest.starts_with("::") => 2,
            0 => first.len_utf8(),
            word => word,
        };
        let (token, tail) = rest.split_at(length);
        tokens.push(token);
        rest = tail.trim_start();
    }
    tokens
}

/// All paths of two words or more, groups (`a::{b, c}`) taken apart. What a module only passes on
/// (`pub use`) is no use of its own.
fn paths(code: &str) -> Vec<Vec<&str>> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let passes_on = tokens[at..].starts_with(&["pub", "use"]);
        let begins = is_word(tokens[at]) && tokens.get(at + 1) == Some(&"::");
        if passes_on {
            at += tokens[at..].iter().take_while(|token| **token != ";").count();
        } else if begins {
            at = path(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found.retain(|path| path.len() > 1);
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Reads a path, or a tree of them, at `at`; where it ends.
fn path<'c>(
    tokens: &[&'c str],
    mut at: usize,
    before: &[&'c str],
    found: &mut Vec<Vec<&'c str>>,
) -> usize {
    let mut words = before.to_vec();
    while at < tokens.len() && is_word(tokens[at]) {
        words.push(tokens[at]);
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
        if tokens.get(at) == Some(&"{") {
            at += 1;
            while at < tokens.len() && tokens[at] != "}" {
                at = match tokens[at] {
                    "as" => at + 2,
                    token if is_word(token) => path(tokens, at, &words, found),
                    _ => at + 1,
                };
            }
            return at + 1;
        }
    }
    found.push(words);
    at
}

/// Sets of modules, each of which reaches each other one; only those of two or more.
fn components(graph: &Graph) -> Vec<BTreeSet<Module>> {
    let reached: BTreeMap<&Module, BTreeSet<Module>> =
        graph.keys().map(|module| (module, reach(graph, module))).collect();
    let mut found: Vec<BTreeSet<Module>> = Vec::new();
    for (module, others) in &reached {
        let back = |other: &&Module| reached.get(other).is_some_and(|set| set.contains(*module));
        let circle: BTreeSet<Module> = others.iter().filter(back).cloned().collect();
        if circle.len() > 1 && !found.contains(&circle) {
            found.push(circle);
        }
    }
    found
}

fn reach(graph: &Graph, from: &Module) -> BTreeSet<Module> {
    let mut reached = BTreeSet::new();
    let mut waiting: Vec<&Module> = vec![from];
    while let Some(module) = waiting.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if reached.insert(next.clone()) {
                waiting.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::tree;
    use super::*;

    const ROOT: (&str, &str) = ("Cargo.toml", "[workspace]\nmembers = [\"x\"]\n");

    fn found(files: &[(&str, &str)]) -> Vec<BTreeSet<String>> {
        let tree = tree(files);
        let name = |circle: BTreeSet<Module>| circle.iter().map(|m| m.join("/")).collect();
        components(&graph(&tree, "x/src")).into_iter().map(name).collect()
    }

    #[test]
    fn paths_are_taken_apart() {
        let code =
            "use crate::a::{self, b::{C, d}, e as f}; pub use g::h; let x = super::i::J; k.l";
        let expected: [&[&str]; 5] = [
            &["crate", "a", "self"],
            &["crate", "a", "b", "C"],
            &["crate", "a", "b", "d"],
            &["crate", "a", "e"],
            &["super", "i", "J"],
        ];
        assert_eq!(paths(code), expected);
    }

    #[test]
    fn circles_are_found_whatever_the_way_a_path_is_written() {
        let files = [
            ("x/src/lib.rs", "mod a; mod b; mod c;"),
            ("x/src/a.rs", "use crate::{b::B};\n// crate::c::d\npub(super) fn f() {}"),
            ("x/src/b.rs", "fn f() { crate::c::d::g() }"),
            ("x/src/c/mod.rs", "mod d; pub use d::D; pub(crate) fn h() {}"),
            (
                "x/src/c/d.rs",
                "use super::super::a::A;\n\n#[cfg(test)]\nmod tests {\n use super::*; }",
            ),
            ("x/src/e.rs", "use crate::a::A;"),
        ];
        assert_eq!(found(&files), [BTreeSet::from(["a", "b", "c/d"].map(str::to_string))]);
        let child = [("x/src/a/mod.rs", "mod b; use b::B;"), ("x/src/a/b.rs", "use super::A;")];
        assert_eq!(found(&child), [BTreeSet::from(["a", "a/b"].map(str::to_string))]);
    }

    #[test]
    fn folders_are_imported_in_one_direction() {
        let judged = |path: &str, code: &str| {
            let root = ("Cargo.toml", "[workspace]\nmembers = [\"server\", \"x\"]\n");
            let there = ["persistence", "process", "config"];
            let there = there.map(|folder| (format!("server/src/{folder}/mod.rs"), ""));
            let mut files: Vec<_> = there.iter().map(|(p, t)| (p.as_str(), *t)).collect();
            files.extend([root, (path, code)]);
            directions(&tree(&files)).into_iter().map(|v| v.path).collect::<Vec<_>>()
        };
        let path = "server/src/persistence/saving.rs";
        assert_eq!(judged(path, "use crate::process::Process;"), [path]);
        assert_eq!(judged(path, "use crate::{process, config::Id};"), [path]);
        assert_eq!(
            judged(path, "use super::X; use crate::config::Id; std::process::id()"),
            [""; 0]
        );
        assert_eq!(judged("server/src/process/a.rs", "use crate::persistence::X;"), [""; 0]);
        assert_eq!(judged("x/src/persistence/a.rs", "use crate::process::X;"), [""; 0]);
    }

    #[test]
    fn a_large_circle_is_named_by_its_folder() {
        let ring = |n: usize| {
            let file = move |i: usize| {
                let text = format!("use super::m{}::X;", (i + 1) % n);
                (format!("x/src/f/m{i}.rs"), text)
            };
            (0..n).map(file).collect::<Vec<_>>()
        };
        let judged = |n: usize, list: &str| {
            let ring = ring(n);
            let mut files: Vec<_> = ring.iter().map(|(p, t)| (p.as_str(), t.as_str())).collect();
            files.extend([ROOT, ("ci/tidy.toml", list)]);
            circles(&tree(&files)).into_iter().map(|v| v.path).collect::<Vec<_>>()
        };
        assert_eq!(judged(CIRCLE_MAX, ""), [""; 0]);
        assert_eq!(judged(CIRCLE_MAX + 1, ""), ["x/src/f/m0.rs"]);
        assert_eq!(judged(CIRCLE_MAX + 1, "[circles]\n\"x/src/f\" = 9\n"), [""; 0]);
    }
}
