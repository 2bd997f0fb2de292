//! Rules about Rust sources.

use super::allowed::{Measured, judge};
use super::lexer;
use super::tree::{File, Tree, Violation};

/// The highest number of lines of a file.
const LINES_MAX: usize = 700;

/// The highest number of lines between an `unsafe` block and its `SAFETY` comment above.
const SAFETY_LINES: usize = 6;

/// Names that sans-IO crates must not use: time, randomness and bytes come from their callers.
const BANNED_IN_ENGINE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "std::net",
    "std::thread",
    "thread::spawn",
    "async fn",
    "rand::",
    "tokio::",
    "mio::",
];

/// The folders to which that rule applies.
const SANS_IO: &[&str] = &[
    "engine/src/",
    "commands/src/",
    "replication/src/",
    "consensus/src/",
    "member/src/",
    "sim/src/",
];

/// Marks of unfinished work: first those in comments, then those in code.
const UNFINISHED_WORDS: &[&str] = &["TODO", "FIXME"];
const UNFINISHED_CODE: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

/// Every file says in its first line what it is for.
pub fn purpose(tree: &Tree) -> Vec<Violation> {
    let silent = tree.ending(".rs").filter(|file| !file.text.starts_with("//! "));
    silent
        .map(|file| Violation::new(&file.path, 1, "purpose", "the first line is no `//! …`"))
        .collect()
}

/// Documentation says what something is or does in a sentence. A clause that begins with "What" (the first
/// line of this comment would be "What documentation says") leaves the reader to guess.
pub fn sentences(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".rs") {
        let mut before = "";
        for (line, text) in numbered(&file.text) {
            let text = text.trim_start();
            let is_first = !["///", "//!"].iter().any(|mark| before.starts_with(mark));
            if is_first && ["/// What ", "//! What "].iter().any(|what| text.starts_with(what)) {
                let what = "documentation begins with \"What\": say what it is, or what it does";
                found.push(Violation::new(&file.path, line, "sentences", what));
            }
            before = text;
        }
    }
    found
}

/// Files stay short enough to be read.
pub fn length(tree: &Tree) -> Vec<Violation> {
    let count = |file: &File| file.text.lines().count();
    let long = tree.ending(".rs").filter(|file| count(file) > LINES_MAX);
    long.map(|file| {
        let what = format!("{} lines, {LINES_MAX} are allowed", count(file));
        Violation::new(&file.path, LINES_MAX + 1, "length", what)
    })
    .collect()
}

/// Crates that are sans-IO have no clock, no sockets, no threads, no randomness of their own.
pub fn engine(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    let sans_io = |file: &&File| SANS_IO.iter().any(|folder| file.path.starts_with(folder));
    for file in tree.ending(".rs").filter(sans_io) {
        if file.path.ends_with("/tests.rs") || file.path.contains("/tests/") {
            continue;
        }
        let code = lexer::split(&file.text).code;
        for (line, text) in numbered(without_tests(&code)) {
            for banned in BANNED_IN_ENGINE.iter().filter(|banned| has_word(text, banned)) {
                let what = format!("`{banned}` in a crate that is sans-IO");
                found.push(Violation::new(&file.path, line, "engine", what));
            }
        }
    }
    found
}

/// Nothing forks: a fork doubles memory and stops the world while page tables are copied.
pub fn forks(tree: &Tree) -> Vec<Violation> {
    in_code(tree, |text| has_word(text, "fork("), "fork", "nothing forks here")
}

/// Finds marks of unfinished work.
pub fn unfinished(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".rs") {
        let parts = lexer::split(&file.text);
        let mut search = |text: &str, marks: &[&str]| {
            for (line, text) in numbered(text) {
                for mark in marks.iter().filter(|mark| has_word(text, mark)) {
                    found.push(Violation::new(&file.path, line, "unfinished", *mark));
                }
            }
        };
        search(&parts.comments, UNFINISHED_WORDS);
        search(&parts.code, UNFINISHED_CODE);
    }
    found
}

/// Each `unsafe` block and impl has its argument right above (or beside) it.
pub fn safety(tree: &Tree) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".rs") {
        let parts = lexer::split(&file.text);
        let comments: Vec<&str> = parts.comments.lines().collect();
        for (line, text) in numbered(&parts.code) {
            if !has_word(text, "unsafe {") && !has_word(text, "unsafe impl") {
                continue;
            }
            let above = line.saturating_sub(SAFETY_LINES + 1)..line;
            if !comments[above].iter().any(|text| text.contains("SAFETY:")) {
                let what = format!("no `SAFETY:` comment within {SAFETY_LINES} lines above");
                found.push(Violation::new(&file.path, line, "safety", what));
            }
        }
    }
    found
}

/// A test that sleeps is slow, and fails where sleeping takes longer than it thinks.
pub fn sleeps(tree: &Tree) -> Vec<Violation> {
    let all: Vec<Measured> = tree.ending(".rs").filter_map(sleeps_in).collect();
    judge(tree, "sleeps", 0, &all)
}

/// Calls of `sleep` in what a file has of tests; `None` without any.
fn sleeps_in(file: &File) -> Option<Measured> {
    let code = lexer::split(&file.text).code;
    let tests = ["/tests/", "/tests.rs", "/testing/"];
    let begin = match tests.iter().any(|part| file.path.contains(part)) {
        true => 0,
        false => without_tests(&code).len(),
    };
    let calls = code[begin..].match_indices("sleep(").map(|(at, _)| begin + at);
    let is_call = |at: &usize| !code[..*at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let calls: Vec<usize> = calls.filter(is_call).collect();
    let line = code[..*calls.first()?].matches('\n').count() + 1;
    let (path, size) = (file.path.clone(), calls.len());
    Some(Measured { name: path.clone(), path, line, size, what: format!("{size} sleeps") })
}

fn in_code(
    tree: &Tree,
    wrong: impl Fn(&str) -> bool,
    rule: &'static str,
    what: &str,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in tree.ending(".rs") {
        let code = lexer::split(&file.text).code;
        let lines = numbered(&code).filter(|(_, text)| wrong(text));
        found.extend(lines.map(|(line, _)| Violation::new(&file.path, line, rule, what)));
    }
    found
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

/// Code up to the test module that ends the file by convention.
pub fn without_tests(code: &str) -> &str {
    code.find("\n#[cfg(test)]\nmod tests {").map_or(code, |at| &code[..at])
}

/// Whether `word` occurs in `text` other than as the end of a longer word.
fn has_word(text: &str, word: &str) -> bool {
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        !before.is_some_and(|c| c.is_alphanumeric() || c == '_')
    })
}

#[cfg(test)]
mod tests {
    use super::super::tree::sample::lines;
    use super::*;

    #[test]
    fn a_file_without_purpose_is_found() {
        assert_eq!(lines(purpose, "a.rs", "use x;\n"), [1]);
        assert!(lines(purpose, "a.rs", "//! Its purpose.\n").is_empty());
        assert!(lines(purpose, "a.md", "text").is_empty());
    }

    #[test]
    fn documentation_that_begins_with_what_is_found() {
        assert_eq!(lines(sentences, "a.rs", "//! What x is.\n\n    /// What it does.\n"), [1, 3]);
        let fine = "//! A file.\n//! What it is for.\n// What a comment says is free.\nf();\n";
        assert!(lines(sentences, "a.rs", fine).is_empty());
    }

    #[test]
    fn a_long_file_is_found() {
        assert_eq!(lines(length, "a.rs", &"x\n".repeat(LINES_MAX + 1)), [LINES_MAX + 1]);
        assert!(lines(length, "a.rs", &"x\n".repeat(LINES_MAX)).is_empty());
    }

    #[test]
    fn the_engine_may_speak_of_clocks_but_not_read_them() {
        let clock = "let a = 1;\nlet now = Instant::now();\n";
        assert_eq!(lines(engine, "engine/src/x.rs", clock), [2]);
        assert_eq!(lines(engine, "consensus/src/x.rs", clock), [2]);
        assert_eq!(lines(engine, "sim/src/x.rs", clock), [2]);
        assert!(lines(engine, "server/src/x.rs", clock).is_empty());
        assert!(lines(engine, "engine/src/x.rs", "// not Instant::now, ever\n").is_empty());
        assert!(lines(engine, "engine/src/x.rs", "f(\"std::net\");\n").is_empty());
        assert!(lines(engine, "engine/src/x.rs", "operand::new()\n").is_empty());
        let tests = "f();\n\n#[cfg(test)]\nmod tests {\n use std::thread;\n}\n";
        assert!(lines(engine, "engine/src/x.rs", tests).is_empty());
    }

    #[test]
    fn forks_are_found_by_word() {
        assert_eq!(lines(forks, "a.rs", "\nunsafe { libc::fork() }\n"), [2]);
        assert!(lines(forks, "a.rs", "snapshot_without_fork();\n// fork()\n").is_empty());
    }

    #[test]
    fn unfinished_work_is_found_in_comments_and_code() {
        let (note, call) = (["// TO", "DO later\n"].concat(), ["to", "do!()\n"].concat());
        assert_eq!(lines(unfinished, "a.rs", &note), [1]);
        assert_eq!(lines(unfinished, "a.rs", &format!("fn f() {{ {call} }}")), [1]);
        assert_eq!(lines(unfinished, "a.rs", &["#[", "ignore]\n"].concat()), [1]);
        assert!(lines(unfinished, "a.rs", "let mastodon = \"TODO\";\n").is_empty());
    }

    #[test]
    fn sleeping_is_for_programs_not_for_tests() {
        let text =
            "use x;\nfn f() { sleep(1) }\n\n#[cfg(test)]\nmod tests {\n    thread::sleep(1)\n}\n";
        assert_eq!(lines(sleeps, "a/src/a.rs", text), [6]);
        assert_eq!(lines(sleeps, "a/tests/a.rs", text), [2]);
        assert!(lines(sleeps, "a/tests/a.rs", "oversleep(1); // sleep(\n").is_empty());
        assert!(lines(sleeps, "a/tests/a.rs", "let 日本 = 1; no_sleep(1);\n").is_empty());
    }

    #[test]
    fn unsafe_needs_its_argument_near() {
        let bare = "fn f() {\n    unsafe { g() }\n}\n";
        assert_eq!(lines(safety, "a.rs", bare), [2]);
        assert!(lines(safety, "a.rs", "// SAFETY: because.\nunsafe { g() }\n").is_empty());
        assert!(lines(safety, "a.rs", "unsafe fn f();\n").is_empty());
        let far = format!("// SAFETY: because.\n{}unsafe {{ g() }}\n", "x();\n".repeat(9));
        assert_eq!(lines(safety, "a.rs", &far), [11]);
    }
}
