//! A digest of bytes and numbers: FNV-1a over words. It does not depend on the version of any
//! library.

/// A digest in progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    /// Adds a number.
    pub fn add(&mut self, number: u64) {
        self.0 = (self.0 ^ number).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    /// Adds the length of `bytes`, then the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.add(bytes.len() as u64);
        for word in bytes.chunks(8) {
            let mut padded = [0; 8];
            padded[..word.len()].copy_from_slice(word);
            self.add(u64::from_le_bytes(padded));
        }
    }

    /// The digest of everything that was added.
    pub fn value(self) -> u64 {
        self.0
    }
}

/// The digest of `bytes`.
pub fn of(bytes: &[u8]) -> u64 {
    let mut digest = Digest::default();
    digest.bytes(bytes);
    digest.value()
}
