//! Rules about the modules of a crate: which may import which, and how large their circles may be.

use super::allowed::{Measured, judge};
use super::dependencies::members;
use super::imports::{self, Import, Names};
use super::lexer;
use super::tree::{File, Tree, Violation};
use std::collections::{BTreeMap, BTreeSet};

/// Files of one circle: so many can still be read together.
const CIRCLE_MAX: usize = 8;

/// The folders of a crate's sources, each with the folders beside it that it may import. A folder
/// that is not listed may import any.
const DIRECTIONS: &[(&str, &str, &[&str])] = &[
    ("server", "error", &["config"]),
    ("server", "system", &[]),
    ("server", "listening", &["error", "system"]),
    ("server", "choices", &["error", "system"]),
    ("server", "config", &[]),
    ("server", "persistence", &["config", "error", "system"]),
    ("server", "replication", &["config", "listening", "persistence", "system"]),
    (
        "server",
        "process",
        &["choices", "config", "error", "listening", "persistence", "replication", "system"],
    ),
    ("server", "lifecycle", &["choices", "config", "error", "listening", "process", "system"]),
];

/// The number of modules through which a name is followed to its definition.
const FOLLOWED_MAX: usize = 12;

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

/// Every source file is a module of its crate: one that nothing names is not compiled, and whoever changes it
/// changes nothing.
pub fn orphans(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for member in members(tree) {
        let root = format!("{member}/src/");
        for file in tree.ending(".rs").filter(|file| file.path.starts_with(&root)) {
            if !is_named(tree, file, &root) {
                let what = "no module names this file: it is not compiled";
                found.push(Violation::new(&file.path, 1, "orphans", what));
            }
        }
    }
    found
}

fn is_named(tree: &Tree, file: &File, root: &str) -> bool {
    let path = file.path.strip_suffix("/mod.rs").or_else(|| file.path.strip_suffix(".rs"));
    let Some((folder, name)) = path.and_then(|path| path.rsplit_once('/')) else { return true };
    let is_root = ["lib", "main"].contains(&name) || file.path.starts_with(&format!("{root}bin/"));
    let declared = format!("mod {name};");
    let parents = ["/mod.rs", "/lib.rs", "/main.rs", ".rs"].map(|end| format!("{folder}{end}"));
    let by_name = parents.iter().filter_map(|parent| tree.file(parent));
    let by_path = format!("/{name}.rs\"]");
    is_root
        || by_name.into_iter().any(|parent| lexer::split(&parent.text).code.contains(&declared))
        || tree.ending(".rs").any(|other| {
            other.text.contains(&by_path) || other.text.contains(&format!("path = \"{name}.rs\"]"))
        })
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
    let found = files.find(|file| module_of(tree, root, &file.path) == module);
    found.map_or_else(|| root.to_string(), |file| file.path.clone())
}

/// A crate's files, without those that only tests are made of.
fn sources<'t>(tree: &'t Tree, root: &str) -> impl Iterator<Item = &'t File> {
    let folder = format!("{root}/");
    let is_test = |path: &str| path.ends_with("/tests.rs") || path.contains("/tests/");
    tree.ending(".rs").filter(move |file| file.path.starts_with(&folder) && !is_test(&file.path))
}

/// The module in a file. A program beside a library is a module of its own, which uses nothing of this crate.
fn module_of(tree: &Tree, root: &str, path: &str) -> Module {
    let inside = path[root.len() + 1..].trim_end_matches(".rs");
    let mut module: Module = inside.split('/').map(str::to_string).collect();
    let is_root = match module.last().map(String::as_str) {
        Some("mod" | "lib") => true,
        Some("main") => tree.file(&format!("{root}/lib.rs")).is_none(),
        _ => false,
    };
    if is_root {
        module.pop();
    }
    module
}

/// The modules of a crate, with the names in each.
struct Crate<'t>(BTreeMap<Module, Names<'t>>);

/// Which modules of a crate use which: those in whose files the items are defined that they name.
/// What a module only passes on (`pub use`) is no use of its own.
fn graph(tree: &Tree, root: &str) -> Graph {
    let code: Vec<(Module, String)> = sources(tree, root)
        .map(|file| (module_of(tree, root, &file.path), lexer::split(&file.text).code))
        .collect();
    let modules = code.iter().map(|(module, code)| (module.clone(), imports::names(code)));
    let krate = Crate(modules.collect());
    let used = |(module, names): (&Module, &Names<'_>)| (module.clone(), krate.used(module, names));
    krate.0.iter().map(used).collect()
}

impl Crate<'_> {
    /// The modules that one uses.
    fn used(&self, module: &Module, names: &Names<'_>) -> BTreeSet<Module> {
        let own = |import: &&Import<'_>| !import.passed_on || names.words.contains(import.name);
        let imported = names.imports.iter().filter(own).map(|import| &import.path);
        let used = imported.chain(&names.paths);
        used.filter_map(|path| self.resolve(module, path, FOLLOWED_MAX))
            .filter(|used| used != module)
            .collect()
    }

    /// The module that defines what a path in `module` names; `None` if it leads out of the crate.
    /// Follows names that modules have from others, at most `more` times.
    fn resolve(&self, module: &[String], path: &[&str], more: usize) -> Option<Module> {
        let supers = path.iter().take_while(|word| **word == "super").count();
        let (mut at, mut rest) = match path[0] {
            "crate" => (Module::new(), &path[1..]),
            "self" => (module.to_vec(), &path[1..]),
            "super" => (module[..module.len().checked_sub(supers)?].to_vec(), &path[supers..]),
            first if self.has_child(module, first) => (module.to_vec(), path),
            // A module, or a type, that was imported here.
            first if path.len() > 1 => return self.follow(module, first, &path[1..], more),
            _ => return None,
        };
        while let Some((word, behind)) = rest.split_first() {
            if !self.has_child(&at, word) {
                let defined = self.0.get(&at).is_some_and(|names| names.defined.contains(word));
                let followed = if defined { None } else { self.follow(&at, word, behind, more) };
                return followed.or(Some(at));
            }
            at.push((*word).to_string());
            rest = behind;
        }
        Some(at)
    }

    fn has_child(&self, module: &[String], word: &str) -> bool {
        self.0.keys().any(|other| {
            other.starts_with(module) && other.get(module.len()).is_some_and(|name| name == word)
        })
    }

    /// The module that defines what `name` is in `module`, and `behind` it.
    fn follow(
        &self,
        module: &[String],
        name: &str,
        behind: &[&str],
        more: usize,
    ) -> Option<Module> {
        let more = more.checked_sub(1)?;
        let imports = &self.0.get(module)?.imports;
        if let Some(import) = imports.iter().find(|import| import.name == name) {
            let path = [&import.path, behind].concat();
            return self.resolve(module, &path, more);
        }
        let all = imports.iter().filter(|import| import.name == "*" && import.passed_on);
        let mut from = all.filter_map(|import| self.resolve(module, &import.path, more));
        from.find(|from| self.0.get(from).is_some_and(|names| names.defined.contains(name)))
    }
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
    fn names_are_followed_to_the_file_that_defines_them() {
        let circle = |re_export: &str, user: &str| {
            let root = format!("pub mod a; pub mod b; {re_export}");
            let files = [
                ("x/src/lib.rs", root.as_str()),
                ("x/src/a/mod.rs", "mod c; pub(crate) use c::{C as D, f}; pub use self::g::*;"),
                ("x/src/a/c.rs", "use crate::b::B; pub struct C(B); pub fn f() {}"),
                ("x/src/a/g.rs", "use crate::b::B; pub struct G(B);"),
                ("x/src/b.rs", user),
            ];
            found(&files)
        };
        let none: [BTreeSet<String>; 0] = [];
        let two = |file: &str| [BTreeSet::from([file, "b"].map(str::to_string))];
        assert_eq!(circle("", "use crate::a::D; struct B(D);"), two("a/c"));
        assert_eq!(circle("pub use a::D as E;", "use crate::E; struct B(E);"), two("a/c"));
        assert_eq!(circle("", "use crate::a; struct B; fn g() { a::f() }"), two("a/c"));
        assert_eq!(circle("", "use crate::a::G; struct B(G);"), two("a/g"));
        assert_eq!(circle("", "use crate::a; struct B;"), none);
    }

    #[test]
    fn a_module_that_uses_what_it_passes_on_depends_on_it() {
        let circle = |text: &str| {
            let files = [("x/src/a/mod.rs", text), ("x/src/a/b.rs", "use super::A; pub struct B;")];
            found(&files).len()
        };
        assert_eq!(circle("mod b; pub use b::B; pub struct A;"), 0);
        assert_eq!(circle("mod b; pub use b::B; pub struct A(B);"), 1);
    }

    #[test]
    fn a_program_beside_a_library_is_a_module_of_its_own() {
        let library = ("x/src/lib.rs", "pub mod a; pub use a::A;");
        let program = ("x/src/main.rs", "use x::a::A; fn main() { crate::go(A) } fn go(_: A) {}");
        let a = ("x/src/a.rs", "use crate::go; pub struct A;");
        assert_eq!(found(&[library, program, a]).len(), 0);
        assert_eq!(found(&[("x/src/main.rs", "mod a; use a::A; fn go(_: A) {}"), a]).len(), 1);
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

    #[test]
    fn a_file_that_no_module_names_is_found() {
        let files = [
            ROOT,
            ("x/src/lib.rs", "mod a;\nmod b;\n#[path = \"odd/f.rs\"]\nmod g;"),
            ("x/src/a.rs", "pub mod c;"),
            ("x/src/a/c.rs", ""),
            ("x/src/a/d.rs", ""),
            ("x/src/b/mod.rs", "// mod e;"),
            ("x/src/b/e.rs", ""),
            ("x/src/odd/f.rs", ""),
        ];
        let found = orphans(&tree(&files));
        let paths: Vec<_> = found.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(paths, ["x/src/a/d.rs", "x/src/b/e.rs"]);
    }
}
