//! Hashes: fields with values, and with expiries of their own.
//!
//! A field with an expiry is also in an index, ordered by time within its hash. The metadata record
//! has the earliest expiry. Expired fields are deleted whenever the key is used, so the operations
//! here never find one.

use super::codec::Map;
use super::elements::{Lent, OpenedMap};
use super::keys;
use storage::hiding::ExpiringHash;
use storage::types::{FieldExpiry, VisitPair};
use storage::{Hash, Result};

/// An opened hash.
pub(super) struct OrderedHash<'t, 'b>(pub(super) OpenedMap<'t, 'b>);

impl OrderedHash<'_, '_> {
    fn write(&mut self, field: &[u8], value: &[u8], keep_expiry: bool) -> Result<bool> {
        let old = self.0.find(field)?;
        let expiry_ms = old.as_ref().map_or(0, |old| old.head.expiry_ms);
        let kept = if keep_expiry { expiry_ms } else { 0 };
        self.0.put(field, old.as_ref(), kept, value)?;
        self.reindex(field, expiry_ms, kept)?;
        Ok(old.is_none())
    }

    /// Moves a field in the expiry index; 0 means it is not in it.
    fn reindex(&mut self, field: &[u8], from_ms: u64, to_ms: u64) -> Result<()> {
        if from_ms == to_ms {
            return Ok(());
        }
        let key = self.0.member_key(field)?;
        let version = self.0.meta()?.version;
        if from_ms != 0 {
            let entry = keys::field_expiry(version, from_ms, &key);
            self.0.tx.batch.delete(keys::ELEMENTS, entry);
        }
        if to_ms != 0 {
            let entry = keys::field_expiry(version, to_ms, &key);
            self.0.tx.batch.put(keys::ELEMENTS, entry, Vec::new());
        }
        let first = match self.0.meta()? {
            Map { next_expiry_ms: 0, .. } => to_ms,
            Map { next_expiry_ms: first, .. } if from_ms != *first => match to_ms {
                0 => *first,
                to_ms => to_ms.min(*first),
            },
            _ => self.0.tx.first_field_expiry(version, from_ms)?,
        };
        self.0.map()?.next_expiry_ms = first;
        Ok(())
    }
}

impl Hash for OrderedHash<'_, '_> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.0.meta()?.len)
    }

    fn get(&mut self, field: &[u8]) -> Result<Option<&[u8]>> {
        let Some(element) = self.0.find(field)? else { return Ok(None) };
        let chunk_bytes = self.0.chunk_bytes();
        self.0.lent.value = element.value(self.0.tx, chunk_bytes)?;
        Ok(Some(&self.0.lent.value))
    }

    fn insert(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        self.write(field, value, false)
    }

    fn update(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        self.write(field, value, true)
    }

    fn remove(&mut self, field: &[u8]) -> Result<bool> {
        let Some(old) = self.0.find(field)? else { return Ok(false) };
        self.0.take(field, &old)?;
        self.reindex(field, old.head.expiry_ms, 0)?;
        Ok(true)
    }

    fn for_each(&mut self, visit: VisitPair<'_>) -> Result<()> {
        self.0.each(visit)
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitPair<'_>) -> Result<u64> {
        self.0.scan_from(cursor, count, visit)
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], &[u8])>> {
        if !self.0.draw(random)? {
            return Ok(None);
        }
        let Lent { name, value } = &self.0.lent;
        Ok(Some((name, value)))
    }

    fn field_expiry(&mut self, field: &[u8]) -> Result<FieldExpiry> {
        Ok(match self.0.find(field)?.map(|element| element.head.expiry_ms) {
            None => FieldExpiry::NoField,
            Some(0) => FieldExpiry::Persistent,
            Some(at_ms) => FieldExpiry::At(at_ms),
        })
    }

    fn set_field_expiry(&mut self, field: &[u8], at_ms: Option<u64>) -> Result<bool> {
        let Some(mut element) = self.0.find(field)? else { return Ok(false) };
        let from_ms = std::mem::replace(&mut element.head.expiry_ms, at_ms.unwrap_or(0));
        self.0.rewrite(field, &element)?;
        self.reindex(field, from_ms, at_ms.unwrap_or(0))?;
        Ok(true)
    }
}

impl ExpiringHash for OrderedHash<'_, '_> {
    fn has_expired(&mut self, now_ms: u64) -> Result<bool> {
        let next_ms = self.0.meta()?.next_expiry_ms;
        Ok(next_ms != 0 && next_ms <= now_ms)
    }

    /// The transaction's own time counts.
    fn expired(&mut self, _now_ms: u64) -> Result<Vec<Box<[u8]>>> {
        self.0.tx.expired_fields(self.0.meta()?)
    }
}
