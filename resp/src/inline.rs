//! Inline requests: a line of words, quoted as in a shell, for users of `telnet` or `nc`.

/// Splits `line` into words, by the quoting rules of Redis's `sdssplitargs`. `None` if quotes are
/// unbalanced or a closing quote touches the next word.
///
/// The same rules read `redis.conf` lines.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut arena = Vec::new();
    let mut rest = line;
    while let Some(after) = next_word(rest, &mut arena)? {
        words.push(std::mem::take(&mut arena));
        rest = after;
    }
    Some(words)
}

/// Appends the first word of `line` to `arena`, and returns the rest of the line.
///
/// `None` means wrong quoting; `Some(None)`, that only white space was left.
pub(crate) fn next_word<'a>(line: &'a [u8], arena: &mut Vec<u8>) -> Option<Option<&'a [u8]>> {
    let mut rest = trim_start(line);
    if rest.is_empty() {
        return Some(None);
    }
    loop {
        match rest {
            // `\v` and `\x0c` are skipped before a word but do not end one, as in sdssplitargs.
            [] | [b' ' | b'\n' | b'\r' | b'\t' | 0, ..] => return Some(Some(rest)),
            [b'"', quoted @ ..] => return double_quoted(quoted, arena).map(Some),
            [b'\'', quoted @ ..] => return single_quoted(quoted, arena).map(Some),
            [byte, after @ ..] => {
                arena.push(*byte);
                rest = after;
            }
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Skips what the C library considers white space, and NUL. NUL ends a word here, so it must not
/// produce an endless series of empty words.
fn trim_start(line: &[u8]) -> &[u8] {
    let start = line.iter().position(|&b| !is_space(b) && b != 0).unwrap_or(line.len());
    &line[start..]
}

/// Checks that a closing quote ends its word.
fn closed(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&b| is_space(b) || b == 0).then_some(rest)
}

fn single_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] => return None,
            [b'\\', b'\'', after @ ..] => {
                arena.push(b'\'');
                rest = after;
            }
            [b'\'', after @ ..] => return closed(after),
            [byte, after @ ..] => {
                arena.push(*byte);
                rest = after;
            }
        }
    }
}

fn double_quoted<'a>(mut rest: &'a [u8], arena: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match rest {
            [] => return None,
            [b'"', after @ ..] => return closed(after),
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex(*high) << 4 | hex(*low), after)
            }
            [b'\\', escaped, after @ ..] => (unescape(*escaped), after),
            [byte, after @ ..] => (*byte, after),
        };
        arena.push(byte);
        rest = after;
    }
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
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
