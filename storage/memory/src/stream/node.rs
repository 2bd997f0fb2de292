//! A node of a stream: entries of neighbouring IDs, packed.
//!
//! The first entry's field names come first; entries with the same names do not repeat them. An
//! entry is the length of its body, and the body: how far its milliseconds are from the node's
//! base (times two, plus one when the names are the node's), its sequence number (from the base's
//! within the same millisecond), then its values, or all its fields.

use std::ops::Range;
use storage::fields::{Fields, number, put_fields, put_number, put_text, put_value, text};
use storage::rdb::StreamId;

/// Milliseconds from the base beyond which a node takes no entry: the distance is kept doubled.
const DISTANCE_MAX: u64 = 1 << 62;

/// Entries whose IDs lie between the base of this node and that of the next.
#[derive(Debug)]
pub struct Node {
    base: StreamId,
    bytes: Vec<u8>,
    /// The offset of the first entry. Trimmed entries stay before it for a while.
    start: u32,
    /// Where the shared names end.
    names_end: u32,
    /// The number of shared names.
    names: u32,
    /// Entries there.
    len: u32,
    /// Entries ever added.
    added: u32,
}

/// An entry, where it lies.
#[derive(Debug)]
pub struct Found<'a> {
    /// Its ID.
    pub id: StreamId,
    /// Its fields.
    pub fields: Fields<'a>,
    /// Its bytes in the node.
    place: Range<usize>,
}

impl Node {
    /// A node that begins with an entry of this ID and these field names.
    pub fn new(base: StreamId, fields: &[(&[u8], &[u8])]) -> Self {
        let mut bytes = Vec::new();
        fields.iter().for_each(|(name, _)| put_text(&mut bytes, name));
        let end = bytes.len() as u32;
        let names = fields.len() as u32;
        Node { base, bytes, start: end, names_end: end, names, len: 0, added: 0 }
    }

    /// No entry of the node has a smaller ID, and none of a node before it a larger one.
    pub fn base(&self) -> StreamId {
        self.base
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Allocated bytes.
    pub fn allocated(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether an entry with fields of this many bytes fits; a limit of 0 means none. As in Redis,
    /// deleted entries count.
    pub fn has_room(
        &self,
        id: StreamId,
        bytes: usize,
        bytes_max: usize,
        entries_max: usize,
    ) -> bool {
        let bytes_max = if bytes_max == 0 { u32::MAX as usize / 2 } else { bytes_max };
        let entries_max = if entries_max == 0 { usize::MAX } else { entries_max };
        self.bytes.len() + bytes < bytes_max
            && (self.added as usize) < entries_max
            && id.ms - self.base.ms < DISTANCE_MAX
    }

    /// Frees the space that was reserved for further entries.
    pub fn close(&mut self) {
        self.bytes.shrink_to_fit();
    }

    /// Adds an entry with a higher ID than all before.
    pub fn push(&mut self, id: StreamId, fields: &[(&[u8], &[u8])]) {
        let same = self.shares_names(fields);
        let bytes = &mut self.bytes;
        let begin = bytes.len();
        // Most bodies are shorter than 128 bytes: their length takes this one.
        bytes.push(0);
        put_number(bytes, (id.ms - self.base.ms) << 1 | u64::from(same));
        put_number(bytes, if id.ms == self.base.ms { id.seq - self.base.seq } else { id.seq });
        if same {
            fields.iter().for_each(|(_, value)| put_value(bytes, value));
        } else {
            put_fields(bytes, fields);
        }
        let len = bytes.len() - begin - 1;
        if len < 128 {
            bytes[begin] = len as u8;
        } else {
            let mut head = smallvec::SmallVec::<[u8; 10]>::new();
            put_number(&mut head, len as u64);
            bytes.splice(begin..begin + 1, head);
        }
        self.len += 1;
        self.added += 1;
    }

    fn shares_names(&self, fields: &[(&[u8], &[u8])]) -> bool {
        let mut names = &self.bytes[..self.names_end as usize];
        fields.len() == self.names as usize
            && fields.iter().all(|(name, _)| text(&mut names) == *name)
    }

    /// The entry that begins at byte `at`.
    #[inline]
    fn entry(&self, at: usize) -> Option<Found<'_>> {
        let (len, rest) = number(self.bytes.get(at..)?)?;
        let end = self.bytes.len() - rest.len() + len as usize;
        let (distance, rest) = number(rest.get(..len as usize)?)?;
        let (seq, rest) = number(rest)?;
        let id = match distance >> 1 {
            0 => StreamId { ms: self.base.ms, seq: self.base.seq + seq },
            ms => StreamId { ms: self.base.ms + ms, seq },
        };
        let fields = match distance & 1 {
            0 => Fields::whole(rest),
            _ => Fields::shared(self.names as usize, &self.bytes[..self.names_end as usize], rest),
        };
        Some(Found { id, fields, place: at..end })
    }

    /// The entries in order.
    pub fn entries(&self) -> impl Iterator<Item = Found<'_>> {
        let mut at = self.start as usize;
        std::iter::from_fn(move || {
            let found = self.entry(at)?;
            at = found.place.end;
            Some(found)
        })
    }

    /// The entries from the last on.
    pub fn entries_reversed(&self) -> impl Iterator<Item = Found<'_>> {
        let mut starts = smallvec::SmallVec::<[u32; 128]>::new();
        let mut at = self.start as usize;
        while let Some((len, rest)) = self.bytes.get(at..).and_then(number) {
            starts.push(at as u32);
            at = self.bytes.len() - rest.len() + len as usize;
        }
        starts.into_iter().rev().filter_map(|at| self.entry(at as usize))
    }

    /// The ID of the last entry.
    pub fn last_id(&self) -> Option<StreamId> {
        self.entries_reversed().next().map(|found| found.id)
    }

    /// The entry of an ID.
    pub fn find(&self, id: StreamId) -> Option<Found<'_>> {
        self.entries().find(|found| found.id >= id).filter(|found| found.id == id)
    }

    /// Deletes the entry of an ID; false when there is none.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some(place) = self.find(id).map(|found| found.place) else { return false };
        if place.start == self.start as usize {
            self.forget_until(place.end);
        } else {
            self.bytes.drain(place);
        }
        self.len -= 1;
        true
    }

    /// Deletes entries from the front for as long as `goes` returns true, given the number deleted
    /// so far and an ID. Returns the number of deleted entries.
    pub fn trim(&mut self, mut goes: impl FnMut(u64, StreamId) -> bool) -> u64 {
        let (mut gone, mut at) = (0, self.start as usize);
        while let Some(found) = self.entry(at) {
            if !goes(gone, found.id) {
                break;
            }
            at = found.place.end;
            gone += 1;
        }
        self.forget_until(at);
        self.len -= gone as u32;
        gone
    }

    /// Drops the bytes before `at`, once they are worth moving the rest.
    fn forget_until(&mut self, at: usize) {
        self.start = at as u32;
        let dead = at - self.names_end as usize;
        if dead * 2 > self.bytes.len() {
            self.bytes.drain(self.names_end as usize..at);
            self.start = self.names_end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    fn ids(node: &Node) -> Vec<(u64, u64)> {
        let forward: Vec<_> = node.entries().map(|found| (found.id.ms, found.id.seq)).collect();
        let mut back: Vec<_> =
            node.entries_reversed().map(|found| (found.id.ms, found.id.seq)).collect();
        back.reverse();
        assert_eq!(forward, back);
        assert_eq!(forward.len(), node.len());
        forward
    }

    #[test]
    fn names_are_kept_once() {
        let long = vec![b'v'; 300];
        let first: [(&[u8], &[u8]); 2] = [(b"name", b"1"), (b"other", &long)];
        let mut node = Node::new(id(5, 7), &first);
        node.push(id(5, 7), &first);
        let one = node.bytes.len();
        node.push(id(5, 8), &first);
        assert!(node.bytes.len() - one < 310);
        node.push(id(6, 0), &[(b"another", b"x")]);
        assert_eq!(ids(&node), [(5, 7), (5, 8), (6, 0)]);
        let mut seen = Vec::new();
        for found in node.entries() {
            found.fields.for_each(|name, value| seen.push((name.to_vec(), value.len())));
        }
        let names: Vec<_> = seen.iter().map(|(name, len)| (&name[..], *len)).collect();
        let pair = [(&b"name"[..], 1), (&b"other"[..], 300)];
        assert_eq!(names, [&pair[..], &pair[..], &[(&b"another"[..], 1)]].concat());
    }

    #[test]
    fn entries_go_from_anywhere() {
        let fields: [(&[u8], &[u8]); 1] = [(b"f", b"value")];
        let mut node = Node::new(id(1, 0), &fields);
        (0..50).for_each(|n| node.push(id(1 + n / 7, n), &fields));
        assert!(!node.delete(id(1, 50)));
        assert!(node.delete(id(1, 3)) && !node.delete(id(1, 3)));
        assert!(node.delete(id(1, 0)) && node.delete(id(8, 49)));
        assert_eq!(node.trim(|gone, _| gone < 40), 40);
        assert_eq!(ids(&node), (42..49).map(|n| (1 + n / 7, n)).collect::<Vec<_>>());
        assert!(node.bytes.len() < 20 * 13, "what was trimmed is given up in time");
        assert_eq!(node.trim(|_, at| at < id(7, 44)), 2);
        assert_eq!(ids(&node).first(), Some(&(7, 44)));
    }

    #[test]
    fn ids_far_apart_need_another_node() {
        let node = Node::new(id(0, 1), &[]);
        assert!(node.has_room(id(1 << 61, 0), 0, 0, 0));
        assert!(!node.has_room(id(u64::MAX, 0), 0, 0, 0));
    }
}
