//! Hashes: packed bytes while small, a table of fields otherwise.
//!
//! A field with its own expiry needs the table, whose entries have room for one. Beside it an index
//! by time finds expired fields. Hashes without such fields pay for neither.

use super::entry::{Entry, INLINE_MAX, Payload};
use super::hashing::Hasher;
use super::packed::{Packed, Scratch, put_item};
use super::value::{Elements, Value};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::ops::Range;
use storage::EncodingLimits;
use storage::tx::Kind;
use storage::types::FieldExpiry;

/// Visits fields with their values and expiries.
type VisitExpiring<'a> = &'a mut dyn FnMut(&[u8], &[u8], Option<u64>);

/// A hash's representation.
#[derive(Debug)]
pub enum HashValue {
    /// Few, short fields and values, in the order they were added.
    Small(Packed),
    /// Anything else.
    Large(Box<Fields>),
}

/// A table of fields.
#[derive(Debug)]
pub struct Fields {
    elements: Elements,
    /// Fields with an expiry, earliest first.
    due: BTreeSet<(u64, Box<[u8]>)>,
    /// Whether the hash only left the packed form for the sake of an expiry.
    small: bool,
}

/// A field found in packed bytes.
struct Found {
    record: Range<usize>,
    value: Range<usize>,
}

#[cfg(test)]
thread_local! {
    /// Makes this thread's next [`HashValue::purge`] panic half-way.
    pub(super) static PURGE_PANICS: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

impl HashValue {
    /// The empty hash.
    pub fn new() -> Self {
        HashValue::Small(Packed::new())
    }

    /// The number of fields.
    pub fn len(&self) -> usize {
        match self {
            HashValue::Small(packed) => packed.count(),
            HashValue::Large(fields) => fields.elements.table.len(),
        }
    }

    /// Allocated bytes.
    pub fn bytes(&self) -> usize {
        match self {
            HashValue::Small(packed) => packed.allocated(),
            HashValue::Large(fields) => {
                // Two words for the field, one for the time, and the overhead of a tree.
                size_of::<Fields>() + fields.elements.bytes() + fields.due.len() * 64
            }
        }
    }

    /// Redis's name of the encoding (`listpackex` is 7.4's, for small hashes with field expiry).
    pub fn encoding(&self) -> &'static str {
        match self {
            HashValue::Small(_) => "listpack",
            HashValue::Large(fields) if fields.small => "listpackex",
            HashValue::Large(_) => "hashtable",
        }
    }

    /// The earliest expiry of a field.
    pub fn next_due(&self) -> Option<u64> {
        match self {
            HashValue::Small(_) => None,
            HashValue::Large(fields) => fields.due.first().map(|(at_ms, _)| *at_ms),
        }
    }

    /// The latest expiry of a field, if all fields have one.
    pub fn last_due(&self) -> Option<u64> {
        match self {
            HashValue::Large(fields) if fields.due.len() == self.len() => {
                fields.due.last().map(|(at_ms, _)| *at_ms)
            }
            _ => None,
        }
    }

    /// The fields whose expiry has passed.
    pub fn due_by(&self, now_ms: u64) -> Vec<Box<[u8]>> {
        let HashValue::Large(fields) = self else { return Vec::new() };
        let due = fields.due.iter().take_while(|(at_ms, _)| *at_ms <= now_ms);
        due.map(|(_, field)| field.clone()).collect()
    }

    /// Removes the fields whose expiry has passed; which.
    pub fn purge(&mut self, hasher: &Hasher, now_ms: u64) -> Vec<Box<[u8]>> {
        let mut purged = Vec::new();
        while self.next_due().is_some_and(|at_ms| at_ms <= now_ms) {
            let HashValue::Large(fields) = self else { break };
            let Some((_, field)) = fields.due.first() else { break };
            let field = field.clone();
            self.remove(hasher, &field);
            #[cfg(test)]
            assert!(!PURGE_PANICS.get(), "as a test wants it");
            purged.push(field);
        }
        purged
    }

    /// The value of a field.
    #[inline]
    pub fn get(&self, hasher: &Hasher, field: &[u8]) -> Option<&[u8]> {
        match self {
            HashValue::Small(packed) => Some(packed.get(find(packed, field)?.value)),
            HashValue::Large(fields) => {
                fields.elements.table.get(hasher.hash(field), field).map(field_value)
            }
        }
    }

    /// Sets a field; true when it is new. Its expiry stays with `keep_expiry`, else goes.
    pub fn insert(
        &mut self,
        hasher: &Hasher,
        limits: &EncodingLimits,
        field: &[u8],
        value: &[u8],
        keep_expiry: bool,
    ) -> bool {
        if let HashValue::Small(packed) = self {
            if field.len().max(value.len()) <= limits.hash_value {
                if let Some(found) = find(packed, field) {
                    replace_value(packed, &found, value);
                    return false;
                }
                if packed.count() < limits.hash_entries {
                    append(packed, field, value);
                    return true;
                }
            }
            self.convert(hasher, false);
        }
        let HashValue::Large(fields) = self else { return false };
        let long = field.len().max(value.len()) > limits.hash_value;
        fields.small &= !long && fields.elements.table.len() < limits.hash_entries;
        if !keep_expiry && !fields.due.is_empty() {
            fields.set_expiry(hasher, field, None);
        }
        fields.insert(hasher, field, value)
    }

    fn convert(&mut self, hasher: &Hasher, small: bool) {
        let HashValue::Small(packed) = self else { return };
        let mut fields = Fields { elements: Elements::new(), due: BTreeSet::new(), small };
        for_each_packed(packed, &mut |field, value| {
            fields.insert(hasher, field, value);
            true
        });
        *self = HashValue::Large(Box::new(fields));
    }

    /// Removes a field; false when it was not there.
    pub fn remove(&mut self, hasher: &Hasher, field: &[u8]) -> bool {
        match self {
            HashValue::Small(packed) => {
                let Some(found) = find(packed, field) else { return false };
                packed.splice(found.record, &[]);
                packed.add_count(-1);
                true
            }
            HashValue::Large(fields) => {
                let Some(found) = fields.elements.table.find(hasher.hash(field), field) else {
                    return false;
                };
                let entry = found.remove(hasher);
                fields.elements.entry_bytes -= entry.bytes();
                if let Some(at_ms) = entry.expiry() {
                    fields.due.remove(&(at_ms, field.into()));
                }
                true
            }
        }
    }

    /// Visits every field until `visit` says false.
    pub fn for_each(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        match self {
            HashValue::Small(packed) => for_each_packed(packed, visit),
            HashValue::Large(fields) => {
                fields.elements.table.for_each(&mut |entry| visit(entry.key(), field_value(entry)));
            }
        }
    }

    /// Visits every field with its expiry.
    pub fn for_each_expiring(&self, visit: VisitExpiring<'_>) {
        match self {
            HashValue::Small(packed) => for_each_packed(packed, &mut |field, value| {
                visit(field, value, None);
                true
            }),
            HashValue::Large(fields) => fields.elements.table.for_each(&mut |entry| {
                visit(entry.key(), field_value(entry), entry.expiry());
                true
            }),
        }
    }

    /// Visits about `count` fields; the next cursor. Compact hashes are visited whole.
    pub fn scan(
        &self,
        hasher: &Hasher,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> u64 {
        match self {
            HashValue::Small(packed) => {
                for_each_packed(packed, visit);
                0
            }
            HashValue::Large(fields) => {
                let mut going = true;
                fields.elements.table.scan(hasher, cursor, count, &mut |entry| {
                    going = going && visit(entry.key(), field_value(entry));
                })
            }
        }
    }

    /// A field chosen by a random number.
    pub fn random(&self, random: u64) -> Option<(&[u8], &[u8])> {
        match self {
            HashValue::Small(packed) => {
                let index = random.checked_rem(packed.count() as u64)?;
                let mut at = packed.start();
                for _ in 0..2 * index {
                    at = packed.item(at)?.1;
                }
                let (field, next) = packed.item(at)?;
                let (value, _) = packed.item(next)?;
                Some((packed.get(field), packed.get(value)))
            }
            HashValue::Large(fields) => {
                fields.elements.table.random(random).map(|entry| (entry.key(), field_value(entry)))
            }
        }
    }

    /// A field's expiry.
    pub fn field_expiry(&self, hasher: &Hasher, field: &[u8]) -> FieldExpiry {
        let expiry = match self {
            HashValue::Small(packed) => find(packed, field).map(|_| None),
            HashValue::Large(fields) => {
                fields.elements.table.get(hasher.hash(field), field).map(Entry::expiry)
            }
        };
        match expiry {
            None => FieldExpiry::NoField,
            Some(None) => FieldExpiry::Persistent,
            Some(Some(at_ms)) => FieldExpiry::At(at_ms),
        }
    }

    /// Sets or clears a field's expiry; false when there is no such field.
    pub fn set_field_expiry(&mut self, hasher: &Hasher, field: &[u8], at_ms: Option<u64>) -> bool {
        if let HashValue::Small(packed) = self {
            match find(packed, field) {
                None => return false,
                Some(_) if at_ms.is_none() => return true,
                Some(_) => self.convert(hasher, true),
            }
        }
        let HashValue::Large(fields) = self else { return false };
        fields.set_expiry(hasher, field, at_ms)
    }

    /// The table, to be swept in slices.
    pub fn into_elements(self) -> Option<Elements> {
        match self {
            HashValue::Small(_) => None,
            HashValue::Large(fields) => Some(fields.elements),
        }
    }
}

impl Fields {
    fn insert(&mut self, hasher: &Hasher, field: &[u8], value: &[u8]) -> bool {
        let hash = hasher.hash(field);
        match self.elements.table.find(hash, field) {
            Some(mut found) => {
                let entry = found.get_mut();
                self.elements.entry_bytes -= entry.bytes();
                set_field_value(entry, value);
                self.elements.entry_bytes += entry.bytes();
                false
            }
            None => {
                let entry = new_field(field, value);
                self.elements.entry_bytes += entry.bytes();
                self.elements.table.insert(hasher, hash, entry);
                true
            }
        }
    }

    fn set_expiry(&mut self, hasher: &Hasher, field: &[u8], at_ms: Option<u64>) -> bool {
        let Some(mut found) = self.elements.table.find(hasher.hash(field), field) else {
            return false;
        };
        let entry = found.get_mut();
        if let Some(old) = entry.expiry() {
            self.due.remove(&(old, field.into()));
        }
        self.elements.entry_bytes -= entry.bytes();
        entry.set_expiry(at_ms);
        self.elements.entry_bytes += entry.bytes();
        if let Some(at_ms) = entry.expiry() {
            self.due.insert((at_ms, field.into()));
        }
        true
    }
}

fn new_field(field: &[u8], value: &[u8]) -> Entry {
    if value.len() <= INLINE_MAX {
        return Entry::new(Kind::String, field, Payload::Inline(value), None);
    }
    let value = Value::Str(Box::new(Bytes::copy_from_slice(value)));
    Entry::new(Kind::String, field, Payload::Boxed(value), None)
}

fn set_field_value(entry: &mut Entry, value: &[u8]) {
    if value.len() <= INLINE_MAX {
        entry.resize_inline(value.len(), false).copy_from_slice(value);
    } else {
        let value = Value::Str(Box::new(Bytes::copy_from_slice(value)));
        entry.set_boxed(Kind::String, value);
    }
}

fn field_value(entry: &Entry) -> &[u8] {
    match (entry.inline(), entry.boxed()) {
        (Some(bytes), _) => bytes,
        (None, Some(Value::Str(bytes))) => bytes,
        _ => &[],
    }
}

#[inline]
fn find(packed: &Packed, field: &[u8]) -> Option<Found> {
    let mut at = packed.start();
    while let Some((name, middle)) = packed.item(at) {
        let (value, next) = packed.item(middle)?;
        if packed.equals(&name, field) {
            return Some(Found { record: at..next, value });
        }
        at = next;
    }
    None
}

fn replace_value(packed: &mut Packed, found: &Found, value: &[u8]) {
    let mut scratch = Scratch::new();
    put_item(&mut scratch, value);
    // The item's length bytes lie before the value: one per seven bits of its length.
    let mut length = Scratch::new();
    super::packed::put_number(&mut length, found.value.len() as u64);
    packed.splice(found.value.start - length.len()..found.value.end, &scratch);
}

fn append(packed: &mut Packed, field: &[u8], value: &[u8]) {
    let mut scratch = Scratch::new();
    put_item(&mut scratch, field);
    put_item(&mut scratch, value);
    packed.splice(packed.end()..packed.end(), &scratch);
    packed.add_count(1);
}

fn for_each_packed(packed: &Packed, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
    let mut at = packed.start();
    while let Some((field, middle)) = packed.item(at) {
        let Some((value, next)) = packed.item(middle) else { return };
        if !visit(packed.get(field), packed.get(value)) {
            return;
        }
        at = next;
    }
}
