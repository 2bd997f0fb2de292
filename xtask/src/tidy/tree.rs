//! The files that tidy looks at, which are those git knows, and the violations it reports.

use anyhow::{Context, Result, bail};
use std::fmt;
use std::path::Path;
use std::process::Command;

/// A tracked file; the text is kept for kinds that some rule reads, and empty for others.
#[derive(Debug, Clone)]
pub struct File {
    /// From the project's root, with `/`.
    pub path: String,
    /// Its contents.
    pub text: String,
}

/// All tracked files.
#[derive(Debug, Default)]
pub struct Tree {
    /// In git's order.
    pub files: Vec<File>,
}

impl Tree {
    /// Reads the files that git tracks, or would track, under `root`.
    pub fn read(root: &Path) -> Result<Tree> {
        let output = Command::new("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root)
            .output()
            .context("running git")?;
        if !output.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let list = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
        let paths = list.split('\0').filter(|path| !path.is_empty() && root.join(path).exists());
        let files = paths.map(|path| {
            let read =
                [".rs", ".toml", ".md", ".txt", ".service"].iter().any(|kind| path.ends_with(kind));
            let bytes = if read { std::fs::read(root.join(path))? } else { Vec::new() };
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Ok(File { path: path.to_string(), text })
        });
        Ok(Tree { files: files.collect::<Result<_>>()? })
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Files whose name ends so.
    pub fn ending<'t>(&'t self, suffix: &'t str) -> impl Iterator<Item = &'t File> {
        self.files.iter().filter(move |file| file.path.ends_with(suffix))
    }

    /// Whether there is a file, or a folder with files, of this name.
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        path.is_empty()
            || self.files.iter().any(|file| file.path == path || file.path.starts_with(&folder))
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// Which rule.
    pub rule: &'static str,
    /// The text of the violation.
    pub what: String,
}

impl Violation {
    /// A finding in line `line` (from 1) of `path`.
    pub fn new(path: &str, line: usize, rule: &'static str, what: impl Into<String>) -> Self {
        Violation { path: path.to_string(), line, rule, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}: {}", self.path, self.line, self.rule, self.what)
    }
}

/// Trees for the rules' tests.
#[cfg(test)]
pub mod sample {
    use super::*;

    /// A tree of these paths and texts.
    pub fn tree(files: &[(&str, &str)]) -> Tree {
        let file =
            |(path, text): &(&str, &str)| File { path: (*path).into(), text: (*text).into() };
        Tree { files: files.iter().map(file).collect() }
    }

    /// Lines that `rule` complains about when `text` is at `path`.
    pub fn lines(rule: super::super::Rule, path: &str, text: &str) -> Vec<usize> {
        rule(&tree(&[(path, text)])).into_iter().map(|violation| violation.line).collect()
    }
}
