//! Trimming: which of the oldest entries go, and the two ways of removing them.

use super::{OrderedStream, each_group};
use crate::keys;
use crate::kv::Read;
use storage::Result;
use storage::stream::{StreamId, Trim, TrimTo};

/// Entries that a trimming deletes one by one, however few it leaves.
const TRIM_SINGLY: u64 = 512;

/// The number of entries to delete from the front of a stream of `len` entries, of which `below`
/// may be deleted: Redis would delete as many if all its nodes were full, with `per_node` entries
/// each.
fn whole_nodes(trim: &Trim, len: u64, below: u64, per_node: u64) -> u64 {
    let limit = if trim.limit == 0 { u64::MAX } else { trim.limit };
    let mut gone = 0;
    while gone < len && len - gone > trim.keeps() {
        let next = gone + per_node.min(len - gone);
        let all = match trim.to {
            TrimTo::MaxLen(max) => len - next >= max,
            TrimTo::MinId(_) => next <= below,
        };
        if next > limit || !all {
            break;
        }
        gone = next;
    }
    gone
}

impl OrderedStream<'_, '_> {
    /// Removes the oldest entries; how many.
    pub(super) fn trim_front(&mut self, trim: &Trim) -> Result<u64> {
        let count = self.trimmed(trim)?;
        if count == 0 {
            return Ok(0);
        }
        let head = *self.head()?;
        let left = head.len.saturating_sub(count);
        // Values in chunks cannot be kept: the cleaner takes theirs with the old version.
        if count > TRIM_SINGLY && left < count && (left == 0 || !head.overflow) {
            self.keep_last(left)?;
            return Ok(count);
        }
        let (lo, hi) = keys::stream_entries(head.version, head.first_id, StreamId::MAX);
        let (mut gone, mut next) = (Vec::new(), StreamId::MIN);
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
            if gone.len() as u64 == count {
                next = keys::stream_id(key);
                return false;
            }
            gone.push((key.to_vec(), record.to_vec()));
            true
        })?;
        for (key, record) in gone {
            self.erase_entry(key, &record)?;
        }
        let head = self.head_mut()?;
        head.len = head.len.saturating_sub(count);
        head.first_id = next;
        if head.len == 0 {
            (head.first_id, head.top_id) = (StreamId::MIN, StreamId::MIN);
        }
        Ok(count)
    }

    /// The number of entries that an approximate or exact trimming deletes from the front.
    fn trimmed(&self, trim: &Trim) -> Result<u64> {
        let head = self.head()?;
        let below = match trim.to {
            TrimTo::MaxLen(max) => head.len.saturating_sub(max),
            TrimTo::MinId(min) if min > head.top_id => head.len,
            TrimTo::MinId(min) => match min.previous() {
                Some(last) if head.len > 0 => self.count(head.first_id, last)?,
                _ => 0,
            },
        };
        if !trim.approximate {
            return Ok(below);
        }
        Ok(whole_nodes(trim, head.len, below, self.entries_per_node()))
    }

    fn count(&self, first: StreamId, last: StreamId) -> Result<u64> {
        let mut count = 0;
        let (lo, hi) = keys::stream_entries(self.head()?.version, first, last);
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, _| {
            count += 1;
            true
        })?;
        Ok(count)
    }

    /// Keeps the last `left` entries and the groups, under a new version: for when that is less
    /// work than removing the rest.
    fn keep_last(&mut self, left: u64) -> Result<()> {
        let old = *self.head()?;
        let mut kept = Vec::new();
        let (lo, hi) = keys::stream_entries(old.version, old.first_id, old.top_id);
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, true, &mut |key, record| {
            if kept.len() as u64 == left {
                return false;
            }
            kept.push((keys::stream_id(key), record.to_vec()));
            true
        })?;
        let mut groups = Vec::new();
        each_group(self.0.tx, old.version, &mut |name, group| {
            groups.push((name.to_vec(), group.encode()));
            Ok(())
        })?;
        let version = self.0.tx.new_version()?;
        let head = self.head_mut()?;
        head.version = version;
        head.len = kept.len() as u64;
        head.overflow = false;
        head.first_id = kept.last().map_or(StreamId::MIN, |(id, _)| *id);
        head.top_id = kept.first().map_or(StreamId::MIN, |(id, _)| *id);
        for (id, record) in kept {
            self.put(keys::stream_entry(version, id), record);
        }
        for (name, record) in groups {
            // What they refer to is still in use, so the cleaner must not find them at the old
            // place.
            self.erase(keys::stream_group(old.version, &name));
            self.put(keys::stream_group(version, &name), record);
        }
        self.0.tx.discard(old.version, old.overflow);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_nodes_go_as_in_redis() {
        let trim = |to, limit| Trim { to, approximate: true, limit };
        let max = TrimTo::MaxLen;
        assert_eq!(whole_nodes(&trim(max(60), 0), 250, 190, 100), 100);
        assert_eq!(whole_nodes(&trim(max(30), 0), 250, 220, 100), 200);
        assert_eq!(whole_nodes(&trim(max(0), 0), 250, 250, 100), 250);
        assert_eq!(whole_nodes(&trim(max(0), 150), 250, 250, 100), 100);
        assert_eq!(whole_nodes(&trim(max(300), 0), 250, 0, 100), 0);
        assert_eq!(whole_nodes(&trim(max(10), 0), 250, 240, u64::MAX), 0);
        let min = TrimTo::MinId(StreamId::MAX);
        assert_eq!(whole_nodes(&trim(min, 0), 250, 199, 100), 100);
        assert_eq!(whole_nodes(&trim(min, 0), 250, 250, 100), 250);
        assert_eq!(whole_nodes(&trim(min, 99), 250, 250, 100), 0);
    }
}
