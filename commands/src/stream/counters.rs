//! The progress of a group: its count of entries ever read, and its lag, as in Redis 7.2.7.
//!
//! Entries may have been deleted anywhere, so the position of an ID among all entries ever added
//! is known only at the ends of a stream, and as long as no deletion lies ahead. Of deletions only
//! the highest ID is known; trimming, which only moves the first entry, does not count as one.

use storage::stream::{GroupInfo, StreamId, StreamInfo};

/// Whether an entry at or after `from` was deleted, as far as that is known.
fn has_gap_from(info: &StreamInfo, from: StreamId) -> bool {
    info.len > 0 && info.max_deleted_id != StreamId::MIN && from <= info.max_deleted_id
}

/// Whether all that was deleted lay before the first entry there is.
fn is_whole(info: &StreamInfo) -> bool {
    info.max_deleted_id == StreamId::MIN || info.max_deleted_id < info.first_id
}

/// The number of entries ever added up to and including `id`, if it is known.
pub(super) fn position(info: &StreamInfo, id: StreamId) -> Option<u64> {
    if info.entries_added == 0 {
        return Some(0);
    }
    if info.len == 0 && id <= info.last_id {
        return Some(info.entries_added);
    }
    if id != StreamId::MIN && id < info.max_deleted_id {
        return None;
    }
    if id == info.last_id {
        return Some(info.entries_added);
    }
    if id > info.last_id || !is_whole(info) {
        return None;
    }
    let before = info.entries_added.saturating_sub(info.len);
    match id.cmp(&info.first_id) {
        std::cmp::Ordering::Less => Some(before),
        std::cmp::Ordering::Equal => Some(before + 1),
        std::cmp::Ordering::Greater => None,
    }
}

/// The count of entries read after `id` was read, of a group that had read up to `last`.
pub(super) fn count_read(
    info: &StreamInfo,
    read: Option<u64>,
    last: StreamId,
    id: StreamId,
) -> Option<u64> {
    match read {
        Some(count) if !has_gap_from(info, last) => Some(count.saturating_add(1)),
        _ if info.entries_added > 0 => position(info, id),
        _ => read,
    }
}

/// The number of entries that a group has still to read, if it is known.
pub(super) fn lag(info: &StreamInfo, group: &GroupInfo) -> Option<i64> {
    if info.entries_added == 0 {
        return Some(0);
    }
    if group.last_id < info.first_id && info.max_deleted_id < info.first_id {
        // The group has read nothing of the existing entries, so all of them are left to read.
        return Some(info.len as i64);
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
        assert_eq!(count_read(&gap, Some(7), id(4), id(5)), None);
        assert_eq!(count_read(&gap, Some(8), id(5), id(7)), Some(10), "it is the last one");
        assert_eq!(count_read(&gap, Some(9), id(7), id(8)), Some(10));
        assert_eq!(count_read(&info, None, id(6), id(7)), Some(10));
        assert_eq!(count_read(&info, Some(7), id(4), id(5)), Some(8));
        let group = GroupInfo { last_id: id(5), entries_read: Some(8), ..GroupInfo::default() };
        assert_eq!((lag(&info, &group), lag(&gap, &group)), (Some(2), None));
        assert_eq!(lag(&StreamInfo::default(), &group), Some(0));
    }

    #[test]
    fn a_group_behind_the_first_entry_has_all_of_them_to_read() {
        let info = StreamInfo {
            len: 1,
            first_id: id(5),
            top_id: id(5),
            last_id: id(5),
            entries_added: 5,
            ..StreamInfo::default()
        };
        let group = GroupInfo { last_id: id(1), entries_read: Some(1), ..GroupInfo::default() };
        assert_eq!(lag(&info, &group), Some(1), "four were trimmed away");
        let deleted = StreamInfo { max_deleted_id: id(4), ..info };
        assert_eq!(lag(&deleted, &group), Some(1), "four were deleted");
        assert_eq!(position(&deleted, id(1)), None, "something behind it was");
        assert_eq!(count_read(&deleted, Some(1), id(1), id(5)), Some(5));
        let empty = StreamInfo { len: 0, first_id: id(0), top_id: id(0), ..info };
        assert_eq!(lag(&empty, &group), Some(4), "as 7.2.7 has it");
    }
}
