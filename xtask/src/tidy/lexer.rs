//! Just enough of Rust's grammar to tell code from comments and literals, so that a rule about
//! calls is not set off by a sentence or a string (this program's own, for instance).

/// The kind of a piece of source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Code,
    Comment,
    Literal,
}

/// A source text taken apart; both parts keep every line break, so that lines still agree.
#[derive(Debug)]
pub struct Parts {
    /// Code, with comments and what is inside literals blanked.
    pub code: String,
    /// Comments, with all else blanked.
    pub comments: String,
}

/// Takes `source` apart.
pub fn split(source: &str) -> Parts {
    let mut parts = Parts { code: String::new(), comments: String::new() };
    let mut rest = source;
    let mut previous = '\n';
    while !rest.is_empty() {
        let (class, length) = piece(rest, previous);
        let (text, tail) = rest.split_at(length);
        previous = text.chars().next_back().unwrap_or('\n');
        let blank: String = text.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        parts.code.push_str(if class == Class::Code { text } else { &blank });
        parts.comments.push_str(if class == Class::Comment { text } else { &blank });
        rest = tail;
    }
    parts
}

/// Class and length (bytes, at least one character) of what `rest` starts with.
fn piece(rest: &str, previous: char) -> (Class, usize) {
    if rest.starts_with("//") {
        return (Class::Comment, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (Class::Comment, block_comment(rest));
    }
    let in_word = previous.is_alphanumeric() || previous == '_';
    let literal = match rest.as_bytes()[0] {
        b'"' => Some(string(rest)),
        b'r' if !in_word || previous == 'b' || previous == 'c' => raw_string(rest),
        b'\'' => character(rest),
        _ => None,
    };
    match literal {
        Some(length) => (Class::Literal, length),
        None => (Class::Code, rest.chars().next().map_or(1, char::len_utf8)),
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    let body = rest[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(2 + hashes + length)
}

/// A character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    if chars.next()?.1 == '\\' {
        let end = rest.get(3..)?.find('\'')?;
        return Some(3 + end + 1);
    }
    let (at, after) = chars.next()?;
    (after == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_comments_and_literals_are_told_apart() {
        let source = "let a = \"x // \\\" y\"; // say\nlet b: &'a str = r#\"q\"w\"#; /* m\nn */ c('\"', '\\'')";
        let parts = split(source);
        let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(squeeze(&parts.code), "let a = ; let b: &'a str = ; c( , )");
        assert_eq!(squeeze(&parts.comments), "// say /* m n */");
        assert_eq!(parts.code.lines().count(), source.lines().count());
        assert_eq!(parts.comments.len(), parts.code.len());
    }

    #[test]
    fn unfinished_and_foreign_text_ends() {
        for source in ["\"abc", "/* a", "r#\"a", "'", "'é'", "'\\", "b'\\''", "// é", "é/*é*/é"]
        {
            let parts = split(source);
            assert!(parts.code.chars().count() == source.chars().count(), "{source}");
        }
    }
}
