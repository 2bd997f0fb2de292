//! One value, decoded: every type and encoding that Redis up to 7.4 writes.

use std::io::BufRead;

use super::codes::{HASH_FIELD_EXPIRY_MAX, QUICKLIST_PACKED, QUICKLIST_PLAIN, types};
use super::decode_stream;
use super::error::{RdbError, RdbErrorKind};
use super::input::{Input, module_name};
use super::packed::listpack::Listpack;
use super::packed::ziplist::Ziplist;
use super::packed::{PackedError, Value, intset, parse_score, zipmap};
use super::value::{HashField, Object};

type Result<T> = std::result::Result<T, RdbError>;
type Unpacked<T> = std::result::Result<T, PackedError>;

/// Whether this byte is a value type of the format, decodable here or not.
pub(crate) fn is_value_type(kind: u8) -> bool {
    // 8 was never used.
    kind <= types::HASH_LISTPACK_EX && kind != 8
}

/// Reads the value of type `kind`.
pub(crate) fn object<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    let at = input.offset();
    let object = match kind {
        types::STRING => Object::String(input.string()?),
        types::LIST => Object::List(strings(input)?),
        types::LIST_ZIPLIST | types::LIST_QUICKLIST | types::LIST_QUICKLIST_2 => list(input, kind)?,
        types::SET | types::SET_INTSET | types::SET_LISTPACK => set(input, kind)?,
        types::ZSET | types::ZSET_2 | types::ZSET_ZIPLIST | types::ZSET_LISTPACK => {
            sorted_set(input, kind)?
        }
        types::HASH_METADATA_PRE_GA..=types::HASH_LISTPACK_EX => expiring_hash(input, kind)?,
        types::HASH | types::HASH_ZIPMAP | types::HASH_ZIPLIST | types::HASH_LISTPACK => {
            hash(input, kind)?
        }
        types::STREAM_LISTPACKS | types::STREAM_LISTPACKS_2 | types::STREAM_LISTPACKS_3 => {
            Object::Stream(Box::new(decode_stream::stream(input, kind)?))
        }
        types::MODULE_2 => {
            return Err(RdbError::new(at, RdbErrorKind::ModuleType(module_name(input.length()?))));
        }
        types::MODULE_PRE_GA => return Err(input.corrupt("a module value of a pre-release format")),
        unknown => {
            return Err(RdbError::new(at.saturating_sub(1), RdbErrorKind::UnknownType(unknown)));
        }
    };
    refuse_empty(object, input)
}

/// Packed encodings can hold nothing, too.
fn refuse_empty<R: BufRead>(object: Object, input: &Input<R>) -> Result<Object> {
    let empty = match &object {
        Object::List(elements) | Object::Set(elements) => elements.is_empty(),
        Object::Hash(fields) => fields.is_empty(),
        Object::SortedSet(members) => members.is_empty(),
        Object::String(_) | Object::Stream(_) => false,
    };
    if empty { Err(input.error(RdbErrorKind::EmptyKey)) } else { Ok(object) }
}

fn strings<R: BufRead>(input: &mut Input<R>) -> Result<Vec<Vec<u8>>> {
    let count = input.count()?;
    input.repeat(count, Input::string)
}

fn list<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    let mut elements = Vec::new();
    if kind == types::LIST_ZIPLIST {
        input.packed(|bytes| append(&mut elements, Ziplist::new(bytes)?))?;
        return Ok(Object::List(elements));
    }
    for _ in 0..input.count()? {
        quicklist_node(input, kind, &mut elements)?;
    }
    Ok(Object::List(elements))
}

/// One node of a quicklist: a packed piece of the list, or a single large element.
fn quicklist_node<R: BufRead>(
    input: &mut Input<R>,
    kind: u8,
    elements: &mut Vec<Vec<u8>>,
) -> Result<()> {
    if kind == types::LIST_QUICKLIST {
        return input.packed(|bytes| append(elements, Ziplist::new(bytes)?));
    }
    match input.length()? {
        QUICKLIST_PACKED => input.packed(|bytes| append(elements, Listpack::new(bytes)?)),
        QUICKLIST_PLAIN => {
            elements.push(input.string()?);
            Ok(())
        }
        _ => Err(input.corrupt("unknown kind of quicklist node")),
    }
}

fn set<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    let mut members = Vec::new();
    match kind {
        types::SET => members = strings(input)?,
        types::SET_LISTPACK => input.packed(|bytes| append(&mut members, Listpack::new(bytes)?))?,
        _ => {
            let integers = input.packed(intset::decode)?;
            members.extend(integers.into_iter().map(|n| Value::Int(n).to_vec()));
        }
    }
    Ok(Object::Set(members))
}

fn hash<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    let field = |field, value| HashField { field, value, expiry_ms: None };
    Ok(Object::Hash(match kind {
        types::HASH_ZIPLIST => input.packed(|bytes| hash_pairs(Ziplist::new(bytes)?, "ziplist"))?,
        types::HASH_LISTPACK => {
            input.packed(|bytes| hash_pairs(Listpack::new(bytes)?, "listpack"))?
        }
        types::HASH_ZIPMAP => input.packed(|bytes| {
            let pairs = zipmap::decode(bytes)?;
            Ok(pairs.into_iter().map(|(f, v)| field(f.to_vec(), v.to_vec())).collect())
        })?,
        _ => {
            let count = input.count()?;
            input.repeat(count, |input| Ok(field(input.string()?, input.string()?)))?
        }
    }))
}

/// A hash of Redis 7.4 some of whose fields expire.
fn expiring_hash<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    let has_minimum = matches!(kind, types::HASH_METADATA | types::HASH_LISTPACK_EX);
    let minimum = if has_minimum { input.millis()?.unwrap_or(0) } else { 0 };
    if matches!(kind, types::HASH_LISTPACK_EX | types::HASH_LISTPACK_EX_PRE_GA) {
        return Ok(Object::Hash(input.packed(hash_triples)?));
    }
    let count = input.count()?;
    let fields = input.repeat(count, |input| {
        let stored = input.length()?;
        let expiry_ms = match (stored, has_minimum) {
            (0, _) => None,
            (absolute, false) => Some(absolute),
            // Relative to the smallest, plus one: zero is taken.
            (relative, true) => Some(minimum.saturating_add(relative - 1)),
        };
        if expiry_ms.is_some_and(|at| at > HASH_FIELD_EXPIRY_MAX) {
            return Err(input.corrupt("a hash field expires too late"));
        }
        Ok(HashField { field: input.string()?, value: input.string()?, expiry_ms })
    })?;
    Ok(Object::Hash(fields))
}

fn sorted_set<R: BufRead>(input: &mut Input<R>, kind: u8) -> Result<Object> {
    Ok(Object::SortedSet(match kind {
        types::ZSET_ZIPLIST => input.packed(|bytes| scored(Ziplist::new(bytes)?, "ziplist"))?,
        types::ZSET_LISTPACK => input.packed(|bytes| scored(Listpack::new(bytes)?, "listpack"))?,
        _ => {
            let count = input.count()?;
            input.repeat(count, |input| {
                let member = input.string()?;
                let score =
                    if kind == types::ZSET_2 { binary_score(input)? } else { text_score(input)? };
                Ok((member, score))
            })?
        }
    }))
}

fn binary_score<R: BufRead>(input: &mut Input<R>) -> Result<f64> {
    let score = f64::from_le_bytes(input.array()?);
    if score.is_nan() { Err(input.corrupt("a score that is no number")) } else { Ok(score) }
}

/// A score as text behind its length, three lengths standing for what text cannot say.
fn text_score<R: BufRead>(input: &mut Input<R>) -> Result<f64> {
    match input.byte()? {
        255 => Ok(f64::NEG_INFINITY),
        254 => Ok(f64::INFINITY),
        253 => Err(input.corrupt("a score that is no number")),
        length => {
            let text = input.bytes(u64::from(length))?;
            parse_score(&text).ok_or_else(|| input.corrupt("a score that is no number"))
        }
    }
}

fn append<'a>(
    out: &mut Vec<Vec<u8>>,
    values: impl Iterator<Item = Unpacked<Value<'a>>>,
) -> Unpacked<()> {
    for value in values {
        out.push(value?.to_vec());
    }
    Ok(())
}

fn hash_pairs<'a>(
    mut values: impl Iterator<Item = Unpacked<Value<'a>>>,
    encoding: &'static str,
) -> Unpacked<Vec<HashField>> {
    let mut out = Vec::new();
    while let Some(field) = values.next().transpose()? {
        let value = partner(&mut values, encoding)?.to_vec();
        out.push(HashField { field: field.to_vec(), value, expiry_ms: None });
    }
    Ok(out)
}

fn scored<'a>(
    mut values: impl Iterator<Item = Unpacked<Value<'a>>>,
    encoding: &'static str,
) -> Unpacked<Vec<(Vec<u8>, f64)>> {
    let no_number = PackedError { encoding, at: 0, what: "a score that is no number" };
    let mut out = Vec::new();
    while let Some(member) = values.next().transpose()? {
        let score = partner(&mut values, encoding)?.to_score().ok_or(no_number)?;
        out.push((member.to_vec(), score));
    }
    Ok(out)
}

/// Field, value, and absolute expiry (0: none), over and over.
fn hash_triples(bytes: &[u8]) -> Unpacked<Vec<HashField>> {
    let encoding = "listpack";
    let bad_expiry = PackedError { encoding, at: 0, what: "an expiry that cannot be" };
    let mut values = Listpack::new(bytes)?;
    let mut out = Vec::new();
    while let Some(field) = values.next().transpose()? {
        let value = partner(&mut values, encoding)?.to_vec();
        let expiry = partner(&mut values, encoding)?.to_int().ok_or(bad_expiry)?;
        let expiry_ms = match u64::try_from(expiry).map_err(|_| bad_expiry)? {
            0 => None,
            at @ 1..=HASH_FIELD_EXPIRY_MAX => Some(at),
            _ => return Err(bad_expiry),
        };
        out.push(HashField { field: field.to_vec(), value, expiry_ms });
    }
    Ok(out)
}

/// The value that must follow another one.
fn partner<'a>(
    values: &mut impl Iterator<Item = Unpacked<Value<'a>>>,
    encoding: &'static str,
) -> Unpacked<Value<'a>> {
    let alone = PackedError { encoding, at: 0, what: "ends inside a pair" };
    values.next().unwrap_or(Err(alone))
}
