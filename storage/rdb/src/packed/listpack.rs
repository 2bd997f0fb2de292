//! Listpack: `total u32 · count u16 · elements · 0xFF`, little endian. Each element is an encoding
//! byte, data, and the length of both again at its end (the *back length*), for walking backwards.

use resp::parse_i64;

use super::{PackedError, Value, array, int_le, u16_le, u32_le};

const HEADER: usize = 6;
const END: u8 = 0xff;
/// A count that did not fit into 16 bits.
const COUNT_UNKNOWN: usize = 0xffff;

/// The elements of a listpack, first to last. Ends after the first error.
pub struct Listpack<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Elements the header promises that did not come yet, if it promises any number.
    left: Option<usize>,
}

impl<'a> Listpack<'a> {
    /// Checks the header and the end mark; elements are checked as they come.
    pub fn new(bytes: &'a [u8]) -> Result<Self, PackedError> {
        let total = u32_le(bytes, 0).ok_or(error(0, "shorter than its header"))?;
        let count = u16_le(bytes, 4).ok_or(error(4, "shorter than its header"))?;
        if total != bytes.len() {
            return Err(error(0, "its length is not that of the bytes"));
        }
        if bytes.len() <= HEADER || bytes[bytes.len() - 1] != END {
            return Err(error(bytes.len() - 1, "no end mark"));
        }
        let left = (count != COUNT_UNKNOWN).then_some(count);
        Ok(Listpack { bytes, at: HEADER, left })
    }

    /// The number of elements according to the header; `None` when there are 65535 or more.
    pub fn len_hint(&self) -> Option<usize> {
        self.left
    }

    fn element(&mut self) -> Result<Option<Value<'a>>, PackedError> {
        let end = self.bytes.len() - 1;
        if self.at == end {
            return match self.left {
                None | Some(0) => Ok(None),
                Some(_) => Err(error(4, "fewer elements than its header says")),
            };
        }
        self.left = match self.left {
            Some(0) => return Err(error(4, "more elements than its header says")),
            left => left.map(|n| n - 1),
        };
        let start = self.at;
        let (value, size) =
            parse(&self.bytes[..end], start).ok_or(error(start, "an element past the end"))?;
        let mut back = [0; 5];
        let back = back_length(size, &mut back);
        if self.bytes[..end].get(start + size..start + size + back.len()) != Some(back) {
            return Err(error(start + size, "a wrong back length"));
        }
        self.at = start + size + back.len();
        Ok(Some(value))
    }
}

impl<'a> Iterator for Listpack<'a> {
    type Item = Result<Value<'a>, PackedError>;

    fn next(&mut self) -> Option<Self::Item> {
        let result = self.element().transpose();
        if let Some(Err(_)) = result {
            (self.at, self.left) = (self.bytes.len() - 1, None);
        }
        result
    }
}

fn error(at: usize, what: &'static str) -> PackedError {
    PackedError { encoding: "listpack", at, what }
}

/// The element at `at` and its size without the back length; `None` when it is not all there.
fn parse(bytes: &[u8], at: usize) -> Option<(Value<'_>, usize)> {
    let first = *bytes.get(at)?;
    let second = || bytes.get(at + 1).map(|&b| usize::from(b));
    let string = |header: usize, length: usize| {
        let from = at + header;
        let text = bytes.get(from..from.checked_add(length)?)?;
        Some((Value::Bytes(text), header + length))
    };
    let int = |width| Some((Value::Int(int_le(bytes, at + 1, width)?), 1 + width));
    match first {
        0x00..=0x7f => Some((Value::Int(i64::from(first)), 1)),
        0x80..=0xbf => string(1, usize::from(first & 0x3f)),
        0xc0..=0xdf => {
            let unsigned = ((i64::from(first) & 0x1f) << 8) | second()? as i64;
            let signed = if unsigned >= 1 << 12 { unsigned - (1 << 13) } else { unsigned };
            Some((Value::Int(signed), 2))
        }
        0xe0..=0xef => string(2, (usize::from(first & 0x0f) << 8) | second()?),
        0xf0 => string(5, u32::from_le_bytes(array(bytes, at + 1)?) as usize),
        0xf1 => int(2),
        0xf2 => int(3),
        0xf3 => int(4),
        0xf4 => int(8),
        _ => None,
    }
}

/// The back length of an element of `size` bytes: base 128, most significant digit first, all
/// digits but the first marked. The thresholds are Redis's, off by one from the natural ones.
fn back_length(size: usize, out: &mut [u8; 5]) -> &[u8] {
    let digits = match size {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    };
    for (index, digit) in out[..digits].iter_mut().enumerate() {
        let mark = if index == 0 { 0 } else { 0x80 };
        *digit = ((size >> (7 * (digits - 1 - index))) & 0x7f) as u8 | mark;
    }
    &out[..digits]
}

/// Builds a listpack.
#[derive(Debug, Clone)]
pub struct ListpackBuilder {
    bytes: Vec<u8>,
    count: usize,
}

impl Default for ListpackBuilder {
    fn default() -> Self {
        ListpackBuilder { bytes: vec![0; HEADER], count: 0 }
    }
}

impl ListpackBuilder {
    /// Appends a string; one that is the canonical text of an integer is kept as one, as in Redis.
    pub fn push(&mut self, text: &[u8]) {
        if let Some(n) = parse_i64(text) {
            return self.push_int(n);
        }
        let header = self.bytes.len();
        match text.len() {
            n @ 0..64 => self.bytes.push(0x80 | n as u8),
            n @ 64..4096 => self.bytes.extend_from_slice(&[0xe0 | (n >> 8) as u8, n as u8]),
            n => {
                self.bytes.push(0xf0);
                self.bytes.extend_from_slice(&(n as u32).to_le_bytes());
            }
        }
        self.bytes.extend_from_slice(text);
        self.close(header);
    }

    /// Appends an integer in the smallest form that holds it.
    pub fn push_int(&mut self, n: i64) {
        let start = self.bytes.len();
        let wide = n.to_le_bytes();
        match n {
            0..=127 => self.bytes.push(n as u8),
            -4096..=4095 => {
                let bits = (n & 0x1fff) as u16;
                self.bytes.extend_from_slice(&(bits | 0xc000).to_be_bytes());
            }
            -0x8000..=0x7fff => self.push_wide(0xf1, &wide[..2]),
            -0x80_0000..=0x7f_ffff => self.push_wide(0xf2, &wide[..3]),
            -0x8000_0000..=0x7fff_ffff => self.push_wide(0xf3, &wide[..4]),
            _ => self.push_wide(0xf4, &wide),
        }
        self.close(start);
    }

    fn push_wide(&mut self, encoding: u8, digits: &[u8]) {
        self.bytes.push(encoding);
        self.bytes.extend_from_slice(digits);
    }

    fn close(&mut self, start: usize) {
        let mut back = [0; 5];
        let back = back_length(self.bytes.len() - start, &mut back);
        self.bytes.extend_from_slice(back);
        self.count += 1;
    }

    /// Appends all elements of another one.
    pub fn append(&mut self, other: &ListpackBuilder) {
        self.bytes.extend_from_slice(&other.bytes[HEADER..]);
        self.count += other.count;
    }

    /// Bytes so far, without the end mark.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The finished bytes. `None` when they pass what 32 bits can say.
    pub fn finish(mut self) -> Option<Vec<u8>> {
        self.bytes.push(END);
        let total = u32::try_from(self.bytes.len()).ok()?;
        self.bytes[..4].copy_from_slice(&total.to_le_bytes());
        let count = self.count.min(COUNT_UNKNOWN) as u16;
        self.bytes[4..6].copy_from_slice(&count.to_le_bytes());
        Some(self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(bytes: &[u8]) -> Result<Vec<Vec<u8>>, PackedError> {
        Listpack::new(bytes)?.map(|v| v.map(Value::to_vec)).collect()
    }

    fn pack<T: AsRef<[u8]>>(elements: &[T]) -> Vec<u8> {
        let mut builder = ListpackBuilder::default();
        elements.iter().for_each(|e| builder.push(e.as_ref()));
        builder.finish().unwrap()
    }

    /// Bytes of `LPUSH`ed small values as Redis 7.0 dumps them.
    #[test]
    fn known_bytes() {
        let bytes = [13, 0, 0, 0, 2, 0, 0x81, b'a', 2, 0x05, 1, 0, 0];
        assert!(Listpack::new(&bytes).is_err(), "no end mark");
        let bytes = [12, 0, 0, 0, 2, 0, 0x81, b'a', 2, 0x05, 1, 0xff];
        assert_eq!(texts(&bytes).unwrap(), [b"a".to_vec(), b"5".to_vec()]);
        assert_eq!(pack(&["a", "5"]), bytes);
    }

    #[test]
    fn every_width_of_integer_and_string() {
        let mut elements: Vec<Vec<u8>> = Vec::new();
        for bits in 0..63 {
            for n in [(1i64 << bits) - 1, 1 << bits, -(1i64 << bits), -(1i64 << bits) - 1] {
                elements.push(n.to_string().into_bytes());
            }
        }
        for size in
            [0, 1, 63, 64, 124, 125, 126, 4095, 4096, 16_376, 16_377, 16_378, 16_379, 70_000]
        {
            elements.push(vec![b'z'; size]);
        }
        assert_eq!(texts(&pack(&elements)).unwrap(), elements);
    }

    #[test]
    fn more_elements_than_sixteen_bits_count() {
        let elements = vec![b"x"; 70_000];
        let bytes = pack(&elements);
        assert_eq!(Listpack::new(&bytes).unwrap().len_hint(), None);
        assert_eq!(texts(&bytes).unwrap().len(), 70_000);
    }

    #[test]
    fn damage_is_named() {
        let mut bytes = pack(&["a", "5"]);
        bytes[4] = 3;
        assert_eq!(texts(&bytes).unwrap_err().what, "fewer elements than its header says");
        bytes[4] = 1;
        assert_eq!(texts(&bytes).unwrap_err().what, "more elements than its header says");
        bytes[4] = 2;
        bytes[8] = 7;
        assert_eq!(texts(&bytes).unwrap_err().what, "a wrong back length");
    }

    proptest! {
        #[test]
        fn round_trip(elements: Vec<Vec<u8>>) {
            prop_assert_eq!(texts(&pack(&elements)).unwrap(), elements);
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(mut body: Vec<u8>, count: u16) {
            body.push(END);
            let mut bytes = ((body.len() + HEADER) as u32).to_le_bytes().to_vec();
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&body);
            if let Ok(elements) = texts(&bytes) {
                prop_assert!(elements.len() <= bytes.len());
            }
        }
    }
}
