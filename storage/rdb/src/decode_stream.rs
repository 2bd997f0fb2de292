//! A stream, decoded: listpacks of entries, then IDs and counters, then consumer groups.

use std::collections::HashSet;
use std::io::BufRead;

use bytes::Bytes;

use super::codes::{STREAM_ITEM_DELETED, STREAM_ITEM_SAMEFIELDS, types};
use super::error::{RdbError, RdbErrorKind};
use super::input::Input;
use super::packed::listpack::Listpack;
use super::packed::{PackedError, Value};
use super::value::{
    PendingEntry, StreamConsumer, StreamEntry, StreamGroup, StreamId, StreamMeta, StreamObject,
};

type Result<T> = std::result::Result<T, RdbError>;
type Unpacked<T> = std::result::Result<T, PackedError>;

/// Marks a pending entry whose consumer was not read yet.
const NO_CONSUMER: usize = usize::MAX;

/// Reads a stream of the given type.
pub(crate) fn stream<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<StreamObject> {
    let mut entries: Vec<StreamEntry> = Vec::new();
    for _ in 0..input.length()? {
        node(input, &mut entries)?;
    }
    let meta = meta(input, kind, &entries)?;
    Ok(StreamObject { entries, meta })
}

/// One listpack of entries under the ID its entries are relative to.
fn node<R: BufRead>(input: &mut Input<R>, entries: &mut Vec<StreamEntry>) -> Result<()> {
    let at = input.offset();
    let key: [u8; 16] = input.string()?.try_into().map_err(|_| {
        RdbError::new(at, RdbErrorKind::Corrupt("the ID of a stream node has not 16 bytes"))
    })?;
    input.packed(|bytes| {
        let listpack = Listpack::new(bytes)?;
        NodeReader { listpack, master: StreamId::from_bytes(key) }.entries(entries)
    })
}

fn damage(what: &'static str) -> PackedError {
    PackedError { encoding: "stream listpack", at: 0, what }
}

struct NodeReader<'a> {
    listpack: Listpack<'a>,
    master: StreamId,
}

impl<'a> NodeReader<'a> {
    fn value(&mut self) -> Unpacked<Value<'a>> {
        self.listpack.next().unwrap_or(Err(damage("ends too early")))
    }

    fn int(&mut self) -> Unpacked<i64> {
        self.value()?.to_int().ok_or(damage("text where a number was due"))
    }

    /// A number of elements. Not trusted for allocation: elements are collected as they come.
    fn count(&mut self) -> Unpacked<usize> {
        usize::try_from(self.int()?).map_err(|_| damage("a negative count"))
    }

    /// Appends all entries that were not deleted. The first element has the numbers of both kinds,
    /// and the field names that entries share.
    fn entries(mut self, out: &mut Vec<StreamEntry>) -> Unpacked<()> {
        let (live, deleted) = (self.count()?, self.count()?);
        let mut shared = Vec::new();
        for _ in 0..self.count()? {
            shared.push(Bytes::from(self.value()?.to_vec()));
        }
        if self.int()? != 0 {
            return Err(damage("no end of the shared fields"));
        }
        let total = live.checked_add(deleted).ok_or(damage("a count too large"))?;
        let mut seen = 0;
        for _ in 0..total {
            if let Some(entry) = self.entry(&shared)? {
                if out.last().is_some_and(|last| last.id >= entry.id) {
                    return Err(damage("entries out of order"));
                }
                seen += 1;
                out.push(entry);
            }
        }
        match self.listpack.next() {
            Some(_) => Err(damage("bytes after the last entry")),
            None if seen != live => Err(damage("its count is not that of the entries")),
            None => Ok(()),
        }
    }

    /// One entry; `None` if it is marked deleted.
    fn entry(&mut self, shared: &[Bytes]) -> Unpacked<Option<StreamEntry>> {
        let flags = self.int()?;
        let id = StreamId {
            // Differences were computed with wrapping arithmetic, too.
            ms: self.master.ms.wrapping_add(self.int()? as u64),
            seq: self.master.seq.wrapping_add(self.int()? as u64),
        };
        let same = flags & STREAM_ITEM_SAMEFIELDS != 0;
        let mut fields = Vec::new();
        if same {
            for field in shared {
                fields.push((field.clone(), self.value()?.to_vec()));
            }
        } else {
            for _ in 0..self.count()? {
                let field = Bytes::from(self.value()?.to_vec());
                fields.push((field, self.value()?.to_vec()));
            }
        }
        // Elements of this entry, for walking backwards: flags, two differences, and what followed.
        let elements = if same { fields.len() + 3 } else { 2 * fields.len() + 4 };
        if self.count()? != elements {
            return Err(damage("a wrong number of elements in an entry"));
        }
        Ok((flags & STREAM_ITEM_DELETED == 0).then_some(StreamEntry { id, fields }))
    }
}

fn id<R: BufRead>(input: &mut Input<R>) -> Result<StreamId> {
    Ok(StreamId { ms: input.length()?, seq: input.length()? })
}

fn meta<R: BufRead>(input: &mut Input<R>, kind: u8, entries: &[StreamEntry]) -> Result<StreamMeta> {
    let length = input.length()?;
    let mut meta = StreamMeta {
        last_id: id(input)?,
        first_id: entries.first().map_or_else(StreamId::default, |entry| entry.id),
        entries_added: length,
        ..StreamMeta::default()
    };
    if length > 0 && entries.is_empty() {
        return Err(input.corrupt("a stream that counts entries and has none"));
    }
    if entries.last().is_some_and(|last| last.id > meta.last_id) {
        return Err(input.corrupt("the last ID of a stream is below that of its last entry"));
    }
    if kind != types::STREAM_LISTPACKS {
        meta.first_id = id(input)?;
        meta.max_deleted_id = id(input)?;
        meta.entries_added = input.length()?;
    }
    let mut names = HashSet::new();
    for _ in 0..input.length()? {
        let group = group(input, kind, &meta)?;
        if !names.insert(group.name.clone()) {
            return Err(input.corrupt("two consumer groups of the same name"));
        }
        meta.groups.push(group);
    }
    Ok(meta)
}

fn group<R: BufRead>(input: &mut Input<R>, kind: u8, meta: &StreamMeta) -> Result<StreamGroup> {
    let name = input.string()?;
    let last_id = id(input)?;
    let entries_read = match kind {
        types::STREAM_LISTPACKS => estimate_entries_read(meta, last_id),
        // Written as a signed number; negative is "unknown".
        _ => Some(input.length()?).filter(|&n| n <= i64::MAX as u64),
    };
    let count = input.length()?;
    let mut pending = input.repeat(count, pending_entry)?;
    pending.sort_unstable_by_key(|entry| entry.id);
    if pending.windows(2).any(|pair| pair[0].id == pair[1].id) {
        return Err(input.corrupt("an entry is pending twice"));
    }
    let consumers = consumers(input, kind, &mut pending)?;
    if pending.iter().any(|entry| entry.consumer == NO_CONSUMER) {
        return Err(input.corrupt("a pending entry that no consumer has"));
    }
    Ok(StreamGroup { name, last_id, entries_read, pending, consumers })
}

/// The count that Redis (`streamEstimateDistanceFromFirstEverEntry`) assumes for files older than the counter.
fn estimate_entries_read(meta: &StreamMeta, last_id: StreamId) -> Option<u64> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    if meta.entries_added == 0 {
        return Some(0);
    }
    match (last_id.cmp(&meta.last_id), last_id.cmp(&meta.first_id)) {
        (Equal, _) => Some(meta.entries_added),
        (Greater, _) => None,
        (Less, Less) => Some(0),
        (Less, Equal) => Some(1),
        (Less, Greater) => None,
    }
}

fn pending_entry<R: BufRead>(input: &mut Input<R>) -> Result<PendingEntry> {
    Ok(PendingEntry {
        id: StreamId::from_bytes(input.array()?),
        consumer: NO_CONSUMER,
        delivery_time_ms: input.millis()?.unwrap_or(0),
        delivery_count: input.length()?,
    })
}

/// Reads consumers, and says in `pending` whose each entry is.
fn consumers<R: BufRead>(
    input: &mut Input<R>,
    kind: u8,
    pending: &mut [PendingEntry],
) -> Result<Vec<StreamConsumer>> {
    let mut names = HashSet::new();
    let mut out = Vec::new();
    for index in 0..usize::try_from(input.length()?).unwrap_or(usize::MAX) {
        let name = input.string()?;
        if !names.insert(name.clone()) {
            return Err(input.corrupt("two consumers of the same name"));
        }
        let seen_time_ms = input.millis()?.unwrap_or(0);
        let active_time_ms = match kind {
            types::STREAM_LISTPACKS_3 => input.millis()?,
            _ => Some(seen_time_ms),
        };
        for _ in 0..input.length()? {
            let id = StreamId::from_bytes(input.array()?);
            let found = pending.binary_search_by_key(&id, |entry| entry.id);
            match found.ok().map(|at| &mut pending[at].consumer) {
                Some(owner) if *owner == NO_CONSUMER => *owner = index,
                Some(_) => return Err(input.corrupt("two consumers have the same pending entry")),
                None => return Err(input.corrupt("a consumer's entry is not pending in its group")),
            }
        }
        out.push(StreamConsumer { name, seen_time_ms, active_time_ms });
    }
    Ok(out)
}
