//! [`HyperLogLog`]: a string that counts distinct elements, in Redis's two encodings.
//!
//! A header of 16 bytes (`HYLL`, the encoding, three unused bytes, the cached cardinality with its
//! highest bit set when it is out of date), then 16384 registers: in the dense encoding 6 bits each,
//! from each byte's lowest bit on; in the sparse one runs (see [`super::sparse`]).

use super::estimate::{Histogram, cardinality};
use super::hash::murmur64a;
use super::sparse::{self, Raised};
use engine::failure::{Failure, failure};

/// The number of bits of the hash that choose the register.
const INDEX_BITS: u32 = 14;
/// The number of registers.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// The bits of the hash that decide a register's value.
pub const VALUE_BITS: u32 = 64 - INDEX_BITS;
const SEED: u64 = 0xadc8_3b19;
const HEADER_LEN: usize = 16;
const MAGIC: &[u8] = b"HYLL";
const ENCODING_AT: usize = 4;
const CARDINALITY_AT: usize = 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u16 = 0x3f;
const DENSE_LEN: usize = HEADER_LEN + REGISTERS * REGISTER_BITS / 8;

const NOT_ONE: Failure = failure("WRONGTYPE Key is not a valid HyperLogLog string value.");
/// Something in the shape of a HyperLogLog whose registers cannot be read.
pub const CORRUPT: Failure = failure("INVALIDOBJ Corrupted HLL object detected");

/// The registers, a byte each.
pub type Registers = [u8; REGISTERS];

/// The register in which an element is counted, and the value that it gives there.
pub fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, SEED);
    // A bit beyond the last ends the run of zeros.
    let rest = hash >> INDEX_BITS | 1 << VALUE_BITS;
    (hash as usize % REGISTERS, rest.trailing_zeros() as u8 + 1)
}

/// A HyperLogLog's bytes, owned or borrowed.
#[derive(Clone, Debug)]
pub struct HyperLogLog<B> {
    bytes: B,
}

impl<B: AsRef<[u8]>> HyperLogLog<B> {
    /// Checks header and length; the registers of a sparse one are checked when they are read.
    pub fn new(bytes: B) -> Result<Self, Failure> {
        let header = bytes.as_ref().get(..HEADER_LEN).ok_or(NOT_ONE)?;
        let good = header.starts_with(MAGIC)
            && match header[ENCODING_AT] {
                DENSE => bytes.as_ref().len() == DENSE_LEN,
                SPARSE => true,
                _ => false,
            };
        if good { Ok(HyperLogLog { bytes }) } else { Err(NOT_ONE) }
    }

    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    pub fn is_dense(&self) -> bool {
        self.bytes()[ENCODING_AT] == DENSE
    }

    /// The bytes behind the header.
    pub fn body(&self) -> &[u8] {
        &self.bytes()[HEADER_LEN..]
    }

    /// The cached cardinality, unless it is out of date.
    pub fn cached(&self) -> Option<u64> {
        let bytes = self.bytes()[CARDINALITY_AT..].first_chunk()?;
        let cached = u64::from_le_bytes(*bytes);
        (cached >> 63 == 0).then_some(cached)
    }

    /// The cardinality, estimated anew.
    pub fn estimate(&self) -> Result<u64, Failure> {
        let mut histogram = Histogram::default();
        self.visit(|_, value, len| histogram.add(value, len))?;
        Ok(cardinality(&histogram))
    }

    /// Raises every register to what this one has.
    pub fn merge_into(&self, registers: &mut Registers) -> Result<(), Failure> {
        self.visit(|first, value, len| {
            registers[first..first + len].iter_mut().for_each(|r| *r = (*r).max(value));
        })
    }

    /// All registers as runs: the index of the first, the value, and the number.
    fn visit(&self, mut visit: impl FnMut(usize, u8, usize)) -> Result<(), Failure> {
        if self.is_dense() {
            (0..REGISTERS).for_each(|index| visit(index, get(self.body(), index), 1));
            return Ok(());
        }
        sparse::visit(self.body(), |first, run| visit(first, run.value, run.len)).ok_or(CORRUPT)
    }
}

impl HyperLogLog<Vec<u8>> {
    /// One that has counted nothing, sparse.
    pub fn empty() -> Self {
        let mut bytes = vec![0; HEADER_LEN];
        bytes[..MAGIC.len()].copy_from_slice(MAGIC);
        bytes[ENCODING_AT] = SPARSE;
        sparse::push_zeros(&mut bytes, REGISTERS);
        HyperLogLog { bytes }
    }

    /// Counts an element; whether that changed anything. A sparse one that would exceed
    /// `sparse_max` bytes becomes dense.
    pub fn add(&mut self, element: &[u8], sparse_max: usize) -> Result<bool, Failure> {
        let (index, value) = place(element);
        self.raise(index, value, sparse_max)
    }

    /// Raises one register to at least `value`; whether it was lower.
    pub fn raise(&mut self, index: usize, value: u8, sparse_max: usize) -> Result<bool, Failure> {
        if !self.is_dense() {
            match sparse::raise(&mut self.bytes, HEADER_LEN, index, value, sparse_max) {
                Raised::No => return Ok(false),
                Raised::Yes => return Ok(true),
                Raised::Corrupt => return Err(CORRUPT),
                Raised::TooLarge => self.make_dense()?,
            }
        }
        let body = &mut self.bytes[HEADER_LEN..];
        let raised = get(body, index) < value;
        if raised {
            put(body, index, value);
        }
        Ok(raised)
    }

    /// Changes to the dense encoding. The cached cardinality stays.
    pub fn make_dense(&mut self) -> Result<(), Failure> {
        if self.is_dense() {
            return Ok(());
        }
        let mut dense = self.bytes[..HEADER_LEN].to_vec();
        dense[ENCODING_AT] = DENSE;
        dense.resize(DENSE_LEN, 0);
        self.visit(|first, value, len| {
            if value > 0 {
                (first..first + len).for_each(|at| put(&mut dense[HEADER_LEN..], at, value));
            }
        })?;
        self.bytes = dense;
        Ok(())
    }

    /// Marks the cached cardinality as out of date.
    pub fn forget(&mut self) {
        self.bytes[CARDINALITY_AT + 7] |= 0x80;
    }
}

/// The bytes of a cached cardinality, and where they belong.
pub fn cached_bytes(cardinality: u64) -> (u64, [u8; 8]) {
    (CARDINALITY_AT as u64, cardinality.to_le_bytes())
}

/// The position of a dense register: the byte, and the bit in it.
fn position(index: usize) -> (usize, usize) {
    (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8)
}

/// The two bytes that a register lies in; behind the last there is only zero.
fn pair(body: &[u8], byte: usize) -> u16 {
    u16::from(body[byte]) | u16::from(body.get(byte + 1).copied().unwrap_or_default()) << 8
}

/// A dense register.
pub fn get(body: &[u8], index: usize) -> u8 {
    let (byte, bit) = position(index);
    (pair(body, byte) >> bit & REGISTER_MAX) as u8
}

/// Sets a dense register.
pub fn put(body: &mut [u8], index: usize, value: u8) {
    let (byte, bit) = position(index);
    let cleared = pair(body, byte) & !(REGISTER_MAX << bit);
    let [low, high] = (cleared | (u16::from(value) & REGISTER_MAX) << bit).to_le_bytes();
    body[byte] = low;
    if let Some(next) = body.get_mut(byte + 1) {
        *next = high;
    }
}

#[cfg(test)]
mod tests {
    use super::{HyperLogLog, REGISTERS, get, put};

    #[test]
    fn both_encodings_count_alike() {
        let mut sparse = HyperLogLog::empty();
        let mut dense = HyperLogLog::empty();
        dense.make_dense().unwrap();
        for i in 0..3000u32 {
            let element = i.to_string();
            let a = sparse.add(element.as_bytes(), usize::MAX).unwrap();
            let b = dense.add(element.as_bytes(), 0).unwrap();
            assert_eq!(a, b, "{i}");
        }
        assert!(!sparse.is_dense() && dense.is_dense());
        assert_eq!(sparse.estimate(), dense.estimate());
        let estimate = sparse.estimate().unwrap();
        assert!((2900..3100).contains(&estimate), "{estimate}");
        sparse.make_dense().unwrap();
        assert_eq!(sparse.body(), dense.body());
    }

    #[test]
    fn registers_do_not_touch_each_other() {
        let mut body = vec![0; REGISTERS * 6 / 8];
        let value = |index: usize| (index * 37 % 64) as u8;
        (0..REGISTERS).for_each(|index| put(&mut body, index, value(index)));
        assert!((0..REGISTERS).all(|index| get(&body, index) == value(index)));
    }

    #[test]
    fn what_is_no_hyperloglog_is_refused() {
        assert!(HyperLogLog::new(&b"HYLL"[..]).is_err());
        assert!(HyperLogLog::new(&b"HYLL\x02\0\0\0\0\0\0\0\0\0\0\0"[..]).is_err());
        assert!(HyperLogLog::new(&b"HYLL\x00\0\0\0\0\0\0\0\0\0\0\0\0"[..]).is_err());
        let cut = HyperLogLog::new(&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f"[..]).unwrap();
        assert!(cut.estimate().is_err());
        let twice =
            HyperLogLog::new(&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0\x7f\xff\x7f\xff"[..]).unwrap();
        assert!(twice.estimate().is_err());
    }
}
