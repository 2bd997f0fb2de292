//! Sets: members without values.

use super::elements::OpenedMap;
use storage::types::Visit;
use storage::{Result, Set};

/// An opened set.
pub(super) struct OrderedSet<'t, 'b>(pub(super) OpenedMap<'t, 'b>);

impl Set for OrderedSet<'_, '_> {
    fn len(&mut self) -> Result<u64> {
        Ok(self.0.meta()?.len)
    }

    fn insert(&mut self, member: &[u8]) -> Result<bool> {
        if self.0.find(member)?.is_some() {
            return Ok(false);
        }
        self.0.put(member, None, 0, &[])?;
        Ok(true)
    }

    fn remove(&mut self, member: &[u8]) -> Result<bool> {
        let Some(old) = self.0.find(member)? else { return Ok(false) };
        self.0.take(member, &old)?;
        Ok(true)
    }

    fn contains(&mut self, member: &[u8]) -> Result<bool> {
        Ok(self.0.find(member)?.is_some())
    }

    fn for_each(&mut self, visit: Visit<'_>) -> Result<()> {
        self.0.each(&mut |member, _| visit(member))
    }

    fn scan(&mut self, cursor: u64, count: usize, visit: Visit<'_>) -> Result<u64> {
        self.0.scan_from(cursor, count, &mut |member, _| visit(member))
    }

    fn random(&mut self, random: u64) -> Result<Option<&[u8]>> {
        Ok(if self.0.draw(random)? { Some(&self.0.lent.name) } else { None })
    }
}
