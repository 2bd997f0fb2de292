//! Sets of integers: sorted, each as wide as the widest needs.

/// A sorted array of integers of 2, 4 or 8 bytes.
#[derive(Clone, Debug)]
pub enum IntSet {
    /// All fit 16 bits.
    Narrow(Vec<i16>),
    /// All fit 32 bits.
    Medium(Vec<i32>),
    /// Any.
    Wide(Vec<i64>),
}

/// The integer whose only decimal text is `bytes`: no sign on zero, no leading zeros, no plus.
pub fn canonical_integer(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    let value: i64 = std::str::from_utf8(bytes).ok()?.parse().ok()?;
    (itoa::Buffer::new().format(value).as_bytes() == bytes).then_some(value)
}

impl IntSet {
    /// The empty set.
    pub fn new() -> Self {
        IntSet::Narrow(Vec::new())
    }

    /// The number of integers.
    pub fn len(&self) -> usize {
        match self {
            IntSet::Narrow(v) => v.len(),
            IntSet::Medium(v) => v.len(),
            IntSet::Wide(v) => v.len(),
        }
    }

    /// The integer at `index < len`, in ascending order.
    pub fn at(&self, index: usize) -> i64 {
        match self {
            IntSet::Narrow(v) => v[index].into(),
            IntSet::Medium(v) => v[index].into(),
            IntSet::Wide(v) => v[index],
        }
    }

    /// Where the value is, or where it would be.
    pub fn search(&self, value: i64) -> Result<usize, usize> {
        match self {
            IntSet::Narrow(v) => v.binary_search_by(|&x| i64::from(x).cmp(&value)),
            IntSet::Medium(v) => v.binary_search_by(|&x| i64::from(x).cmp(&value)),
            IntSet::Wide(v) => v.binary_search(&value),
        }
    }

    /// Adds; false when it was there.
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(at) = self.search(value) else { return false };
        self.widen_for(value);
        match self {
            IntSet::Narrow(v) => insert_exact(v, at, value as i16),
            IntSet::Medium(v) => insert_exact(v, at, value as i32),
            IntSet::Wide(v) => insert_exact(v, at, value),
        }
        true
    }

    fn widen_for(&mut self, value: i64) {
        if let IntSet::Narrow(v) = self
            && i16::try_from(value).is_err()
        {
            *self = IntSet::Medium(v.iter().map(|&x| x.into()).collect());
        }
        if let IntSet::Medium(v) = self
            && i32::try_from(value).is_err()
        {
            *self = IntSet::Wide(v.iter().map(|&x| x.into()).collect());
        }
    }

    /// Removes; false when it was not there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(at) = self.search(value) else { return false };
        match self {
            IntSet::Narrow(v) => drop(v.remove(at)),
            IntSet::Medium(v) => drop(v.remove(at)),
            IntSet::Wide(v) => drop(v.remove(at)),
        }
        true
    }

    /// Allocated bytes.
    pub fn allocated(&self) -> usize {
        match self {
            IntSet::Narrow(v) => v.capacity() * 2,
            IntSet::Medium(v) => v.capacity() * 4,
            IntSet::Wide(v) => v.capacity() * 8,
        }
    }
}

/// Inserts, growing by an eighth rather than doubling: sets of integers are about being small.
fn insert_exact<T>(v: &mut Vec<T>, at: usize, value: T) {
    if v.len() == v.capacity() {
        v.reserve_exact(v.len() / 8 + 4);
    }
    v.insert(at, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widens_and_stays_sorted() {
        let mut set = IntSet::new();
        for value in [5, -3, 70_000, i64::MIN, 5, i64::MAX] {
            set.insert(value);
        }
        let all: Vec<_> = (0..set.len()).map(|i| set.at(i)).collect();
        assert_eq!(all, [i64::MIN, -3, 5, 70_000, i64::MAX]);
        assert!(set.remove(5) && !set.remove(5));
    }

    #[test]
    fn only_canonical_text_is_an_integer() {
        for text in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert!(canonical_integer(text.as_bytes()).is_some(), "{text}");
        }
        for text in ["", "-0", "+1", "01", " 1", "9223372036854775808", "1.0"] {
            assert!(canonical_integer(text.as_bytes()).is_none(), "{text}");
        }
    }
}
