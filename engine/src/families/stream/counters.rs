//! How far a group has read: its count of entries ever read, and its lag.
//!
//! Entries may have been deleted anywhere, so the position of an ID among all entries ever added
//! is known only at the ends of a stream, and as long as no deletion lies ahead.

use storage::stream::{GroupInfo, StreamId, StreamInfo};

/// Whether an entry at or after `from` was deleted from among those that are there.
fn has_gap_from(info: &StreamInfo, from: StreamId) -> bool {
    has_gap(info) && from <= info.max_deleted_id
}

/// Whether an entry was deleted from among those that are there.
fn has_gap(info: &StreamInfo) -> bool {
    let deleted = info.max_deleted_id;
    info.len > 0 && deleted != StreamId::MIN && info.first_id <= deleted
}

/// How many entries were ever added up to and including `id`, if that can be told.
pub(super) fn position(info: &StreamInfo, id: StreamId) -> Option<u64> {
    if info.entries_added == 0 {
        return Some(0);
    }
    if (info.len == 0 && id <= info.last_id) || id == info.last_id {
        return Some(info.entries_added);
    }
    if id > info.last_id || has_gap(info) {
        return None;
    }
    let before = info.entries_added.saturating_sub(info.len);
    match id.cmp(&info.first_id) {
        std::cmp::Ordering::Less => Some(before),
        std::cmp::Ordering::Equal => Some(before + 1),
        std::cmp::Ordering::Greater => None,
    }
}

/// The count of entries read after `id` was read.
pub(super) fn count_read(info: &StreamInfo, read: Option<u64>, id: StreamId) -> Option<u64> {
    match read {
        Some(count) if !has_gap_from(info, id) => Some(count.saturating_add(1)),
        _ if info.entries_added > 0 => position(info, id),
        _ => read,
    }
}

/// How many entries a group has still to read, if that can be told.
pub(super) fn lag(info: &StreamInfo, group: &GroupInfo) -> Option<i64> {
    if info.entries_added == 0 {
        return Some(0);
    }
    let read = match group.entries_read {
        Some(read) if !has_gap_from(info, group.last_id) => Some(read),
        _ => position(info, group.last_id),
    };
    read.map(|read| (info.entries_added as i64).wrapping_sub(read as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64) -> StreamId {
        StreamId { ms, seq: 0 }
    }

    #[test]
    fn positions_are_known_at_the_ends() {
        let info = StreamInfo {
            len: 3,
            first_id: id(5),
            top_id: id(7),
            last_id: id(7),
            entries_added: 10,
            ..StreamInfo::default()
        };
        assert_eq!(position(&info, id(1)), Some(7));
        assert_eq!(position(&info, id(5)), Some(8));
        assert_eq!(position(&info, id(6)), None);
        assert_eq!(position(&info, id(7)), Some(10));
        assert_eq!(position(&info, id(8)), None);
        let gap = StreamInfo { max_deleted_id: id(6), ..info };
        assert_eq!(position(&gap, id(5)), None);
        assert_eq!(count_read(&gap, Some(8), id(5)), None);
        assert_eq!(count_read(&gap, Some(8), id(7)), Some(9));
        assert_eq!(count_read(&info, None, id(7)), Some(10));
        let group = GroupInfo { last_id: id(5), entries_read: Some(8), ..GroupInfo::default() };
        assert_eq!((lag(&info, &group), lag(&gap, &group)), (Some(2), None));
        assert_eq!(lag(&StreamInfo::default(), &group), Some(0));
        let trimmed = StreamInfo { max_deleted_id: id(4), ..info };
        let group = GroupInfo { last_id: id(3), entries_read: Some(4), ..GroupInfo::default() };
        assert_eq!(lag(&trimmed, &group), Some(6), "a gap that was trimmed away is none");
    }
}
