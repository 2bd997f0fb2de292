//! The format of a record in a segment.
//!
//! `magic length crc32c kind group term index payload`, little-endian, with 34 bytes before the
//! payload. The length is that of the payload; the checksum covers the length and everything behind
//! itself. Kinds are: an entry, an entry that changes the membership, the hard state, a base, a
//! base that replaces the log, the removal of a group, and a *mark*, which says that everything
//! before it was synced when it was written. A record with a wrong checksum is a torn tail, unless
//! a mark behind it says that it was synced.

use super::Record;
use crate::message::{Base, Entry, EntryKind, GroupId, HardState, Membership};
use bytes::Bytes;
use crc::{CRC_32_ISCSI, Crc, Table};

/// CRC-32C, as iSCSI and ext4 use it.
pub static CRC32C: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// The first byte of a record.
const MAGIC: u8 = 0xb7;

/// The number of bytes before the payload.
const HEAD: usize = 1 + 4 + 4 + 1 + 8 + 8 + 8;

/// The largest payload, in bytes.
pub const PAYLOAD_MAX: usize = 1 << 30;

const NORMAL: u8 = 1;
const CHANGE: u8 = 2;
const HARD_STATE: u8 = 3;
const BASE: u8 = 4;
const REMOVED: u8 = 5;
const MARK: u8 = 6;
const RESET: u8 = 7;

/// The result of [`read`]: a record of a call, or a mark.
#[derive(Debug, PartialEq, Eq)]
pub enum Read {
    /// A call.
    Call(GroupId, Record),
    /// A mark: everything before it was synced.
    Mark,
}

/// Appends the record of a call to `out`.
pub fn write(group: GroupId, record: &Record, out: &mut Vec<u8>) {
    match record {
        Record::Entry(entry) => {
            let kind = if entry.kind == EntryKind::Change { CHANGE } else { NORMAL };
            put(kind, group, entry.term, entry.index, &entry.data, out);
        }
        Record::HardState(state) => {
            put(HARD_STATE, group, state.term, state.commit, &state.vote.to_le_bytes(), out);
        }
        Record::Base(base) | Record::Reset(base) => {
            let kind = if matches!(record, Record::Reset(_)) { RESET } else { BASE };
            let numbers = [base.seq.to_le_bytes(), base.time.to_le_bytes()].concat();
            let payload = [numbers, encode_members(&base.members)].concat();
            put(kind, group, base.term, base.index, &payload, out);
        }
        Record::Removed => put(REMOVED, group, 0, 0, &[], out),
    }
}

/// Appends a mark to `out`.
pub fn write_mark(out: &mut Vec<u8>) {
    put(MARK, 0, 0, 0, &[], out);
}

fn put(kind: u8, group: u64, term: u64, index: u64, payload: &[u8], out: &mut Vec<u8>) {
    out.push(MAGIC);
    out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    let check = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    for number in [group, term, index] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(payload);
    let sum = checksum(payload.len() as u32, &out[check + 4..]);
    out[check..check + 4].copy_from_slice(&sum.to_le_bytes());
}

/// The checksum includes the length, so that a record of zeros is not valid.
fn checksum(length: u32, rest: &[u8]) -> u32 {
    let mut digest = CRC32C.digest();
    digest.update(&length.to_le_bytes());
    digest.update(rest);
    digest.finalize()
}

/// Reads the record at the beginning of `bytes`. Returns it with its length, or `None` if there is
/// no valid record.
pub fn read(bytes: &[u8]) -> Option<(Read, usize)> {
    let head = bytes.get(..HEAD)?;
    let length = u32::from_le_bytes(head[1..5].try_into().ok()?);
    let sum = u32::from_le_bytes(head[5..9].try_into().ok()?);
    if head[0] != MAGIC || length as usize > PAYLOAD_MAX {
        return None;
    }
    let end = HEAD + length as usize;
    if checksum(length, bytes.get(9..end)?) != sum {
        return None;
    }
    let number = |at: usize| head[at..at + 8].try_into().map(u64::from_le_bytes).ok();
    let (group, term, index) = (number(10)?, number(18)?, number(26)?);
    let payload = &bytes[HEAD..end];
    let record = match head[9] {
        MARK => return Some((Read::Mark, end)),
        kind @ (NORMAL | CHANGE) => {
            let kind = if kind == CHANGE { EntryKind::Change } else { EntryKind::Normal };
            Record::Entry(Entry { index, term, kind, data: Bytes::copy_from_slice(payload) })
        }
        HARD_STATE => {
            let vote = u64::from_le_bytes(payload.try_into().ok()?);
            Record::HardState(HardState { term, vote, commit: index })
        }
        BASE => Record::Base(read_base(index, term, payload)?),
        RESET => Record::Reset(read_base(index, term, payload)?),
        REMOVED => Record::Removed,
        _ => return None,
    };
    Some((Read::Call(group, record), end))
}

fn read_base(index: u64, term: u64, payload: &[u8]) -> Option<Base> {
    let (seq, rest) = payload.split_first_chunk::<8>()?;
    let (time, rest) = rest.split_first_chunk::<8>()?;
    let (seq, time) = (u64::from_le_bytes(*seq), u64::from_le_bytes(*time));
    Some(Base { index, term, members: decode_members(rest)?, seq, time })
}

/// Whether there is a mark anywhere in `bytes`.
pub fn has_mark(bytes: &[u8]) -> bool {
    let at = |at: usize| bytes[at] == MAGIC && matches!(read(&bytes[at..]), Some((Read::Mark, _)));
    (0..bytes.len()).any(at)
}

/// Encodes the members in a base or a snapshot: a flag, then four lists, each with its length
/// before it.
pub fn encode_members(members: &Membership) -> Vec<u8> {
    let Membership { voters, learners, voters_outgoing, learners_next, auto_leave } = members;
    let mut out = vec![u8::from(*auto_leave)];
    for list in [voters, learners, voters_outgoing, learners_next] {
        out.extend_from_slice(&(list.len() as u32).to_le_bytes());
        list.iter().for_each(|id| out.extend_from_slice(&id.to_le_bytes()));
    }
    out
}

/// Decodes what [`encode_members`] wrote; `None` for anything else.
pub fn decode_members(bytes: &[u8]) -> Option<Membership> {
    let (flag, mut rest) = bytes.split_first()?;
    let mut list = || -> Option<Vec<u64>> {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length) as usize;
        let ids = behind.get(..length.checked_mul(8)?)?;
        rest = &behind[ids.len()..];
        let id = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
        ids.chunks_exact(8).map(id).collect()
    };
    let (voters, learners) = (list()?, list()?);
    let (voters_outgoing, learners_next) = (list()?, list()?);
    let auto_leave = *flag == 1;
    let members = Membership { voters, learners, voters_outgoing, learners_next, auto_leave };
    rest.is_empty().then_some(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn examples() -> Vec<Record> {
        let data = Bytes::from_static(b"*1\r\n$4\r\nPING\r\n");
        let members = Membership {
            learners: vec![4],
            voters_outgoing: vec![1, 3],
            auto_leave: true,
            ..Membership::of([1, 2])
        };
        vec![
            Record::Entry(Entry { index: 5, term: 2, kind: EntryKind::Normal, data }),
            Record::Entry(Entry { index: 6, term: 2, kind: EntryKind::Change, data: Bytes::new() }),
            Record::HardState(HardState { term: 3, vote: 2, commit: 5 }),
            Record::Base(Base { index: 4, term: 1, members: members.clone(), seq: 77, time: 88 }),
            Record::Reset(Base { index: 4, term: 1, members, seq: 77, time: 88 }),
            Record::Removed,
        ]
    }

    #[test]
    fn records_come_back_as_written() {
        let mut bytes = Vec::new();
        examples().iter().for_each(|record| write(9, record, &mut bytes));
        write_mark(&mut bytes);
        let mut rest = &bytes[..];
        for record in examples() {
            let (found, length) = read(rest).unwrap();
            assert_eq!(found, Read::Call(9, record));
            rest = &rest[length..];
        }
        assert_eq!(read(rest), Some((Read::Mark, rest.len())));
        assert!(has_mark(&bytes) && !has_mark(&bytes[..bytes.len() - 1]));
    }

    #[test]
    fn no_altered_bit_and_no_cut_goes_unnoticed() {
        for record in examples() {
            let mut bytes = Vec::new();
            write(9, &record, &mut bytes);
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(read(&bytes), None, "{record:?}, bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            assert!((0..bytes.len()).all(|length| read(&bytes[..length]).is_none()));
        }
        assert_eq!(read(&[0; 100]), None);
    }
}
