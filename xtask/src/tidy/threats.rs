//! Rules about the tests that documents name: they exist, and each row of docs/security.md has one.

use super::tree::{File, Tree, Violation};

/// The document whose tables have a column of tests.
const THREATS: &str = "docs/security.md";

/// A test that a document names behind the file that it is in (`path/to/file.rs`: `name`) exists, and so does the file;
/// each row of the threat tables names one, or a folder of them.
pub fn tests_exist(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".md").filter(|file| is_checked(file)) {
        for (index, line) in file.text.lines().enumerate() {
            let problems = problems(tree, line).into_iter();
            let untested = (file.path == THREATS && is_untested(tree, file, index, line))
                .then(|| "this row names no test".to_owned());
            found.extend(
                problems
                    .chain(untested)
                    .map(|what| Violation::new(&file.path, index + 1, "tests", what)),
            );
        }
    }
    found
}

/// Whether a document is one of today: decisions tell of the files there were.
fn is_checked(file: &File) -> bool {
    file.path.starts_with("docs/") && !file.path.starts_with("docs/decisions/")
}

/// The inline code of a line, each with the text before it.
fn code(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let parts: Vec<&str> = line.split('`').collect();
    let pairs = parts.chunks_exact(2).map(|pair| (pair[0], pair[1]));
    pairs.collect::<Vec<_>>().into_iter()
}

/// Whether inline code is a source file, or a folder of them or of scripts, by its form.
fn is_path(code: &str) -> bool {
    code.contains('/') && code.ends_with(".rs")
}

fn is_name(code: &str) -> bool {
    code.contains('_') && code.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_'))
}

/// A text for each file and each test that a line names and that does not exist.
fn problems(tree: &Tree, line: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut path = None;
    for (between, code) in code(line) {
        if is_path(code) {
            path = tree.file(code);
            found.extend(path.is_none().then(|| format!("there is no file {code}")));
        } else if let (Some(file), true, true) = (path, is_name(code), joins(between)) {
            let is_there = file.text.contains(&format!("fn {code}("));
            found.extend((!is_there).then(|| format!("there is no test {code} in {}", file.path)));
        } else {
            path = None;
        }
    }
    found
}

/// Whether the text before a name makes it one of the file, or of the list of names, before it.
fn joins(between: &str) -> bool {
    matches!(between, ": " | ", " | " and ")
}

/// Whether a line is a row of a table, but not its head, and names neither a test nor a folder of tests.
fn is_untested(tree: &Tree, file: &File, index: usize, line: &str) -> bool {
    let next_is_rule =
        file.text.lines().nth(index + 1).is_some_and(|next| next.starts_with("| ---"));
    if !line.starts_with("| ") || line.starts_with("| ---") || next_is_rule {
        return false;
    }
    let last = line.trim_end_matches('|').rsplit('|').next().unwrap_or_default();
    let mut names = code(last).filter(|(_, code)| is_name(code));
    let mut paths = code(last).filter(|(_, code)| code.contains('/') && !code.contains("src/"));
    names.next().is_none() && !paths.any(|(_, path)| tree.exists(path))
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::tree;
    use super::*;

    const HEAD: &str = "| what | bound | test |\n| --- | --- | --- |\n";

    fn found(text: &str) -> Vec<String> {
        let text = format!("{HEAD}{text}\n");
        let files = [
            (THREATS, text.as_str()),
            ("a/tests/b.rs", "#[test]\nfn it_holds() {}\n"),
            ("a/src/c.rs", "fn other() {}\n"),
            ("golden/scripts/acl/a.txt", "# Rules.\n"),
        ];
        tests_exist(&tree(&files)).into_iter().map(|violation| violation.what).collect()
    }

    #[test]
    fn rows_name_tests_that_exist() {
        assert!(found("| a | b | `a/tests/b.rs`: `it_holds` |").is_empty());
        assert!(found("| a | b | `a/tests/b.rs` |").is_empty(), "all of a file of tests");
        assert!(found("| a | b | `golden/scripts/acl` |").is_empty());
        assert!(found("Text about `a_name` and `no/such/folder`.").is_empty());
    }

    #[test]
    fn tests_and_files_that_are_not_there_are_found() {
        let one = |text| found(text).join("; ");
        assert_eq!(one("`a/tests/b.rs`: `it_fails`"), "there is no test it_fails in a/tests/b.rs");
        assert_eq!(one("`a/tests/b.rs`: `it_holds`, `gone_away`").lines().count(), 1);
        assert_eq!(one("`a/tests/d.rs`"), "there is no file a/tests/d.rs");
        assert_eq!(one("| a | b | see the code: `a/src/c.rs` |"), "this row names no test");
        assert_eq!(one("| a | `it_holds` | see the code |"), "this row names no test");
    }
}
