//! Zipmap, the small hash of Redis before 2.6: `count u8`, then per pair
//! `length · field · length · free u8 · value · free bytes`, then 0xFF. Lengths are a byte, or 254
//! and four little-endian.

use super::{PackedError, u32_le};

const END: u8 = 0xff;
const BIG_LENGTH: u8 = 0xfe;
/// The count byte says 254 when there are that many or more.
const COUNT_UNKNOWN: u8 = 0xfe;

fn error(at: usize, what: &'static str) -> PackedError {
    PackedError { encoding: "zipmap", at, what }
}

/// A field and its value.
pub type Pair<'a> = (&'a [u8], &'a [u8]);

/// Fields and values, in order.
pub fn decode(bytes: &[u8]) -> Result<Vec<Pair<'_>>, PackedError> {
    let (&count, _) = bytes.split_first().ok_or(error(0, "empty"))?;
    let mut pairs = Vec::new();
    let mut at = 1;
    while *bytes.get(at).ok_or(error(at, "no end mark"))? != END {
        let past_end = error(at, "a pair past the end");
        let (field, value, next) = pair(bytes, at).ok_or(past_end)?;
        pairs.push((field, value));
        at = next;
    }
    if at + 1 != bytes.len() {
        return Err(error(at, "bytes after the end mark"));
    }
    if count < COUNT_UNKNOWN && usize::from(count) != pairs.len() {
        return Err(error(0, "its count is not that of the pairs"));
    }
    Ok(pairs)
}

/// The pair at `at`, and where the next one begins.
fn pair(bytes: &[u8], at: usize) -> Option<(&[u8], &[u8], usize)> {
    let (length, from) = length(bytes, at)?;
    let value_at = from.checked_add(length)?;
    let field = bytes.get(from..value_at)?;
    let (length, free_at) = self::length(bytes, value_at)?;
    let free = usize::from(*bytes.get(free_at)?);
    let end = (free_at + 1).checked_add(length)?;
    let value = bytes.get(free_at + 1..end)?;
    Some((field, value, end + free))
}

/// The length at `at`, and the offset of the bytes that it measures.
fn length(bytes: &[u8], at: usize) -> Option<(usize, usize)> {
    match *bytes.get(at)? {
        END => None,
        BIG_LENGTH => Some((u32_le(bytes, at + 1)?, at + 5)),
        small => Some((usize::from(small), at + 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The example in the comment at the top of Redis's `zipmap.c`, with a free byte added.
    #[test]
    fn known_bytes() {
        let bytes = b"\x02\x03foo\x03\x00bar\x05hello\x05\x01world!\xff";
        let pairs: Vec<Pair<'_>> = vec![(b"foo", b"bar"), (b"hello", b"world")];
        assert_eq!(decode(bytes).unwrap(), pairs);
    }

    #[test]
    fn long_values() {
        let value = vec![b'v'; 300];
        let bytes = [b"\x01\x01k\xfe\x2c\x01\x00\x00\x00".as_slice(), &value, b"\xff"].concat();
        assert_eq!(decode(&bytes).unwrap(), vec![(b"k".as_slice(), value.as_slice())]);
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(decode(b"").unwrap_err().what, "empty");
        assert_eq!(decode(b"\x01\x03fo").unwrap_err().what, "a pair past the end");
        assert_eq!(decode(b"\x01\x01k\x01\x00v").unwrap_err().what, "no end mark");
        assert_eq!(decode(b"\x00\xff\xff").unwrap_err().what, "bytes after the end mark");
        assert_eq!(decode(b"\x01\xff").unwrap_err().what, "its count is not that of the pairs");
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>) {
            if let Ok(pairs) = decode(&bytes) {
                prop_assert!(pairs.len() <= bytes.len());
            }
        }
    }
}
