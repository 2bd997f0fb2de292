//! `ci/tidy.toml`: exceptions for what was too large when a rule was introduced. Its numbers only
//! shrink.

use super::tree::{Tree, Violation};
use toml::Table;

/// The file with the numbers: one table for each rule, which maps names to sizes.
const FILE: &str = "ci/tidy.toml";

/// Something that a rule has measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// The file to look at.
    pub path: String,
    /// The line, counted from 1.
    pub line: usize,
    /// Its name in `ci/tidy.toml`.
    pub name: String,
    /// Its size, in the rule's unit.
    pub size: usize,
    /// The thing that has that size, for the message: "a function of 50 lines".
    pub what: String,
}

/// Reports everything that is larger than `most` and than its number in the file. Also reports
/// numbers that are larger than necessary.
pub fn judge(tree: &Tree, rule: &'static str, most: usize, all: &[Measured]) -> Vec<Violation> {
    let listed = listed(tree, rule);
    let number = |name: &str| listed.iter().find(|(other, _)| other == name).map(|(_, n)| *n);
    let too_large = |it: &&Measured| it.size > most && it.size > number(&it.name).unwrap_or(0);
    let mut found: Vec<Violation> = all
        .iter()
        .filter(too_large)
        .map(|it| {
            let allowed = number(&it.name).unwrap_or(most);
            let what = format!("{}, {allowed} are allowed", it.what);
            Violation::new(&it.path, it.line, rule, what)
        })
        .collect();
    for (name, number) in &listed {
        let size = all.iter().filter(|it| it.name == *name).map(|it| it.size).max().unwrap_or(0);
        if size < *number {
            let what = match size > most {
                true => format!("`{name}` has come down to {size}: write that"),
                false => format!("`{name}` is within {most}: take it out"),
            };
            found.push(Violation::new(FILE, 1, rule, what));
        }
    }
    found
}

/// A rule's names and numbers.
fn listed(tree: &Tree, rule: &str) -> Vec<(String, usize)> {
    let table = tree.file(FILE).and_then(|file| file.text.parse::<Table>().ok());
    let rule = table.as_ref().and_then(|table| table.get(rule)?.as_table());
    let number = |value: &toml::Value| value.as_integer().and_then(|n| usize::try_from(n).ok());
    rule.into_iter().flatten().filter_map(|(name, n)| Some((name.clone(), number(n)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::tree;
    use super::*;

    fn judged(list: &str, size: usize) -> Vec<String> {
        let it = Measured {
            path: "a.rs".into(),
            line: 3,
            name: "it".into(),
            size,
            what: format!("a heap of {size}"),
        };
        let tree = tree(&[(FILE, list)]);
        judge(&tree, "heaps", 10, &[it]).into_iter().map(|v| v.to_string()).collect()
    }

    #[test]
    fn numbers_only_shrink() {
        assert_eq!(judged("", 10), [""; 0]);
        assert_eq!(judged("", 11), ["a.rs:3: heaps: a heap of 11, 10 are allowed"]);
        let list = "[heaps]\nit = 20\n";
        assert_eq!(judged(list, 20), [""; 0]);
        assert_eq!(judged(list, 21), ["a.rs:3: heaps: a heap of 21, 20 are allowed"]);
        let shrunk = ["ci/tidy.toml:1: heaps: `it` has come down to 15: write that"];
        assert_eq!(judged(list, 15), shrunk);
        let mended = ["ci/tidy.toml:1: heaps: `it` is within 10: take it out"];
        assert_eq!(judged(list, 9), mended);
    }
}
