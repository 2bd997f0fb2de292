//! LZF, the compression of long strings in RDB files (the format of Marc Lehmann's liblzf).
//!
//! A stream of runs. A byte below 32 says that `byte + 1` literals follow. Any other byte is a copy
//! of earlier output: the top three bits are the length minus two (7: the next byte is added), the
//! low five bits and one more byte are the distance minus one.

/// The furthest back a copy can reach.
const DISTANCE_MAX: usize = 1 << 13;
/// The longest copy: `7 + 255 + 2`.
const MATCH_MAX: usize = 264;
/// The longest run of literals.
const LITERALS_MAX: usize = 32;
/// Three bytes of input make at most [`MATCH_MAX`] of output, so no honest header claims more.
const EXPANSION_MAX: u64 = (MATCH_MAX / 3) as u64;

/// Restores `expected` bytes. `None` when `input` is not a stream of exactly that many.
///
/// Allocates at most 88 times the input's length, whatever `expected` claims.
pub fn decompress(input: &[u8], expected: u64) -> Option<Vec<u8>> {
    if expected > EXPANSION_MAX * input.len() as u64 {
        return None;
    }
    let expected = usize::try_from(expected).ok()?;
    let mut out = Vec::with_capacity(expected);
    let mut rest = input;
    while let Some((&control, tail)) = rest.split_first() {
        rest = match control {
            0..32 => copy_literals(control, tail, &mut out)?,
            _ => copy_earlier(control, tail, &mut out)?,
        };
        if out.len() > expected {
            return None;
        }
    }
    (out.len() == expected).then_some(out)
}

/// Appends a run of literals. Returns the rest of the input.
fn copy_literals<'a>(control: u8, input: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let (literals, rest) = input.split_at_checked(usize::from(control) + 1)?;
    out.extend_from_slice(literals);
    Some(rest)
}

/// Appends a copy of earlier output. Returns the input behind the reference.
fn copy_earlier<'a>(control: u8, mut input: &'a [u8], out: &mut Vec<u8>) -> Option<&'a [u8]> {
    let mut take = || {
        let (&byte, rest) = input.split_first()?;
        input = rest;
        Some(usize::from(byte))
    };
    let mut length = usize::from(control >> 5);
    if length == 7 {
        length += take()?;
    }
    length += 2;
    let distance = ((usize::from(control & 0x1f) << 8) | take()?) + 1;
    let start = out.len().checked_sub(distance)?;
    if distance >= length {
        out.extend_from_within(start..start + length);
    } else {
        // The copy overlaps with what it writes: a repeated pattern, one byte at a time.
        (start..start + length).for_each(|at| out.push(out[at]));
    }
    Some(input)
}

/// Compresses `input`, if that makes it at least four bytes shorter (Redis's own threshold: a
/// compressed string costs a second length).
pub fn compress(input: &[u8]) -> Option<Vec<u8>> {
    let limit = input.len().checked_sub(4)?;
    // Positions are kept in 32 bits; longer inputs than that do not occur, and may stay as they are.
    u32::try_from(input.len()).ok()?;
    let mut table = Matches::for_input(input.len());
    let mut out = Vec::with_capacity(limit.min(1 << 16));
    let mut literals_from = 0;
    let mut at = 0;
    while at + 3 <= input.len() {
        match table.find(input, at) {
            Some((earlier, length)) => {
                push_literals(&mut out, &input[literals_from..at]);
                push_copy(&mut out, at - earlier, length);
                at += length;
                literals_from = at;
            }
            None => at += 1,
        }
        if out.len() + (at - literals_from) > limit {
            return None; // literals can only make it longer
        }
    }
    push_literals(&mut out, &input[literals_from..]);
    (out.len() <= limit).then_some(out)
}

fn push_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn push_copy(out: &mut Vec<u8>, distance: usize, length: usize) {
    let (distance, length) = (distance - 1, length - 2);
    let high = (distance >> 8) as u8;
    if length < 7 {
        out.push(((length as u8) << 5) | high);
    } else {
        out.extend_from_slice(&[(7 << 5) | high, (length - 7) as u8]);
    }
    out.push(distance as u8);
}

/// The last position of each hash of three bytes.
struct Matches {
    /// Position plus one; zero is "never".
    seen: Vec<u32>,
    shift: u32,
}

impl Matches {
    /// A table in proportion to the input: most strings are short, and clearing costs too.
    fn for_input(length: usize) -> Self {
        let bits = length.next_power_of_two().trailing_zeros().clamp(5, 14);
        Matches { seen: vec![0; 1 << bits], shift: 32 - bits }
    }

    /// Remembers the position, and says where the same bytes stood before and how many agree.
    fn find(&mut self, input: &[u8], at: usize) -> Option<(usize, usize)> {
        let three = u32::from_le_bytes([input[at], input[at + 1], input[at + 2], 0]);
        let slot = &mut self.seen[(three.wrapping_mul(0x9E37_79B1) >> self.shift) as usize];
        let earlier = std::mem::replace(slot, at as u32 + 1).checked_sub(1)? as usize;
        if at - earlier > DISTANCE_MAX || input[earlier..earlier + 3] != input[at..at + 3] {
            return None;
        }
        let longest = MATCH_MAX.min(input.len() - at);
        let length = (3..longest).find(|&n| input[earlier + n] != input[at + n]);
        Some((earlier, length.unwrap_or(longest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_repeated_byte_shrinks_and_comes_back() {
        let text = vec![b'x'; 10_000];
        let packed = compress(&text).unwrap();
        assert!(packed.len() < 200, "{}", packed.len());
        assert_eq!(decompress(&packed, 10_000).unwrap(), text);
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz0123456789"), None);
        assert_eq!(compress(b""), None);
    }

    #[test]
    fn lies_are_refused() {
        let packed = compress(&[b'x'; 100]).unwrap();
        assert_eq!(decompress(&packed, 99), None, "too short a claim");
        assert_eq!(decompress(&packed, 101), None, "too long a claim");
        assert_eq!(decompress(&packed, u64::MAX), None, "no such expansion");
        assert_eq!(decompress(&[0x20, 0x00], 3), None, "a copy from before the start");
        assert_eq!(decompress(&[0x05, b'a'], 6), None, "literals that are not there");
    }

    proptest! {
        #[test]
        fn round_trip(text in proptest::collection::vec(0u8..4, 0..3000)) {
            if let Some(packed) = compress(&text) {
                prop_assert!(packed.len() + 4 <= text.len());
                prop_assert_eq!(decompress(&packed, text.len() as u64).unwrap(), text);
            }
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes: Vec<u8>, claim in 0u64..100_000) {
            if let Some(out) = decompress(&bytes, claim) {
                prop_assert_eq!(out.len() as u64, claim);
            }
        }
    }
}
