//! The first line of a script or library: `#!lua name=… flags=…`. Its words are quoted as those of
//! an inline request are.

use resp::split_words;

bitflags::bitflags! {
    /// The flags of a script: what it may do, and in which situations.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ScriptFlags: u32 {
        /// `no-writes`: writing commands are refused.
        const NO_WRITES = 1;
        /// `allow-oom`: runs although memory is over its limit.
        const ALLOW_OOM = 1 << 1;
        /// `allow-stale`.
        const ALLOW_STALE = 1 << 2;
        /// `no-cluster`.
        const NO_CLUSTER = 1 << 3;
        /// `allow-cross-slot-keys`.
        const ALLOW_CROSS_SLOT_KEYS = 1 << 4;
        /// The script says nothing of itself: it is from before there were flags.
        const COMPATIBLE = 1 << 5;
    }
}

impl ScriptFlags {
    /// The flags that a script can give itself, with their names, in the order of `FUNCTION LIST`.
    pub const NAMED: [(&str, Self); 5] = [
        ("no-writes", Self::NO_WRITES),
        ("allow-oom", Self::ALLOW_OOM),
        ("allow-stale", Self::ALLOW_STALE),
        ("no-cluster", Self::NO_CLUSTER),
        ("allow-cross-slot-keys", Self::ALLOW_CROSS_SLOT_KEYS),
    ];

    /// The flag of that name; `None` if there is no such flag.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::NAMED.iter().find(|(flag, _)| flag.as_bytes() == name).map(|(_, flag)| *flag)
    }
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
pub fn script(source: &[u8]) -> Result<(ScriptFlags, &[u8]), String> {
    if !source.starts_with(b"#!") {
        return Ok((ScriptFlags::COMPATIBLE, source));
    }
    let (line, code) = after_first_line(source).ok_or("Invalid script shebang")?;
    let words = split_words(line).ok_or("Invalid engine in script shebang")?;
    let (engine, words) = words.split_first().ok_or("Invalid engine in script shebang")?;
    if engine != b"#!lua" {
        return Err(format!("Unexpected engine in script shebang: {}", show(engine)));
    }
    let mut flags = ScriptFlags::empty();
    for word in words {
        let Some(list) = word.strip_prefix(b"flags=") else {
            return Err(format!("Unknown lua shebang option: {}", show(word)));
        };
        for name in list.split(|&b| b == b',').filter(|_| !list.is_empty()) {
            flags |= ScriptFlags::named(name)
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
