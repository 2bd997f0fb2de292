//! CRC-64 as Redis computes it (reflected Jones polynomial, zero start, no final inversion).

use crc_fast::{CrcAlgorithm, Digest};

/// Checksum of bytes seen so far.
pub(crate) struct Crc64(Digest);

impl Crc64 {
    pub fn new() -> Self {
        Crc64(Digest::new(CrcAlgorithm::Crc64Redis))
    }

    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub fn value(&self) -> u64 {
        self.0.finalize()
    }
}

/// Checksum of one piece.
pub(crate) fn crc64(bytes: &[u8]) -> u64 {
    crc_fast::checksum(CrcAlgorithm::Crc64Redis, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value in Redis's own `crc64.c`.
    #[test]
    fn check_value_of_redis() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
    }

    #[test]
    fn pieces_equal_the_whole() {
        let text = b"This is a test of the emergency broadcast system.".repeat(40);
        let mut crc = Crc64::new();
        text.chunks(7).for_each(|piece| crc.update(piece));
        assert_eq!(crc.value(), crc64(&text));
    }
}
