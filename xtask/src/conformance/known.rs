//! Differences that are meant, with their reasons: `golden/differences.txt`.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The prefix of generated programs' lines, in place of a script's name.
const GENERATED: &str = "generated/";

/// `family/name: command line` → reason; for generated programs the command line is a pattern.
pub struct Known(BTreeMap<String, String>);

impl Known {
    /// Reads the list.
    ///
    /// # Errors
    /// Fails if it cannot be read, or a line has no reason.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join("golden/differences.txt");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let entry = |line: &str| {
            let (what, why) = line
                .split_once(" -- ")
                .with_context(|| format!("{}: `{line}`: no ` -- reason`", path.display()))?;
            Ok((what.trim().to_owned(), why.trim().to_owned()))
        };
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        Ok(Known(lines.map(entry).collect::<Result<_>>()?))
    }

    /// A list with nothing on it.
    pub fn nothing() -> Self {
        Known(BTreeMap::new())
    }

    /// Whether a script's line is on the list.
    pub fn script(&self, script: &str, line: &str) -> bool {
        self.0.contains_key(&format!("{script}: {line}"))
    }

    /// Whether a generated program's command with our answer is: `generated/family: pattern` (or `*`
    /// for every family). The pattern is one of `KEYS`, of the line ` => ` the answer; letter case
    /// does not count.
    pub fn generated(&self, family: &str, line: &str, answer: &str) -> bool {
        let line = format!("{line} => {answer}");
        let patterns = self.0.keys().filter_map(|what| {
            let (about, pattern) = what.strip_prefix(GENERATED)?.split_once(": ")?;
            (about == family || about == "*").then_some(pattern)
        });
        let matches =
            |pattern: &str| engine::text::glob::matches(pattern.as_bytes(), line.as_bytes(), true);
        patterns.into_iter().any(matches)
    }
}
