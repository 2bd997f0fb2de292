//! The lines of `MONITOR`: `+1339518083.107412 [0 127.0.0.1:60866] "set" "k" "a\nb"`.

/// One line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<'a> {
    /// The time at which it was executed, in Unix microseconds.
    pub time_us: u64,
    /// The database.
    pub db: u32,
    /// The client's address, `unix:PATH`, or `lua` for a script's command.
    pub source: &'a str,
    /// The request.
    pub args: Vec<Vec<u8>>,
}

/// Reads a line, without its `+` and its line end; `None` when it is none of `MONITOR`'s.
pub fn parse(line: &str) -> Option<Line<'_>> {
    let (time, rest) = line.split_once(" [")?;
    let (seconds, micros) = time.split_once('.')?;
    let micros: u64 = micros.parse().ok().filter(|_| micros.len() == 6)?;
    let time_us = seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(micros)?;
    // A path in the address may hold anything but the end of it.
    let (address, rest) = rest.split_once("] \"")?;
    let (db, source) = address.split_once(' ')?;
    let args = arguments(rest.as_bytes())?;
    Some(Line { time_us, db: db.parse().ok()?, source, args })
}

/// Reads quoted arguments; the quote that opens the first has been read.
fn arguments(mut rest: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut args = Vec::new();
    loop {
        let mut arg = Vec::new();
        loop {
            let (&byte, after) = rest.split_first()?;
            rest = after;
            match byte {
                b'"' => break,
                b'\\' => arg.push(escape(&mut rest)?),
                byte => arg.push(byte),
            }
        }
        args.push(arg);
        if rest.is_empty() {
            return Some(args);
        }
        rest = rest.strip_prefix(b" \"")?;
    }
}

/// The byte that is written behind a backslash.
fn escape(rest: &mut &[u8]) -> Option<u8> {
    let (&letter, after) = rest.split_first()?;
    *rest = after;
    Some(match letter {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 0x07,
        b'b' => 0x08,
        b'\\' | b'"' => letter,
        b'x' => {
            let (digits, after) = rest.split_at_checked(2)?;
            *rest = after;
            if !digits.iter().all(u8::is_ascii_hexdigit) {
                return None;
            }
            u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_comes_back() {
        let mut text = String::from("1700000000.000123 [3 unix:/tmp/a [b] c] \"set\" \"\" \"");
        for byte in 0..=255u8 {
            text += &format!("\\x{byte:02x}");
        }
        text += "\\n\\r\\t\\a\\b\\\\\\\" plain\"";
        let line = parse(&text).unwrap();
        assert_eq!((line.time_us, line.db), (1_700_000_000_000_123, 3));
        assert_eq!(line.source, "unix:/tmp/a [b] c");
        assert_eq!(line.args[..2], [b"set".to_vec(), Vec::new()]);
        let all: Vec<u8> = (0..=255).chain(*b"\n\r\t\x07\x08\\\" plain").collect();
        assert_eq!(line.args[2], all);
        assert_eq!(parse("1.000000 [0 lua] \"get\" \"k\"").unwrap().source, "lua");
    }

    #[test]
    fn what_is_no_line_is_refused() {
        for text in [
            "",
            "OK",
            "1.5 [0 a:1] \"get\"",
            "1.000000 [x a:1] \"get\"",
            "1.000000 [0 a:1] get",
            "1.000000 [0 a:1] \"get",
            "1.000000 [0 a:1] \"get\"\"k\"",
            "1.000000 [0 a:1] \"\\x4\"",
            "1.000000 [0 a:1] \"\\x+4\"",
            "1.000000 [0 a:1] \"\\q\"",
            "99999999999999999999.000000 [0 a:1] \"get\"",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
