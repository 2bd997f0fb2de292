//! RESP text of effects, straight into the log buffer.

use crate::tx::Db;

/// Numbers up to here have their header ready-made.
const SMALL: usize = 10;

/// Appends `sigil number \r\n`.
#[inline]
fn header(out: &mut Vec<u8>, sigil: u8, number: usize) {
    if number < SMALL {
        out.extend_from_slice(&[sigil, b'0' + number as u8, b'\r', b'\n']);
    } else {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(number).as_bytes();
        out.push(sigil);
        out.extend_from_slice(digits);
        out.extend_from_slice(b"\r\n");
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_headers() {
        let mut out = Vec::new();
        command(&mut out, &[&b"SET"[..], b"k", b"0123456789"]);
        select(&mut out, 12);
        let text =
            "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$10\r\n0123456789\r\n*2\r\n$6\r\nSELECT\r\n$2\r\n12\r\n";
        assert_eq!(out, text.as_bytes());
    }
}
