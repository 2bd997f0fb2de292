//! What has expired: a key, or fields of a hash.

use super::guards::Rare;
use super::shard::Live;
use super::value::Value;
use crate::tx::{Expired, Key};

/// Whether an entry counts as absent: its expiry has passed, or that of all its fields. Notes the
/// fields that go while others stay.
#[inline]
pub(super) fn is_over(
    live: &mut Live<'_>,
    now_ms: u64,
    key: &Key<'_>,
    expired: &mut Rare<Expired>,
) -> bool {
    let entry = live.found.get();
    if entry.is_expired(now_ms) {
        return true;
    }
    entry.fields_due().is_some_and(|at_ms| at_ms <= now_ms)
        && purge_fields(live, now_ms, key, expired)
}

/// Removes expired fields; true when none is left.
#[cold]
fn purge_fields(
    live: &mut Live<'_>,
    now_ms: u64,
    key: &Key<'_>,
    expired: &mut Rare<Expired>,
) -> bool {
    live.change(|entry, common| match entry.boxed_mut() {
        Some(Value::Hash(hash)) => {
            let fields = hash.purge(&common.hasher, now_ms);
            if hash.len() > 0 {
                let expired = expired.get_or_insert_default();
                expired.push(Expired { db: key.db, key: key.bytes.into(), fields });
            }
            hash.len() == 0
        }
        _ => false,
    })
}
