//! The rule about the length of functions.

use super::allowed::{Measured, judge};
use super::lexer;
use super::tree::{File, Tree, Violation};
use std::collections::BTreeMap;

/// Lines between a function's braces.
const LINES_MAX: usize = 40;

/// A function can be seen at once.
pub fn length(tree: &Tree) -> Vec<Violation> {
    let all: Vec<Measured> = tree.ending(".rs").flat_map(functions).collect();
    judge(tree, "functions", LINES_MAX, &all)
}

/// The functions of a file. Those of one name are told apart by a number.
fn functions(file: &File) -> Vec<Measured> {
    let code = lexer::split(&file.text).code;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let inside_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let name = code[at + 3..].split(|c: char| !c.is_alphanumeric() && c != '_').next();
        let Some(name) = name.filter(|name| !name.is_empty() && !inside_word) else { continue };
        let Some(size) = body(&code[at..]) else { continue };
        let count = times.entry(name).or_default();
        *count += 1;
        let number = if *count > 1 { format!(" {count}") } else { String::new() };
        found.push(Measured {
            path: file.path.clone(),
            line: code[..at].matches('\n').count() + 1,
            name: format!("{} {name}{number}", file.path),
            size,
            what: format!("the body of `{name}` has {size} lines"),
        });
    }
    found
}

/// Lines between the braces of the function that `code` begins with; `None` if it has none.
fn body(code: &str) -> Option<usize> {
    let mut open = 0;
    let begins = code.char_indices().find(|(_, c)| {
        open += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
        open == 0 && matches!(c, '{' | ';')
    })?;
    let code = code[begins.0..].strip_prefix('{')?;
    let mut open = 1;
    let end = code.char_indices().find(|(_, c)| {
        open += i32::from(*c == '{') - i32::from(*c == '}');
        open == 0
    });
    let inside = &code[..end?.0];
    Some(inside.matches('\n').count().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::lines;
    use super::*;

    #[test]
    fn a_long_function_is_found_and_a_long_signature_is_not() {
        let text = |n: usize| {
            let body = "    x();\n".repeat(n);
            format!(
                "//! F.\n\nfn f(\n    a: [u8; 2],\n) -> X {{\n{body}}}\n\ntrait T {{\n    fn g();\n}}\n"
            )
        };
        assert_eq!(lines(length, "a.rs", &text(LINES_MAX + 1)), [3]);
        assert_eq!(lines(length, "a.rs", &text(LINES_MAX)), [0; 0]);
    }

    #[test]
    fn functions_of_one_name_are_numbered() {
        let text = "fn f() {}\nstruct A;\nimpl A { fn f() {\n 1;\n if x { \"}\" } \n} }\nfn_like(); f: fn (u8);";
        let file = File { path: "a.rs".into(), text: text.into() };
        let found: Vec<_> = functions(&file).into_iter().map(|it| (it.name, it.size)).collect();
        assert_eq!(found, [("a.rs f".to_string(), 0), ("a.rs f 2".to_string(), 2)]);
    }
}
