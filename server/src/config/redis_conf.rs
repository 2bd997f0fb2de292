//! redis.conf syntax: lines of words with quotes, `#` comments, `include`.

use super::error::{ConfigError, Origin};
use super::layers::Setting;
use std::io;
use std::path::{Path, PathBuf};

/// The largest depth of included files. Deeper ones are taken for files that include each other.
const INCLUDE_DEPTH_MAX: usize = 16;

/// Splits a line into words as Redis does: `"…"` with escapes (`\n \r \t \b \a \xHH`), `'…'` with
/// only `\'`. `None` when quotes do not match, or the words are not UTF-8.
pub fn split_words(line: &str) -> Option<Vec<String>> {
    let mut rest = line.as_bytes();
    let mut words = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(String::from_utf8(word).ok()?);
    }
}

/// Takes one word. Returns the rest.
fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return Some(rest),
            [b' ' | b'\t' | b'\r' | b'\n' | 0, ..] => return Some(rest),
            [b'"', inside @ ..] => return closed(take_double_quoted(inside, word)?),
            [b'\'', inside @ ..] => return closed(take_single_quoted(inside, word)?),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// After a closing quote there must be a space or the end.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(u8::is_ascii_whitespace).then_some(rest)
}

fn take_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'"', after @ ..] => return Some(after),
            [b'\\', b'x', high, low, after @ ..] if hex(*high, *low).is_some() => {
                (hex(*high, *low)?, after)
            }
            [b'\\', escaped, after @ ..] => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        word.push(byte);
        rest = after;
    }
}

fn take_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [b'\'', after @ ..] => return Some(after),
            [b'\\', b'\'', after @ ..] => (b'\'', after),
            [byte, after @ ..] => (*byte, after),
            [] => return None,
        };
        word.push(byte);
        rest = after;
    }
}

fn hex(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn unescape(escaped: u8) -> u8 {
    match escaped {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// Writes a word so that [`split_words`] reads it back; quotes only where needed.
pub fn quote_word(word: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '"' && c != '\'';
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// The words of a line, none for comments and empty lines.
pub(super) fn line_words(line: &str) -> Option<Vec<String>> {
    match line.trim() {
        comment if comment.starts_with('#') => Some(Vec::new()),
        line => split_words(line),
    }
}

/// Reads the settings of a text, following its `include` lines.
pub(super) fn parse(text: &str, path: &Path, depth: usize) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let origin = Origin::File(path.to_owned(), index + 1);
        let words = line_words(line)
            .ok_or_else(|| ConfigError::at(origin.clone(), "unbalanced quotes, or not UTF-8"))?;
        let Some((name, words)) = words.split_first() else { continue };
        if name.eq_ignore_ascii_case("include") {
            settings.extend(include(words, &origin, depth)?);
        } else {
            settings.push(Setting { name: name.clone(), words: words.to_vec(), origin });
        }
    }
    Ok(settings)
}

fn include(words: &[String], origin: &Origin, depth: usize) -> Result<Vec<Setting>, ConfigError> {
    let wrong = |reason: String| ConfigError::about(origin.clone(), "include", reason);
    let [pattern] = words else { return Err(wrong("wrong number of arguments".into())) };
    if depth == INCLUDE_DEPTH_MAX {
        return Err(wrong("files include each other too deeply".into()));
    }
    let files = match pattern.contains(['*', '?', '[']) {
        true => expand(Path::new(pattern)),
        false => vec![PathBuf::from(pattern)],
    };
    let mut settings = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file)
            .map_err(|error| wrong(format!("can't read {}: {error}", file.display())))?;
        settings.extend(parse(&text, &file, depth + 1)?);
    }
    Ok(settings)
}

/// The existing paths that a pattern describes, in order; each component may hold wildcards.
fn expand(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for component in pattern.components() {
        let part = component.as_os_str().to_string_lossy();
        found = match part.contains(['*', '?', '[']) {
            true => found.iter().flat_map(|folder| matching(folder, &part)).collect(),
            false => found.into_iter().map(|folder| folder.join(component)).collect(),
        };
    }
    found.retain(|path| path.exists());
    found
}

/// The entries of a folder that a pattern describes, in order, without hidden ones.
fn matching(folder: &Path, pattern: &str) -> Vec<PathBuf> {
    let listed = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names = || -> io::Result<Vec<String>> {
        let name = |entry: io::Result<std::fs::DirEntry>| entry.map(|entry| entry.file_name());
        let names: io::Result<Vec<_>> = std::fs::read_dir(listed)?.map(name).collect();
        Ok(names?.into_iter().filter_map(|name| name.into_string().ok()).collect())
    };
    // As with glob(3): a folder that cannot be read holds nothing.
    let mut names = names().unwrap_or_default();
    names.retain(|name| {
        (pattern.starts_with('.') || !name.starts_with('.'))
            && engine::text::glob::matches(pattern.as_bytes(), name.as_bytes(), false)
    });
    names.sort();
    names.iter().map(|name| folder.join(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Option<Vec<String>> {
        split_words(line)
    }

    #[test]
    fn words_are_split_as_redis_splits_them() {
        assert_eq!(words("  a  b\tc ").unwrap(), ["a", "b", "c"]);
        assert_eq!(words(r#"save """#).unwrap(), ["save", ""]);
        assert_eq!(
            words(r#"a "b \"c\" \x41\n" 'd \' \n'"#).unwrap(),
            ["a", "b \"c\" A\n", r"d ' \n"]
        );
        assert_eq!(words(r#"pre"fix" x"#).unwrap(), ["prefix", "x"]);
        assert_eq!(words(r#""a"b"#), None);
        assert_eq!(words(r#"a "b"#), None);
        assert_eq!(words("a 'b"), None);
        assert_eq!(words(r#""\xff""#), None, "not UTF-8");
        assert_eq!(words("").unwrap(), [""; 0]);
    }

    #[test]
    fn quoted_words_come_back() {
        for word in ["", "plain", "a b", "\"", "'", "\\ x", "tab\tnl\n", "\u{7}", "ü", "a\\"] {
            let line = format!("x {}", quote_word(word));
            assert_eq!(words(&line).unwrap(), ["x", word], "{line}");
        }
        assert_eq!(quote_word("/var/lib"), "/var/lib");
    }

    #[test]
    fn includes_are_followed_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("conf.d")).unwrap();
        std::fs::write(at("conf.d/b.conf"), "port 2\n").unwrap();
        std::fs::write(at("conf.d/a.conf"), "# first\nport 1\n").unwrap();
        std::fs::write(at("conf.d/.hidden.conf"), "port 9\n").unwrap();
        let text = format!(
            "include {0}/conf.*/*.conf\ninclude {0}/none/*.conf\nport 3\n",
            folder.path().display()
        );
        let settings = parse(&text, Path::new("main.conf"), 0).unwrap();
        let ports: Vec<_> = settings.iter().map(|setting| setting.words[0].as_str()).collect();
        assert_eq!(ports, ["1", "2", "3"]);
        assert_eq!(settings[0].origin, Origin::File(at("conf.d/a.conf"), 2));
    }

    #[test]
    fn a_missing_or_circular_include_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("self.conf");
        std::fs::write(&path, format!("include {}\n", path.display())).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let error = parse(&text, &path, 0).unwrap_err();
        assert!(error.to_string().contains("too deeply"), "{error}");
        let error = parse("include /nope.conf", Path::new("a.conf"), 0).unwrap_err();
        assert!(error.to_string().starts_with("a.conf:1: 'include': can't read /nope.conf"));
    }
}
