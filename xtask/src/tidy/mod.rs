//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a program can check.
//!
//! A rule is a function from the tree to its violations. One line is printed per violation, as
//! `path:line: rule: what`, and any violation fails the run.

mod allowed;
mod dependencies;
mod documents;
mod functions;
mod imports;
mod lexer;
mod modules;
mod package;
mod source;
mod supply;
mod threats;
mod tree;

use anyhow::{Result, bail};
use std::path::Path;
use tree::{Tree, Violation};

/// A rule: it returns the violations in the tree.
type Rule = fn(&Tree) -> Vec<Violation>;

/// All rules.
const RULES: &[Rule] = &[
    dependencies::directions,
    dependencies::reasons,
    dependencies::unused,
    documents::architecture,
    documents::changelog,
    documents::code,
    documents::commands,
    documents::links,
    documents::modules,
    documents::scripts,
    functions::length,
    modules::circles,
    modules::directions,
    modules::orphans,
    package::debian,
    source::purpose,
    source::sentences,
    source::length,
    source::engine,
    source::forks,
    source::unfinished,
    source::safety,
    source::sleeps,
    threats::tests_exist,
];

/// Checks the project at `root`.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let mut violations: Vec<Violation> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    violations.extend(supply::check(root, &tree)?);
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations", violations.len());
    }
    println!("tidy: {} files, {} rules", tree.files.len(), RULES.len() + 1);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tree::File;

    /// Sources below `folder`; not by way of git, which a test run may have to do without.
    fn sources(folder: &Path, files: &mut Vec<File>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                sources(&path, files);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push(File { path: path.display().to_string(), text });
            }
        }
    }

    #[test]
    fn this_crate_passes_its_own_rules_about_sources() {
        let mut tree = Tree::default();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut tree.files);
        assert!(tree.files.len() > 10);
        let rules: [Rule; 5] =
            [source::purpose, source::length, source::forks, source::unfinished, source::safety];
        let found: Vec<Violation> = rules.iter().flat_map(|rule| rule(&tree)).collect();
        assert_eq!(found, []);
    }
}
