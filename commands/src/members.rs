//! [`Members`]: elements of collections outside of storage, for set algebra and sorting: packed in
//! one buffer, in the order they came.

use storage::Result;
use storage::types::Set;

/// Members packed into one buffer.
#[derive(Debug, Default)]
pub(crate) struct Members {
    bytes: Vec<u8>,
    /// The offset of each member's end.
    ends: Vec<usize>,
}

impl Members {
    /// All members of a set.
    pub fn of(set: &mut dyn Set) -> Result<Self> {
        let mut members = Members::default();
        members.ends.reserve(set.len()? as usize);
        set.for_each(&mut |member| {
            members.push(member);
            true
        })?;
        Ok(members)
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn push(&mut self, member: &[u8]) {
        self.bytes.extend_from_slice(member);
        self.ends.push(self.bytes.len());
    }

    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|index| self.get(index))
    }

    /// Keeps the members for which `keep` returns true, until `limit` are kept. Further ones are
    /// not asked for.
    pub fn retain(
        &mut self,
        limit: usize,
        mut keep: impl FnMut(&[u8]) -> Result<bool>,
    ) -> Result<()> {
        let (mut kept, mut bytes) = (0, 0);
        let mut start = 0;
        for index in 0..self.len() {
            if kept == limit {
                break;
            }
            let end = self.ends[index];
            if keep(&self.bytes[start..end])? {
                self.bytes.copy_within(start..end, bytes);
                bytes += end - start;
                self.ends[kept] = bytes;
                kept += 1;
            }
            start = end;
        }
        self.bytes.truncate(bytes);
        self.ends.truncate(kept);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Members;

    fn members(texts: &[&str]) -> Members {
        let mut members = Members::default();
        texts.iter().for_each(|text| members.push(text.as_bytes()));
        members
    }

    #[test]
    fn retaining_moves_what_is_kept_together() {
        let mut some = members(&["one", "", "three", "four"]);
        some.retain(usize::MAX, |member| Ok(member != b"one")).expect("nothing fails");
        assert_eq!(some.iter().collect::<Vec<_>>(), [&b""[..], b"three", b"four"]);
        some.retain(1, |member| Ok(!member.is_empty())).expect("nothing fails");
        assert_eq!(some.iter().collect::<Vec<_>>(), [b"three"]);
        some.retain(0, |_| Ok(true)).expect("nothing fails");
        assert_eq!(some.len(), 0);
    }
}
