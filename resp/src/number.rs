//! Numbers as the protocol writes them: strict decimal integers, and doubles in Redis's text form.

use zmij::Buffer;

/// The longest text of an `i64`: a sign and nineteen digits.
const I64_LEN_MAX: usize = 20;

/// The highest number of digits of a length. A longer one is never valid.
const LENGTH_DIGITS_MAX: usize = 10;

/// Parses an integer by the rules of Redis's `string2ll`: an optional `-`, digits without leading
/// zeros, nothing else, and in range. `+1`, `01`, `-0`, ` 1` and the empty text are not integers.
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    if text == b"0" {
        return Some(0);
    }
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if text.len() > I64_LEN_MAX || !matches!(digits.first(), Some(b'1'..=b'9')) {
        return None;
    }
    let mut magnitude: u64 = 0;
    for &byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

/// A line end, as its two bytes appear in a little-endian word.
const END: u64 = u16::from_le_bytes(*b"\r\n") as u64;

/// Reads the length header at `at`, `<digits>\r.` behind the type byte. Returns the value, and the
/// offset behind the header.
///
/// Returns `None` if a closer look is needed: the header is incomplete, not a plain number, or out
/// of range. As in Redis, the byte behind `\r` must be present but may be any byte.
#[inline(always)]
pub(crate) fn length(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    // One check of the bounds covers every header of up to three digits. Anything unusual, such as
    // a line end without its newline, is left to the slow path.
    if let Some(head) = bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*head) >> 8;
        let digit = |i: u32| (word >> (8 * i)) as u32 & 0xff;
        let digit = |i: u32| digit(i).wrapping_sub(u32::from(b'0'));
        let ends = |i: u32| (word >> (8 * i)) & 0xffff == END;
        let first = digit(0);
        if ends(1) && first <= 9 {
            return Some((first, at + 4));
        }
        if ends(2) && first.wrapping_sub(1) < 9 && digit(1) <= 9 {
            return Some((first * 10 + digit(1), at + 5));
        }
        if ends(3) && first.wrapping_sub(1) < 9 && digit(1) <= 9 && digit(2) <= 9 {
            return Some((first * 100 + digit(1) * 10 + digit(2), at + 6));
        }
    }
    long_length(bytes, at)
}

/// [`length`] for long numbers, and for headers near the end of the bytes.
#[inline(never)]
fn long_length(bytes: &[u8], at: usize) -> Option<(u32, usize)> {
    let digits = bytes.get(at + 1..)?;
    let mut value: u64 = 0;
    for (i, &byte) in digits.iter().take(LENGTH_DIGITS_MAX + 1).enumerate() {
        if byte == b'\r' {
            let plain = i == 1 || (i > 1 && digits[0] != b'0');
            let complete = i + 1 < digits.len();
            let value = u32::try_from(value).ok()?;
            return (plain && complete).then_some((value, at + i + 3));
        }
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    None
}

/// Appends `value` in the form of Redis 7.2's `d2string`: `inf`, `-inf`, `nan`, `-0`, whole numbers
/// below 2^62 as integers, everything else as the shortest text that reads back the same, laid out
/// like `fpconv_dtoa` does (`0.001`, `1e+22`, `1.5e-7`).
///
/// Redis's digits come from Grisu2, which for about one double in a thousand is not the shortest or
/// closest; those differ here in the last digit and read back as the same number.
pub fn format_double(value: f64, out: &mut Vec<u8>) {
    /// Beyond this Redis does not try the integer form.
    const WHOLE_MAX: f64 = (1u64 << 62) as f64;
    if value.is_nan() {
        out.extend_from_slice(b"nan");
    } else if value.is_infinite() {
        out.extend_from_slice(if value < 0.0 { b"-inf" } else { b"inf" });
    } else if value == 0.0 {
        out.extend_from_slice(if value.is_sign_negative() { b"-0" } else { b"0" });
    } else if value.abs() <= WHOLE_MAX && value.trunc() == value {
        out.extend_from_slice(itoa::Buffer::new().format(value as i64).as_bytes());
    } else {
        format_finite(value, out);
    }
}

/// The digits and the decimal exponent of a shortest text: `1.25` is `([1, 2, 5], -2)`.
fn decompose(text: &str, digits: &mut [u8; 24]) -> (usize, i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut scale: i32 = exponent.parse().unwrap_or(0);
    let mut len = 0;
    let mut behind_point = false;
    for byte in mantissa.bytes() {
        match byte {
            b'.' => behind_point = true,
            b'0'..=b'9' => {
                scale -= i32::from(behind_point);
                // Leading zeros carry no digit.
                if (len > 0 || byte != b'0') && len < digits.len() {
                    digits[len] = byte;
                    len += 1;
                }
            }
            _ => {}
        }
    }
    while len > 1 && digits[len - 1] == b'0' {
        len -= 1;
        scale += 1;
    }
    (len, scale)
}

/// Writes a finite, non-zero double in one of three forms, chosen by the rules of fpconv.
fn format_finite(value: f64, out: &mut Vec<u8>) {
    let mut digits = [0; 24];
    let (len, scale) = decompose(Buffer::new().format_finite(value.abs()), &mut digits);
    let digits = &digits[..len];
    // The exponent if exactly one digit stood before the point.
    let exponent = scale + len as i32 - 1;
    if value < 0.0 {
        out.push(b'-');
    }
    if scale >= 0 && exponent < len as i32 + 7 {
        out.extend_from_slice(digits);
        out.resize(out.len() + scale as usize, b'0');
    } else if scale < 0 && (scale > -7 || exponent.abs() < 4) {
        format_fixed(digits, scale, out);
    } else {
        format_scientific(digits, exponent, out);
    }
}

fn format_fixed(digits: &[u8], scale: i32, out: &mut Vec<u8>) {
    let behind_point = scale.unsigned_abs() as usize;
    if behind_point >= digits.len() {
        out.extend_from_slice(b"0.");
        out.resize(out.len() + behind_point - digits.len(), b'0');
        out.extend_from_slice(digits);
    } else {
        let (whole, fraction) = digits.split_at(digits.len() - behind_point);
        out.extend_from_slice(whole);
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

fn format_scientific(digits: &[u8], exponent: i32, out: &mut Vec<u8>) {
    let (first, rest) = digits.split_at(1);
    out.extend_from_slice(first);
    if !rest.is_empty() {
        out.push(b'.');
        out.extend_from_slice(rest);
    }
    out.extend_from_slice(if exponent < 0 { b"e-" } else { b"e+" });
    out.extend_from_slice(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
}
