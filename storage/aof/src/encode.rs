//! RESP text of effects, straight into the log buffer.

use storage::tx::Db;

/// Appends `sigil number \r\n`. Most numbers have one digit or two: those are one short copy.
#[inline]
fn header(out: &mut Vec<u8>, sigil: u8, number: usize) {
    match number {
        0..10 => out.extend_from_slice(&[sigil, b'0' + number as u8, b'\r', b'\n']),
        10..100 => {
            let (tens, ones) = (b'0' + (number / 10) as u8, b'0' + (number % 10) as u8);
            out.extend_from_slice(&[sigil, tens, ones, b'\r', b'\n']);
        }
        _ => {
            let mut digits = itoa::Buffer::new();
            out.push(sigil);
            out.extend_from_slice(digits.format(number).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends a command.
#[inline]
pub(super) fn command<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    let bytes: usize = args.iter().map(|arg| arg.as_ref().len() + 16).sum();
    out.reserve(bytes + 16);
    header(out, b'*', args.len());
    for arg in args {
        let arg = arg.as_ref();
        header(out, b'$', arg.len());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// Appends `SELECT db`.
#[cold]
pub(super) fn select(out: &mut Vec<u8>, db: Db) {
    command(out, &[&b"SELECT"[..], itoa::Buffer::new().format(db).as_bytes()]);
}

/// The beginning of an annotation that holds a remark.
pub(super) const NOTE: &[u8] = b"#varve-note:";

/// A remark, as an annotation.
pub(super) fn note(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(NOTE);
    out.extend(text.bytes().filter(|byte| !b"\r\n".contains(byte)));
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_headers() {
        let mut out = Vec::new();
        command(&mut out, &[&b"SET"[..], b"k", b"0123456789"]);
        command(&mut out, &[&[b'x'; 99][..]]);
        command(&mut out, &[&[b'y'; 100][..]]);
        select(&mut out, 12);
        let long =
            format!("*1\r\n$99\r\n{}\r\n*1\r\n$100\r\n{}\r\n", "x".repeat(99), "y".repeat(100));
        let text = format!(
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n{long}\
             *2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n"
        );
        assert_eq!(out, text.as_bytes());
    }
}
