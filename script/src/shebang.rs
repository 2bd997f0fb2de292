//! The first line of a script or library: `#!lua name=… flags=…`. Its words are quoted as those of
//! an inline request are.

use resp::split_words;

/// The flags of a script: what it may do, and where.
pub mod flag {
    /// `no-writes`: writing commands are refused.
    pub const NO_WRITES: u32 = 1;
    /// `allow-oom`: runs although memory is over its limit.
    pub const ALLOW_OOM: u32 = 1 << 1;
    /// `allow-stale`.
    pub const ALLOW_STALE: u32 = 1 << 2;
    /// `no-cluster`.
    pub const NO_CLUSTER: u32 = 1 << 3;
    /// `allow-cross-slot-keys`.
    pub const ALLOW_CROSS_SLOT_KEYS: u32 = 1 << 4;
    /// The script says nothing of itself: it is from before there were flags.
    pub const COMPATIBLE: u32 = 1 << 5;
}

/// Names of flags, with their bits, in the order `FUNCTION LIST` shows them.
pub const FLAGS: [(&str, u32); 5] = [
    ("no-writes", flag::NO_WRITES),
    ("allow-oom", flag::ALLOW_OOM),
    ("allow-stale", flag::ALLOW_STALE),
    ("no-cluster", flag::NO_CLUSTER),
    ("allow-cross-slot-keys", flag::ALLOW_CROSS_SLOT_KEYS),
];

/// The bit of a flag.
pub fn flag_bit(name: &[u8]) -> Option<u32> {
    FLAGS.iter().find(|(flag, _)| flag.as_bytes() == name).map(|(_, bit)| *bit)
}

/// Where the code begins, the line with the shebang replaced by nothing: the newline stays, so
/// that line numbers are right.
fn after_first_line(source: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = source.iter().position(|&b| b == b'\n')?;
    Some((&source[..end], &source[end..]))
}

/// The flags of a script for `EVAL`, and its code.
///
/// # Errors
/// The text of the refusal, without code.
pub fn script(source: &[u8]) -> Result<(u32, &[u8]), String> {
    if !source.starts_with(b"#!") {
        return Ok((flag::COMPATIBLE, source));
    }
    let (line, code) = after_first_line(source).ok_or("Invalid script shebang")?;
    let words = split_words(line).ok_or("Invalid engine in script shebang")?;
    let (engine, words) = words.split_first().ok_or("Invalid engine in script shebang")?;
    if engine != b"#!lua" {
        return Err(format!("Unexpected engine in script shebang: {}", show(engine)));
    }
    let mut flags = 0;
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("Unknown lua shebang option: {}", show(word)));
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            flags |= flag_bit(name)
                .ok_or_else(|| format!("Unexpected flag in script shebang: {}", show(name)))?;
        }
    }
    Ok((flags, code))
}

/// The parsed first line of a library.
#[derive(Debug, PartialEq, Eq)]
pub struct Library<'a> {
    /// `lua`.
    pub engine: Vec<u8>,
    /// The library's name.
    pub name: Vec<u8>,
    /// The text that follows the first line.
    pub code: &'a [u8],
}

/// The name of a library, and its code.
///
/// # Errors
/// The text of the refusal, without code.
pub fn library(source: &[u8]) -> Result<Library<'_>, String> {
    if !source.starts_with(b"#!") {
        return Err("Missing library metadata".into());
    }
    let (line, code) = after_first_line(source).ok_or("Invalid library metadata")?;
    let words = split_words(line).ok_or("Invalid library metadata")?;
    let (engine, words) = words.split_first().ok_or("Invalid library metadata")?;
    let mut name = None;
    for word in words {
        // Unlike `flags=`, it may be written in capitals.
        let (key, given) = word.split_at_checked(NAME.len()).unwrap_or_default();
        if !key.eq_ignore_ascii_case(NAME) {
            return Err(format!("Invalid metadata value given: {}", show(word)));
        }
        if name.replace(given).is_some() {
            return Err("Invalid metadata value, name argument was given multiple times".into());
        }
    }
    let name = name.ok_or("Library name was not given")?.to_vec();
    let engine = engine.strip_prefix(b"#!").unwrap_or_default().to_vec();
    Ok(Library { engine, name, code })
}

const NAME: &[u8] = b"name=";

fn show(bytes: &[u8]) -> std::borrow::Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
