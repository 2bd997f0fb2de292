//! Code that the collections share: an opened key, and named elements with values.
//!
//! A set's members, a hash's fields and a sorted set's members are the same records: named by
//! version, hash and name; carrying insertion order, an optional expiry and a value.

use super::codec::{self, Body, ElementHead, Form, Head, Map, MapKind};
use super::kv::Read;
use super::tx::{OrderedTx, Place, Was};
use super::{encoding, hashing, keys};
use std::ops::{Deref, DerefMut};
use storage::{Error, Key, Open, Result};

/// Collections up to this size answer random draws by index, larger ones by a seek.
const UNIFORM_MAX: u64 = 128;

/// The name and value of an element, kept so that references to them can be returned.
#[derive(Debug, Default)]
pub(super) struct Lent {
    pub(super) name: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A collection opened in a transaction. Its metadata is written when it is dropped, if it changed;
/// a collection left empty is removed then.
pub(super) struct Opened<'t, 'b> {
    pub(super) tx: &'t mut OrderedTx<'b>,
    place: Place,
    kept_name: Vec<u8>,
    pub(super) head: Head,
    was: Option<Was>,
    /// The head as it is stored, to see whether it has to be written again.
    stored: Option<Head>,
    pub(super) changed: bool,
    /// The data to which the last read returned references.
    pub(super) lent: Lent,
}

/// An element as it was read.
#[derive(Clone, Debug)]
pub(super) struct Element {
    pub(super) head: ElementHead,
    record: Vec<u8>,
    value_at: usize,
    name_at: usize,
}

/// Visits name, head and value; returning false stops.
pub(super) type VisitElement<'a> = &'a mut dyn FnMut(&[u8], &ElementHead, &[u8]) -> bool;

/// An element under its record's key.
type Keyed = (Vec<u8>, Element);

impl Element {
    pub(super) fn decode(record: &[u8]) -> Result<Self> {
        let (head, name_at, value_at) = codec::decode_element(record)?;
        Ok(Element { head, record: record.to_vec(), value_at, name_at })
    }

    /// The value's bytes unless they are in chunks.
    pub(super) fn inline(&self) -> &[u8] {
        &self.record[self.value_at..]
    }

    fn kept_name(&self) -> &[u8] {
        &self.record[self.name_at..self.value_at]
    }

    /// The record, with the head as it is now.
    fn encode(&self) -> Vec<u8> {
        codec::encode(&self.head, &[self.kept_name(), self.inline()])
    }

    /// The name: from the record's key, or the kept one.
    pub(super) fn name<'a>(&'a self, key: &'a [u8]) -> &'a [u8] {
        let tagged = key.get(keys::MEMBER_NAME_AT..).unwrap_or_default();
        keys::whole_name(tagged).unwrap_or_else(|| self.kept_name())
    }

    /// The value, read from its chunks if need be.
    pub(super) fn value(&self, read: &dyn Read, chunk_bytes: usize) -> Result<Vec<u8>> {
        match self.head.chunks {
            None => Ok(self.inline().to_vec()),
            Some((version, len)) => super::strings::read_chunks(read, version, len, chunk_bytes),
        }
    }
}

impl<'t, 'b> Opened<'t, 'b> {
    /// Opens a collection, created by `create` when missing and allowed.
    pub(super) fn open(
        tx: &'t mut OrderedTx<'b>,
        key: &Key<'_>,
        open: Open,
        kind: storage::Kind,
        create: impl FnOnce(u64) -> Body,
    ) -> Result<Option<Self>> {
        let (place, record) = tx.load(key)?;
        let (head, was) = match record {
            Some(record) if record.head.body.kind() != kind => return Err(Error::WrongType),
            Some(record) => (record.head, Some(record.was)),
            None if open == Open::Existing => return Ok(None),
            None => {
                let name_bytes = keys::kept_name(key.bytes).len() as u32;
                (Head { expiry_ms: 0, name_bytes, body: create(tx.new_version()?) }, None)
            }
        };
        tx.note_access(&place);
        let kept_name = keys::kept_name(key.bytes).to_vec();
        // A stream is there from the moment it is made.
        let changed = was.is_none() && kind == storage::Kind::Stream;
        Ok(Some(Opened {
            tx,
            place,
            kept_name,
            stored: was.map(|_| head.clone()),
            head,
            was,
            changed,
            lent: Lent::default(),
        }))
    }

    /// Whether it is a collection that must not be there without elements, and has none.
    fn is_void(&self) -> bool {
        match &self.head.body {
            Body::List { len, .. } | Body::Map(Map { len, .. }) => *len == 0,
            Body::Inline { .. } | Body::Chunked { .. } | Body::Stream(_) => false,
        }
    }

    pub(super) fn chunk_bytes(&self) -> usize {
        self.tx.backend.kv.chunk_bytes()
    }

    /// An element's record; a value beyond the chunk size goes into chunks, and true is returned.
    pub(super) fn encode_element(
        &mut self,
        mut head: ElementHead,
        kept_name: &[u8],
        value: &[u8],
    ) -> Result<(Vec<u8>, bool)> {
        head.name_bytes = kept_name.len() as u32;
        head.chunks = None;
        if value.len() <= self.chunk_bytes() {
            return Ok((codec::encode(&head, &[kept_name, value]), false));
        }
        let version = self.tx.new_version()?;
        super::strings::write_chunks(self.tx, version, value);
        head.chunks = Some((version, value.len() as u64));
        Ok((codec::encode(&head, &[kept_name]), true))
    }

    /// Leaves an element's chunks to the cleaner, if it has any.
    pub(super) fn discard_chunks(&mut self, head: &ElementHead) {
        if let Some((version, _)) = head.chunks {
            self.tx.discard(version, false);
        }
    }
}

impl Drop for Opened<'_, '_> {
    fn drop(&mut self) {
        if !self.changed {
            return;
        }
        if !self.is_void() && self.stored.as_ref() == Some(&self.head) {
            return;
        }
        if !self.is_void() {
            self.tx.store(&self.place, self.was, &self.head, &self.kept_name, &[]);
            return;
        }
        // Every element was removed one by one, so nothing is left for the cleaner.
        if let Some(was) = self.was {
            self.tx.delete_record(&self.place, was);
        }
    }
}

/// A map collection opened in a transaction.
pub(super) struct OpenedMap<'t, 'b>(pub(super) Opened<'t, 'b>);

impl<'t, 'b> Deref for OpenedMap<'t, 'b> {
    type Target = Opened<'t, 'b>;

    fn deref(&self) -> &Opened<'t, 'b> {
        &self.0
    }
}

impl<'t, 'b> DerefMut for OpenedMap<'t, 'b> {
    fn deref_mut(&mut self) -> &mut Opened<'t, 'b> {
        &mut self.0
    }
}

impl<'t, 'b> OpenedMap<'t, 'b> {
    pub(super) fn open(
        tx: &'t mut OrderedTx<'b>,
        key: &Key<'_>,
        open: Open,
        kind: MapKind,
    ) -> Result<Option<Self>> {
        let body = super::tx::empty_map(kind, 0);
        let of = body.kind();
        let opened =
            Opened::open(tx, key, open, of, |version| super::tx::empty_map(kind, version))?;
        Ok(opened.map(OpenedMap))
    }

    pub(super) fn map(&mut self) -> Result<&mut Map> {
        match &mut self.0.head.body {
            Body::Map(map) => Ok(map),
            _ => Err(Error::WrongType),
        }
    }

    pub(super) fn meta(&self) -> Result<&Map> {
        match &self.0.head.body {
            Body::Map(map) => Ok(map),
            _ => Err(Error::WrongType),
        }
    }

    pub(super) fn member_key(&self, name: &[u8]) -> Result<Vec<u8>> {
        Ok(keys::member(self.0.tx.backend.seed, self.meta()?.version, name))
    }

    /// The element of this name.
    pub(super) fn find(&self, name: &[u8]) -> Result<Option<Element>> {
        let key = self.member_key(name)?;
        let Some(record) = self.0.tx.get(keys::ELEMENTS, &key)? else { return Ok(None) };
        let element = Element::decode(&record)?;
        if element.kept_name() != keys::kept_name(name) {
            return Err(Error::corrupt("two elements with one digest"));
        }
        Ok(Some(element))
    }

    /// Puts an element in place of `old`, the one found under its name.
    pub(super) fn put(
        &mut self,
        name: &[u8],
        old: Option<&Element>,
        expiry_ms: u64,
        value: &[u8],
    ) -> Result<()> {
        let key = self.member_key(name)?;
        let limits = self.0.tx.backend.limits.read().clone();
        let map = self.meta()?;
        let len = map.len + u64::from(old.is_none());
        let was_form = map.form;
        let form = encoding::map_form(map, len, name, value.len(), &limits);
        if was_form == Form::Ints && form == Form::Packed {
            self.renumber()?;
        }
        let map = self.map()?;
        let order = old.map_or(map.next_order, |old| old.head.order);
        let head = ElementHead { order, expiry_ms, ..ElementHead::default() };
        let (record, overflow) = self.0.encode_element(head, keys::kept_name(name), value)?;
        if let Some(old) = old {
            self.0.discard_chunks(&old.head);
        }
        self.0.tx.batch.put(keys::ELEMENTS, key, record);
        self.0.changed = true;
        let map = self.map()?;
        map.len = len;
        map.form = form;
        map.overflow |= overflow;
        if old.is_none() && form != Form::Table {
            map.next_order = map.next_order.wrapping_add(1);
        }
        Ok(())
    }

    /// Writes an element that was found back with another head.
    pub(super) fn rewrite(&mut self, name: &[u8], element: &Element) -> Result<()> {
        let key = self.member_key(name)?;
        self.0.tx.batch.put(keys::ELEMENTS, key, element.encode());
        self.0.changed = true;
        Ok(())
    }

    /// Removes an element that was found.
    pub(super) fn take(&mut self, name: &[u8], old: &Element) -> Result<()> {
        let key = self.member_key(name)?;
        self.0.discard_chunks(&old.head);
        self.0.tx.batch.delete(keys::ELEMENTS, key);
        self.0.changed = true;
        let map = self.map()?;
        map.len = map.len.saturating_sub(1);
        Ok(())
    }

    /// Gives the members of an integer set that becomes a listpack numbers in numeric order.
    fn renumber(&mut self) -> Result<()> {
        let members = compact(self.0.tx, self.meta()?)?;
        for ((key, mut element), order) in members.into_iter().zip(0..) {
            element.head.order = order;
            self.0.tx.batch.put(keys::ELEMENTS, key, element.encode());
            self.map()?.next_order = order + 1;
        }
        Ok(())
    }

    /// Visits elements in hash order from a hash on.
    fn walk(
        &self,
        from: u64,
        visit: &mut dyn FnMut(&[u8], &Element) -> Result<bool>,
    ) -> Result<()> {
        walk(self.0.tx, self.meta()?.version, from, visit)
    }

    /// Visits names and values: in Redis's order while compact, else in hash order.
    pub(super) fn each(&self, visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
        let chunk_bytes = self.0.chunk_bytes();
        each(self.0.tx, self.meta()?, chunk_bytes, &mut |name, _, value| visit(name, value))
    }

    /// Visits about `count` names and values from a cursor on; the next cursor. A compact
    /// collection is visited at once, as in Redis; elements of one hash are never parted.
    pub(super) fn scan_from(
        &self,
        cursor: u64,
        count: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<u64> {
        if self.meta()?.form != Form::Table {
            self.each(visit)?;
            return Ok(0);
        }
        let chunk_bytes = self.0.chunk_bytes();
        let (mut seen, mut last, mut next) = (0, 0, 0);
        self.walk(cursor, &mut |key, element| {
            let hash = keys::member_hash(key).unwrap_or_default();
            if seen >= count.max(1) && hash != last {
                next = hash;
                return Ok(false);
            }
            seen += 1;
            last = hash;
            let more = match element.head.chunks {
                None => visit(element.name(key), element.inline()),
                Some(_) => visit(element.name(key), &element.value(self.0.tx, chunk_bytes)?),
            };
            if !more {
                next = hash;
            }
            Ok(more)
        })?;
        Ok(next)
    }

    /// Lends an element chosen by a random number, as `lent`; false when there is none.
    /// Small collections draw uniformly, large ones nearly so ([`hashing::DRAW_STEPS`]).
    pub(super) fn draw(&mut self, random: u64) -> Result<bool> {
        let map = self.meta()?;
        let (len, form) = (map.len, map.form);
        let mut found = None;
        if form != Form::Table || len <= UNIFORM_MAX {
            let mut left = random % len.max(1);
            self.each(&mut |name, value| {
                if left == 0 {
                    found = Some(Lent { name: name.to_vec(), value: value.to_vec() });
                }
                left = left.wrapping_sub(1);
                found.is_none()
            })?;
        } else {
            let (from, mut steps) = hashing::draw(random);
            let chunk_bytes = self.0.chunk_bytes();
            // From the end it goes on at the beginning.
            for from in [from, 0] {
                if found.is_some() {
                    break;
                }
                self.walk(from, &mut |key, element| {
                    if steps > 0 {
                        steps -= 1;
                        return Ok(true);
                    }
                    let value = element.value(self.0.tx, chunk_bytes)?;
                    found = Some(Lent { name: element.name(key).to_vec(), value });
                    Ok(false)
                })?;
            }
        }
        let any = found.is_some();
        self.0.lent = found.unwrap_or_default();
        Ok(any)
    }
}

/// Visits the elements of a version in hash order from a hash on, with their record keys.
pub(super) fn walk(
    read: &dyn Read,
    version: u64,
    from: u64,
    visit: &mut dyn FnMut(&[u8], &Element) -> Result<bool>,
) -> Result<()> {
    let (lo, hi) = (keys::members_from(version, from), keys::members_end(version));
    let mut result = Ok(true);
    read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
        result = Element::decode(record).and_then(|element| visit(key, &element));
        matches!(result, Ok(true))
    })?;
    result.map(|_| ())
}

/// The elements of a compact collection in Redis's order, with their record keys.
fn compact(read: &dyn Read, map: &Map) -> Result<Vec<Keyed>> {
    let mut all = Vec::new();
    walk(read, map.version, 0, &mut |key, element| {
        all.push((key.to_vec(), element.clone()));
        Ok(true)
    })?;
    match map.form {
        Form::Ints => all.sort_by_key(|(key, element)| encoding::integer(element.name(key))),
        _ => all.sort_by_key(|(_, element)| element.head.order),
    }
    Ok(all)
}

/// Visits names, heads and values: in Redis's order while compact, else in hash order.
pub(super) fn each(
    read: &dyn Read,
    map: &Map,
    chunk_bytes: usize,
    visit: VisitElement<'_>,
) -> Result<()> {
    let mut one = |key: &[u8], element: &Element| -> Result<bool> {
        match element.head.chunks {
            None => Ok(visit(element.name(key), &element.head, element.inline())),
            Some(_) => {
                let value = element.value(read, chunk_bytes)?;
                Ok(visit(element.name(key), &element.head, &value))
            }
        }
    };
    if map.form == Form::Table {
        return walk(read, map.version, 0, &mut one);
    }
    for (key, element) in compact(read, map)? {
        if !one(&key, &element)? {
            break;
        }
    }
    Ok(())
}
