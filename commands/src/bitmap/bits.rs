//! Counting and finding bits in bytes. Bit 0 is the highest of the first byte.

use std::ops::Range;

/// The first `bits` bits of a byte, as a mask.
fn leading(bits: u64) -> u8 {
    !(0xff_u16 >> bits.min(8)) as u8
}

/// The byte at `index`, with the bits outside `range` cleared.
fn byte_within(bytes: &[u8], index: u64, range: &Range<u64>) -> u8 {
    let first = index * 8;
    let before = range.start.saturating_sub(first);
    let until = range.end.saturating_sub(first);
    let byte = bytes.get(index as usize).copied().unwrap_or_default();
    byte & !leading(before) & leading(until)
}

/// The whole bytes of a range of bits: from the first that begins in it to the last that ends in
/// it. Empty when there is none.
fn whole_bytes(range: &Range<u64>) -> Range<u64> {
    let start = range.start.div_ceil(8);
    start..(range.end / 8).max(start)
}

/// The number of set bits in `range`, which lies within the bytes.
pub fn count(bytes: &[u8], range: Range<u64>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    let whole = whole_bytes(&range);
    let mut total = 0;
    if !range.start.is_multiple_of(8) {
        total += u64::from(byte_within(bytes, range.start / 8, &range).count_ones());
    }
    // A range within one byte has been counted already.
    if !range.end.is_multiple_of(8) && range.end / 8 >= whole.start {
        total += u64::from(byte_within(bytes, range.end / 8, &range).count_ones());
    }
    let inner = bytes.get(whole.start as usize..whole.end as usize).unwrap_or_default();
    let (words, rest) = inner.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones()));
    let rest = rest.iter().map(|byte| u64::from(byte.count_ones()));
    total + words.sum::<u64>() + rest.sum::<u64>()
}

/// The first bit of `range` that is `set`. The range lies within the bytes.
pub fn find(bytes: &[u8], set: bool, range: Range<u64>) -> Option<u64> {
    // Looking for a clear bit is looking for a set one among the inverted.
    let flip = if set { 0 } else { 0xff };
    let mut index = range.start / 8;
    let last = range.end.div_ceil(8);
    while index < last {
        let byte = bytes.get(index as usize).copied().unwrap_or_default() ^ flip;
        let byte = byte_within(&[byte], 0, &shifted(&range, index * 8));
        if byte != 0 {
            return Some(index * 8 + u64::from(byte.leading_zeros()));
        }
        index += 1;
        index += uniform(bytes.get(index as usize..(range.end / 8) as usize), flip);
    }
    None
}

/// The range as seen from bit `origin`.
fn shifted(range: &Range<u64>, origin: u64) -> Range<u64> {
    range.start.saturating_sub(origin)..range.end.saturating_sub(origin)
}

/// The number of bytes from the beginning that all equal `byte`, in whole words.
fn uniform(bytes: Option<&[u8]>, byte: u8) -> u64 {
    let (words, _) = bytes.unwrap_or_default().as_chunks::<8>();
    words.iter().take_while(|word| **word == [byte; 8]).count() as u64 * 8
}

#[cfg(test)]
mod tests {
    use super::{count, find};
    use proptest::prelude::*;

    fn bit(bytes: &[u8], at: u64) -> bool {
        bytes[(at / 8) as usize] & (0x80 >> (at % 8)) != 0
    }

    proptest! {
        #[test]
        fn as_bit_by_bit(
            bytes in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..40),
            a in 0u64..320, b in 0u64..320, set: bool,
        ) {
            let len = bytes.len() as u64 * 8;
            let range = a.min(len)..b.min(len);
            let ones = range.clone().filter(|at| bit(&bytes, *at)).count() as u64;
            prop_assert_eq!(count(&bytes, range.clone()), ones);
            let first = range.clone().find(|at| bit(&bytes, *at) == set);
            prop_assert_eq!(find(&bytes, set, range), first);
        }
    }
}
