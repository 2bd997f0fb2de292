//! The manifest: which files make up the log, in Redis 7's own words (`aof.c`).
//!
//! One line per file, `file NAME seq N type b|h|i`: the base, history (no longer needed, to be
//! deleted) and increments in order. Lines that start with `#` are comments; one of them says that
//! the log is only the tail of a persistent backend, see [`Manifest::image`].

use std::fmt::Write as _;

/// Redis's `MANIFEST_MAX_LINE`, bytes.
const LINE_LEN_MAX: usize = 1024;
/// The beginning of the comment which says that the base is not in the log: `# varve-image sled`.
const IMAGE_COMMENT: &str = "# varve-image ";

/// One file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name within the directory.
    pub file: String,
    /// Its sequence number, from 1.
    pub seq: u64,
}

/// The files of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// The state before the first increment.
    pub base: Option<Part>,
    /// Files that a rewrite replaced.
    pub history: Vec<Part>,
    /// The increments, oldest first.
    pub increments: Vec<Part>,
    /// The persistent backend that holds everything before the first increment, if one does. A log
    /// of this kind means nothing without it.
    pub image: Option<String>,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// Fails with Redis's description of the error, and the number of the line, from 1.
    pub fn parse(text: &[u8]) -> Result<Self, (usize, &'static str)> {
        let mut manifest = Manifest::default();
        let mut lines = text.split(|&byte| byte == b'\n').peekable();
        let mut number = 0;
        if text.is_empty() {
            return Err((1, "Found an empty AOF manifest"));
        }
        while let Some(line) = lines.next() {
            number += 1;
            let at_line = |what| (number, what);
            if lines.peek().is_none() {
                // The text behind the last line end: empty, or a line that was cut off.
                return match line {
                    [] => manifest.checked().map_err(at_line),
                    _ => Err(at_line("The AOF manifest file contains too long line")),
                };
            }
            if line.len() >= LINE_LEN_MAX {
                return Err(at_line("The AOF manifest file contains too long line"));
            }
            manifest.line(line).map_err(at_line)?;
        }
        manifest.checked().map_err(|what| (number, what))
    }

    fn line(&mut self, line: &[u8]) -> Result<(), &'static str> {
        if let Some(name) = line.strip_prefix(IMAGE_COMMENT.as_bytes()) {
            self.image = Some(String::from_utf8_lossy(name).trim().to_owned());
        }
        if line.first() == Some(&b'#') {
            return Ok(());
        }
        let (kind, part) = part(line).ok_or("Invalid AOF manifest file format")?;
        match kind {
            b'b' if self.base.is_some() => {
                return Err("Found duplicate base file information");
            }
            b'b' => self.base = Some(part),
            b'h' => self.history.push(part),
            b'i' if self.increments.last().is_some_and(|last| last.seq >= part.seq) => {
                return Err("Found a non-monotonic sequence number");
            }
            b'i' => self.increments.push(part),
            _ => return Err("Unknown AOF file type"),
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, &'static str> {
        let empty = self.base.is_none() && self.history.is_empty() && self.increments.is_empty();
        if empty && self.image.is_none() {
            return Err("Found an empty AOF manifest");
        }
        Ok(self)
    }

    /// The text of the manifest.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if let Some(image) = &self.image {
            let _ = writeln!(text, "{IMAGE_COMMENT}{image}");
        }
        let base = self.base.iter().map(|part| (part, 'b'));
        let history = self.history.iter().map(|part| (part, 'h'));
        for (part, kind) in base.chain(history).chain(self.increments.iter().map(|p| (p, 'i'))) {
            let _ = writeln!(text, "file {} seq {} type {kind}", quoted(&part.file), part.seq);
        }
        text
    }

    /// The highest sequence number of a base, past ones included; 0 without.
    pub fn base_seq(&self) -> u64 {
        let history = self.history.iter().filter(|part| part.file.contains(".base."));
        self.base.iter().chain(history).map(|part| part.seq).max().unwrap_or(0)
    }

    /// The highest sequence number of an increment, past ones included; 0 without.
    pub fn increment_seq(&self) -> u64 {
        let history = self.history.iter().filter(|part| part.file.contains(".incr."));
        self.increments.iter().chain(history).map(|part| part.seq).max().unwrap_or(0)
    }
}

/// The kind and the part that a line describes.
fn part(line: &[u8]) -> Option<(u8, Part)> {
    let words = resp::split_words(line)?;
    let (mut file, mut seq, mut kind) = (None, None, None);
    if words.len() < 6 || words.len() % 2 != 0 {
        return None;
    }
    for pair in words.chunks_exact(2) {
        match &pair[0].to_ascii_lowercase()[..] {
            b"file" => file = String::from_utf8(pair[1].clone()).ok(),
            b"seq" => seq = resp::parse_i64(&pair[1]).and_then(|seq| u64::try_from(seq).ok()),
            b"type" => kind = pair[1].first().copied(),
            _ => {} // as in Redis: room for what later versions add
        }
    }
    let file = file.filter(|file| !file.is_empty() && !file.contains(['/', '\\']))?;
    Some((kind?, Part { file, seq: seq.filter(|&seq| seq > 0)? }))
}

/// A file name as `sdssplitargs` reads it back.
fn quoted(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\');
    if name.bytes().all(plain) {
        return name.to_owned();
    }
    let mut out = String::from("\"");
    for byte in name.bytes() {
        match byte {
            b'"' | b'\\' => {
                out.push('\\');
                out.push(char::from(byte));
            }
            b' '..=b'~' => out.push(char::from(byte)),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_what_redis_does() {
        let text = "file appendonly.aof.2.base.rdb seq 2 type b\n\
                    file appendonly.aof.1.incr.aof seq 1 type h\n\
                    file appendonly.aof.2.incr.aof seq 2 type i\n\
                    file \"my log.3.incr.aof\" seq 3 type i\n";
        let manifest = Manifest::parse(text.as_bytes()).unwrap();
        assert_eq!(manifest.base_seq(), 2);
        assert_eq!(manifest.increment_seq(), 3);
        assert_eq!(manifest.increments[1].file, "my log.3.incr.aof");
        assert_eq!(manifest.to_text(), text);
    }

    #[test]
    fn comments_and_unknown_words_are_passed_over() {
        let text = b"# remark\nfile a.1.incr.aof seq 1 type i startoffset 12\n";
        assert_eq!(Manifest::parse(text).unwrap().increments.len(), 1);
        let tail = Manifest { image: Some("sled".into()), ..Manifest::default() };
        assert_eq!(Manifest::parse(tail.to_text().as_bytes()).unwrap(), tail);
    }

    #[test]
    fn damage_is_named() {
        let b = "file a.1.base.rdb seq 1 type b\n";
        let cases: [(&str, usize, &str); 8] = [
            ("", 1, "empty"),
            ("\n", 1, "Invalid"),
            ("file a seq 1\n", 1, "Invalid"),
            ("file ../a seq 1 type i\n", 1, "Invalid"),
            ("file a seq 0 type i\n", 1, "Invalid"),
            ("file a seq 1 type x\n", 1, "Unknown"),
            (&format!("{b}{b}"), 2, "duplicate"),
            (&format!("{b}file a seq 2 type i\nfile b seq 2 type i\n"), 3, "non-monotonic"),
        ];
        for (text, line, what) in cases {
            let (at, error) = Manifest::parse(text.as_bytes()).unwrap_err();
            assert_eq!(at, line, "{text:?}");
            assert!(error.contains(what), "{text:?}: {error}");
        }
        assert!(Manifest::parse(&b.as_bytes()[..b.len() - 1]).is_err(), "no line end");
    }
}
