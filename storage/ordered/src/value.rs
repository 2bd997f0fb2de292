//! Values as RDB: encoding a key's value from its records, and storing a decoded one.

use super::codec::{Body, Head, Map, MapKind, StreamHead};
use super::elements::{Element, each};
use super::kv::Read;
use super::sorted_set::read_score;
use super::strings::read_chunks;
use super::tx::OrderedTx;
use super::{keys, list, stream};
use storage::rdb::{Object, Options, StreamMeta, StreamObject, ValueWriter};
use storage::stream::Pending;
use storage::types::{End, List as _};
use storage::{Error, Key, NewExpiry, Open, Result, Stream, StreamId, Tx};

/// Appends a value as an RDB type byte and encoding. `inline` is a short string's value.
pub(super) fn encode(
    read: &dyn Read,
    head: &Head,
    inline: &[u8],
    chunk_bytes: usize,
    out: &mut Vec<u8>,
) -> Result<()> {
    let writer = ValueWriter::new(out, Options::default());
    match &head.body {
        Body::Inline { .. } => writer.string(inline),
        Body::Chunked { version, len } => {
            writer.string(&read_chunks(read, *version, *len, chunk_bytes)?);
        }
        Body::List { version, head, len, .. } => {
            let mut elements = writer.list(*len);
            let lo = keys::list(*version, *head);
            let hi = keys::list(*version, head.wrapping_add(*len as i64));
            let mut result = Ok(());
            read.scan(keys::ELEMENTS, &lo, &hi, false, &mut |_, record| {
                let value = Element::decode(record).and_then(|at| at.value(read, chunk_bytes));
                result = value.map(|value| elements.element(&value));
                result.is_ok()
            })?;
            result?;
            elements.finish().map_err(Error::corrupt)?;
        }
        Body::Map(map) => encode_map(read, map, chunk_bytes, writer)?,
        Body::Stream(head) => encode_stream(read, head, chunk_bytes, writer)?,
    }
    Ok(())
}

fn encode_map(read: &dyn Read, map: &Map, chunk_bytes: usize, writer: ValueWriter) -> Result<()> {
    let finished = match map.kind {
        MapKind::Set => {
            let mut members = writer.set(map.len);
            each(read, map, chunk_bytes, &mut |member, _, _| {
                members.element(member);
                true
            })?;
            members.finish()
        }
        MapKind::Hash => {
            let mut fields = match map.next_expiry_ms {
                0 => writer.hash(map.len),
                earliest_ms => writer.expiring_hash(map.len, earliest_ms),
            };
            each(read, map, chunk_bytes, &mut |field, head, value| {
                let expiry_ms = (head.expiry_ms != 0).then_some(head.expiry_ms);
                fields.expiring_field(field, value, expiry_ms);
                true
            })?;
            fields.finish()
        }
        MapKind::SortedSet => {
            let mut members = writer.sorted_set(map.len);
            let mut result = Ok(());
            each(read, map, chunk_bytes, &mut |member, _, score| {
                result = read_score(score).map(|score| members.member(member, score));
                result.is_ok()
            })?;
            result?;
            members.finish()
        }
    };
    finished.map_err(Error::corrupt)
}

/// Adds everything of a decoded stream to an empty one.
fn fill_stream(to: &mut dyn Stream, object: &StreamObject) -> Result<()> {
    let mut fields: Vec<(&[u8], &[u8])> = Vec::new();
    for entry in &object.entries {
        fields.clear();
        fields.extend(entry.fields.iter().map(|(name, value)| (&name[..], &value[..])));
        to.append(entry.id, &fields)?;
    }
    let meta = &object.meta;
    to.set_ids(meta.last_id, Some(meta.max_deleted_id), Some(meta.entries_added))?;
    for group in &meta.groups {
        to.set_group(&group.name, group.last_id, group.entries_read)?;
        for one in &group.consumers {
            to.set_consumer(&group.name, &one.name, one.seen_time_ms, one.active_time_ms)?;
        }
        for entry in &group.pending {
            let Some(consumer) = group.consumers.get(entry.consumer) else { continue };
            let pending = Pending {
                id: entry.id,
                consumer: &consumer.name,
                delivered_ms: entry.delivery_time_ms,
                deliveries: entry.delivery_count,
            };
            to.set_pending(&group.name, &pending)?;
        }
    }
    Ok(())
}

fn encode_stream(
    read: &dyn Read,
    head: &StreamHead,
    chunk_bytes: usize,
    writer: ValueWriter,
) -> Result<()> {
    let mut entries = writer.stream();
    let all = (StreamId::MIN, StreamId::MAX);
    stream::each_entry(read, head.version, all, false, chunk_bytes, &mut |id, fields| {
        entries.packed_entry(id, fields);
        true
    })?;
    let mut groups = Vec::new();
    stream::each_group(read, head.version, &mut |name, group| {
        groups.push(stream::group_meta(read, name, group)?);
        Ok(())
    })?;
    let meta = StreamMeta {
        last_id: head.last_id,
        first_id: head.first_id,
        max_deleted_id: head.max_deleted_id,
        entries_added: head.entries_added,
        groups,
    };
    entries.finish(&meta).map_err(Error::corrupt)
}

/// Names that would not fit into records' keys.
fn has_long_names(stream: &StreamObject) -> bool {
    let long = |name: &[u8]| name.len() > super::kv::KEY_BYTES_MAX;
    let groups = &stream.meta.groups;
    groups.iter().any(|group| long(&group.name) || group.consumers.iter().any(|c| long(&c.name)))
}

impl OrderedTx<'_> {
    /// Replaces a key with a decoded value.
    pub(super) fn put_object(
        &mut self,
        key: &Key<'_>,
        object: Object,
        expiry_ms: Option<u64>,
    ) -> Result<()> {
        if let Object::String(value) = object {
            return self.write_string(
                key,
                &value,
                expiry_ms.map_or(NewExpiry::Clear, NewExpiry::At),
            );
        }
        if let Object::Stream(stream) = &object
            && has_long_names(stream)
        {
            return Err(Error::TooLarge);
        }
        if let Object::SortedSet(members) = &object
            && members.iter().any(|(member, _)| member.len() > super::kv::KEY_BYTES_MAX)
        {
            return Err(Error::TooLarge);
        }
        self.remove(key)?;
        self.fill(key, object)?;
        if expiry_ms.is_some() {
            self.set_expiry(key, expiry_ms)?;
        }
        Ok(())
    }

    fn fill(&mut self, key: &Key<'_>, object: Object) -> Result<()> {
        let unexpected = || Error::backend("a created key could not be opened");
        match object {
            Object::String(_) => {}
            Object::Stream(object) => {
                let mut to = self.stream(key, Open::Create)?.ok_or_else(unexpected)?;
                fill_stream(&mut *to, &object)?;
            }
            Object::List(elements) => {
                let mut to =
                    list::OrderedList::open(self, key, Open::Create)?.ok_or_else(unexpected)?;
                elements.iter().try_for_each(|element| to.push(End::Tail, element))?;
            }
            Object::Set(members) => {
                let mut to = self.set(key, Open::Create)?.ok_or_else(unexpected)?;
                members.iter().try_for_each(|member| to.insert(member).map(drop))?;
            }
            Object::Hash(fields) => {
                let mut to = self.hash(key, Open::Create)?.ok_or_else(unexpected)?;
                for field in &fields {
                    to.insert(&field.field, &field.value)?;
                    if field.expiry_ms.is_some() {
                        to.set_field_expiry(&field.field, field.expiry_ms)?;
                    }
                }
            }
            Object::SortedSet(members) => {
                let mut to = self.sorted_set(key, Open::Create)?.ok_or_else(unexpected)?;
                members
                    .iter()
                    .try_for_each(|(member, score)| to.insert(member, *score).map(drop))?;
            }
        }
        Ok(())
    }
}
