//! Strings in entries: inline while short, shared bytes when long.

use super::entry::{Entry, INLINE_MAX};
use super::intset::canonical_integer;
use super::shard::Common;
use super::value::Value;
use bytes::{Bytes, BytesMut};
use storage::tx::{Kind, Str};
use storage::{Error, Result};

/// The longest string that Redis embeds in its object.
const EMBSTR_MAX: usize = 44;

/// The value of a string entry.
#[inline]
pub fn get(entry: &Entry) -> Str<'_> {
    match (entry.inline(), entry.boxed()) {
        (Some(bytes), _) => Str::Bytes(bytes),
        (None, Some(Value::Str(bytes))) => Str::Shared(bytes),
        _ => Str::Bytes(&[]),
    }
}

/// The value of an entry that should be a string.
///
/// # Errors
/// [`Error::WrongType`] when it is something else.
#[inline(always)]
pub fn read(entry: &Entry) -> Result<Str<'_>> {
    match entry.inline() {
        // Only strings lie in their entries.
        Some(bytes) => Ok(Str::Bytes(bytes)),
        None if entry.kind() == Kind::String => Ok(get(entry)),
        None => Err(Error::WrongType),
    }
}

/// A long string's value.
pub fn boxed(bytes: Bytes) -> Value {
    Value::Str(Box::new(bytes))
}

/// Replaces the value, of whatever type, by a string.
pub fn set(entry: &mut Entry, common: &mut Common, value: &[u8]) {
    if let Some(old) = entry.take_boxed() {
        common.garbage.extend(super::garbage::Garbage::of(old));
    }
    if value.len() <= INLINE_MAX {
        entry.resize_inline(value.len(), false).copy_from_slice(value);
    } else {
        entry.set_boxed(Kind::String, boxed(Bytes::copy_from_slice(value)));
    }
    entry.set_kind(Kind::String);
    entry.set_raw(false);
}

/// Overwrites from `offset` on, growing with zero bytes as needed; the new length.
pub fn write_at(entry: &mut Entry, offset: usize, bytes: &[u8]) -> usize {
    let end = offset + bytes.len();
    let len = get(entry).as_bytes().len().max(end);
    if len <= INLINE_MAX && entry.inline().is_some() {
        entry.resize_inline(len, true)[offset..end].copy_from_slice(bytes);
    } else {
        let mut long = take_long(entry, len);
        if long.len() < len {
            long.resize(len, 0);
        }
        long[offset..end].copy_from_slice(bytes);
        entry.set_boxed(Kind::String, boxed(long.freeze()));
    }
    entry.set_raw(true);
    len
}

/// The value as a growable buffer with room for `len` bytes. There is no copy if it has no other
/// owner.
fn take_long(entry: &mut Entry, len: usize) -> BytesMut {
    let mut long = match entry.boxed_mut() {
        Some(Value::Str(bytes)) => std::mem::take(&mut **bytes)
            .try_into_mut()
            .unwrap_or_else(|shared| (&shared[..]).into()),
        _ => entry.inline().unwrap_or_default().into(),
    };
    // `reserve` at least doubles, so that appending stays cheap.
    long.reserve(len.saturating_sub(long.len()));
    long
}

/// Redis's name of a string's encoding.
pub fn encoding(entry: &Entry) -> &'static str {
    let bytes = get(entry).as_bytes();
    match bytes.len() {
        _ if entry.is_raw() => "raw",
        0..=20 if canonical_integer(bytes).is_some() => "int",
        0..=EMBSTR_MAX => "embstr",
        _ => "raw",
    }
}
