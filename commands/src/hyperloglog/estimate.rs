//! Estimates the number of distinct elements that the registers have counted.
//!
//! The estimator of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
//! (arXiv:1702.01284), which needs no correction at either end.

use super::value::{REGISTERS, VALUE_BITS};

/// The number of registers with each value.
#[derive(Clone, Debug)]
pub struct Histogram([u32; 64]);

impl Default for Histogram {
    fn default() -> Self {
        Histogram([0; 64])
    }
}

impl Histogram {
    /// Counts `len` registers of `value`.
    pub fn add(&mut self, value: u8, len: usize) {
        self.0[usize::from(value & 0x3f)] += len as u32;
    }
}

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;

/// The estimate, rounded.
pub fn cardinality(Histogram(counts): &Histogram) -> u64 {
    const M: f64 = REGISTERS as f64;
    const LAST: usize = VALUE_BITS as usize;
    let mut z = M * tau((M - f64::from(counts[LAST + 1])) / M);
    for &count in counts[1..=LAST].iter().rev() {
        z = (z + f64::from(count)) * 0.5;
    }
    z += M * sigma(f64::from(counts[0]) / M);
    (ALPHA * M * M / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let before = z;
        x *= x;
        z += x * y;
        y += y;
        if z == before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let before = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == before {
            return z / 3.0;
        }
    }
}
