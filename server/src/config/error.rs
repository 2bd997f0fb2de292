//! Errors in the configuration: one clear line with the reason and the place.

use std::fmt;
use std::path::PathBuf;

/// The place where a setting was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of a file, counted from 1; line 0 means the file as a whole.
    File(PathBuf, usize),
    /// An environment variable.
    Environment(String),
    /// An option of the command line.
    CommandLine,
    /// The program that the server is part of.
    Program,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::File(path, 0) => write!(f, "{}", path.display()),
            Origin::File(path, line) => write!(f, "{}:{line}", path.display()),
            Origin::Environment(name) => write!(f, "environment variable {name}"),
            Origin::CommandLine => f.write_str("command line"),
            Origin::Program => f.write_str("program"),
        }
    }
}

/// The reason why the configuration cannot be used. Its display is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The place where it was found.
    pub origin: Origin,
    /// The directive concerned, as it was written.
    pub directive: Option<String>,
    /// The reason.
    pub reason: String,
}

impl ConfigError {
    /// An error that concerns no directive.
    pub(super) fn at(origin: Origin, reason: impl fmt::Display) -> Self {
        // Parsers of other formats explain themselves over several lines; the first ones suffice.
        let reason = reason.to_string();
        let lines: Vec<_> = reason.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        ConfigError { origin, directive: None, reason: lines.join(" ") }
    }

    /// An error about a directive.
    pub(super) fn about(origin: Origin, directive: &str, reason: impl fmt::Display) -> Self {
        let directive = Some(directive.to_owned());
        ConfigError { directive, ..ConfigError::at(origin, reason) }
    }

    /// An unknown directive.
    pub(super) fn unknown(origin: Origin, directive: &str) -> Self {
        ConfigError::about(origin, directive, format!("unknown directive{}", suggestion(directive)))
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if let Some(directive) = &self.directive {
            write!(f, "'{directive}': ")?;
        }
        f.write_str(&self.reason)
    }
}

impl std::error::Error for ConfigError {}

/// `; did you mean 'x'?`, or nothing when no name is near.
pub(super) fn suggestion(name: &str) -> String {
    match nearest(name) {
        Some(known) => format!("; did you mean '{known}'?"),
        None => String::new(),
    }
}

/// The known name nearest to a mistyped one: at most a third of its letters wrong.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let names = engine::config::names().filter(|(_, row)| !row.hidden).map(|(known, _)| known);
    let near = names.map(|known| (edit_distance(&name, known), known)).min()?;
    (near.0 <= name.chars().count().div_ceil(3).min(4)).then_some(near.1)
}

/// Letters to insert, delete or replace to get from one word to the other.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_find_their_name() {
        assert_eq!(nearest("maxmemry"), Some("maxmemory"));
        assert_eq!(nearest("APPEND_ONLY"), Some("appendonly"));
        assert_eq!(nearest("prot"), Some("port"));
        assert_eq!(nearest("completely-else"), None);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn errors_are_one_line() {
        let origin = Origin::File("varve.conf".into(), 12);
        let error = ConfigError::unknown(origin.clone(), "maxmemry");
        let text = "varve.conf:12: 'maxmemry': unknown directive; did you mean 'maxmemory'?";
        assert_eq!(error.to_string(), text);
        assert_eq!(ConfigError::at(origin, "a\n\n  b\n").to_string(), "varve.conf:12: a b");
    }
}
