//! [`HidingHash`]: a hash that hides expired fields which have not been deleted.

use crate::types::{FieldExpiry, VisitPair};
use crate::{Hash, Result};
use std::collections::BTreeSet;

/// The number of random draws that may find a hidden field before the fields are iterated instead.
const DRAWS_MAX: u64 = 16;

/// A hash that keeps expired fields, and knows which they are.
pub trait ExpiringHash: Hash {
    /// Whether any field has expired at `now_ms`. This is called often.
    ///
    /// # Errors
    /// Fails if the storage does.
    fn has_expired(&mut self, now_ms: u64) -> Result<bool>;

    /// The names of the fields that have expired at `now_ms`. Takes a step for each.
    ///
    /// # Errors
    /// Fails if the storage does.
    fn expired(&mut self, now_ms: u64) -> Result<Vec<Box<[u8]>>>;
}

/// Hides expired fields of a hash, in any storage. A write to a hidden field behaves as if the
/// field did not exist.
pub struct HidingHash<H> {
    hash: H,
    now_ms: u64,
    /// The names of the hidden fields, once an operation needed them.
    hidden: Option<BTreeSet<Box<[u8]>>>,
    /// The field and value of the last random draw, to which references were returned.
    lent: (Vec<u8>, Vec<u8>),
}

impl<'t, H: ExpiringHash + 't> HidingHash<H> {
    /// The hash without the fields that have expired by `now_ms`.
    ///
    /// # Errors
    /// Fails if the storage does.
    pub fn over(mut hash: H, now_ms: u64) -> Result<Box<dyn Hash + 't>> {
        Ok(match hash.has_expired(now_ms)? {
            false => Box::new(hash),
            true => Box::new(HidingHash { hash, now_ms, hidden: None, lent: Default::default() }),
        })
    }
}

/// The fields of `hash` that have expired; they are determined once.
fn names<'h, H: ExpiringHash>(
    hash: &mut H,
    hidden: &'h mut Option<BTreeSet<Box<[u8]>>>,
    now_ms: u64,
) -> Result<&'h BTreeSet<Box<[u8]>>> {
    if hidden.is_none() {
        *hidden = Some(hash.expired(now_ms)?.into_iter().collect());
    }
    Ok(hidden.get_or_insert_default())
}

impl<H: ExpiringHash> HidingHash<H> {
    fn hides(&mut self, field: &[u8]) -> Result<bool> {
        if let Some(hidden) = &self.hidden {
            return Ok(hidden.contains(field));
        }
        let expiry = self.hash.field_expiry(field)?;
        Ok(matches!(expiry, FieldExpiry::At(at_ms) if at_ms <= self.now_ms))
    }

    /// Draws until a field is found that is not hidden. Returns whether one was.
    fn draw(&mut self, random: u64) -> Result<bool> {
        for attempt in 0..DRAWS_MAX {
            // Each draw uses other bits; the first one is the caller's.
            let random = random.rotate_left((attempt * 3) as u32).wrapping_add(attempt);
            let Some((field, value)) = self.hash.random(random)? else { return Ok(false) };
            self.lent = (field.to_vec(), value.to_vec());
            let field = std::mem::take(&mut self.lent.0);
            let hides = self.hides(&field)?;
            self.lent.0 = field;
            if !hides {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes the field, among those that are not hidden, whose index `random` determines. Returns
    /// whether there is one.
    fn walk(&mut self, random: u64) -> Result<bool> {
        let Some(mut left) = random.checked_rem(self.len()?) else { return Ok(false) };
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
        Ok(true)
    }
}

impl<H: ExpiringHash> Hash for HidingHash<H> {
    fn len(&mut self) -> Result<u64> {
        let hidden = names(&mut self.hash, &mut self.hidden, self.now_ms)?.len();
        Ok(self.hash.len()?.saturating_sub(hidden as u64))
    }

    fn get(&mut self, field: &[u8]) -> Result<Option<&[u8]>> {
        if self.hides(field)? { Ok(None) } else { self.hash.get(field) }
    }

    fn insert(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        let was_hidden = self.hides(field)?;
        if let Some(hidden) = &mut self.hidden {
            hidden.remove(field);
        }
        Ok(self.hash.insert(field, value)? || was_hidden)
    }

    fn update(&mut self, field: &[u8], value: &[u8]) -> Result<bool> {
        match self.hides(field)? {
            true => self.insert(field, value),
            false => self.hash.update(field, value),
        }
    }

    fn remove(&mut self, field: &[u8]) -> Result<bool> {
        if self.hides(field)? { Ok(false) } else { self.hash.remove(field) }
    }

    fn for_each(&mut self, visit: VisitPair<'_>) -> Result<()> {
        let hidden = names(&mut self.hash, &mut self.hidden, self.now_ms)?;
        self.hash.for_each(&mut |field, value| hidden.contains(field) || visit(field, value))
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: VisitPair<'_>) -> Result<u64> {
        let hidden = names(&mut self.hash, &mut self.hidden, self.now_ms)?;
        let show = &mut |field: &[u8], value: &[u8]| hidden.contains(field) || visit(field, value);
        self.hash.scan(cursor, count, show)
    }

    fn random(&mut self, random: u64) -> Result<Option<(&[u8], &[u8])>> {
        let found = self.draw(random)? || self.walk(random)?;
        Ok(found.then_some((&self.lent.0[..], &self.lent.1[..])))
    }

    fn field_expiry(&mut self, field: &[u8]) -> Result<FieldExpiry> {
        match self.hides(field)? {
            true => Ok(FieldExpiry::NoField),
            false => self.hash.field_expiry(field),
        }
    }

    fn set_field_expiry(&mut self, field: &[u8], at_ms: Option<u64>) -> Result<bool> {
        match self.hides(field)? {
            true => Ok(false),
            false => self.hash.set_field_expiry(field, at_ms),
        }
    }
}
