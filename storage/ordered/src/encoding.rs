//! Redis's name for the encoding of a value, kept up so that `OBJECT ENCODING` agrees across
//! backends. Nothing is stored differently because of it, but compact collections are visited in
//! the order Redis visits them.

use super::codec::{Body, Form, Map, MapKind};
use storage::EncodingLimits;

/// Strings up to this length share an allocation with their header in Redis (`embstr`).
const EMBSTR_BYTES_MAX: usize = 44;
/// Bytes of a listpack per size class −1…−5 of `list-max-listpack-size`.
const LIST_SIZE_CLASSES: [u64; 5] = [4096, 8192, 16384, 32768, 65536];
/// Bytes a listpack limited by entries may take at most (`SIZE_SAFETY_LIMIT`).
const LISTPACK_SAFETY_BYTES: u64 = 8192;
/// Header and end mark of a listpack.
const LISTPACK_FRAME_BYTES: u64 = 7;

/// An integer in the only form Redis recognises: no sign but `-`, no leading zeros, 64 bits.
pub fn integer(bytes: &[u8]) -> Option<i64> {
    let digits = bytes.strip_prefix(b"-").unwrap_or(bytes);
    let plain = match digits {
        [b'0'] => bytes.len() == 1,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit) && bytes.len() <= 20,
        _ => false,
    };
    if plain { std::str::from_utf8(bytes).ok()?.parse().ok() } else { None }
}

/// The name for a string.
pub fn string_name(raw: bool, bytes: &[u8]) -> &'static str {
    match bytes.len() {
        _ if raw => "raw",
        len if len <= 20 && integer(bytes).is_some() => "int",
        len if len <= EMBSTR_BYTES_MAX => "embstr",
        _ => "raw",
    }
}

/// The name for a collection.
pub fn collection_name(body: &Body) -> &'static str {
    match body {
        Body::List { quick: true, .. } => "quicklist",
        Body::Stream(_) => "stream",
        Body::Map(Map { form: Form::Ints, .. }) => "intset",
        Body::Map(Map { form: Form::Table, kind: MapKind::SortedSet, .. }) => "skiplist",
        Body::Map(Map { form: Form::Table, .. }) => "hashtable",
        _ => "listpack",
    }
}

/// Bytes one element takes in a listpack: encoding, data, and its length for walking back.
pub fn listpack_bytes(element: &[u8]) -> u64 {
    let len = element.len() as u64;
    let body = match integer(element) {
        Some(0..=127) => 1,
        Some(-4096..=4095) => 2,
        Some(-32_768..=32_767) => 3,
        Some(-8_388_608..=8_388_607) => 4,
        Some(-2_147_483_648..=2_147_483_647) => 5,
        Some(_) => 9,
        None if len < 64 => 1 + len,
        None if len < 4096 => 2 + len,
        None => 5 + len,
    };
    let back = match body {
        0..=127 => 1,
        128..=16_382 => 2,
        16_383..=2_097_150 => 3,
        2_097_151..=268_435_454 => 4,
        _ => 5,
    };
    body + back
}

/// Whether a list of this size is a quicklist, given whether it was one: it becomes a listpack
/// again only below half the limit, as in Redis.
pub fn list_is_quick(was: bool, len: u64, packed_bytes: u64, limits: &EncodingLimits) -> bool {
    let share = if was { 2 } else { 1 };
    let bytes = (packed_bytes + LISTPACK_FRAME_BYTES) * share;
    match limits.list_size {
        entries @ 0.. => len * share > entries as u64 || bytes > LISTPACK_SAFETY_BYTES,
        class => {
            let class = usize::try_from(-(class + 1)).unwrap_or(usize::MAX);
            bytes > LIST_SIZE_CLASSES[class.min(LIST_SIZE_CLASSES.len() - 1)]
        }
    }
}

/// The form of a map of `len` elements after one with this name and value was put in.
pub fn map_form(map: &Map, len: u64, name: &[u8], value: usize, limits: &EncodingLimits) -> Form {
    let packed = |entries: usize, bytes: usize| {
        let fits = len <= entries as u64 && name.len() <= bytes && value <= bytes;
        if fits { Form::Packed } else { Form::Table }
    };
    let now = match map.kind {
        MapKind::Hash => packed(limits.hash_entries, limits.hash_value),
        MapKind::SortedSet => {
            let fits = len <= limits.zset_entries as u64 && name.len() <= limits.zset_value;
            if fits { Form::Packed } else { Form::Table }
        }
        MapKind::Set if map.form == Form::Ints && integer(name).is_some() => {
            let fits = len <= limits.set_intset_entries as u64;
            if fits { Form::Ints } else { Form::Table }
        }
        MapKind::Set => packed(limits.set_entries, limits.set_value),
    };
    now.max(map.form)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_recognised_as_redis_does() {
        for yes in ["0", "-1", "9223372036854775807", "-9223372036854775808"] {
            assert_eq!(integer(yes.as_bytes()).map(|n| n.to_string()).as_deref(), Some(yes));
        }
        for no in ["", "-", "-0", "01", "+1", "1 ", "9223372036854775808", "123456789012345678901"]
        {
            assert_eq!(integer(no.as_bytes()), None, "{no:?}");
        }
    }
}
