//! Numbers as C's `printf("%.<precision>g")` writes them, and as commands are given them.

/// Appends `value` with at most `precision` significant digits.
pub(crate) fn push_general(out: &mut Vec<u8>, value: f64, precision: usize) {
    if value.is_nan() {
        let text: &[u8] = if value.is_sign_negative() { b"-nan" } else { b"nan" };
        return out.extend_from_slice(text);
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"inf" } else { b"-inf" });
    }
    let digits = i32::try_from(precision.clamp(1, 14)).unwrap_or(14);
    let whole = value.fract() == 0.0 && value.abs() < 10_f64.powi(digits);
    if whole && (value != 0.0 || value.is_sign_positive()) {
        return push_integer(out, value as i64);
    }
    let precision = precision.max(1);
    let scientific = format!("{:.*e}", precision - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= precision as i32 {
        out.extend_from_slice(without_trailing_zeros(mantissa).as_bytes());
        let sign = if exponent < 0 { '-' } else { '+' };
        out.extend_from_slice(format!("e{sign}{:02}", exponent.abs()).as_bytes());
    } else {
        let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
        let fixed = format!("{value:.decimals$}");
        out.extend_from_slice(without_trailing_zeros(&fixed).as_bytes());
    }
}

/// Appends `value` as the argument of a command: whole numbers as integers while that is exact, all
/// others as Redis 7.2's `fpconv_dtoa` writes them.
pub(crate) fn push_argument(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() && value.is_sign_negative() {
        out.push(b'-');
    }
    // Through an integer zero loses its sign.
    resp::format_double(if value == 0.0 { 0.0 } else { value }, out);
}

fn push_integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn without_trailing_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

/// The number that `text` begins with, as C's `strtod` reads it, and how many bytes that is; 0
/// when there is none.
pub(crate) fn read_prefix(text: &[u8]) -> (f64, usize) {
    let sign = usize::from(matches!(text.first(), Some(b'+' | b'-')));
    let negative = text.first() == Some(&b'-');
    let rest = &text[sign..];
    let (value, len) = if rest.len() > 2 && rest[0] == b'0' && rest[1].eq_ignore_ascii_case(&b'x') {
        read_hex(rest)
    } else if let Some((value, len)) = read_word(rest) {
        (value, len)
    } else {
        read_decimal(rest)
    };
    match len {
        0 => (0.0, 0),
        _ => (if negative { -value } else { value }, sign + len),
    }
}

fn read_word(text: &[u8]) -> Option<(f64, usize)> {
    let words: [(&[u8], f64); 3] =
        [(b"infinity", f64::INFINITY), (b"inf", f64::INFINITY), (b"nan", f64::NAN)];
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|t| t.eq_ignore_ascii_case(word));
    words.iter().find(|(word, _)| starts(word)).map(|(word, value)| (*value, word.len()))
}

fn digits(text: &[u8], is_digit: fn(&u8) -> bool) -> usize {
    text.iter().take_while(|b| is_digit(b)).count()
}

fn read_decimal(text: &[u8]) -> (f64, usize) {
    let mut len = digits(text, u8::is_ascii_digit);
    let mut any = len > 0;
    if text.get(len) == Some(&b'.') {
        let fraction = digits(&text[len + 1..], u8::is_ascii_digit);
        any |= fraction > 0;
        len += 1 + fraction;
    }
    if !any {
        return (0.0, 0);
    }
    if matches!(text.get(len), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(len + 1), Some(b'+' | b'-')));
        let exponent = digits(text.get(len + 1 + sign..).unwrap_or_default(), u8::is_ascii_digit);
        if exponent > 0 {
            len += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..len]).ok().and_then(|text| text.parse().ok());
    number.map_or((0.0, 0), |value| (value, len))
}

/// `0x` and hexadecimal digits.
fn read_hex(text: &[u8]) -> (f64, usize) {
    let len = digits(&text[2..], u8::is_ascii_hexdigit);
    if len == 0 {
        return (0.0, 1);
    }
    let digit = |b: &u8| f64::from((*b as char).to_digit(16).unwrap_or(0));
    (text[2..2 + len].iter().fold(0.0, |value, b| value * 16.0 + digit(b)), 2 + len)
}

#[cfg(test)]
mod tests {
    use super::{push_argument, push_general, read_prefix};

    #[test]
    fn as_strtod_reads_them() {
        let cases: [(&str, f64, usize); 9] = [
            ("12,", 12.0, 2),
            ("-1.5e3x", -1500.0, 6),
            ("1e", 1.0, 1),
            ("1.", 1.0, 2),
            ("0x1F]", 31.0, 4),
            ("+7", 7.0, 2),
            ("-inf", f64::NEG_INFINITY, 4),
            ("-", 0.0, 0),
            (".", 0.0, 0),
        ];
        for (text, value, len) in cases {
            assert_eq!(read_prefix(text.as_bytes()), (value, len), "{text}");
        }
    }

    #[test]
    fn as_fpconv_writes_them() {
        let cases = [
            (1e17, "100000000000000000"),
            (0.1, "0.1"),
            (-0.1, "-0.1"),
            (3.0, "3"),
            (-3.0, "-3"),
            (-0.0, "0"),
            (9007199254740992.0, "9007199254740992"),
            (4611686018427387904.0, "4611686018427387904"),
            (9223372036854775808.0, "9223372036854776000"),
            (1e19, "1e+19"),
            (1e100, "1e+100"),
            (1e-7, "1e-7"),
            (0.000001, "0.000001"),
            (1.0 / 3.0, "0.3333333333333333"),
            (12345.678901234567, "1.2345678901234567e+4"),
            (1.7976931348623157e308, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
            (-f64::NAN, "-nan"),
        ];
        for (value, text) in cases {
            let mut out = Vec::new();
            push_argument(&mut out, value);
            assert_eq!(String::from_utf8(out).as_deref(), Ok(text));
        }
    }

    fn general(value: f64, precision: usize) -> String {
        let mut out = Vec::new();
        push_general(&mut out, value, precision);
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn as_printf_writes_them() {
        let cases = [
            (0.1, 17, "0.10000000000000001"),
            (0.1, 14, "0.1"),
            (1e20, 17, "1e+20"),
            (12345678901234567890.0, 17, "1.2345678901234567e+19"),
            (-0.0, 17, "-0"),
            (0.0, 17, "0"),
            (3.0, 14, "3"),
            (1e15, 14, "1e+15"),
            (123456789012345.0, 14, "1.2345678901234e+14"),
            (99999999999999.0, 14, "99999999999999"),
            (0.00001, 14, "1e-05"),
            (0.0001, 14, "0.0001"),
            (1.5e-7, 14, "1.5e-07"),
            (1.0 / 3.0, 3, "0.333"),
            (f64::INFINITY, 14, "inf"),
            (-f64::INFINITY, 14, "-inf"),
        ];
        for (value, precision, text) in cases {
            assert_eq!(general(value, precision), text);
        }
    }
}
