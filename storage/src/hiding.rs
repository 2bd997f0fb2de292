//! [`HidingHash`]: a hash some of whose fields have expired and are still there.

use crate::types::{FieldExpiry, VisitPair};
use crate::{Hash, Result};
use std::collections::BTreeSet;

/// Hides fields of a hash, of any storage. What is written to a hidden field finds none there.
pub(crate) struct HidingHash<'t> {
    hash: Box<dyn Hash + 't>,
    hidden: BTreeSet<Box<[u8]>>,
    /// What the last random draw lent out.
    lent: (Vec<u8>, Vec<u8>),
}

impl<'t> HidingHash<'t> {
    /// The hash as it is without these of its fields.
    pub fn over(hash: Box<dyn Hash + 't>, hidden: Vec<Box<[u8]>>) -> Box<dyn Hash + 't> {
        match hidden.is_empty() {
            true => hash,
            false => Box::new(HidingHash {
                hash,
                hidden: hidden.into_iter().collect(),
                lent: Default::default(),
            }),
        }
    }
}

impl Hash for HidingHash<'_> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.hash.len()?.saturating_sub(self.hidden.len() as u64))
    }

    fn get(&mut self, field: &[u8]) -> Result<Option<&[u8]>> {
        if self.hidden.contains(field) { Ok(None) } else { self.hash.get(field) }
    }

    fn insert(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        let was_hidden = self.hidden.remove(field);
        Ok(self.hash.insert(field, value)? || was_hidden)
    }

    fn update(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        match self.hidden.contains(field) {
            true => self.insert(field, value),
            false => self.hash.update(field, value),
        }
    }

    fn remove(&mut self, field: &[u8]) -> Result<bool> {
        if self.hidden.contains(field) { Ok(false) } else { self.hash.remove(field) }
    }

    fn for_each(&mut self, visit: VisitPair<'_>) -> Result<()> {
        let hidden = &self.hidden;
        self.hash.for_each(&mut |field, value| hidden.contains(field) || visit(field, value))
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitPair<'_>) -> Result<u64> {
        let hidden = &self.hidden;
        let show = &mut |field: &[u8], value: &[u8]| hidden.contains(field) || visit(field, value);
        self.hash.scan(cursor, count, show)
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], &[u8])>> {
        let Some(mut left) = random.checked_rem(self.len()?) else { return Ok(None) };
        let mut lent = std::mem::take(&mut self.lent);
        self.for_each(&mut |field, value| {
            if left == 0 {
                lent = (field.to_vec(), value.to_vec());
                return false;
            }
            left -= 1;
            true
        })?;
        self.lent = lent;
        Ok(Some((&self.lent.0, &self.lent.1)))
    }

    fn field_expiry(&mut self, field: &[u8]) -> Result<FieldExpiry> {
        match self.hidden.contains(field) {
            true => Ok(FieldExpiry::NoField),
            false => self.hash.field_expiry(field),
        }
    }

    fn set_field_expiry(&mut self, field: &[u8], at_ms: Option<u64>) -> Result<bool> {
        match self.hidden.contains(field) {
            true => Ok(false),
            false => self.hash.set_field_expiry(field, at_ms),
        }
    }
}
