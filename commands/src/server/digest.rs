//! `DEBUG DIGEST`: a fingerprint of the data that does not depend on the order of keys, members
//! and fields, equal to that of Redis for equal data.
//!
//! Two steps make it: *adding* is the exclusive or with a text's SHA-1, so that order does not
//! matter; *mixing* adds and then hashes the sum again, so that it does. Source: the description in
//! Redis's debug.c, `computeDatasetDigest`.

use engine::cx::Cx;
use engine::failure::Failure;
use sha1_smol::Sha1;
use storage::rdb::{Object, decode_payload, seal_payload};
use storage::{Db, Expiry, Key};

/// A fingerprint.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Digest([u8; 20]);

impl Digest {
    /// Adds a text, whatever came before it.
    fn add(&mut self, text: &[u8]) {
        let hash = Sha1::from(text).digest().bytes();
        self.0.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
    }

    /// Adds a text behind what came before it.
    fn mix(&mut self, text: &[u8]) {
        self.add(text);
        self.0 = Sha1::from(&self.0[..]).digest().bytes();
    }

    /// As forty hexadecimal digits.
    pub(super) fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The fingerprint of a key's value and expiry; zeros without the key.
pub(super) fn of_value(cx: &mut Cx<'_>, key: &Key<'_>) -> Result<Digest, Failure> {
    let mut digest = Digest::default();
    add_value(cx, key, &mut digest)?;
    Ok(digest)
}

fn add_value(cx: &mut Cx<'_>, key: &Key<'_>, digest: &mut Digest) -> Result<(), Failure> {
    let mut payload = Vec::new();
    if !cx.tx.dump(key, &mut payload)? {
        return Ok(());
    }
    seal_payload(&mut payload);
    let object = decode_payload(&payload)
        .map_err(|error| Failure::text(format!("ERR a value cannot be read: {error}")))?;
    mix_object(digest, &object);
    if cx.tx.expiry(key)?.flatten().is_some() {
        digest.add(b"!!expire!!");
    }
    Ok(())
}

/// Redis's number of a type.
fn type_number(object: &Object) -> u32 {
    match object {
        Object::String(_) => 0,
        Object::List(_) => 1,
        Object::Set(_) => 2,
        Object::SortedSet(_) => 3,
        Object::Hash(_) => 4,
        Object::Stream(_) => 6,
    }
}

fn mix_object(digest: &mut Digest, object: &Object) {
    digest.mix(&type_number(object).to_be_bytes());
    match object {
        Object::String(value) => digest.mix(value),
        Object::List(elements) => elements.iter().for_each(|element| digest.mix(element)),
        Object::Set(members) => members.iter().for_each(|member| digest.add(member)),
        Object::SortedSet(members) => members.iter().for_each(|(member, score)| {
            digest.add_pair(member, format_17g(*score).as_bytes());
        }),
        Object::Hash(fields) => {
            fields.iter().for_each(|field| digest.add_pair(&field.field, &field.value));
        }
        Object::Stream(stream) => {
            for entry in &stream.entries {
                digest.mix(format!("{}.{}", entry.id.ms, entry.id.seq).as_bytes());
                for (field, value) in &entry.fields {
                    digest.mix(field);
                    digest.mix(value);
                }
            }
        }
    }
}

impl Digest {
    /// Adds two texts that belong together.
    fn add_pair(&mut self, first: &[u8], second: &[u8]) {
        let mut pair = Digest::default();
        pair.mix(first);
        pair.mix(second);
        self.add(&pair.0);
    }
}

/// The fingerprint of every database. The caller holds every shard.
pub(super) fn of_everything(cx: &mut Cx<'_>) -> Result<Digest, Failure> {
    // As in Redis, expired keys count until they are deleted.
    cx.tx.set_expiry_mode(Expiry::Ignore);
    let digest = of_all(cx);
    // Later commands of the same transaction must not be affected.
    cx.tx.set_expiry_mode(Expiry::Delete);
    digest
}

fn of_all(cx: &mut Cx<'_>) -> Result<Digest, Failure> {
    let mut digest = Digest::default();
    for db in 0..cx.engine.databases() {
        let keys = keys_of(cx, db)?;
        if keys.is_empty() {
            continue;
        }
        digest.mix(&db.to_be_bytes());
        for name in keys {
            let key = cx.key_in(db, &name);
            let mut one = Digest::default();
            one.mix(&name);
            add_value(cx, &key, &mut one)?;
            digest.add(&one.0);
        }
    }
    Ok(digest)
}

/// Every key of a database, once.
fn keys_of(cx: &mut Cx<'_>, db: Db) -> Result<Vec<Vec<u8>>, Failure> {
    let (mut keys, mut cursor) = (Vec::new(), 0);
    loop {
        cursor = cx.tx.scan(db, cursor, 1024, &mut |key, kind| {
            keys.extend(kind.map(|_| key.to_vec()));
        })?;
        if cursor == 0 {
            break;
        }
    }
    // A scan may meet a key twice.
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// A number as C's `%.17g` writes it.
fn format_17g(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let scientific = format!("{value:.16e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..17).contains(&exponent) {
        return trim_zeros(&format!("{value:.*}", (16 - exponent) as usize)).to_owned();
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trim_zeros(digits), exponent.abs())
}

/// Without zeros at the end of the fraction, nor its point when nothing is left of it.
fn trim_zeros(text: &str) -> &str {
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_c_does() {
        let known = [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.1, "0.10000000000000001"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ];
        for (value, text) in known {
            assert_eq!(format_17g(value), text);
        }
    }

    /// The expected digests are those redis-server 7.0.15 answers to `DEBUG DIGEST-VALUE` for these
    /// values.
    #[test]
    fn values_have_the_digest_of_redis() {
        let digest = |object: &Object| {
            let mut digest = Digest::default();
            mix_object(&mut digest, object);
            digest.hex()
        };
        let texts = |words: &[&str]| words.iter().map(|w| w.as_bytes().to_vec()).collect();
        let scores = [1.0, 2.5, f64::NEG_INFINITY, 0.1, 1e300, 1e-7];
        let members = ["a", "b", "c", "d", "e", "f"].map(|m| m.as_bytes().to_vec());
        let known = [
            (Object::String(b"1".to_vec()), "b4fc66738120fba0b5aa500ab5c2bf89cea1c5da"),
            (
                Object::List(texts(&["a", "b", "c", "1", "2", "3"])),
                "28150a3b2cc0efbc98d23e7962f278329e3b583b",
            ),
            (Object::Set(texts(&["3", "1", "2"])), "2a462a3f51a1db89738ebbeef0c47ce1bbc85246"),
            (Object::Set(texts(&["z", "y", "x"])), "0fd9977d57e46b1b9b87439f5ac5b338416ccc24"),
            (
                Object::SortedSet(members.into_iter().zip(scores).collect()),
                "d4738052d45091f3b63556843ff912a1055f3fc3",
            ),
        ];
        for (object, hex) in known {
            assert_eq!(digest(&object), hex, "{}", object.type_name());
        }
    }
}
