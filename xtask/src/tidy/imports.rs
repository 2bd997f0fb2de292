//! The names of other modules in the source of one: its imports, and the paths in its code.

use std::collections::BTreeSet;

/// One name that a `use` brings into a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Import<'c> {
    /// Whether the module passes the name on to others (`pub use`, `pub(crate) use` …).
    pub passed_on: bool,
    /// The words of the path; the last is `*` for all names of a module.
    pub path: Vec<&'c str>,
    /// The name in this module: `*`, or that after `as`, or the last word.
    pub name: &'c str,
}

/// The names in the source of a module.
#[derive(Debug, Default)]
pub struct Names<'c> {
    /// The imports, groups (`a::{b, c}`) taken apart.
    pub imports: Vec<Import<'c>>,
    /// Paths of two words or more outside of imports.
    pub paths: Vec<Vec<&'c str>>,
    /// Words with which a path outside of imports begins, those of one word among them.
    pub words: BTreeSet<&'c str>,
    /// Names that are defined here.
    pub defined: BTreeSet<&'c str>,
}

/// Keywords before the name of what is defined.
const DEFINING: &[&str] =
    &["fn", "struct", "enum", "union", "trait", "type", "const", "static", "macro"];

/// Reads code from which comments and literals have been blanked. Blocks that only tests are made of are left out.
pub fn names(code: &str) -> Names<'_> {
    let tokens = without_test_modules(tokens(code));
    let mut names = Names::default();
    let mut at = 0;
    while at < tokens.len() {
        let visible = visibility(&tokens[at..]);
        at = match tokens.get(at + visible) {
            Some(&"use") => import(&tokens, at + visible + 1, visible > 0, &mut names.imports),
            Some(&"mod") if visible > 0 => at + visible + 2,
            _ if tokens[at] == "mod" => at + 2,
            _ if is_word(tokens[at]) => mention(&tokens, at, &mut names),
            _ => at + 1,
        };
    }
    names
}

/// The number of tokens of a visibility (`pub`, `pub(crate)`) that comes first.
fn visibility(tokens: &[&str]) -> usize {
    match tokens {
        ["pub", "(", rest @ ..] => {
            2 + rest.iter().position(|token| *token == ")").map_or(0, |end| end + 1)
        }
        ["pub", ..] => 1,
        _ => 0,
    }
}

/// Reads a path outside of imports, which begins at `at`; where it ends.
fn mention<'c>(tokens: &[&'c str], at: usize, names: &mut Names<'c>) -> usize {
    let mut path = vec![tokens[at]];
    let mut end = at + 1;
    while tokens.get(end) == Some(&"::") && tokens.get(end + 1).is_some_and(|next| is_word(next)) {
        path.push(tokens[end + 1]);
        end += 2;
    }
    if at > 0 && DEFINING.contains(&tokens[at - 1]) {
        names.defined.insert(tokens[at]);
    } else if at == 0 || tokens[at - 1] != "::" {
        names.words.insert(path[0]);
        if path.len() > 1 {
            names.paths.push(path);
        }
    }
    end
}

/// Reads an import behind its `use`; where it ends.
fn import<'c>(
    tokens: &[&'c str],
    at: usize,
    passed_on: bool,
    imports: &mut Vec<Import<'c>>,
) -> usize {
    // A path that begins so leads out of the crate.
    if tokens.get(at) != Some(&"::") {
        let mut found = Vec::new();
        import_tree(tokens, at, &[], &mut found);
        imports.extend(found.into_iter().map(|(path, name)| Import { passed_on, path, name }));
    }
    at + tokens[at..].iter().take_while(|token| **token != ";").count() + 1
}

/// Reads a path of an import, or a tree of them, at `at`; where it ends.
fn import_tree<'c>(
    tokens: &[&'c str],
    mut at: usize,
    before: &[&'c str],
    found: &mut Vec<(Vec<&'c str>, &'c str)>,
) -> usize {
    let mut path = before.to_vec();
    loop {
        match tokens.get(at) {
            Some(&"{") => {
                at += 1;
                while tokens.get(at).is_some_and(|token| *token != "}") {
                    let comma = tokens[at] == ",";
                    at = if comma { at + 1 } else { import_tree(tokens, at, &path, found) };
                }
                return at + 1;
            }
            Some(&word) if word == "*" || is_word(word) => path.push(word),
            _ => return at + 1,
        }
        at += 1;
        if tokens.get(at) != Some(&"::") {
            break;
        }
        at += 1;
    }
    if path.len() > 1 && path.last() == Some(&"self") {
        path.pop();
    }
    let mut name = path[path.len() - 1];
    if tokens.get(at) == Some(&"as") {
        name = tokens.get(at + 1).copied().unwrap_or(name);
        at += 2;
    }
    found.push((path, name));
    at
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

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Leaves out modules in the same file that are compiled for tests only.
fn without_test_modules(tokens: Vec<&str>) -> Vec<&str> {
    const MARK: &[&str] = &["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::with_capacity(tokens.len());
    let mut rest = &tokens[..];
    while !rest.is_empty() {
        let item = rest.strip_prefix(MARK).map(|item| &item[visibility(item)..]);
        rest = match item {
            Some(["mod", _, "{", block @ ..]) => behind_block(block),
            _ => {
                kept.push(rest[0]);
                &rest[1..]
            }
        };
    }
    kept
}

/// The tokens behind the brace that closes a block, given those behind the one that opened it.
fn behind_block<'t, 'c>(block: &'t [&'c str]) -> &'t [&'c str] {
    let mut depth = 1;
    for (at, token) in block.iter().enumerate() {
        match *token {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return &block[at + 1..];
        }
    }
    &[]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn imports(code: &str) -> Vec<(bool, String, &str)> {
        let found = names(code).imports.into_iter();
        found.map(|import| (import.passed_on, import.path.join("/"), import.name)).collect()
    }

    #[test]
    fn imports_are_taken_apart() {
        let code = "use crate::a::{self, b::{C, d}, e as f}; pub use g::h; pub(crate) use super::*; use ::x::Y;";
        let expected = [
            (false, "crate/a", "a"),
            (false, "crate/a/b/C", "C"),
            (false, "crate/a/b/d", "d"),
            (false, "crate/a/e", "f"),
            (true, "g/h", "h"),
            (true, "super/*", "*"),
        ];
        assert_eq!(imports(code), expected.map(|(on, path, name)| (on, path.to_string(), name)));
    }

    #[test]
    fn paths_words_and_definitions_are_told_apart() {
        let found =
            names("mod a; pub(super) mod b; struct C { d: e::F } fn g() { super::i::J; k }");
        assert_eq!(found.paths, [vec!["e", "F"], vec!["super", "i", "J"]]);
        assert!(["a", "b", "C", "i", "J"].iter().all(|word| !found.words.contains(word)));
        assert!(found.words.contains("k") && found.defined == BTreeSet::from(["C", "g"]));
    }

    #[test]
    fn what_only_tests_are_made_of_is_left_out() {
        let code = "use a::B;\n#[cfg(test)]\npub mod c { use super::*; fn d() {} }\nuse e::F;";
        let expected = [(false, "a/B".to_string(), "B"), (false, "e/F".to_string(), "F")];
        assert_eq!(imports(code), expected);
    }
}
