//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md that a program can check.
//!
//! A rule is a function from the tree to its violations. One line is printed per violation, as
//! `path:line: rule: what`, and any violation fails the run.

mod dependencies;
mod documents;
mod lexer;
mod source;
mod tree;

use anyhow::{Result, bail};
use std::path::Path;
use tree::{Tree, Violation};

/// See the module.
type Rule = fn(&Tree) -> Vec<Violation>;

/// All rules.
const RULES: &[Rule] = &[
    dependencies::directions,
    dependencies::reasons,
    documents::architecture,
    documents::changelog,
    documents::links,
    source::purpose,
    source::length,
    source::engine,
    source::forks,
    source::unfinished,
    source::safety,
];

/// Checks the project at `root`.
pub fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let violations: Vec<Violation> = RULES.iter().flat_map(|rule| rule(&tree)).collect();
    for violation in &violations {
        println!("{violation}");
    }
    if !violations.is_empty() {
        bail!("{} violations", violations.len());
    }
    println!("tidy: {} files, {} rules", tree.files.len(), RULES.len());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_crate_passes_its_own_rules_about_sources() {
        let root = crate::project_root().unwrap();
        let mut tree = Tree::read(&root).unwrap();
        tree.files.retain(|file| file.path.starts_with("xtask/"));
        assert!(tree.files.len() > 10);
        let rules: [Rule; 4] =
            [source::purpose, source::length, source::unfinished, source::safety];
        let found: Vec<Violation> = rules.iter().flat_map(|rule| rule(&tree)).collect();
        assert_eq!(found, []);
    }
}
