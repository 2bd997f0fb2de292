//! Strings: short ones in the metadata record, long ones in chunks.
//!
//! Chunks are of the engine's size, so that appending, overwriting and reading a range touch the
//! chunks they cover. Bytes missing from a chunk, and missing chunks, are zeros: a gap that
//! SETRANGE leaves costs nothing.

use super::codec::{Body, Head};
use super::keys;
use super::kv::Read;
use super::tx::{OrderedTx, Place, Record};
use bytes::Bytes;
use storage::{Error, Key, NewExpiry, Result, Str};

/// Longest string kept in the metadata record, bytes.
const INLINE_MAX: u64 = 4 << 10;
/// Longest string, bytes: what RDB files and the protocol can carry.
const STRING_MAX: u64 = u32::MAX as u64;

/// Writes `value` as the chunks of a new version.
pub(super) fn write_chunks(tx: &mut OrderedTx<'_>, version: u64, value: &[u8]) {
    let chunk_bytes = tx.backend.kv.chunk_bytes();
    for (chunk, index) in value.chunks(chunk_bytes).zip(0u32..) {
        tx.batch.put(keys::ELEMENTS, keys::chunk(version, index), chunk.to_vec());
    }
}

/// All `len` bytes of a version's chunks.
pub(super) fn read_chunks(
    read: &dyn Read,
    version: u64,
    len: u64,
    chunk_bytes: usize,
) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    read_chunk_range(read, version, 0..len, chunk_bytes, &mut out)?;
    Ok(out)
}

/// Appends the bytes `range` of a version's chunks to `out`.
fn read_chunk_range(
    read: &dyn Read,
    version: u64,
    range: std::ops::Range<u64>,
    chunk_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    if range.is_empty() {
        return Ok(());
    }
    if range.end > STRING_MAX {
        return Err(Error::corrupt("a string longer than any can be"));
    }
    let (size, base) = (chunk_bytes as u64, out.len());
    let bytes = (range.end - range.start) as usize;
    out.try_reserve(bytes).map_err(|_| Error::TooLarge)?;
    out.resize(base + bytes, 0);
    let lo = keys::chunk(version, (range.start / size) as u32);
    let hi = keys::chunk(version, ((range.end - 1) / size) as u32 + 1);
    read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |key, chunk| {
        let index = key.get(8..12).and_then(|at| Some(u32::from_be_bytes(at.try_into().ok()?)));
        let at = u64::from(index.unwrap_or_default()) * size;
        let from = range.start.max(at);
        let to = range.end.min(at + chunk.len() as u64);
        if from < to {
            let target = base + (from - range.start) as usize;
            let source = &chunk[(from - at) as usize..(to - at) as usize];
            out[target..target + source.len()].copy_from_slice(source);
        }
        true
    })
}

impl OrderedTx<'_> {
    /// The record of a key that must be a string if it exists.
    fn load_string(&mut self, key: &Key<'_>) -> Result<(Place, Option<Record>)> {
        let (place, record) = self.load(key)?;
        match record {
            Some(record) if record.head.body.kind() != storage::Kind::String => {
                Err(Error::WrongType)
            }
            record => Ok((place, record)),
        }
    }

    pub(super) fn read_string(&mut self, key: &Key<'_>) -> Result<Option<Str<'_>>> {
        let (place, record) = self.load_string(key)?;
        let Some(record) = record else { return Ok(None) };
        self.note_access(&place);
        match record.head.body {
            Body::Chunked { version, len } => {
                let chunk_bytes = self.backend.kv.chunk_bytes();
                self.lent = Bytes::from(read_chunks(self, version, len, chunk_bytes)?);
                Ok(Some(Str::Shared(&self.lent)))
            }
            _ => {
                self.lent_record = record.bytes;
                Ok(Some(Str::Bytes(&self.lent_record[record.value_at..])))
            }
        }
    }

    pub(super) fn read_string_len(&mut self, key: &Key<'_>) -> Result<u64> {
        let (place, record) = self.load_string(key)?;
        if record.is_some() {
            self.note_access(&place);
        }
        Ok(record.map_or(0, |record| string_len(&record)))
    }

    pub(super) fn write_string(
        &mut self,
        key: &Key<'_>,
        value: &[u8],
        expiry: NewExpiry,
    ) -> Result<()> {
        if value.len() as u64 > STRING_MAX {
            return Err(Error::TooLarge);
        }
        let (place, record) = self.load(key)?;
        let expiry_ms = match expiry {
            NewExpiry::Clear => 0,
            NewExpiry::At(at_ms) => at_ms,
            NewExpiry::Keep => record.as_ref().map_or(0, |record| record.head.expiry_ms),
        };
        self.replace_string(&place, key, record, expiry_ms, value, false)?;
        self.note_access(&place);
        Ok(())
    }

    /// Replaces the value of a key by a whole string.
    fn replace_string(
        &mut self,
        place: &Place,
        key: &Key<'_>,
        old: Option<Record>,
        expiry_ms: u64,
        value: &[u8],
        raw: bool,
    ) -> Result<()> {
        let (body, inline) = if value.len() as u64 <= INLINE_MAX {
            (Body::Inline { raw }, value)
        } else {
            let version = self.new_version()?;
            write_chunks(self, version, value);
            (Body::Chunked { version, len: value.len() as u64 }, &[][..])
        };
        if let Some(old) = &old {
            self.discard_body(&old.head.body);
        }
        let kept_name = keys::kept_name(key.bytes);
        let head = Head { expiry_ms, name_bytes: kept_name.len() as u32, body };
        self.store(place, old.map(|old| old.was), &head, kept_name, inline);
        Ok(())
    }

    pub(super) fn append_string(&mut self, key: &Key<'_>, suffix: &[u8]) -> Result<u64> {
        let (place, record) = self.load_string(key)?;
        match record {
            None => {
                self.replace_string(&place, key, None, 0, suffix, false)?;
                self.note_access(&place);
                Ok(suffix.len() as u64)
            }
            Some(record) => {
                let len = string_len(&record);
                self.edit(&place, key, record, len, suffix)
            }
        }
    }

    pub(super) fn overwrite_string(
        &mut self,
        key: &Key<'_>,
        offset: u64,
        bytes: &[u8],
    ) -> Result<u64> {
        let (place, record) = self.load_string(key)?;
        let Some(record) = record else {
            // An empty string to write into; it is stored only with the bytes.
            if bytes.is_empty() {
                return Ok(0);
            }
            return self.create_at(&place, key, offset, bytes);
        };
        if bytes.is_empty() {
            return Ok(string_len(&record));
        }
        self.edit(&place, key, record, offset, bytes)
    }

    fn create_at(&mut self, place: &Place, key: &Key<'_>, at: u64, bytes: &[u8]) -> Result<u64> {
        let end = end_of(at, bytes)?;
        if end <= INLINE_MAX {
            let mut value = vec![0; at as usize];
            value.extend_from_slice(bytes);
            self.replace_string(place, key, None, 0, &value, true)?;
            return Ok(end);
        }
        let version = self.new_version()?;
        self.edit_chunks(version, at, bytes)?;
        let kept_name = keys::kept_name(key.bytes);
        let body = Body::Chunked { version, len: end };
        let head = Head { expiry_ms: 0, name_bytes: kept_name.len() as u32, body };
        self.store(place, None, &head, kept_name, &[]);
        Ok(end)
    }

    /// Overwrites an existing string from `at` on; the new length.
    fn edit(
        &mut self,
        place: &Place,
        key: &Key<'_>,
        record: Record,
        at: u64,
        bytes: &[u8],
    ) -> Result<u64> {
        let end = end_of(at, bytes)?;
        self.note_access(place);
        let kept_name = keys::kept_name(key.bytes);
        let mut head = record.head.clone();
        let len = string_len(&record).max(end);
        match record.head.body {
            Body::Chunked { version, .. } => {
                self.edit_chunks(version, at, bytes)?;
                head.body = Body::Chunked { version, len };
            }
            _ if len <= INLINE_MAX => {
                let mut value = record.inline().to_vec();
                value.resize(len as usize, 0);
                value[at as usize..end as usize].copy_from_slice(bytes);
                head.body = Body::Inline { raw: true };
                self.store(place, Some(record.was), &head, kept_name, &value);
                return Ok(len);
            }
            _ => {
                let version = self.new_version()?;
                write_chunks(self, version, record.inline());
                self.edit_chunks(version, at, bytes)?;
                head.body = Body::Chunked { version, len };
            }
        }
        self.store(place, Some(record.was), &head, kept_name, &[]);
        Ok(len)
    }

    /// Overwrites bytes in a version's chunks.
    fn edit_chunks(&mut self, version: u64, at: u64, bytes: &[u8]) -> Result<()> {
        let size = self.backend.kv.chunk_bytes() as u64;
        let mut changed = Vec::new();
        let (mut at, mut left) = (at, bytes);
        while !left.is_empty() {
            let (index, offset) = ((at / size) as u32, (at % size) as usize);
            let (now, rest) = left.split_at(left.len().min(size as usize - offset));
            let key = keys::chunk(version, index);
            let mut chunk = match now.len() as u64 == size {
                true => Vec::new(),
                false => self.get(keys::ELEMENTS, &key)?.unwrap_or_default(),
            };
            chunk.resize(chunk.len().max(offset + now.len()), 0);
            chunk[offset..offset + now.len()].copy_from_slice(now);
            changed.push((key, chunk));
            at += now.len() as u64;
            left = rest;
        }
        for (key, chunk) in changed {
            self.batch.put(keys::ELEMENTS, key, chunk);
        }
        Ok(())
    }

    pub(super) fn read_range(
        &mut self,
        key: &Key<'_>,
        start: u64,
        end: u64,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (place, record) = self.load_string(key)?;
        let Some(record) = record else { return Ok(()) };
        self.note_access(&place);
        let end = end.min(string_len(&record));
        if start >= end {
            return Ok(());
        }
        match record.head.body {
            Body::Chunked { version, .. } => {
                let chunk_bytes = self.backend.kv.chunk_bytes();
                read_chunk_range(self, version, start..end, chunk_bytes, out)
            }
            _ => {
                out.extend_from_slice(&record.inline()[start as usize..end as usize]);
                Ok(())
            }
        }
    }
}

/// The length of a record's string.
pub(super) fn string_len(record: &Record) -> u64 {
    match record.head.body {
        Body::Chunked { len, .. } => len,
        _ => record.inline().len() as u64,
    }
}

fn end_of(at: u64, bytes: &[u8]) -> Result<u64> {
    let end = at.checked_add(bytes.len() as u64).ok_or(Error::TooLarge)?;
    if end > STRING_MAX { Err(Error::TooLarge) } else { Ok(end) }
}
