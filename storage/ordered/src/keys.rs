//! The keys of records in the underlying engine. All numbers are big-endian, so that byte order is
//! numeric order.

use super::hashing::Seed;
use super::kv::Space;
use storage::StreamId;

/// Facts about the store: seed, shard count, database map, marks.
pub const SYSTEM: Space = Space(0);
/// The record of [`SYSTEM`] below which all version numbers may have been handed out.
pub const VERSIONS: &[u8] = b"versions";
/// The record of [`SYSTEM`] that `set_checkpoint` stores.
pub const CHECKPOINT: &[u8] = b"checkpoint";
/// The record of [`SYSTEM`] that maps logical databases to physical ones.
pub const DATABASES: &[u8] = b"databases";
/// `physical db u32 ‖ hash u64 ‖ name` → head and short string.
pub const META: Space = Space(1);
/// `version u64 ‖ …` → elements and string chunks.
pub const ELEMENTS: Space = Space(2);
/// `shard u32 ‖ time u64 ‖ metadata key` → nothing.
pub const EXPIRY: Space = Space(3);
/// `'d' ‖ physical db` or `'v' ‖ version` → flag: what waits to be cleaned.
pub const GARBAGE: Space = Space(4);
/// The names of the spaces, in order.
#[cfg(feature = "fjall")]
pub const SPACE_NAMES: [&str; 5] = ["system", "meta", "elements", "expiry", "garbage"];

/// Names longer than this are represented by a digest in record keys, and kept whole in the value.
pub const NAME_BYTES_MAX: usize = 1024;

/// The offset of the hash in a metadata key.
pub const HASH_AT: usize = 4;
/// The offset of the name (with its tag) in a metadata key.
pub const NAME_AT: usize = 12;

const TAG_WHOLE: u8 = 0;
const TAG_DIGEST: u8 = 1;

/// Appends `tag ‖ name`, or `tag ‖ digest` for a long one.
fn push_name(out: &mut Vec<u8>, seed: Seed, name: &[u8]) {
    if name.len() <= NAME_BYTES_MAX {
        out.push(TAG_WHOLE);
        out.extend_from_slice(name);
    } else {
        out.push(TAG_DIGEST);
        out.extend_from_slice(&seed.digest(name));
    }
}

/// The name in `tag ‖ name`, `None` when it is only a digest.
pub fn whole_name(tagged: &[u8]) -> Option<&[u8]> {
    match tagged {
        [TAG_WHOLE, name @ ..] => Some(name),
        _ => None,
    }
}

/// The part of a name that goes into the value: all of a long one, else nothing.
pub fn kept_name(name: &[u8]) -> &[u8] {
    if name.len() > NAME_BYTES_MAX { name } else { &[] }
}

/// The key of a metadata record.
pub fn meta(seed: Seed, physical: u32, hash: u64, name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(NAME_AT + 1 + name.len().min(NAME_BYTES_MAX));
    out.extend_from_slice(&physical.to_be_bytes());
    out.extend_from_slice(&hash.to_be_bytes());
    push_name(&mut out, seed, name);
    out
}

/// The first metadata key at or after a hash.
pub fn meta_from(physical: u32, hash: u64) -> Vec<u8> {
    [&physical.to_be_bytes()[..], &hash.to_be_bytes()].concat()
}

/// One past the last metadata key of the hashes up to and including `hash`.
pub fn meta_past(physical: u32, hash: u64) -> Vec<u8> {
    match hash.checked_add(1) {
        Some(next) => meta_from(physical, next),
        None => physical.wrapping_add(1).to_be_bytes().to_vec(),
    }
}

/// The hash in a metadata key.
pub fn meta_hash(key: &[u8]) -> Option<u64> {
    be64(key.get(HASH_AT..NAME_AT)?)
}

/// The physical database in a metadata key.
pub fn meta_physical(key: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(..HASH_AT)?.try_into().ok()?))
}

/// The record of a shard's last position in a stream. The log's has no number.
pub fn last(shard: u32, stream: u16) -> Vec<u8> {
    let stream = stream.to_be_bytes();
    let number = if stream == [0, 0] { &[][..] } else { &stream };
    [&b"applied:"[..], &shard.to_be_bytes(), number].concat()
}

/// Where the records of a shard's positions begin, and where they have ended.
pub fn positions(shard: u32) -> (Vec<u8>, Vec<u8>) {
    let mut end = last(shard, u16::MAX);
    end.push(0);
    (last(shard, 0), end)
}

/// The stream in the key of a position.
pub fn position_stream(key: &[u8]) -> u16 {
    let number = key.get(b"applied:".len() + 4..).and_then(|number| number.try_into().ok());
    number.map_or(0, u16::from_be_bytes)
}

/// An expiry record.
pub fn expiry(shard: u32, at_ms: u64, meta_key: &[u8]) -> Vec<u8> {
    [&shard.to_be_bytes()[..], &at_ms.to_be_bytes(), meta_key].concat()
}

/// The time in an expiry record.
pub fn expiry_ms(key: &[u8]) -> Option<u64> {
    be64(key.get(4..EXPIRY_META_AT)?)
}

/// The offset of the metadata key in an expiry record.
pub const EXPIRY_META_AT: usize = 12;

/// The garbage record of a version.
pub fn garbage_version(version: u64) -> Vec<u8> {
    [&b"v"[..], &version.to_be_bytes()].concat()
}

/// The garbage record of a physical database.
pub fn garbage_db(physical: u32) -> Vec<u8> {
    [&b"d"[..], &physical.to_be_bytes()].concat()
}

/// First key of a version.
pub fn version(version: u64) -> [u8; 8] {
    version.to_be_bytes()
}

/// A chunk of a long string.
pub fn chunk(version: u64, index: u32) -> Vec<u8> {
    [&version.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

/// A list element; positions are signed, so the sign bit is flipped to order them.
pub fn list(version: u64, position: i64) -> Vec<u8> {
    let biased = (position as u64) ^ (1 << 63);
    [&version.to_be_bytes()[..], &biased.to_be_bytes()].concat()
}

/// The position in a list element's key.
pub fn list_position(key: &[u8]) -> Option<i64> {
    Some((be64(key.get(8..16)?)? ^ (1 << 63)) as i64)
}

const MEMBER: u8 = 1;
const BY_SCORE: u8 = 2;
const BY_EXPIRY: u8 = 3;
const RANKS: u8 = 4;

/// The offset of the hash in a member's key, and of the score in a by-score key.
const MEMBER_AT: usize = 9;
/// The offset of the (tagged) name in a member's key and in a by-score key.
pub const MEMBER_NAME_AT: usize = 17;

fn tagged(version: u64, tag: u8, order: u64, capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(MEMBER_NAME_AT + 1 + capacity);
    out.extend_from_slice(&version.to_be_bytes());
    out.push(tag);
    out.extend_from_slice(&order.to_be_bytes());
    out
}

/// A hash field, or a member of a set or sorted set.
pub fn member(seed: Seed, version: u64, name: &[u8]) -> Vec<u8> {
    let mut out = tagged(version, MEMBER, seed.hash(name), name.len().min(NAME_BYTES_MAX));
    push_name(&mut out, seed, name);
    out
}

/// The members whose hash is at least `hash`.
pub fn members_from(version: u64, hash: u64) -> Vec<u8> {
    tagged(version, MEMBER, hash, 0)
}

/// One past the last member.
pub fn members_end(version: u64) -> Vec<u8> {
    [&version.to_be_bytes()[..], &[MEMBER + 1]].concat()
}

/// The hash in a member's key.
pub fn member_hash(key: &[u8]) -> Option<u64> {
    be64(key.get(MEMBER_AT..MEMBER_NAME_AT)?)
}

/// A field's entry in the expiry index of its hash.
pub fn field_expiry(version: u64, at_ms: u64, member_key: &[u8]) -> Vec<u8> {
    let mut out = tagged(version, BY_EXPIRY, at_ms, member_key.len());
    out.extend_from_slice(member_key);
    out
}

/// The bounds of a hash's expiry index from one time up to and including another.
pub fn field_expiries(version: u64, from_ms: u64, to_ms: u64) -> (Vec<u8>, Vec<u8>) {
    let at = |at_ms| tagged(version, BY_EXPIRY, at_ms, 0);
    (at(from_ms), at(to_ms.saturating_add(1)))
}

/// Time and member key of an entry in a hash's expiry index.
pub fn field_expiry_parts(key: &[u8]) -> Option<(u64, &[u8])> {
    Some((be64(key.get(MEMBER_AT..MEMBER_NAME_AT)?)?, &key[MEMBER_NAME_AT..]))
}

/// A member in score order.
pub fn by_score(version: u64, order: u64, member: &[u8]) -> Vec<u8> {
    let mut out = tagged(version, BY_SCORE, order, member.len());
    out.extend_from_slice(member);
    out
}

/// The bounds of everything in score order.
pub fn all_by_score(version: u64) -> (Vec<u8>, Vec<u8>) {
    let head = |tag| [&version.to_be_bytes()[..], &[tag]].concat();
    (head(BY_SCORE), head(BY_SCORE + 1))
}

/// Where the place in score order starts in a by-score key.
pub const PLACE_AT: usize = 9;

/// The place in score order that a by-score key ends with; `None` for what ends the last one.
pub fn place(key: &[u8]) -> Option<&[u8]> {
    if key.get(PLACE_AT - 1) == Some(&BY_SCORE) { key.get(PLACE_AT..) } else { None }
}

/// The by-score key of a place, or of the beginning of one.
pub fn at_place(version: u64, place: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], &[BY_SCORE], place].concat()
}

/// The bounds of a node of a sorted set's ranks.
pub fn rank_bounds(version: u64, node: u32) -> Vec<u8> {
    rank_node(version, node, 0)
}

/// The counts of a node of a sorted set's ranks.
pub fn rank_counts(version: u64, node: u32) -> Vec<u8> {
    rank_node(version, node, 1)
}

/// The bounds of all nodes of a sorted set's ranks.
#[cfg(test)]
pub fn rank_nodes(version: u64) -> (Vec<u8>, Vec<u8>) {
    (tagged_with(version, RANKS, &[]), tagged_with(version, RANKS + 1, &[]))
}

fn rank_node(version: u64, node: u32, part: u8) -> Vec<u8> {
    [&version.to_be_bytes()[..], &[RANKS], &node.to_be_bytes(), &[part]].concat()
}

/// Score and member of a by-score key.
pub fn by_score_parts(key: &[u8]) -> Option<(f64, &[u8])> {
    let order = be64(key.get(MEMBER_AT..MEMBER_NAME_AT)?)?;
    Some((score_of(order), &key[MEMBER_NAME_AT..]))
}

/// Scores as integers in the same order. Both zeros are one place: Redis orders them as equal.
pub fn score_order(score: f64) -> u64 {
    let bits = if score == 0.0 { 0 } else { score.to_bits() };
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn score_of(order: u64) -> f64 {
    f64::from_bits(if order >> 63 == 1 { order & !(1 << 63) } else { !order })
}

const ENTRY: u8 = 1;
const GROUP: u8 = 2;
const CONSUMER: u8 = 1;
const PENDING: u8 = 2;
const OWNED: u8 = 3;

/// Where the name starts in the key of a stream's group or a group's consumer.
pub const STREAM_NAME_AT: usize = 9;

/// `version ‖ tag ‖ rest`.
fn tagged_with(version: u64, tag: u8, rest: &[u8]) -> Vec<u8> {
    [&version.to_be_bytes()[..], &[tag], rest].concat()
}

/// The bounds of `first` to `last` (both included) behind `prefix`.
fn ids_between(prefix: &[u8], first: StreamId, last: StreamId) -> (Vec<u8>, Vec<u8>) {
    let lo = [prefix, &first.to_bytes()].concat();
    // Right behind the last one: the shortest key above it.
    let hi = [prefix, &last.to_bytes(), &[0]].concat();
    (lo, hi)
}

/// The ID that the key of an entry, a pending entry or an owned one ends with.
pub fn stream_id(key: &[u8]) -> StreamId {
    key.last_chunk().map_or(StreamId::MIN, |bytes| StreamId::from_bytes(*bytes))
}

/// A stream's entry.
pub fn stream_entry(version: u64, id: StreamId) -> Vec<u8> {
    tagged_with(version, ENTRY, &id.to_bytes())
}

/// The bounds of a stream's entries from `first` to `last`.
pub fn stream_entries(version: u64, first: StreamId, last: StreamId) -> (Vec<u8>, Vec<u8>) {
    ids_between(&tagged_with(version, ENTRY, &[]), first, last)
}

/// A stream's group.
pub fn stream_group(version: u64, name: &[u8]) -> Vec<u8> {
    tagged_with(version, GROUP, name)
}

/// The bounds of a stream's groups.
pub fn stream_groups(version: u64) -> (Vec<u8>, Vec<u8>) {
    (tagged_with(version, GROUP, &[]), tagged_with(version, GROUP + 1, &[]))
}

/// A consumer, of a group's version.
pub fn stream_consumer(version: u64, name: &[u8]) -> Vec<u8> {
    tagged_with(version, CONSUMER, name)
}

/// The bounds of a group's consumers.
pub fn stream_consumers(version: u64) -> (Vec<u8>, Vec<u8>) {
    (tagged_with(version, CONSUMER, &[]), tagged_with(version, CONSUMER + 1, &[]))
}

/// A pending entry, of a group's version.
pub fn stream_pending(version: u64, id: StreamId) -> Vec<u8> {
    tagged_with(version, PENDING, &id.to_bytes())
}

/// The bounds of a group's pending entries from `first` to `last`.
pub fn stream_pendings(version: u64, first: StreamId, last: StreamId) -> (Vec<u8>, Vec<u8>) {
    ids_between(&tagged_with(version, PENDING, &[]), first, last)
}

/// A pending entry among those of a consumer.
pub fn stream_owned(version: u64, consumer: u64, id: StreamId) -> Vec<u8> {
    tagged_with(version, OWNED, &[&consumer.to_be_bytes()[..], &id.to_bytes()].concat())
}

/// The bounds of a consumer's pending entries from `first` to `last`.
pub fn stream_all_owned(
    version: u64,
    consumer: u64,
    first: StreamId,
    last: StreamId,
) -> (Vec<u8>, Vec<u8>) {
    ids_between(&tagged_with(version, OWNED, &consumer.to_be_bytes()), first, last)
}

/// Eight bytes as a number.
pub fn be64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_order() {
        let scores = [f64::NEG_INFINITY, -1e300, -1.5, -5e-324, 0.0, 5e-324, 1.5, f64::INFINITY];
        for pair in scores.windows(2) {
            assert!(score_order(pair[0]) < score_order(pair[1]), "{pair:?}");
            assert_eq!(score_of(score_order(pair[0])), pair[0]);
        }
        assert_eq!(score_order(-0.0), score_order(0.0));
    }

    #[test]
    fn positions_keep_their_order() {
        for pair in [i64::MIN, -2, -1, 0, 1, i64::MAX].windows(2) {
            assert!(list(7, pair[0]) < list(7, pair[1]));
            assert_eq!(list_position(&list(7, pair[0])), Some(pair[0]));
        }
    }

    #[test]
    fn the_last_hash_ends_its_database() {
        assert!(meta(Seed(1, 2), 3, u64::MAX, b"name") < meta_past(3, u64::MAX));
        assert!(meta_past(3, u64::MAX) <= meta_from(4, 0));
    }
}
