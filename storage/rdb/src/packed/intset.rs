//! Intset: `width u32 · count u32 · ascending integers of that width`, little endian.

use super::{PackedError, int_le, u32_le};

const HEADER: usize = 8;

fn error(at: usize, what: &'static str) -> PackedError {
    PackedError { encoding: "intset", at, what }
}

/// The integers, ascending.
pub fn decode(bytes: &[u8]) -> Result<Vec<i64>, PackedError> {
    let short = error(0, "shorter than its header");
    let width = u32_le(bytes, 0).ok_or(short)?;
    let count = u32_le(bytes, 4).ok_or(short)?;
    if !matches!(width, 2 | 4 | 8) {
        return Err(error(0, "integers are of 2, 4 or 8 bytes"));
    }
    if count.checked_mul(width).and_then(|n| n.checked_add(HEADER)) != Some(bytes.len()) {
        return Err(error(4, "its count is not that of the bytes"));
    }
    let mut out: Vec<i64> = Vec::with_capacity(count);
    for at in (HEADER..bytes.len()).step_by(width) {
        let n = int_le(bytes, at, width).ok_or(short)?;
        if out.last().is_some_and(|&last| last >= n) {
            return Err(error(at, "integers out of order"));
        }
        out.push(n);
    }
    Ok(out)
}

/// Packs integers, which must be ascending and distinct, at the width of the widest.
/// `None` when there are more than 32 bits can count.
pub fn encode(sorted: &[i64]) -> Option<Vec<u8>> {
    debug_assert!(sorted.windows(2).all(|pair| pair[0] < pair[1]), "ascending and distinct");
    let fits = |bits: u32| {
        let bound = 1i64 << (bits - 1);
        sorted.first().is_none_or(|&n| n >= -bound) && sorted.last().is_none_or(|&n| n < bound)
    };
    let width: usize = if fits(16) {
        2
    } else if fits(32) {
        4
    } else {
        8
    };
    let mut out = Vec::with_capacity(HEADER + sorted.len() * width);
    out.extend_from_slice(&(width as u32).to_le_bytes());
    out.extend_from_slice(&u32::try_from(sorted.len()).ok()?.to_le_bytes());
    sorted.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()[..width]));
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn width_follows_the_widest() {
        for (numbers, width) in [
            (vec![], 2),
            (vec![-32_768, 32_767], 2),
            (vec![-32_769, 0], 4),
            (vec![0, 1 << 31], 8),
            (vec![i64::MIN, i64::MAX], 8),
        ] {
            let bytes = encode(&numbers).unwrap();
            assert_eq!(bytes[0], width, "{numbers:?}");
            assert_eq!(decode(&bytes).unwrap(), numbers);
        }
    }

    #[test]
    fn damage_is_named() {
        assert_eq!(decode(&[3, 0, 0, 0, 0, 0, 0, 0]).unwrap_err().at, 0);
        assert_eq!(decode(&[2, 0, 0, 0, 9, 0, 0, 0]).unwrap_err().at, 4);
        let unsorted = [2, 0, 0, 0, 2, 0, 0, 0, 5, 0, 4, 0];
        assert_eq!(decode(&unsorted).unwrap_err().what, "integers out of order");
    }

    proptest! {
        #[test]
        fn round_trip(numbers: std::collections::BTreeSet<i64>) {
            let sorted: Vec<i64> = numbers.into_iter().collect();
            prop_assert_eq!(decode(&encode(&sorted).unwrap()).unwrap(), sorted);
        }
    }
}
