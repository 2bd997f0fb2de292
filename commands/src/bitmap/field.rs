//! Integers of 1 to 64 bits: their types, and what happens to those that do not fit.

use engine::failure::{Failure, failure};
use resp::parse_i64;

const INVALID_TYPE: Failure = failure(
    "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
);

/// The bytes a field can lie in: 64 bits, not aligned.
pub const SPAN_MAX: usize = 9;

/// An integer type: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Type {
    pub signed: bool,
    pub width: u32,
}

/// The treatment of a number that does not fit (`OVERFLOW`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// Its low bits are kept.
    Wrap,
    /// It becomes the nearest that fits.
    Saturate,
    /// The field is left unchanged.
    Fail,
}

impl Type {
    pub fn parse(text: &[u8]) -> Result<Self, Failure> {
        let (signed, digits) = match text.split_first() {
            Some((b'i', digits)) => (true, digits),
            Some((b'u', digits)) => (false, digits),
            _ => return Err(INVALID_TYPE),
        };
        let widest = if signed { 64 } else { 63 };
        match parse_i64(digits) {
            Some(width) if (1..=widest).contains(&width) => {
                Ok(Type { signed, width: width as u32 })
            }
            _ => Err(INVALID_TYPE),
        }
    }

    fn limits(self) -> (i128, i128) {
        match self.signed {
            true => (-(1 << (self.width - 1)), (1 << (self.width - 1)) - 1),
            false => (0, (1 << self.width) - 1),
        }
    }

    /// The number whose low bits these are.
    fn number_of(self, bits: u64) -> i64 {
        let unused = 64 - self.width;
        let high = bits << unused;
        if self.signed { high as i64 >> unused } else { (high >> unused) as i64 }
    }

    /// The number stored in place of `number`; `None` when it does not fit and must.
    pub fn fit(self, number: i128, overflow: Overflow) -> Option<i64> {
        let (min, max) = self.limits();
        if (min..=max).contains(&number) {
            return Some(number as i64);
        }
        match overflow {
            Overflow::Wrap => Some(self.number_of(number as u64)),
            Overflow::Saturate => Some(number.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }

    /// A number that a client gave for this type: an unsigned one is given by its bits.
    pub fn given(self, number: i64) -> i128 {
        if !self.signed {
            return i128::from(number as u64);
        }
        // Redis computes the distance to the maximum in 64 bits, so a number far below the minimum
        // counts as above the maximum.
        let above =
            number < 0 && self.width < 64 && (self.limits().1 as i64).wrapping_sub(number) < 0;
        i128::from(number) + if above { 1 << 64 } else { 0 }
    }

    /// The bytes that hold the field at this bit: the first, and one past the last.
    pub fn span(self, bit: u64) -> (u64, u64) {
        (bit / 8, (bit + u64::from(self.width)).div_ceil(8))
    }

    /// The distance of the field's last bit from the end of a window that begins with its first
    /// byte.
    fn shift(self, bit: u64) -> u32 {
        SPAN_MAX as u32 * 8 - (bit % 8) as u32 - self.width
    }

    /// The field at `bit`, from the bytes of its [`Type::span`]; missing ones are zeros.
    pub fn read(self, bit: u64, bytes: &[u8]) -> i64 {
        self.number_of((window(bytes) >> self.shift(bit)) as u64)
    }

    /// Puts the field at `bit` into the bytes of its span.
    pub fn write(self, bit: u64, number: i64, bytes: &mut [u8]) {
        let mask = ((1u128 << self.width) - 1) << self.shift(bit);
        let new = ((number as u64 as u128) << self.shift(bit)) & mask;
        let all = ((window(bytes) & !mask) | new).to_be_bytes();
        let len = bytes.len().min(SPAN_MAX);
        bytes[..len].copy_from_slice(&all[16 - SPAN_MAX..][..len]);
    }
}

/// Up to [`SPAN_MAX`] bytes as one number, zeros behind them.
fn window(bytes: &[u8]) -> u128 {
    let mut all = [0; 16];
    let len = bytes.len().min(SPAN_MAX);
    all[16 - SPAN_MAX..][..len].copy_from_slice(&bytes[..len]);
    u128::from_be_bytes(all)
}

#[cfg(test)]
mod tests {
    use super::{Overflow, Type};
    use proptest::prelude::*;

    const I8: Type = Type { signed: true, width: 8 };
    const U4: Type = Type { signed: false, width: 4 };

    #[test]
    fn overflow() {
        assert_eq!(I8.fit(128, Overflow::Wrap), Some(-128));
        assert_eq!(I8.fit(-129, Overflow::Wrap), Some(127));
        assert_eq!(I8.fit(300, Overflow::Saturate), Some(127));
        assert_eq!(I8.fit(-300, Overflow::Saturate), Some(-128));
        assert_eq!(I8.fit(300, Overflow::Fail), None);
        assert_eq!(U4.fit(U4.given(-1), Overflow::Saturate), Some(15));
        assert_eq!(U4.fit(-1, Overflow::Saturate), Some(0));
        assert_eq!(U4.fit(17, Overflow::Wrap), Some(1));
        let i64_type = Type { signed: true, width: 64 };
        let beyond = i128::from(i64::MAX) + 1;
        assert_eq!(i64_type.fit(beyond, Overflow::Wrap), Some(i64::MIN));
        assert_eq!(i64_type.fit(beyond, Overflow::Saturate), Some(i64::MAX));
    }

    #[test]
    fn types() {
        for good in ["u1", "u63", "i1", "i64"] {
            assert!(Type::parse(good.as_bytes()).is_ok(), "{good}");
        }
        for bad in ["", "u", "u0", "u64", "i65", "i-1", "x8", "U8", "i 8", "i08"] {
            assert!(Type::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn written_is_read_and_neighbours_stay(
            signed: bool, width in 1u32..=63, bit in 0u64..64, number: i64,
            mut bytes in prop::collection::vec(any::<u8>(), 20),
        ) {
            let field = Type { signed, width };
            let number = field.fit(i128::from(number), Overflow::Wrap).unwrap();
            let before = bytes.clone();
            let (start, end) = field.span(bit);
            field.write(bit, number, &mut bytes[start as usize..end as usize]);
            prop_assert_eq!(field.read(bit, &bytes[start as usize..end as usize]), number);
            let inside = bit..bit + u64::from(width);
            for at in (0..160).filter(|at| !inside.contains(at)) {
                let get = |bytes: &[u8]| bytes[(at / 8) as usize] & (0x80 >> (at % 8));
                prop_assert_eq!(get(&bytes), get(&before));
            }
        }
    }
}
