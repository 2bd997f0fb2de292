//! Finds and deletes expired keys, and expired fields of hashes.

use super::entry::Entry;
use super::guards::{Marks, Rare};
use super::shard::Live;
use super::value::Value;
use storage::tx::{Expired, Key};

/// Whether an entry counts as absent: its expiry has passed, or that of all its fields. Notes the
/// fields that go while others stay.
#[inline]
pub(super) fn is_over(
    live: &mut Live<'_>,
    now_ms: u64,
    key: &Key<'_>,
    expired: &mut Rare<Expired>,
    marks: &mut Marks,
) -> bool {
    let entry = live.found.get();
    if entry.is_expired(now_ms) {
        return true;
    }
    if entry.fields_due().is_none_or(|at_ms| at_ms > now_ms) {
        return false;
    }
    match marks.contains(Marks::HIDES_EXPIRED) {
        true => lives_on_hidden_fields(entry, now_ms),
        false => purge_fields(live, now_ms, key, expired, marks),
    }
}

/// Whether every field of a hash is one that is to be hidden.
#[cold]
fn lives_on_hidden_fields(entry: &Entry, now_ms: u64) -> bool {
    match entry.boxed() {
        Some(Value::Hash(hash)) => hash.last_due().is_some_and(|at_ms| at_ms <= now_ms),
        _ => false,
    }
}

/// Removes expired fields. Returns true if none is left. If some are left, this is a change that
/// has begun; if none is, it is not a change, because an expired key counts as absent.
#[cold]
fn purge_fields(
    live: &mut Live<'_>,
    now_ms: u64,
    key: &Key<'_>,
    expired: &mut Rare<Expired>,
    marks: &mut Marks,
) -> bool {
    let before = *marks;
    *marks |= Marks::CHANGED;
    let is_over = live.change(|entry, common| match entry.boxed_mut() {
        Some(Value::Hash(hash)) => {
            let fields = hash.purge(&common.hasher, now_ms);
            if hash.len() > 0 {
                let expired = expired.get_or_insert_default();
                expired.push(Expired { db: key.db, key: key.bytes.into(), fields });
            }
            hash.len() == 0
        }
        _ => false,
    });
    *marks = before;
    is_over
}

#[cfg(test)]
mod tests {
    use crate::hash::PURGE_PANICS;
    use crate::{Config, MemoryBackend};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use storage::tx::{Key, Left, Open};
    use storage::{Backend, Locks};

    /// Half of what purging does stays behind; all of it is as good as nothing.
    #[test]
    fn a_panic_while_fields_are_purged_leaves_something() {
        for panics in [true, false] {
            let backend = MemoryBackend::new(Config::default());
            let key = Key { db: 0, hash: backend.hash(b"key"), bytes: b"key" };
            let made = backend.transact(Locks::All, 1000, &mut |tx| {
                let mut hash = tx.hash(&key, Open::Create).unwrap().unwrap();
                for field in [b"a", b"b", b"c"] {
                    hash.insert(field, b"value").unwrap();
                }
                for field in [b"a", b"b"] {
                    hash.set_field_expiry(field, Some(2000)).unwrap();
                }
            });
            made.unwrap();
            PURGE_PANICS.set(panics);
            let looked = backend.transact(Locks::All, 3000, &mut |tx| {
                let kind = catch_unwind(AssertUnwindSafe(|| tx.kind(&key)));
                assert_eq!(kind.is_err(), panics);
                let left = if panics { Left::Something } else { Left::Nothing };
                assert_eq!(tx.left_by_panic(), left);
                tx.expired().clear();
            });
            looked.unwrap();
            PURGE_PANICS.set(false);
        }
    }
}
