//! Between values in memory and the neutral objects of the RDB codec.

use super::entry::Entry;
use super::hash::HashValue;
use super::hashing::Hasher;
use super::list::ListValue;
use super::set::SetValue;
use super::sorted_set::SortedSetValue;
use super::stream::StreamValue;
use super::strings;
use super::value::Value;
use bytes::Bytes;
use storage::rdb::{Options, ValueWriter};
use storage::tx::Kind;
use storage::types::End;
use storage::{EncodingLimits, Error, Result, rdb};

/// The value that an object describes.
pub fn build(object: rdb::Object, hasher: &Hasher, limits: &EncodingLimits) -> (Kind, Value) {
    match object {
        rdb::Object::Stream(stream) => {
            let stream = StreamValue::build(&stream, limits);
            (Kind::Stream, Value::Stream(Box::new(stream)))
        }
        rdb::Object::String(value) => (Kind::String, strings::boxed(Bytes::from(value))),
        rdb::Object::List(elements) => {
            let mut list = ListValue::new();
            for element in elements {
                list.push(limits, End::Tail, &element);
            }
            (Kind::List, Value::List(Box::new(list)))
        }
        rdb::Object::Set(members) => {
            let mut set = SetValue::new();
            for member in members {
                set.insert(hasher, limits, &member);
            }
            (Kind::Set, Value::Set(set))
        }
        rdb::Object::Hash(fields) => {
            let mut hash = HashValue::new();
            for rdb::HashField { field, value, expiry_ms } in fields {
                hash.insert(hasher, limits, &field, &value, false);
                if expiry_ms.is_some() {
                    hash.set_field_expiry(hasher, &field, expiry_ms);
                }
            }
            (Kind::Hash, Value::Hash(hash))
        }
        rdb::Object::SortedSet(members) => {
            let mut zset = SortedSetValue::new();
            for (member, score) in members {
                zset.insert(hasher, limits, &member, score);
            }
            (Kind::SortedSet, Value::SortedSet(zset))
        }
    }
}

/// Appends an entry's value as an RDB type byte and encoding.
pub fn dump(entry: &Entry, options: Options, out: &mut Vec<u8>) -> Result<()> {
    let writer = ValueWriter::new(out, options);
    let Some(value) = entry.boxed().filter(|_| entry.kind() != Kind::String) else {
        writer.string(strings::get(entry).as_bytes());
        return Ok(());
    };
    let count = value.len() as u64;
    let written = match value {
        Value::Taken | Value::Str(_) => Ok(()),
        Value::Stream(stream) => stream.dump(writer.stream()),
        Value::List(list) => {
            let mut elements = writer.list(count);
            list.range(0, list.len(), End::Head, &mut |element| {
                elements.element(element);
                true
            });
            elements.finish()
        }
        Value::Set(set) => {
            let mut members = writer.set(count);
            set.for_each(&mut |member| {
                members.element(member);
                true
            });
            members.finish()
        }
        Value::Hash(hash) => {
            let mut fields = match hash.next_due() {
                Some(earliest_ms) => writer.expiring_hash(count, earliest_ms),
                None => writer.hash(count),
            };
            hash.for_each_expiring(&mut |field, value, at_ms| {
                fields.expiring_field(field, value, at_ms);
            });
            fields.finish()
        }
        Value::SortedSet(zset) => {
            let mut members = writer.sorted_set(count);
            // Highest first, as Redis writes them: loading then inserts at one end.
            zset.visit(0..zset.len(), true, &mut |member, score| {
                members.member(member, score);
                true
            });
            members.finish()
        }
    };
    written.map_err(Error::backend)
}
