//! [`Fields`]: the fields of a stream entry as they lie in storage, packed.
//!
//! A text is its length and its bytes; a value that is an integer in its only form is kept in as few
//! bytes as it needs. Names may be kept apart from the values, once for many entries.

/// Appends a variable-length number: seven bits per byte, low ones first.
pub fn put_number(out: &mut impl Extend<u8>, mut number: u64) {
    while number >= 0x80 {
        out.extend([number as u8 | 0x80]);
        number >>= 7;
    }
    out.extend([number as u8]);
}

/// The number at the front of `bytes`, and the rest; `None` if there is none.
#[inline]
pub fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (mut value, mut shift) = (0, 0);
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// The fields of an entry.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    count: usize,
    /// The names, when they are apart from the values.
    names: Option<&'a [u8]>,
    /// Values, or names and values in turn.
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    /// Fields whose names are kept elsewhere.
    pub fn shared(count: usize, names: &'a [u8], values: &'a [u8]) -> Self {
        Fields { count, names: Some(names), bytes: values }
    }

    /// Fields packed by [`put_fields`]. If they are damaged, there are fewer.
    pub fn whole(bytes: &'a [u8]) -> Self {
        let (count, rest) = number(bytes).unwrap_or((0, &[]));
        // Every field takes two bytes at least.
        Fields { count: (count as usize).min(rest.len() / 2), names: None, bytes: rest }
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Visits them in the order they were given.
    pub fn for_each(&self, mut visit: impl FnMut(&[u8], &[u8])) {
        let (mut names, mut rest) = (self.names, self.bytes);
        let mut buffer = itoa::Buffer::new();
        for _ in 0..self.count {
            let name = match &mut names {
                Some(names) => text(names),
                None => text(&mut rest),
            };
            match value(&mut rest) {
                Value::Bytes(bytes) => visit(name, bytes),
                Value::Integer(integer) => visit(name, buffer.format(integer).as_bytes()),
            }
        }
    }
}

/// Takes a text off the front of packed bytes; empty when they are damaged.
pub fn text<'a>(bytes: &mut &'a [u8]) -> &'a [u8] {
    let Some((len, rest)) = number(bytes) else { return &[] };
    let (text, rest) = rest.split_at(rest.len().min(len as usize));
    *bytes = rest;
    text
}

/// A value as it is kept.
#[derive(Debug, PartialEq)]
enum Value<'a> {
    Bytes(&'a [u8]),
    Integer(i64),
}

/// Takes a value off the front of packed bytes; empty when they are damaged.
fn value<'a>(bytes: &mut &'a [u8]) -> Value<'a> {
    let Some((head, rest)) = number(bytes) else { return Value::Bytes(&[]) };
    let (body, rest) = rest.split_at(rest.len().min((head >> 1) as usize));
    *bytes = rest;
    if head & 1 == 0 {
        return Value::Bytes(body);
    }
    let negative = body.last().is_some_and(|last| last & 0x80 != 0);
    let mut whole = [if negative { 0xff } else { 0 }; 8];
    let len = body.len().min(8);
    whole[..len].copy_from_slice(&body[..len]);
    Value::Integer(i64::from_le_bytes(whole))
}

/// Appends a text.
pub fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_number(out, text.len() as u64);
    out.extend_from_slice(text);
}

/// Appends a value.
pub fn put_value(out: &mut Vec<u8>, value: &[u8]) {
    let Some(integer) = short_integer(value) else {
        put_number(out, (value.len() as u64) << 1);
        return out.extend_from_slice(value);
    };
    let bytes = integer.to_le_bytes();
    // Bits needed with the sign: as many bytes as hold them.
    let bits = 65 - if integer < 0 { !integer } else { integer }.leading_zeros() as usize;
    let len = if integer == 0 { 0 } else { bits.div_ceil(8) };
    out.push((len << 1 | 1) as u8);
    out.extend_from_slice(&bytes[..len]);
}

/// An integer in its only form that takes fewer bytes as a number.
fn short_integer(value: &[u8]) -> Option<i64> {
    let digits = match value {
        [b'-', b'1'..=b'9', ..] => &value[1..],
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] => value,
        _ => return None,
    };
    if digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0'));
    Some(if digits.len() < value.len() { -number } else { number })
}

/// Appends fields, names and values in turn, behind their number.
pub fn put_fields(out: &mut Vec<u8>, fields: &[(&[u8], &[u8])]) {
    put_number(out, fields.len() as u64);
    for (name, value) in fields {
        put_text(out, name);
        put_value(out, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(fields: &[(&[u8], &[u8])]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut packed = Vec::new();
        put_fields(&mut packed, fields);
        let mut seen = Vec::new();
        Fields::whole(&packed).for_each(|name, value| seen.push((name.to_vec(), value.to_vec())));
        seen
    }

    #[test]
    fn integers_take_few_bytes() {
        for (text, bytes) in [
            ("0", 1),
            ("1", 2),
            ("-1", 2),
            ("127", 2),
            ("128", 3),
            ("-128", 2),
            ("32767", 3),
            ("65535", 4),
            ("999999999999999999", 9),
            ("-999999999999999999", 9),
        ] {
            let mut packed = Vec::new();
            put_value(&mut packed, text.as_bytes());
            assert_eq!(packed.len(), bytes, "{text}");
            assert_eq!(value(&mut &packed[..]), Value::Integer(text.parse().unwrap()));
        }
        for text in ["", "-", "-0", "00", "01", "+1", "1 ", "9999999999999999999", "x"] {
            assert_eq!(round_trip(&[(b"f", text.as_bytes())])[0].1, text.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn fields_come_back(fields: Vec<(Vec<u8>, Vec<u8>)>, number: i64) {
            let mut fields = fields;
            fields.push((b"number".to_vec(), number.to_string().into_bytes()));
            let given: Vec<_> = fields.iter().map(|(f, v)| (&f[..], &v[..])).collect();
            prop_assert_eq!(round_trip(&given), fields);
        }

        #[test]
        fn damage_is_read_without_panic(bytes: Vec<u8>) {
            Fields::whole(&bytes).for_each(|_, _| ());
        }
    }
}
