//! [`LongDouble`]: the 80-bit floating-point number that `INCRBYFLOAT` and `HINCRBYFLOAT` count in.
//!
//! Redis computes with C's `long double` and prints 17 decimals, so `0.1 + 0.2` is `0.3` there and
//! `1e17 + 0.1` is `100000000000000000.1015625`. An `f64` gives neither. This is that number on
//! every platform: a 64-bit mantissa, rounded to nearest, ties to even. Exponents are not limited
//! to 15 bits, but to what [`TEXT_LEN_MAX`] bytes can say.

use std::cmp::Ordering;

/// Longest text accepted; Redis's `MAX_LONG_DOUBLE_CHARS`.
const TEXT_LEN_MAX: usize = 5 * 1024;

/// Largest decimal exponent accepted, about that of the 80-bit format.
const EXPONENT_MAX: i64 = 4932;

/// Decimals printed before trailing zeros go; those of Redis's `LD_STR_HUMAN`.
const DECIMALS: u32 = 17;

/// A finite number: `mantissa × 2^exponent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LongDouble {
    negative: bool,
    /// Zero, or with its highest bit set.
    mantissa: u64,
    exponent: i32,
}

/// The outcome of parsing a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A number.
    Finite(LongDouble),
    /// `inf` or `-inf`: valid, but nothing to count with.
    Infinite,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble = LongDouble { negative: false, mantissa: 0, exponent: 0 };

    /// Parses a number as `strtold` does: decimal or hexadecimal, with or without an exponent.
    /// `None` for `nan`, for numbers out of range, and for text around the number.
    pub fn parse(text: &[u8]) -> Option<Parsed> {
        if text.len() >= TEXT_LEN_MAX {
            return None;
        }
        let (negative, rest) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
            return Some(Parsed::Infinite);
        }
        let number = match rest {
            [b'0', b'x' | b'X', hex @ ..] => parse_hex(hex)?,
            decimal => parse_decimal(decimal)?,
        };
        Some(Parsed::Finite(LongDouble { negative, ..number }))
    }

    /// The sum, rounded; `None` when it would not be finite.
    pub fn plus(self, other: LongDouble) -> Option<LongDouble> {
        if self.mantissa == 0 || other.mantissa == 0 {
            let kept = if self.mantissa == 0 { other } else { self };
            return Some(LongDouble { negative: kept.negative && kept.mantissa != 0, ..kept });
        }
        let exponent = self.exponent.min(other.exponent);
        let a = Big::from(self.mantissa).shl((self.exponent - exponent) as usize);
        let b = Big::from(other.mantissa).shl((other.exponent - exponent) as usize);
        let (negative, sum) = if self.negative == other.negative {
            (self.negative, a.add(&b))
        } else {
            match a.cmp(&b) {
                Ordering::Less => (other.negative, b.sub(&a)),
                _ => (self.negative, a.sub(&b)),
            }
        };
        let sum =
            LongDouble { negative: negative && !sum.is_zero(), ..round(&sum, exponent, false) };
        sum.is_in_range().then_some(sum)
    }

    /// Appends the text Redis stores: 17 decimals, trailing zeros dropped.
    pub fn format(self, out: &mut Vec<u8>) {
        let scaled = (0..DECIMALS).fold(Big::from(self.mantissa), |n, _| n.mul_small(10));
        let scaled = match u32::try_from(self.exponent) {
            Ok(up) => scaled.shl(up as usize),
            Err(_) => scaled.shr_rounded(self.exponent.unsigned_abs() as usize),
        };
        let mut digits = scaled.digits();
        while digits.len() <= DECIMALS as usize {
            digits.insert(0, b'0');
        }
        let (whole, decimals) = digits.split_at(digits.len() - DECIMALS as usize);
        let used = decimals.iter().rposition(|&d| d != b'0').map_or(0, |last| last + 1);
        if self.negative && digits.iter().any(|&d| d != b'0') {
            out.push(b'-');
        }
        out.extend_from_slice(whole);
        if used > 0 {
            out.push(b'.');
            out.extend_from_slice(&decimals[..used]);
        }
    }

    /// Whether the 80-bit format has this exponent.
    fn is_in_range(self) -> bool {
        self.exponent <= 16384 - 64
    }
}

/// Digits, an optional point among them, and an exponent behind `marker`: the digits without the
/// point, how many of them stood behind it, and the exponent.
fn split(text: &[u8], marker: u8, is_digit: fn(&u8) -> bool) -> Option<(Vec<u8>, i64, i64)> {
    let end = text.iter().position(|b| b.eq_ignore_ascii_case(&marker)).unwrap_or(text.len());
    let (number, exponent) = text.split_at(end);
    let exponent = match exponent.get(1..) {
        None => 0,
        Some(digits) => parse_exponent(digits)?,
    };
    let point = number.iter().position(|&b| b == b'.').unwrap_or(number.len());
    let behind = number.get(point + 1..).unwrap_or_default();
    let digits: Vec<u8> = [&number[..point], behind].concat();
    let valid = !digits.is_empty() && digits.iter().all(is_digit);
    valid.then_some((digits, behind.len() as i64, exponent))
}

fn parse_exponent(text: &[u8]) -> Option<i64> {
    let digits = text.strip_prefix(b"-").or(text.strip_prefix(b"+")).unwrap_or(text);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // More digits than these are out of range anyway, whatever they are.
    let value = digits.iter().fold(0i64, |n, d| (n * 10 + i64::from(d - b'0')).min(1_000_000));
    Some(if text[0] == b'-' { -value } else { value })
}

fn parse_decimal(text: &[u8]) -> Option<LongDouble> {
    let (digits, behind, exponent) = split(text, b'e', u8::is_ascii_digit)?;
    let digits = trim_zeros(&digits);
    if digits.is_empty() {
        return Some(LongDouble::ZERO);
    }
    let exponent = exponent - behind;
    let magnitude = exponent + digits.len() as i64 - 1;
    if magnitude.abs() > EXPONENT_MAX {
        return None;
    }
    let number = digits.iter().fold(Big::from(0), |n, d| n.mul_small_add(10, u32::from(d - b'0')));
    let power = |n: i64| (0..n).fold(Big::from(1), |n, _| n.mul_small(10));
    let value = if exponent >= 0 {
        let power = power(exponent);
        round(&number.mul(&power), 0, false)
    } else {
        divide(&number, &power(-exponent))
    };
    value.is_in_range().then_some(value)
}

fn parse_hex(text: &[u8]) -> Option<LongDouble> {
    let (digits, behind, exponent) = split(text, b'p', u8::is_ascii_hexdigit)?;
    let digit = |d: &u8| char::from(*d).to_digit(16).unwrap_or(0);
    let number = digits.iter().fold(Big::from(0), |n, d| n.mul_small_add(16, digit(d)));
    let exponent = exponent - behind * 4;
    if exponent.abs() > 20_000 {
        return None;
    }
    let value = round(&number, exponent as i32, false);
    value.is_in_range().then_some(value)
}

fn trim_zeros(digits: &[u8]) -> &[u8] {
    let zeros = digits.iter().take_while(|&&d| d == b'0').count();
    &digits[zeros..]
}

/// `number × 2^exponent` as 64 bits of mantissa; `sticky` says that something is left below.
fn round(number: &Big, exponent: i32, sticky: bool) -> LongDouble {
    let bits = number.bits();
    if bits == 0 {
        return LongDouble::ZERO;
    }
    if bits <= 64 {
        let up = 64 - bits;
        let mantissa = number.low_u64() << up;
        return LongDouble { negative: false, mantissa, exponent: exponent - up as i32 };
    }
    let down = bits - 64;
    let mantissa = number.shr(down).low_u64();
    let half = number.bit(down - 1);
    let below = sticky || number.any_bit_below(down - 1);
    let exponent = exponent + down as i32;
    let up = half && (below || mantissa & 1 == 1);
    match mantissa.checked_add(u64::from(up)) {
        Some(mantissa) => LongDouble { negative: false, mantissa, exponent },
        None => LongDouble { negative: false, mantissa: 1 << 63, exponent: exponent + 1 },
    }
}

/// `a / b`, both positive, by long division to two bits more than the mantissa has.
fn divide(a: &Big, b: &Big) -> LongDouble {
    const BITS: i32 = 66;
    if a.bits() <= 64 && b.bits() < 128 - BITS as usize {
        return divide_small(a.low_u64(), b.low_u64());
    }
    let shift = BITS + b.bits() as i32 - a.bits() as i32;
    let (mut rest, divisor) = match usize::try_from(shift) {
        Ok(up) => (a.clone().shl(up), b.clone()),
        Err(_) => (a.clone(), b.clone().shl(shift.unsigned_abs() as usize)),
    };
    let mut quotient = Big::from(0);
    for bit in (0..=BITS as usize).rev() {
        let step = divisor.clone().shl(bit);
        quotient = quotient.shl(1);
        if rest.cmp(&step) != Ordering::Less {
            rest = rest.sub(&step);
            quotient = quotient.add(&Big::from(1));
        }
    }
    round(&quotient, -shift, !rest.is_zero())
}

/// [`divide`] in machine words: what people usually send.
fn divide_small(a: u64, b: u64) -> LongDouble {
    let up = 64 + a.leading_zeros();
    let (number, divisor) = (u128::from(a) << up, u128::from(b));
    let quotient = number / divisor;
    let quotient = Big::from((quotient >> 64) as u64).shl(64).add(&Big::from(quotient as u64));
    round(&quotient, -(up as i32), number % divisor != 0)
}

/// A natural number: 32-bit limbs, lowest first, no zero limb at the top.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Big(Vec<u32>);

impl From<u64> for Big {
    fn from(value: u64) -> Self {
        Big(vec![value as u32, (value >> 32) as u32]).trimmed()
    }
}

impl Big {
    fn trimmed(mut self) -> Self {
        let used = self.0.iter().rposition(|&limb| limb != 0).map_or(0, |top| top + 1);
        self.0.truncate(used);
        self
    }

    fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    fn bits(&self) -> usize {
        self.0.last().map_or(0, |top| self.0.len() * 32 - top.leading_zeros() as usize)
    }

    fn bit(&self, at: usize) -> bool {
        self.0.get(at / 32).is_some_and(|limb| limb >> (at % 32) & 1 == 1)
    }

    fn any_bit_below(&self, at: usize) -> bool {
        (0..at).any(|bit| self.bit(bit))
    }

    fn low_u64(&self) -> u64 {
        let limb = |i: usize| u64::from(self.0.get(i).copied().unwrap_or(0));
        limb(0) | limb(1) << 32
    }

    fn cmp(&self, other: &Big) -> Ordering {
        let by_len = self.0.len().cmp(&other.0.len());
        by_len.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }

    fn add(&self, other: &Big) -> Big {
        let mut carry = 0;
        let limb = |n: &Big, i: usize| u64::from(n.0.get(i).copied().unwrap_or(0));
        let limbs = (0..=self.0.len().max(other.0.len())).map(|i| {
            let sum = limb(self, i) + limb(other, i) + carry;
            carry = sum >> 32;
            sum as u32
        });
        Big(limbs.collect()).trimmed()
    }

    /// The difference; `other` is not larger.
    fn sub(&self, other: &Big) -> Big {
        let mut borrow = 0;
        let limbs = self.0.iter().enumerate().map(|(i, &limb)| {
            let take = i64::from(other.0.get(i).copied().unwrap_or(0)) + borrow;
            let rest = i64::from(limb) - take;
            borrow = i64::from(rest < 0);
            rest as u32
        });
        Big(limbs.collect()).trimmed()
    }

    fn mul_small(self, factor: u32) -> Big {
        self.mul_small_add(factor, 0)
    }

    fn mul_small_add(mut self, factor: u32, add: u32) -> Big {
        let mut carry = u64::from(add);
        for limb in &mut self.0 {
            let product = u64::from(*limb) * u64::from(factor) + carry;
            *limb = product as u32;
            carry = product >> 32;
        }
        self.0.push(carry as u32);
        self.trimmed()
    }

    fn mul(&self, other: &Big) -> Big {
        let rows = other.0.iter().enumerate();
        rows.fold(Big(Vec::new()), |sum, (i, &limb)| {
            sum.add(&self.clone().mul_small(limb).shl(i * 32))
        })
    }

    fn shl(self, bits: usize) -> Big {
        let mut limbs = vec![0; bits / 32];
        limbs.extend(self.0);
        // Less than a limb: a multiplication by a power of two.
        Big(limbs).mul_small_add(1 << (bits % 32), 0)
    }

    fn shr(&self, bits: usize) -> Big {
        let limbs = self.0.get(bits / 32..).unwrap_or_default();
        let shifted = limbs.iter().enumerate().map(|(i, &low)| {
            let high = limbs.get(i + 1).copied().unwrap_or(0);
            ((u64::from(high) << 32 | u64::from(low)) >> (bits % 32)) as u32
        });
        Big(shifted.collect()).trimmed()
    }

    /// Shifts down, rounding to nearest, ties to even.
    fn shr_rounded(&self, bits: usize) -> Big {
        let down = self.shr(bits);
        if bits == 0 {
            return down;
        }
        let up = self.bit(bits - 1) && (self.any_bit_below(bits - 1) || down.bit(0));
        if up { down.add(&Big::from(1)) } else { down }
    }

    fn digits(mut self) -> Vec<u8> {
        let mut digits = Vec::new();
        while !self.is_zero() {
            let mut rest = 0;
            for limb in self.0.iter_mut().rev() {
                let value = rest << 32 | u64::from(*limb);
                *limb = (value / 10) as u32;
                rest = value % 10;
            }
            digits.push(b'0' + rest as u8);
            self = self.trimmed();
        }
        digits.reverse();
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(a: &str, b: &str) -> String {
        let number = |text: &str| match LongDouble::parse(text.as_bytes()) {
            Some(Parsed::Finite(number)) => number,
            other => panic!("{text}: {other:?}"),
        };
        let mut out = Vec::new();
        number(a).plus(number(b)).expect("finite").format(&mut out);
        String::from_utf8(out).expect("digits")
    }

    /// (a, b, what `SET k a`, `INCRBYFLOAT k b` of Redis 7.0.15 answers)
    const ORACLE: &[(&str, &str, &str)] = &[
        ("0.1", "0.2", "0.3"),
        ("3.0", "1.1", "4.1"),
        ("10.5", "0.1", "10.6"),
        ("1e17", "0.1", "100000000000000000.1015625"),
        ("5.0e3", "200", "5200"),
        ("0x10", "0x1.8p1", "19"),
        ("0", "-0", "0"),
        ("-1.5", "1.5", "0"),
        ("-0.1", "-0.2", "-0.3"),
        ("1e-5", "1e-18", "0.00001"),
        ("0.00000000000000001", "0", "0.00000000000000001"),
        ("0.000000000000000005", "0", "0"),
        ("0.0000000000000000151", "0", "0.00000000000000002"),
        ("123456789012345678901234567890", "1", "123456789012345678899921813504"),
        ("-5", "200000000000000000.5", "199999999999999995.5"),
        ("1e25", "-1", "10000000000000000000000000"),
        ("3.14159265358979323846264338327950288", "0", "3.14159265358979324"),
        (".5", "5.", "5.5"),
        ("-51750.9", "596.64e-2", "-51744.93359999999999843"),
        ("444.33870412123023", "55642.72e-5", "444.89513132123023001"),
        ("73.816993325456", "429.70868e-5", "73.821290412256"),
        ("-786295579237787695.108061", "99.577e-7", "-786295579237787695.125"),
        ("9578621805965652.44211436549912", "-59399.271870429101e17", "-5939917608421104134144"),
        ("10986393.6550669089", "-470636.314395342e8", "-47063620453140.54493331909179688"),
        ("-793919.57934655362", "81390.95950094914e3", "80597039.92160258637886727"),
        ("-945717734175441.967", "-1064.93e14", "-107438717734175441.96875"),
        ("-806849483587759.396627367485", "-172.8088e-7", "-806849483587759.3966064453125"),
        ("9145446607.53404922", "-1320.471007e4", "9132241897.46404922008514404"),
        ("-56429.758487694", "-699.4062857518941e-4", "-56429.8284283225751885"),
        ("158647.88384612", "7.275509e1", "158720.63893611999999678"),
        ("54912.621094415095", "-88.58e19", "-885799999999999945088"),
        ("-6933790816772.7889", "-3.213e6", "-6933794029772.78889989852905273"),
        ("5571.13", "19826.5957e11", "1982659570005571.1300048828125"),
        ("895.6312081", "264511.402018727951e7", "2645114021082.91071820259094238"),
        ("7996.544749945302120", "-2.5613e15", "-2561299999992003.455322265625"),
        ("-9301452452530798.3", "-88.8e1", "-9301452452531686.2998046875"),
        ("556624390.184289567188", "-68.32798268349e11", "-6832241643958.81571054458618164"),
        ("53778945.26832537", "-748.0e17", "-74799999999946221056"),
        ("-3488395025793106.886684091209", "-82.13711300e-1", "-3488395025793115.100341796875"),
        ("-5666294.8097578", "5636.854e13", "56368539994333705.19140625"),
        ("3507915142290.3215963660368318", "-348669.820e15", "-348669816492084857696"),
        ("-836940526078286.742", "16.2e10", "-836778526078286.74200439453125"),
        ("-80160.2808669598404242", "0.8627e15", "862699999919839.7191162109375"),
        ("29703452253197.4", "513.78710264e2", "29703452304576.11026382446289062"),
        ("-961761355399194630.7982", "-9557.70604444117836e-4", "-961761355399194631.75"),
        ("2695656811738521.206161765276562", "22.62061e11", "2697918872738521.2060546875"),
        ("375831826466288074.1023626257076575", "35.98e-5", "375831826466288074.09375"),
        ("-876212429885945282.453", "-66263.4650401e6", "-876212496149410322.5625"),
    ];

    #[test]
    fn sums_are_those_of_redis() {
        for (a, b, expected) in ORACLE {
            assert_eq!(sum(a, b), *expected, "{a} + {b}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in
            ["", "-", ".", "e5", "1e", "1e+", "0x", "nan", "1 ", " 1", "1_0", "1e5000", "1e-5000"]
        {
            assert_eq!(LongDouble::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(LongDouble::parse(b"-iNf"), Some(Parsed::Infinite));
        assert_eq!(LongDouble::parse(&[b'1'; TEXT_LEN_MAX]), None);
    }

    #[test]
    fn a_sum_may_leave_the_range() {
        let Some(Parsed::Finite(large)) = LongDouble::parse(b"1e4932") else { panic!("finite") };
        assert_eq!(large.plus(large), None);
    }
}
