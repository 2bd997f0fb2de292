//! Lists: elements at consecutive signed positions.
//!
//! Ends and indices are O(1); inserting or removing in the middle moves the shorter side, record by
//! record, without looking into the elements.

use super::codec::{Body, ElementHead};
use super::elements::{Element, Opened};
use super::kv::Read;
use super::{encoding, keys};
use storage::types::{End, Visit};
use storage::{Error, Key, List, Open, Result};

/// An opened list.
pub(super) struct OrderedList<'t, 'b>(Opened<'t, 'b>);

/// The list's part of the metadata.
#[derive(Clone, Copy)]
struct Shape {
    version: u64,
    head: i64,
    len: u64,
    packed_bytes: u64,
    quick: bool,
    overflow: bool,
}

/// A record at a position.
type At = (i64, Vec<u8>);

pub(super) fn empty(version: u64) -> Body {
    Body::List { version, head: 0, len: 0, packed_bytes: 0, quick: false, overflow: false }
}

impl<'t, 'b> OrderedList<'t, 'b> {
    pub(super) fn open(
        tx: &'t mut super::tx::OrderedTx<'b>,
        key: &Key<'_>,
        open: Open,
    ) -> Result<Option<Self>> {
        Ok(Opened::open(tx, key, open, storage::Kind::List, empty)?.map(OrderedList))
    }

    fn shape(&self) -> Result<Shape> {
        match self.0.head.body {
            Body::List { version, head, len, packed_bytes, quick, overflow } => {
                Ok(Shape { version, head, len, packed_bytes, quick, overflow })
            }
            _ => Err(Error::WrongType),
        }
    }

    /// Takes over a changed shape, settling whether Redis would have a quicklist.
    fn reshape(&mut self, shape: Shape) {
        let Shape { version, head, len, packed_bytes, quick, overflow } = shape;
        let limits = self.0.tx.backend.limits.read();
        let quick = encoding::list_is_quick(quick, len, packed_bytes, &limits);
        drop(limits);
        self.0.head.body = Body::List { version, head, len, packed_bytes, quick, overflow };
        self.0.changed = true;
    }

    fn record(&mut self, element: &[u8]) -> Result<(Vec<u8>, bool)> {
        self.0.encode_element(ElementHead::default(), &[], element)
    }

    fn value(&self, record: &[u8]) -> Result<Vec<u8>> {
        Element::decode(record)?.value(self.0.tx, self.0.chunk_bytes())
    }

    fn record_at(&self, shape: &Shape, index: u64) -> Result<Vec<u8>> {
        let key = keys::list(shape.version, position(shape, index));
        let record = self.0.tx.get(keys::ELEMENTS, &key)?;
        record.ok_or_else(|| Error::corrupt("a list misses an element"))
    }

    /// The records of `start..end`, ascending.
    fn records(&self, shape: &Shape, start: u64, end: u64) -> Result<Vec<At>> {
        let mut out = Vec::new();
        let lo = keys::list(shape.version, position(shape, start));
        let hi = keys::list(shape.version, position(shape, end));
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, record| {
            out.push((keys::list_position(key).unwrap_or_default(), record.to_vec()));
            true
        })?;
        if out.len() as u64 != end.saturating_sub(start) {
            return Err(Error::corrupt("a list misses elements"));
        }
        Ok(out)
    }

    fn put(&mut self, version: u64, position: i64, record: Vec<u8>) {
        self.0.tx.batch.put(keys::ELEMENTS, keys::list(version, position), record);
    }

    /// Removes one record. Returns the number of elements of a listpack that this removed.
    fn drop_record(&mut self, version: u64, (position, record): &At) -> Result<u64> {
        let element = Element::decode(record)?;
        let bytes = encoding::listpack_bytes(&self.value(record)?);
        self.0.discard_chunks(&element.head);
        self.0.tx.batch.delete(keys::ELEMENTS, keys::list(version, *position));
        Ok(bytes)
    }

    /// Keeps `kept` only, under a new version; for when that is less work than removing the rest.
    /// Values in chunks cannot be kept: the cleaner takes theirs with the old version.
    fn keep(&mut self, mut shape: Shape, kept: Vec<At>) -> Result<()> {
        let version = self.0.tx.new_version()?;
        let mut packed_bytes = 0;
        shape.head = kept.first().map_or(0, |(position, _)| *position);
        shape.len = kept.len() as u64;
        for (position, record) in kept {
            packed_bytes += encoding::listpack_bytes(&self.value(&record)?);
            self.put(version, position, record);
        }
        self.0.tx.discard(shape.version, shape.overflow);
        self.reshape(Shape { version, packed_bytes, overflow: false, ..shape });
        Ok(())
    }
}

/// The position of an index.
fn position(shape: &Shape, index: u64) -> i64 {
    shape.head.wrapping_add(index as i64)
}

impl List for OrderedList<'_, '_> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.shape()?.len)
    }

    fn push(&mut self, end: End, element: &[u8]) -> Result<()> {
        let mut shape = self.shape()?;
        let (record, overflow) = self.record(element)?;
        let at = match end {
            End::Tail => position(&shape, shape.len),
            End::Head => {
                shape.head = shape.head.wrapping_sub(1);
                shape.head
            }
        };
        self.put(shape.version, at, record);
        shape.len += 1;
        shape.packed_bytes += encoding::listpack_bytes(element);
        shape.overflow |= overflow;
        self.reshape(shape);
        Ok(())
    }

    fn pop(&mut self, end: End) -> Result<Option<Vec<u8>>> {
        let mut shape = self.shape()?;
        if shape.len == 0 {
            return Ok(None);
        }
        let index = if end == End::Head { 0 } else { shape.len - 1 };
        let at = (position(&shape, index), self.record_at(&shape, index)?);
        let value = self.value(&at.1)?;
        let bytes = self.drop_record(shape.version, &at)?;
        if end == End::Head {
            shape.head = shape.head.wrapping_add(1);
        }
        shape.len -= 1;
        shape.packed_bytes = shape.packed_bytes.saturating_sub(bytes);
        self.reshape(shape);
        Ok(Some(value))
    }

    fn get(&mut self, index: u64) -> Result<Option<&[u8]>> {
        let shape = self.shape()?;
        if index >= shape.len {
            return Ok(None);
        }
        let record = self.record_at(&shape, index)?;
        self.0.lent.value = self.value(&record)?;
        Ok(Some(&self.0.lent.value))
    }

    fn set(&mut self, index: u64, element: &[u8]) -> Result<bool> {
        let mut shape = self.shape()?;
        if index >= shape.len {
            return Ok(false);
        }
        let old = (position(&shape, index), self.record_at(&shape, index)?);
        let (record, overflow) = self.record(element)?;
        let bytes = self.drop_record(shape.version, &old)?;
        self.put(shape.version, old.0, record);
        shape.packed_bytes = shape.packed_bytes.saturating_sub(bytes);
        shape.packed_bytes += encoding::listpack_bytes(element);
        shape.overflow |= overflow;
        self.reshape(shape);
        Ok(true)
    }

    fn insert(&mut self, index: u64, element: &[u8]) -> Result<()> {
        let mut shape = self.shape()?;
        let index = index.min(shape.len);
        let left = index <= shape.len / 2;
        let (start, end, by) = if left { (0, index, -1) } else { (index, shape.len, 1) };
        let moved = self.records(&shape, start, end)?;
        let (record, overflow) = self.record(element)?;
        for (position, record) in moved {
            self.put(shape.version, position.wrapping_add(by), record);
        }
        if left {
            shape.head = shape.head.wrapping_sub(1);
        }
        self.put(shape.version, position(&shape, index), record);
        shape.len += 1;
        shape.packed_bytes += encoding::listpack_bytes(element);
        shape.overflow |= overflow;
        self.reshape(shape);
        Ok(())
    }

    fn remove(&mut self, element: &[u8], limit: u64, from: End) -> Result<u64> {
        let mut shape = self.shape()?;
        let mut found = self.matching(&shape, element, limit, from)?;
        found.sort_by_key(|(position, _)| *position);
        let (Some(&(first, _)), Some(&(last, _))) = (found.first(), found.last()) else {
            return Ok(0);
        };
        let (first, last) = ((first - shape.head) as u64, (last - shape.head) as u64);
        let removed = found.len() as u64;
        let from_left = last < shape.len - first;
        let (start, end) = if from_left { (0, last + 1) } else { (first, shape.len) };
        let mut kept = self.records(&shape, start, end)?;
        kept.retain(|(at, _)| found.binary_search_by_key(at, |(position, _)| *position).is_err());
        for at in &found {
            let bytes = self.drop_record(shape.version, at)?;
            shape.packed_bytes = shape.packed_bytes.saturating_sub(bytes);
        }
        let vacated = if from_left { 0..removed } else { shape.len - removed..shape.len };
        let new_start = if from_left { removed } else { start };
        for ((_, record), index) in kept.into_iter().zip(new_start..) {
            let at = position(&shape, index);
            self.put(shape.version, at, record);
        }
        for index in vacated {
            let key = keys::list(shape.version, position(&shape, index));
            self.0.tx.batch.delete(keys::ELEMENTS, key);
        }
        if from_left {
            shape.head = position(&shape, removed);
        }
        shape.len -= removed;
        self.reshape(shape);
        Ok(removed)
    }

    fn trim(&mut self, start: u64, end: u64) -> Result<()> {
        let mut shape = self.shape()?;
        let end = end.min(shape.len);
        let start = start.min(end);
        if (start, end) == (0, shape.len) {
            return Ok(());
        }
        let keepable = start == end || !shape.overflow;
        if keepable && end - start < shape.len / 2 {
            let kept = self.records(&shape, start, end)?;
            return self.keep(shape, kept);
        }
        let mut gone = self.records(&shape, 0, start)?;
        gone.extend(self.records(&shape, end, shape.len)?);
        for at in &gone {
            let bytes = self.drop_record(shape.version, at)?;
            shape.packed_bytes = shape.packed_bytes.saturating_sub(bytes);
        }
        shape.head = position(&shape, start);
        shape.len = end - start;
        self.reshape(shape);
        Ok(())
    }

    fn range(&mut self, start: u64, end: u64, from: End, visit: Visit<'_>) -> Result<()> {
        let shape = self.shape()?;
        let end = end.min(shape.len);
        if start >= end {
            return Ok(());
        }
        let lo = keys::list(shape.version, position(&shape, start));
        let hi = keys::list(shape.version, position(&shape, end));
        let chunk_bytes = self.0.chunk_bytes();
        let tx = &*self.0.tx;
        let mut result = Ok(true);
        tx.scan(keys::ELEMENTS, &lo, &hi, from == End::Tail, &mut |_, record| {
            result = Element::decode(record).and_then(|element| match element.head.chunks {
                None => Ok(visit(element.inline())),
                Some(_) => Ok(visit(&element.value(tx, chunk_bytes)?)),
            });
            matches!(result, Ok(true))
        })?;
        result.map(|_| ())
    }
}

impl OrderedList<'_, '_> {
    /// The records equal to `element`, at most `limit` (0: all), counted from an end.
    fn matching(&self, shape: &Shape, element: &[u8], limit: u64, from: End) -> Result<Vec<At>> {
        let limit = if limit == 0 { u64::MAX } else { limit };
        let lo = keys::list(shape.version, shape.head);
        let hi = keys::list(shape.version, position(shape, shape.len));
        let mut found = Vec::new();
        let mut result = Ok(());
        self.0.tx.scan(keys::ELEMENTS, &lo, &hi, from == End::Tail, &mut |key, record| {
            match Element::decode(record).and_then(|candidate| self.equals(&candidate, element)) {
                Ok(true) => {
                    found.push((keys::list_position(key).unwrap_or_default(), record.to_vec()));
                }
                Ok(false) => {}
                Err(error) => result = Err(error),
            }
            result.is_ok() && (found.len() as u64) < limit
        })?;
        result.map(|()| found)
    }

    fn equals(&self, candidate: &Element, element: &[u8]) -> Result<bool> {
        match candidate.head.chunks {
            None => Ok(candidate.inline() == element),
            Some((_, len)) if len != element.len() as u64 => Ok(false),
            Some(_) => Ok(candidate.value(self.0.tx, self.0.chunk_bytes())? == element),
        }
    }
}
